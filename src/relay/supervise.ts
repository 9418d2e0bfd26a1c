/**
 * Relays several sets and databases in one process, each by itself: the end or failure of one leaves the others alone.
 */
import { ShovelError } from '../errors.js';
import { unexpected } from './node-keeper.js';
import { type RelayOptions, type RelaySummary, runRelay } from './relay.js';

export type RelayEnd =
  | { readonly kind: 'ended'; readonly summary: RelaySummary }
  | { readonly kind: 'failed'; readonly set: string; readonly database: string; readonly error: ShovelError };

export interface SuperviseOptions {
  readonly relays: readonly RelayOptions[];
  /** Called as soon as one of them has ended. */
  readonly ended?: (end: RelayEnd) => void;
}

/** Resolves when all have ended; never throws. */
export async function superviseRelays(options: SuperviseOptions): Promise<readonly RelayEnd[]> {
  return Promise.all(
    options.relays.map(async (relay) => {
      const end = await relayEnd(relay);
      options.ended?.(end);
      return end;
    }),
  );
}

/** What a supervisor should tell the system: the error of the first that failed, of whichever kind. */
export function firstError(ends: readonly RelayEnd[]): ShovelError | undefined {
  for (const end of ends) {
    const error = end.kind === 'failed' ? end.error : end.summary.error;
    if (error !== undefined) return error;
  }
  return undefined;
}

async function relayEnd(relay: RelayOptions): Promise<RelayEnd> {
  const { set, database, logger } = relay;
  try {
    const summary = await runRelay(relay);
    logger.info({ set: set.name, database, ended: summary.ended }, 'the relay has ended');
    return { kind: 'ended', summary };
  } catch (error) {
    const failure = error instanceof ShovelError ? error : unexpected(error);
    logger.error({ set: set.name, database, error: failure }, 'the relay has stopped');
    return { kind: 'failed', set: set.name, database, error: failure };
  }
}
