/** From an invocation to what src/app puts processes together from. Loads src/app on first use, so help stays fast. */
import type { AdminContext } from '../admin/context.js';
import type { AppSettings } from '../app/settings.js';
import type { Invocation } from './run-command.js';

export function appSettings(invocation: Invocation): AppSettings {
  const { options, logger, variables, signal } = invocation;
  const { cluster, coordinator, lockTimeoutMs } = options;
  return { cluster, coordinator, lockTimeoutMs, logger, variables, signal };
}

/** Runs an administrative function with a connected coordinator. */
export async function administer<Result>(
  invocation: Invocation,
  task: (context: AdminContext) => Promise<Result>,
): Promise<Result> {
  const { withAdmin } = await import('../app/open-admin.js');
  return withAdmin({ ...appSettings(invocation), say: invocation.output.say }, task);
}
