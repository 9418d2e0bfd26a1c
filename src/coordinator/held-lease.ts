/**
 * A lease while it is held: decides when it can no longer be vouched for. Proof comes from outside (`vouch`): each
 * proof says when the request was *sent* whose answer shows that the store still counts us in. The store can't have
 * started its clock before that, so a lease that ends after two thirds of the time is over before the store can
 * give it away. How the lease is taken, renewed and given back is left to the implementations.
 */
import type { Lease } from './coordinator.js';

export interface HeldLeaseOptions {
  readonly epoch: bigint;
  /** After this many ms of silence the store may give the lease to another. */
  readonly sessionTimeMs: number;
  /** Monotonic ms. */
  readonly now: () => number;
  /** Gives the lease back to the store; called at most once, errors are the callee's. */
  readonly giveBack: () => Promise<void>;
}

export class HeldLease implements Lease {
  readonly epoch: bigint;
  readonly #options: HeldLeaseOptions;
  readonly #lost = new AbortController();
  #vouchedUntilMs: number;
  #timer: NodeJS.Timeout | undefined;
  #released: Promise<void> | undefined;

  /** `sentAtMs`: when the request was sent that took the lease. */
  constructor(sentAtMs: number, options: HeldLeaseOptions) {
    this.epoch = options.epoch;
    this.#options = options;
    this.#vouchedUntilMs = sentAtMs + (options.sessionTimeMs * 2) / 3;
    this.#watch();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** A request sent at `sentAtMs` was answered, so the store counted us in then. Too late a proof proves nothing. */
  vouch(sentAtMs: number): void {
    if (this.#lost.signal.aborted) return;
    if (this.#options.now() < this.#vouchedUntilMs) {
      const untilMs = sentAtMs + (this.#options.sessionTimeMs * 2) / 3;
      this.#vouchedUntilMs = Math.max(this.#vouchedUntilMs, untilMs);
    }
    this.#watch();
  }

  /** It is over: whoever works under it must stop now. */
  lose(): void {
    clearTimeout(this.#timer);
    this.#lost.abort();
  }

  /** Ends `lost` first, then gives the lease back. May be called twice. */
  release(): Promise<void> {
    this.lose();
    this.#released ??= this.#options.giveBack();
    return this.#released;
  }

  #watch(): void {
    clearTimeout(this.#timer);
    const leftMs = this.#vouchedUntilMs - this.#options.now();
    if (leftMs <= 0) this.lose();
    else this.#timer = setTimeout(() => this.#watch(), leftMs);
  }
}
