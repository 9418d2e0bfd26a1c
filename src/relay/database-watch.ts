/**
 * Waits on behalf of all sets of one database that rest: one query on one connection looks at all their sequences, and
 * one connection hears the bell for all of them. A set rests only when nothing can become pending without its sequence
 * moving (see `canRest`), so that is all there is to look at.
 *
 * Maintained invariant: nobody is left waiting longer than its own pause says. A bell is only ever a hint: who does not
 * hear it finds the sequence moved at the next look; and a look that fails wakes everyone, so that each finds out by
 * itself what is wrong.
 */
import type { PostgresConnection } from '../postgres/connect.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/logger.js';
import type { LogNames } from './relay-set.js';

/** Opens a listener of channel `shovel_wake`; src/postgres/listen.ts. */
export type OpenBell = (heard: {
  readonly onNotification: (payload: string) => void;
  readonly onReconnected: () => void;
}) => Promise<{ stop(): Promise<void> }>;

export interface DatabaseWatchOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Undefined: sequences are looked at, and that is all. */
  readonly openBell?: OpenBell | undefined;
}

export interface Rest {
  readonly log: LogNames;
  /** Not used by anybody else meanwhile. */
  readonly connection: PostgresConnection;
  /** What the sequence said when the set came to rest. */
  readonly seq: bigint;
  /** The longest time until the next look; asked again after each. */
  readonly pauseMs: (nowMs: number) => number;
  /** When the set has something else to do, by the clock. */
  readonly untilMs: number;
  readonly signal: AbortSignal;
}

/** `still`: nothing moved until then. */
export type RestEnd = 'woken' | 'still';

interface Resting {
  readonly rest: Rest;
  dueMs: number;
  readonly wake: (end: RestEnd) => void;
}

/** How long a bell that could not be opened is left alone. */
const BELL_AGAIN_MS = 60_000;

export class DatabaseWatch {
  readonly #options: DatabaseWatchOptions;
  readonly #resting = new Set<Resting>();
  /** Sets whose bell rang while they did not rest. */
  readonly #rung = new Set<string>();
  #nudge = new AbortController();
  #looking = false;
  #bell: Promise<{ stop(): Promise<void> } | undefined> | undefined;
  #bellFailedMs = Number.NEGATIVE_INFINITY;

  constructor(options: DatabaseWatchOptions) {
    this.#options = options;
  }

  /** Whether notifications are heard from now on: the bell may be armed. */
  async hears(): Promise<boolean> {
    const { clock, openBell, logger } = this.#options;
    if (openBell === undefined) return false;
    if (this.#bell === undefined) {
      if (clock.now() - this.#bellFailedMs < BELL_AGAIN_MS) return false;
      this.#bell = openBell({
        onNotification: (payload) => this.#ring(payload),
        // What was sent while nobody listened is gone.
        onReconnected: () => this.#wakeAll(),
      }).catch((error: unknown) => {
        logger.warn({ error }, 'notifications can not be listened to, polling instead');
        this.#bellFailedMs = clock.now();
        this.#bell = undefined;
        return undefined;
      });
    }
    return (await this.#bell) !== undefined;
  }

  /** Resolves when the set has to look for itself, or has something else to do, or the signal aborts. Never throws. */
  rest(rest: Rest): Promise<RestEnd> {
    const { clock } = this.#options;
    return new Promise((resolve) => {
      if (rest.signal.aborted) return resolve('still');
      if (this.#rung.delete(bellName(rest.log))) return resolve('woken');
      const aborted = (): void => resting.wake('still');
      const resting: Resting = {
        rest,
        dueMs: nextMs(rest, clock.now()),
        wake: (end) => {
          this.#resting.delete(resting);
          rest.signal.removeEventListener('abort', aborted);
          this.#nudge.abort();
          resolve(end);
        },
      };
      rest.signal.addEventListener('abort', aborted, { once: true });
      this.#resting.add(resting);
      this.#nudge.abort();
      if (!this.#looking) void this.#look();
    });
  }

  async close(): Promise<void> {
    const bell = await this.#bell;
    this.#bell = undefined;
    await bell?.stop();
  }

  /** While anyone rests: until the first of them is due, then one look for all. Never throws. */
  async #look(): Promise<void> {
    const { clock } = this.#options;
    this.#looking = true;
    while (this.#resting.size > 0) {
      this.#nudge = new AbortController();
      const dueMs = Math.min(...[...this.#resting].map((resting) => resting.dueMs));
      if (dueMs > clock.now()) await clock.sleep(dueMs - clock.now(), this.#nudge.signal);
      else await this.#lookOnce();
    }
    this.#looking = false;
  }

  async #lookOnce(): Promise<void> {
    const all = [...this.#resting];
    const [first] = all;
    if (first === undefined) return;
    const queries = all.map(
      ({ rest: { log } }, k) =>
        `select ${k} as k, case when s.is_called then s.last_value else 0 end as seq from ${log.seq} s`,
    );
    try {
      const rows = await first.rest.connection.query(queries.join(' union all '));
      const found = new Map(rows.map((row) => [Number(row.k), BigInt(row.seq ?? '0')]));
      const nowMs = this.#options.clock.now();
      for (const [k, resting] of all.entries()) {
        if (found.get(k) !== resting.rest.seq) resting.wake('woken');
        else if (resting.rest.untilMs <= nowMs) resting.wake('still');
        else resting.dueMs = nextMs(resting.rest, nowMs);
      }
    } catch {
      for (const resting of all) resting.wake('woken');
    }
  }

  #ring(payload: string): void {
    const resting = [...this.#resting].find(({ rest }) => bellName(rest.log) === payload);
    if (resting === undefined) this.#rung.add(payload);
    else resting.wake('woken');
  }

  #wakeAll(): void {
    for (const resting of [...this.#resting]) resting.wake('woken');
  }
}

function nextMs({ pauseMs, untilMs }: Rest, nowMs: number): number {
  return Math.min(untilMs, nowMs + pauseMs(nowMs));
}

/** What a capture function sends to wake a set's relay; see sql/set/doorbell.sql. */
function bellName(log: LogNames): string {
  return `${log.schema}.${log.set}`;
}
