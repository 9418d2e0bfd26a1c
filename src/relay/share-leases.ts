/**
 * Spreads sets over relays that could each have them all. Leases alone leave everything with whoever came first; so a
 * relay that has two less than another asks for one of the other's, by a lease beside it (`<lease>.next`), and the
 * owner gives it up at the end of a batch. Each hand-over makes the difference smaller, and with a difference of one
 * nobody asks: it comes to rest by itself, without anyone who decides for all. Loads are counted by the leases that can
 * be seen; a wrong count costs a needless hand-over, never more than that.
 */
import type { Coordinator, Lease } from '../coordinator/coordinator.js';
import { ShovelError } from '../errors.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/logger.js';

export interface LeaseShare {
  /** False for a moment after the lease was given up, so that the relay which asked for it gets it. */
  mayTry(path: string): boolean;
  /** To be called when the lease is had; `giveUp` when another is to have it. Call what it returns when it is had no more. */
  held(path: string, giveUp: () => void): () => void;
}

export interface ShareOptions {
  /** Started. */
  readonly coordinator: Coordinator;
  /** As the leases are taken with. */
  readonly owner: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Between two looks; default 2 s. */
  readonly everyMs?: number;
}

/** How long whoever asks for a lease waits for it: longer than the batch in hand may last. */
const PATIENCE_MS = 20_000;
/** How long whoever gave a lease up leaves it alone: whoever asked for it tries several times meanwhile. */
const STAND_BACK_MS = 3000;

interface Asking {
  readonly path: string;
  readonly lease: Lease;
  readonly untilMs: number;
}

export class ShareLeases implements LeaseShare {
  readonly #options: ShareOptions;
  readonly #wanted = new Set<string>();
  readonly #held = new Map<string, () => void>();
  /** Held, and to be given up. */
  readonly #yielded = new Set<string>();
  readonly #standingBack = new Map<string, number>();
  #asking: Asking | undefined;

  constructor(options: ShareOptions) {
    this.#options = options;
  }

  mayTry(path: string): boolean {
    const untilMs = this.#standingBack.get(path);
    if (untilMs === undefined) return true;
    if (this.#options.clock.now() < untilMs) return false;
    this.#standingBack.delete(path);
    return true;
  }

  held(path: string, giveUp: () => void): () => void {
    this.#held.set(path, giveUp);
    return () => {
      this.#held.delete(path);
      if (this.#yielded.delete(path)) this.#standingBack.set(path, this.#options.clock.now() + STAND_BACK_MS);
    };
  }

  /** Which leases this process would have; to be told again when they change. */
  want(paths: Iterable<string>): void {
    this.#wanted.clear();
    for (const path of paths) this.#wanted.add(path);
  }

  /** Until the signal aborts. Never throws: without it sets stay where they are. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, everyMs = 2000, logger } = this.#options;
    while (!signal.aborted) {
      // Not all at the same time.
      await clock.sleep(everyMs * (0.75 + Math.random() / 2), signal);
      if (signal.aborted) break;
      try {
        await this.#look();
      } catch (error) {
        logger.debug({ error }, 'sets could not be spread over relays, trying again');
        if (!(error instanceof ShovelError)) throw error;
      }
    }
    await this.#stopAsking();
  }

  async #look(): Promise<void> {
    await this.#giveUpOne();
    const asking = this.#asking;
    if (asking !== undefined) {
      const over = this.#held.has(asking.path) || this.#options.clock.now() >= asking.untilMs;
      if (over || asking.lease.lost.aborted) await this.#stopAsking();
      return;
    }
    await this.#ask();
  }

  /** One at a time: what follows is counted anew. */
  async #giveUpOne(): Promise<void> {
    const { coordinator, logger, owner } = this.#options;
    // Who has one can't have two more than another: it was asked of someone who had it before.
    if (this.#held.size < 2) return;
    for (const [path, giveUp] of this.#held) {
      const asking = await coordinator.leaseHolder(next(path));
      if (asking === undefined || asking.owner === owner) continue;
      logger.info({ lease: path, to: asking.owner }, 'another relay has less to do: it takes this set over');
      this.#yielded.add(path);
      giveUp();
      return;
    }
  }

  async #ask(): Promise<void> {
    const { coordinator, owner, clock } = this.#options;
    const others = new Map<string, string[]>();
    for (const path of this.#wanted) {
      if (this.#held.has(path)) continue;
      const holder = await coordinator.leaseHolder(path);
      if (holder === undefined || holder.owner === owner) continue;
      others.set(holder.owner, [...(others.get(holder.owner) ?? []), path]);
    }
    const [most] = [...others.values()].toSorted((a, b) => b.length - a.length);
    if (most === undefined || most.length < this.#held.size + 2) return;
    // Several who ask at the same time had better not ask for the same.
    const path = most[Math.floor(Math.random() * most.length)];
    if (path === undefined) return;
    const lease = await coordinator.tryLease(next(path), owner);
    if (lease !== undefined) this.#asking = { path, lease, untilMs: clock.now() + PATIENCE_MS };
  }

  async #stopAsking(): Promise<void> {
    const asking = this.#asking;
    this.#asking = undefined;
    await asking?.lease.release();
  }
}

function next(path: string): string {
  return `${path}.next`;
}
