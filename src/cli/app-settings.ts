/** From an invocation to what src/app puts processes together from. Loads src/app on first use, so help stays fast. */
import type { AdminContext } from '../admin/context.js';
import type { AppSettings } from '../app/settings.js';
import type { Invocation } from './run-command.js';

export function appSettings(invocation: Invocation): AppSettings {
  const { options, logger, variables, signal } = invocation;
  const { cluster, coordinator, lockTimeoutMs, leaseTimeMs } = options;
  return {
    cluster,
    coordinator,
    lockTimeoutMs,
    ...(leaseTimeMs === undefined ? {} : { leaseTimeMs }),
    logger,
    variables,
    signal,
  };
}

/**
 * Of commands that do one thing. A lease that is lost while its holder lives costs a refusal at most, one that is held
 * by a dead process costs everybody else the wait: so it is shorter than a relay's.
 */
const ADMIN_LEASE_TIME_MS = 6_000;

/** Runs an administrative function with a connected coordinator. */
export async function administer<Result>(
  invocation: Invocation,
  task: (context: AdminContext) => Promise<Result>,
): Promise<Result> {
  const { withAdmin } = await import('../app/open-admin.js');
  return withAdmin(
    { leaseTimeMs: ADMIN_LEASE_TIME_MS, ...appSettings(invocation), say: invocation.output.say },
    task,
  );
}
