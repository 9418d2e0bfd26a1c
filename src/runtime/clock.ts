/**
 * Time, passed in so that tests can hold it. Decides nothing; who waits, and for how long, is for others to say.
 */

export interface Clock {
  /** Milliseconds since the epoch; steady enough for pauses, never used to order data. */
  now(): number;
  /** Resolves after `ms` milliseconds, or at once when the signal aborts (also when it has already). Never throws. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep(ms, signal) {
    return new Promise((resolve) => {
      if (signal?.aborted === true) return resolve();
      const done = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal?.addEventListener('abort', done);
    });
  },
};
