/**
 * The life cycle of what runs until it is told to stop, and the shape of time limits on stopping. What a service does
 * is its own affair.
 */

export interface Service {
  /** Fails fast: throws where it can't begin, and then nothing of it is left running. */
  start(): Promise<void>;
  /** Waits until nothing of it runs any more; may be called twice, before start, and after a start that failed. */
  stop(): Promise<void>;
}

/**
 * Stops services one after another, the last one first, and goes on where one of them fails.
 * @returns the errors, in the order in which they came; empty where all went well
 */
export async function stopAll(services: readonly Service[]): Promise<readonly unknown[]> {
  const errors: unknown[] = [];
  for (const service of [...services].reverse()) {
    try {
      await service.stop();
    } catch (error) {
      errors.push(error);
    }
  }
  return errors;
}

/**
 * Waits for `work`, at most `timeoutMs`. The work itself goes on; its later failure is no unhandled rejection.
 * @returns whether it was done in time; throws what it threw in time
 */
export async function within(work: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  try {
    return await Promise.race([work.then(() => true as const), late]);
  } finally {
    clearTimeout(timer);
  }
}
