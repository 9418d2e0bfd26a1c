/**
 * One thing at a time, in the order asked for: what a publisher needs so that start, publish and stop never overlap.
 * A failed turn does not stop those after it.
 */

import { setTimeout as delay } from 'node:timers/promises';

export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Resolves or rejects as `work` does. */
  take<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  /** When all that was asked for is done, or after `withinMs`. */
  async idle(withinMs: number): Promise<void> {
    const waited = new AbortController();
    const limit = delay(withinMs, undefined, { signal: waited.signal }).catch(() => undefined);
    await Promise.race([this.#last, limit]);
    waited.abort();
  }
}
