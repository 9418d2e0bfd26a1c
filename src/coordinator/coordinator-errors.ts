/**
 * The errors that both coordinators throw, so that callers meet the same codes whatever stands behind the port.
 * Which of them a failure is, each implementation decides at its own border.
 */
import { ConfigurationError, RefusedError, UnreachableError } from '../errors.js';

/** It surely did not happen. `why` is short and without credentials: `ECONNREFUSED`, `no answer within 5 s`. */
export function coordinatorUnreachable(display: string, why: string, cause?: unknown): UnreachableError {
  return new UnreachableError(
    'coordinator_unreachable',
    `Coordinator ${display} can't be reached: ${withoutStop(why)}.`,
    {
      hint: 'Is it running, and is the address right? See --zookeeper-hosts and --coordinator.',
      details: { coordinator: display },
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

/** It may or may not have happened. */
export function coordinatorOutcomeUnknown(display: string, cause?: unknown): UnreachableError {
  return new UnreachableError(
    'coordinator_outcome_unknown',
    `Coordinator ${display} did not answer: the change may or may not have been made.`,
    {
      hint: 'Run shovel cluster recover once it is back: it settles what was begun.',
      details: { coordinator: display },
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

export function coordinatorNotAuthorized(display: string, what: string, cause?: unknown): ConfigurationError {
  return new ConfigurationError(
    'coordinator_not_authorized',
    `Coordinator ${display} refuses ${what} to this user.`,
    {
      hint: 'Check user and password in --coordinator: what one user made, another may not read.',
      details: { coordinator: display },
      ...(cause === undefined ? {} : { cause }),
    },
  );
}

export function coordinatorPathMissing(display: string, path: string): RefusedError {
  return new RefusedError('coordinator_path_missing', `Coordinator ${display} has no ${path}.`, {
    hint: 'Is the cluster initialised (shovel cluster init)? If it was, it is lost: shovel cluster recover --from-nodes.',
    details: { coordinator: display, path },
  });
}

/** The first line of a driver's message, without its full stop. */
function withoutStop(why: string): string {
  return (why.split('\n')[0] ?? '').replace(/\.$/, '');
}
