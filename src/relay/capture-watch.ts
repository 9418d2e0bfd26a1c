/**
 * Holds capture in a node against what its version needs while a relay runs, and says in the log what is not so, with
 * what mends it: once when it is found, again every hour while it lasts, and once when it is gone. What is looked at is
 * decided in capture/inspect.ts. On a connection of its own, opened for each look: no draw and no batch waits for it.
 *
 * Maintained invariant: only the version that the relay works by is judged. All is read from one snapshot, and nothing is
 * said where that has another version already.
 */
import { type CaptureFinding, inspectCapture } from '../capture/inspect.js';
import { ShovelError } from '../errors.js';
import type { Clock } from '../runtime/clock.js';
import { sha256Hex } from '../runtime/hash.js';
import type { Logger } from '../runtime/logger.js';
import { unexpected } from './node-keeper.js';
import type { NodeSession } from './node-session.js';
import type { LogNames, RelaySet } from './relay-set.js';

interface CaptureWatchOptions {
  readonly openSession: () => Promise<NodeSession | undefined>;
  readonly log: LogNames;
  /** What the relay works by. */
  readonly active: RelaySet;
  /** Default 5 min. */
  readonly everyMs: number | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A look that is under way is broken off. */
  readonly stop: AbortSignal;
}

interface WatchCaptureOptions extends CaptureWatchOptions {
  /** One look, instead of one from time to time until `stop`. */
  readonly once: boolean;
  /** What has not ended by then is left behind. */
  readonly leave: AbortSignal;
}

/** Never throws. */
export async function watchCapture({ once, leave, ...options }: WatchCaptureOptions): Promise<void> {
  const watch = new CaptureWatch(options);
  const watched = (once ? watch.look() : watch.run()).catch((cause: unknown) => {
    options.logger.error({ error: unexpected(cause) }, 'capture is watched no more');
  });
  const left = new AbortController();
  const leaving = new Promise<void>((resolve) => {
    leave.addEventListener('abort', () => resolve(), { once: true, signal: left.signal });
    if (leave.aborted) resolve();
  });
  await Promise.race([watched, leaving]);
  left.abort();
}

const EVERY_MS = 300_000;
const TELL_AGAIN_MS = 3_600_000;
/** So many are told one by one; `shovel doctor` tells all. */
const TOLD_AT_ONCE = 10;
const STATEMENT_TIMEOUT = '20s';

class CaptureWatch {
  readonly #options: CaptureWatchOptions;
  /** When each finding was told. */
  #told: ReadonlyMap<string, number> = new Map();

  constructor(options: CaptureWatchOptions) {
    this.#options = options;
  }

  /** Looks at once and then from time to time, until `stop`. Throws only for bugs. */
  async run(): Promise<void> {
    const { clock, everyMs, stop } = this.#options;
    while (!stop.aborted) {
      await this.look();
      await clock.sleep(everyMs ?? EVERY_MS, stop);
    }
  }

  /** Throws only for bugs. */
  async look(): Promise<void> {
    const { logger, stop } = this.#options;
    try {
      const found = await this.#inspect();
      if (found !== undefined && !stop.aborted) this.#tell(found);
    } catch (error) {
      if (stop.aborted) return;
      if (!(error instanceof ShovelError)) throw error;
      logger.debug({ error }, 'capture could not be looked at');
    }
  }

  /** Undefined where the node has another version, or holds the set no more. */
  async #inspect(): Promise<readonly CaptureFinding[] | undefined> {
    const { openSession, log, active, stop } = this.#options;
    const session = await openSession();
    if (session === undefined) return undefined;
    const { connection } = session;
    const leave = () => {
      connection.end().catch(() => undefined);
    };
    stop.addEventListener('abort', leave);
    try {
      if (stop.aborted) return undefined;
      // What a relay's sessions are told about the planner is for the log, which has no statistics.
      await connection.script(
        `reset enable_seqscan; reset enable_bitmapscan; reset enable_sort; set statement_timeout = '${STATEMENT_TIMEOUT}'`,
      );
      await connection.script('begin isolation level repeatable read read only');
      const [row] = await connection.query(
        `select r.set_version from ${log.schema}.replication_set r where r.set_name = $1`,
        [log.set],
      );
      if (row?.set_version !== String(active.version)) return undefined;
      return await inspectCapture(connection, {
        names: log.names,
        set: log.set,
        version: active.version,
        configuration: active.configuration,
        hash: sha256Hex,
      });
    } finally {
      stop.removeEventListener('abort', leave);
      await connection.end();
    }
  }

  #tell(found: readonly CaptureFinding[]): void {
    const { clock, logger, log } = this.#options;
    const nowMs = clock.now();
    const gravest = found.toSorted((a, b) => rank(a) - rank(b));
    const due = gravest.filter(
      (one) => nowMs - (this.#told.get(keyOf(one)) ?? Number.NEGATIVE_INFINITY) >= TELL_AGAIN_MS,
    );
    for (const { code, severity, object, message, fix } of due.slice(0, TOLD_AT_ONCE)) {
      logger[severity === 'error' ? 'error' : 'warn']({ code, object, fix }, message);
    }
    if (due.length > TOLD_AT_ONCE) {
      logger.warn(
        { findings: due.length, fix: `shovel doctor ${log.set}` },
        'capture is wrong in more places: doctor tells all',
      );
    }
    if (found.length === 0 && this.#told.size > 0) logger.info({}, 'capture is as it should be again');
    const tellsNow = new Set(due.map(keyOf));
    this.#told = new Map(
      found.map((one) => {
        const key = keyOf(one);
        return [key, tellsNow.has(key) ? nowMs : (this.#told.get(key) ?? nowMs)];
      }),
    );
  }
}

const rank = ({ severity }: CaptureFinding): number => (severity === 'error' ? 0 : 1);
const keyOf = ({ code, object, message }: CaptureFinding): string => `${code} ${object} ${message}`;
