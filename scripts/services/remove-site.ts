/** Removes a site that nobody needs any more, so that a test run leaves nothing in the temporary folder. */

import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isLeased } from './leases.js';
import type { Site } from './site.js';
import { readState } from './state.js';
import { privateFolder } from './sweep.js';

/**
 * To be called with the site's lock held, after a sweep; the lock goes with the folder. Whoever waits for it, or comes
 * now, makes the folder again. Data that was kept for the next `up` keeps the folder, too.
 */
export function removeIdleSite(site: Site): void {
  const state = readState(site);
  const runs = Object.values(state.services).some(({ servers }) => servers.length > 0);
  if (runs || state.byHand.length > 0 || isLeased(site)) return;
  if (!isEmpty(privateFolder(site)) || !isEmpty(join(site.directory, 'servers'))) return;
  // Renamed first: what another process makes at the old place is not this one's to remove.
  const aside = `${site.directory}.gone-${process.pid}`;
  renameSync(site.directory, aside);
  rmSync(aside, { recursive: true, force: true, maxRetries: 3 });
}

function isEmpty(folder: string): boolean {
  return !existsSync(folder) || readdirSync(folder).length === 0;
}
