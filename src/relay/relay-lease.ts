/**
 * The lease that says who relays a set in a database: waiting for it, and whether it is still ours. Knows of nothing that
 * is done under it.
 */
import type { Lease } from '../coordinator/coordinator.js';
import { RefusedError, ShovelError } from '../errors.js';
import { clusterPaths } from '../model/change-paths.js';
import { createBackoff } from '../runtime/backoff.js';
import type { Logger } from '../runtime/logger.js';
import { GIVE_UP_MS, type RelayOptions } from './relay-options.js';

/** Between two tries to get a lease that another relay holds. */
const LEASE_EVERY_MS = 500;

type LeaseOptions = Pick<
  RelayOptions,
  'coordinator' | 'cluster' | 'set' | 'database' | 'owner' | 'clock' | 'signal' | 'once' | 'tuning' | 'share'
> & { readonly logger: Logger /** Nobody is to relay it any more. */; readonly isOut: () => boolean };

export class RelayLease {
  readonly #options: LeaseOptions;
  readonly path: string;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.path = clusterPaths(options.cluster).relay(options.set.name, options.database);
  }

  /** Waits until nobody else holds it; undefined when told to stop, or where nobody is to relay it any more. */
  async wait(): Promise<Lease | undefined> {
    const { coordinator, owner, clock, signal, once, tuning, share, logger, isOut } = this.#options;
    const backoff = createBackoff({ maxMs: 5000 });
    const deadlineMs = clock.now() + (tuning?.giveUpMs ?? GIVE_UP_MS);
    let waiting = false;
    while (!signal.aborted) {
      const late = once && clock.now() >= deadlineMs;
      try {
        if (isOut()) return undefined;
        const lease =
          share?.mayTry(this.path) === false ? undefined : await coordinator.tryLease(this.path, owner);
        if (lease !== undefined) return lease;
        if (late) throw await this.#running();
        if (!waiting) logger.info({}, 'another relay has this set: standing by');
        waiting = true;
        await clock.sleep(LEASE_EVERY_MS, signal);
      } catch (error) {
        const lost = error instanceof ShovelError && error.code === 'coordinator_path_missing';
        if (!(error instanceof ShovelError && (error.retryable || lost)) || late) throw error;
        const pause = backoff.next();
        logger[lost ? 'error' : pause.level](
          { error, pause_ms: pause.ms },
          lost
            ? 'the coordinator has lost this cluster: pausing until it is restored (shovel cluster recover --from-nodes); capture goes on'
            : 'the coordinator does not answer, trying again',
        );
        await clock.sleep(pause.ms, signal);
      }
    }
    return undefined;
  }

  async #running(): Promise<RefusedError> {
    const holder = await this.#options.coordinator.leaseHolder(this.path);
    const { set, database } = this.#options;
    return new RefusedError(
      'relay_running',
      `Set ${set.name}, database ${database}: another relay (${holder?.owner ?? 'unknown'}) is publishing it.`,
      { hint: 'Stop it first, or leave the work to it.' },
    );
  }

  /** Whether the lease is ours still: a process that was suspended may not have noticed yet that it isn't. */
  async owns(lease: Lease): Promise<boolean> {
    if (lease.lost.aborted) return false;
    try {
      const holder = await this.#options.coordinator.leaseHolder(this.path);
      return holder?.epoch === lease.epoch && !lease.lost.aborted;
    } catch (error) {
      if (error instanceof ShovelError && error.retryable) return false;
      throw error;
    }
  }
}
