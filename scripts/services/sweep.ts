/**
 * Ends processes that nobody answers for: started by a command that was killed before it could write them down, or
 * private servers of a test whose process is gone (their guardian was killed too). Called with the site's lock held.
 */

import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { endProcess, findMarked, startOf } from './processes.js';
import type { Site } from './site.js';
import { readState, withService, writeState } from './state.js';

/** Path that marks the processes of the site's services. */
function serverMarker(site: Site): string {
  return join(site.directory, 'servers', '/');
}

/** Folder of the private servers of tests: `private/PID-START/N`. */
export function privateFolder(site: Site): string {
  return join(site.directory, 'private');
}

export async function sweep(site: Site): Promise<void> {
  forgetTheDead(site);
  const known = new Set(
    Object.values(readState(site).services).flatMap((service) => service.servers.map((server) => server.pid)),
  );
  await endAll(
    findMarked(serverMarker(site)).filter((found) => !known.has(found.pid) && !descends(found, known)),
  );
  await sweepPrivate(site);
}

/** Processes of private servers whose test is gone, and their folders. */
async function sweepPrivate(site: Site): Promise<void> {
  const folder = privateFolder(site);
  if (!existsSync(folder)) return;
  for (const owner of readdirSync(folder)) {
    const [pid = '', started = ''] = owner.split('-');
    if (startOf(Number(pid))?.replaceAll(/[^A-Za-z0-9]/g, '') === started) continue;
    await endAll(findMarked(join(folder, owner, '/')));
    rmSync(join(folder, owner), { recursive: true, force: true });
  }
}

function forgetTheDead(site: Site): void {
  let state = readState(site);
  for (const [name, service] of Object.entries(state.services)) {
    const servers = service.servers.filter((server) => startOf(server.pid) === server.started);
    if (servers.length < service.servers.length) state = withService(state, name, { ...service, servers });
  }
  writeState(site, state);
}

/** A child of a known server, like a PostgreSQL backend that has just been forked and not renamed yet. */
function descends(found: { readonly parent: number }, known: ReadonlySet<number>): boolean {
  return known.has(found.parent);
}

async function endAll(found: readonly { readonly pid: number }[]): Promise<void> {
  await Promise.all(
    found.map(async ({ pid }) => {
      const started = startOf(pid);
      if (started !== undefined) await endProcess({ pid, started });
    }),
  );
}
