/** What administrative functions are given, put together. */
import { hostname } from 'node:os';
import type { AdminContext } from '../admin/context.js';
import { systemClock } from '../runtime/clock.js';
import { createFailpoint } from '../runtime/failpoint.js';
import { openCoordinator } from './open-coordinator.js';
import { nodeOpener } from './open-node.js';
import type { AppSettings } from './settings.js';

/**
 * Calls `task` with a context whose coordinator is connected, and closes that after it, whatever happened.
 * @throws what connecting to the coordinator throws, and what `task` throws
 */
export async function withAdmin<Result>(
  settings: AppSettings & { readonly say: (line: string) => void },
  task: (context: AdminContext) => Promise<Result>,
): Promise<Result> {
  const { cluster, logger, lockTimeoutMs, signal, say } = settings;
  const coordinator = await openCoordinator(settings);
  const failpoint = createFailpoint(settings.variables.SHOVEL_FAILPOINT, {
    kill: () => process.kill(process.pid, 'SIGKILL'),
    pause: () => new Promise((resolve) => process.once('SIGCONT', () => resolve())),
    tell: (line) => process.stderr.write(`${line}\n`),
  });
  try {
    return await task({
      cluster,
      coordinator,
      openNode: nodeOpener(settings, 'admin'),
      logger,
      lockTimeoutMs,
      clock: systemClock,
      say,
      signal,
      owner: `${hostname()}:${process.pid}`,
      ...(failpoint === undefined ? {} : { failpoint }),
    });
  } finally {
    await coordinator.stop();
  }
}
