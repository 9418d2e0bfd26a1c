/**
 * Keeps watch over a set's limits while a relay runs, and says so in the log: at once when something changes, then once
 * an hour while it lasts. Nearly reached is a warning, passed is an error. What is measured, and when capture is
 * suspended, is decided in capture/limits.ts.
 */
import {
  type CheckLimitsOptions,
  checkLimits,
  type LimitReading,
  type Suspension,
} from '../capture/limits.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/logger.js';

export interface LimitWatchOptions {
  readonly check: CheckLimitsOptions;
  /** Default 1 min. */
  readonly everyMs: number | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
}

const EVERY_MS = 60_000;
const TELL_AGAIN_MS = 3_600_000;

export class LimitWatch {
  readonly #options: LimitWatchOptions;
  #checkedMs = Number.NEGATIVE_INFINITY;
  #told = '';
  #toldMs = 0;

  constructor(options: LimitWatchOptions) {
    this.#options = options;
  }

  /** When the next look is due, by the clock. */
  get dueMs(): number {
    return this.#checkedMs + (this.#options.everyMs ?? EVERY_MS);
  }

  /** Looks if it is time to. Returns the suspension that is in force after it. @throws as `checkLimits` */
  async step(connection: PostgresConnection): Promise<Suspension | undefined> {
    const { clock, check } = this.#options;
    if (clock.now() < this.dueMs) return undefined;
    const { reading, suspension } = await checkLimits(connection, check);
    this.#checkedMs = clock.now();
    if (suspension === undefined) this.#tell(reading);
    return suspension;
  }

  #tell(reading: LimitReading): void {
    const { clock, logger } = this.#options;
    const { over, near, words, logBytes, lagMs } = reading;
    const state = `${over.join()}/${near.join()}`;
    const again = state !== '/' && clock.now() - this.#toldMs >= TELL_AGAIN_MS;
    if (state === this.#told || (this.#told === '' && state === '/')) {
      if (!again) return;
    }
    this.#told = state;
    this.#toldMs = clock.now();
    const fields = { log_bytes: logBytes.toString(), lag_ms: lagMs ?? null };
    if (over.length > 0) logger.error({ ...fields, over }, `the set is over its limits: ${words}`);
    else if (near.length > 0) logger.warn({ ...fields, near }, `the set is near its limits: ${words}`);
    else logger.info(fields, 'the set is within its limits again');
  }
}
