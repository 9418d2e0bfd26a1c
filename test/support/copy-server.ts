/** The files of a server that stands still, taken into another one, as a cold backup or a snapshot of a disk does. */
import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { EphemeralService } from '../../scripts/services/index.js';

const run = promisify(execFile);

export interface CopyServerOptions {
  readonly from: EphemeralService;
  /** Of the same kind and version; what it held is gone. */
  readonly to: EphemeralService;
  /** It follows the other one, by what `primary_conninfo` there says; default: on its own. */
  readonly standby?: boolean;
}

/** Both run when it resolves, each with its own port and settings. */
export async function copyServer({ from, to, standby = false }: CopyServerOptions): Promise<void> {
  const data = join(to.directory, 'data');
  await Promise.all([from.server.stop(), to.server.stop()]);
  await rm(data, { recursive: true, force: true });
  await run('cp', ['-a', join(from.directory, 'data'), data]);
  // A file that has the right owner; its content does not matter.
  if (standby) await run('cp', ['-a', join(data, 'PG_VERSION'), join(data, 'standby.signal')]);
  await from.server.start();
  await to.server.start();
}
