/**
 * How long to wait before trying again, and how loud to say so: pauses double up to a limit, each with some chance in
 * it so that many who failed together don't come back together, and the level of the log line rises with the pause.
 */

export interface BackoffOptions {
  /** The first pause; default 100 ms. */
  readonly firstMs?: number;
  /** No pause is longer; default 30 s. */
  readonly maxMs?: number;
  /** 0 to 1; default Math.random. */
  readonly random?: () => number;
}

export interface Pause {
  readonly ms: number;
  /** How many failures in a row, this one included. */
  readonly attempt: number;
  /** For the log line: below 1 s, below 10 s, and longer. */
  readonly level: 'info' | 'warn' | 'error';
}

export interface Backoff {
  /** The pause after one more failure. */
  next(): Pause;
  /** After a success. */
  reset(): void;
}

export function createBackoff(options: BackoffOptions = {}): Backoff {
  const { firstMs = 100, maxMs = 30_000, random = Math.random } = options;
  let attempt = 0;
  return {
    next() {
      // 2 ** 40 times the first pause is past any limit; higher powers would only overflow.
      const full = Math.min(maxMs, firstMs * 2 ** Math.min(attempt, 40));
      attempt += 1;
      const ms = Math.round(full * (0.5 + random() / 2));
      return { ms, attempt, level: ms < 1000 ? 'info' : ms < 10_000 ? 'warn' : 'error' };
    },
    reset() {
      attempt = 0;
    },
  };
}
