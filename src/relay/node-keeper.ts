/**
 * What a relay does in its node besides publishing, on one connection: draws tickets, says that it is alive, keeps the
 * log small and watches its limits. Opens the connection again after a loss; the epoch stays the same, and is checked
 * by every write. Where capture is suspended it draws no more, tells the streams which ticket is the last, and goes on
 * with the rest.
 *
 *   looking --nothing can become pending--> resting --sequence moves, bell, something due--> looking
 *   any --capture suspended--> standing still
 */

import { captureSuspended, readSuspension, type Suspension } from '../capture/limits.js';
import { EXIT, FencedError, ShovelError } from '../errors.js';
import type { LimitsConfiguration, SetConfiguration } from '../model/set-configuration.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { createBackoff } from '../runtime/backoff.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/logger.js';
import { Bell } from './bell.js';
import type { DatabaseWatch } from './database-watch.js';
import { Drawer, type Look } from './drawer.js';
import { checkEpoch, refreshSeen } from './head.js';
import { LimitWatch } from './limit-watch.js';
import { isGone, type NodeSession } from './node-session.js';
import { Pace, type PaceOptions } from './pace.js';
import type { LogNames } from './relay-set.js';
import type { TicketBoard } from './ticket-board.js';
import { type TrimLimits, Trimmer } from './trim.js';

export interface NodeKeeperOptions {
  readonly log: LogNames;
  readonly epoch: bigint;
  readonly board: TicketBoard;
  /** Undefined where the node no longer holds the set. */
  readonly openSession: () => Promise<NodeSession | undefined>;
  readonly pace: PaceOptions;
  readonly trimLimits: TrimLimits;
  /** Default 1 s. */
  readonly trimEveryMs: number;
  /** Default 1 min. */
  readonly limitsEveryMs: number | undefined;
  readonly database: string;
  readonly limits: LimitsConfiguration;
  readonly wake: SetConfiguration['wake'];
  /** Shared by the sets of one database. */
  readonly watch: DatabaseWatch;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly stop: AbortSignal;
  /** Break off whatever is under way. */
  readonly leave: AbortSignal;
  readonly failpoint?: ((name: string) => Promise<void>) | undefined;
}

export type KeeperOutcome =
  | { readonly kind: 'stopped' | 'gone' }
  | { readonly kind: 'failed' | 'fenced'; readonly error: ShovelError };

const SEEN_EVERY_MS = 10_000;
/** How often a suspended set is looked after. */
const STILL_MS = 1000;

interface Live {
  readonly connection: PostgresConnection;
  readonly drawer: Drawer;
  readonly trimmer: Trimmer;
  readonly bell: Bell;
}

export class NodeKeeper {
  readonly #options: NodeKeeperOptions;
  readonly #pace: Pace;
  readonly #backoff = createBackoff({ maxMs: 10_000 });
  #live: Live | undefined;
  readonly #limits: LimitWatch;
  #seenMs: number;
  #trimmedMs: number;
  /** Nothing is to be trimmed before another ticket is drawn. */
  #trimmed = false;

  constructor(options: NodeKeeperOptions) {
    const { clock, logger, log, epoch, limits, failpoint } = options;
    this.#options = options;
    this.#pace = new Pace(options.pace);
    this.#limits = new LimitWatch({
      check: { names: log.names, set: log.set, limits, epoch, patienceMs: options.limitsEveryMs, failpoint },
      everyMs: options.limitsEveryMs,
      clock,
      logger,
    });
    this.#seenMs = clock.now();
    this.#trimmedMs = clock.now();
    options.leave.addEventListener('abort', () => {
      this.close().catch(() => undefined);
    });
  }

  /** Until it is told to stop, or can't go on. Never throws. */
  async run(): Promise<KeeperOutcome> {
    const { stop } = this.#options;
    while (!stop.aborted) {
      const outcome = await this.#attempt((live) => this.#keep(live));
      if (outcome !== undefined) return outcome;
    }
    return { kind: 'stopped' };
  }

  async #keep(live: Live): Promise<KeeperOutcome> {
    const { stop, clock, board } = this.#options;
    let suspension = await this.#suspension(live);
    while (suspension === undefined) {
      const startedMs = clock.now();
      const look = await this.#look(live);
      if (look === undefined) {
        suspension = await this.#suspension(live);
        continue;
      }
      board.announce(live.drawer.newest);
      const endedMs = clock.now();
      if (look.kind === 'drawn') this.#trimmed = false;
      suspension = await this.#tend(live);
      this.#backoff.reset();
      if (stop.aborted) return this.#leave(live);
      if (suspension !== undefined) break;
      const quiet = look.kind === 'nothing' && look.quiet;
      const pauseMs = this.#pace.pauseMs({ nowMs: endedMs, tookMs: endedMs - startedMs, quiet });
      if (quiet) {
        await this.#rest(live);
      } else {
        await live.bell.disarm();
        await clock.sleep(pauseMs, stop);
      }
      if (stop.aborted) return this.#leave(live);
    }
    return this.#standStill(live, suspension);
  }

  /** Undefined where capture is suspended: nothing may be drawn. */
  async #look(live: Live): Promise<Look | undefined> {
    try {
      return await live.drawer.look();
    } catch (error) {
      if (isSuspended(error)) return undefined;
      throw error;
    }
  }

  /** Until the sequence moves, the bell rings, or something else is due. An armed bell must be followed by a look. */
  async #rest(live: Live): Promise<void> {
    const { watch, clock, log, stop } = this.#options;
    const nowMs = clock.now();
    if (this.#pace.isSlow(nowMs) && (await live.bell.arm())) return;
    const end = await watch.rest({
      log,
      connection: live.connection,
      seq: live.drawer.restingSeq,
      pauseMs: (at) => (live.bell.armed ? this.#pace.longestMs : this.#pace.restMs(at)),
      untilMs: this.#dueMs(),
      signal: stop,
    });
    if (end === 'woken') {
      this.#pace.stir();
      live.bell.rang();
    }
  }

  async #leave(live: Live): Promise<KeeperOutcome> {
    await live.bell.disarm();
    return { kind: 'stopped' };
  }

  async #standStill(live: Live, suspension: Suspension): Promise<KeeperOutcome> {
    const { stop, clock } = this.#options;
    const drawer = await this.#last(live, suspension);
    while (!stop.aborted) {
      await this.#tend({ ...live, drawer });
      this.#backoff.reset();
      await clock.sleep(STILL_MS, stop);
    }
    return { kind: 'stopped' };
  }

  /** Says which ticket is the last, and why. */
  async #last(live: Live, suspension: Suspension): Promise<Drawer> {
    const { board, log, epoch, database, logger } = this.#options;
    const drawer = await Drawer.open(live.connection, { log, epoch });
    const error = captureSuspended({ set: log.set, database }, suspension);
    if (board.ended === undefined) logger.error({ error }, 'capture is suspended: no more tickets are drawn');
    board.announce(drawer.newest);
    board.close(error);
    return drawer;
  }

  #suspension(live: Live): Promise<Suspension | undefined> {
    const { log } = this.#options;
    return readSuspension(live.connection, { names: log.names, set: log.set });
  }

  #dueMs(): number {
    const { trimEveryMs } = this.#options;
    const trimMs = this.#trimmed ? Number.POSITIVE_INFINITY : this.#trimmedMs + trimEveryMs;
    return Math.min(this.#seenMs + SEEN_EVERY_MS, trimMs, this.#limits.dueMs);
  }

  /** One ticket of all that has committed before the call, or none. Tried again until `giveUpMs`. Never throws. */
  async once(giveUpMs: number): Promise<KeeperOutcome> {
    const { board } = this.#options;
    return this.#until(giveUpMs, async (live) => {
      const before = await this.#suspension(live);
      if (before === undefined) await live.drawer.drawNow();
      // Who recorded a suspension may have died before the switch was turned.
      const suspension = (await this.#limits.step(live.connection)) ?? before;
      if (suspension === undefined) board.announce(live.drawer.newest);
      else await this.#last(live, suspension);
      return { kind: 'stopped' };
    });
  }

  /** Trims what can be trimmed now. Never throws. */
  async trimNow(giveUpMs: number): Promise<KeeperOutcome> {
    return this.#until(giveUpMs, async (live) => {
      // To turn the switch, to see that nothing more was written, and to truncate.
      for (let step = 0; step < 2; step += 1) {
        await this.#look(live);
        const { newest, settled } = live.drawer;
        await live.trimmer.step({ newest, settled, last: true });
      }
      return { kind: 'stopped' };
    });
  }

  async close(): Promise<void> {
    const live = this.#live;
    this.#live = undefined;
    await live?.connection.end();
  }

  async #until(giveUpMs: number, work: (live: Live) => Promise<KeeperOutcome>): Promise<KeeperOutcome> {
    const { clock, stop } = this.#options;
    const deadlineMs = clock.now() + giveUpMs;
    for (;;) {
      const outcome = await this.#attempt(work, { last: clock.now() >= deadlineMs });
      if (outcome !== undefined) return outcome;
      if (stop.aborted) return { kind: 'stopped' };
    }
  }

  /** Undefined: try again; a pause was made. */
  async #attempt(
    work: (live: Live) => Promise<KeeperOutcome>,
    { last }: { readonly last: boolean } = { last: false },
  ): Promise<KeeperOutcome | undefined> {
    try {
      const live = this.#live ?? (await this.#open());
      if (live === undefined) return { kind: 'gone' };
      this.#live = live;
      return await work(live);
    } catch (error) {
      return this.#failed(await this.#meaning(error), last);
    }
  }

  async #open(): Promise<Live | undefined> {
    const { log, epoch, clock, logger, trimLimits, openSession, wake, watch } = this.#options;
    const session = await openSession();
    if (session === undefined) return undefined;
    const { connection } = session;
    try {
      await checkEpoch(connection, { log, epoch });
      const drawer = await Drawer.open(connection, { log, epoch });
      const trimmer = new Trimmer(connection, { log, epoch, clock, limits: trimLimits });
      const bell = await Bell.open(connection, { log, epoch, wake, watch, logger });
      return { connection, drawer, trimmer, bell };
    } catch (error) {
      await connection.end();
      throw error;
    }
  }

  /** Does what is due beside drawing; returns the suspension where capture was found or has been suspended. */
  async #tend(live: Live): Promise<Suspension | undefined> {
    const { clock, log, epoch, trimEveryMs, logger } = this.#options;
    const { connection, drawer, trimmer } = live;
    let suspension = await this.#limits.step(connection);
    if (clock.now() - this.#seenMs >= SEEN_EVERY_MS) {
      this.#seenMs = clock.now();
      const { newest: ticket, settled: snapshot, settledFloor: floorSeq } = drawer;
      await refreshSeen(connection, { log, epoch, settled: { ticket, snapshot, floorSeq } });
      suspension ??= await this.#suspension(live);
    }
    if (suspension !== undefined || this.#trimmed || clock.now() - this.#trimmedMs < trimEveryMs)
      return suspension;
    this.#trimmedMs = clock.now();
    const { rotated, truncated, busy, idle } = await trimmer.step(drawer);
    this.#trimmed = idle;
    if (rotated || truncated.length > 0) logger.debug({ rotated, truncated }, 'the log was trimmed');
    if (busy.length > 0)
      logger.debug({ segments: busy }, 'a segment of the log is being read, trimming it later');
    return undefined;
  }

  /** A fence may mean that the set is gone, or that the database has forgotten the epoch: the head row tells. */
  async #meaning(error: unknown): Promise<unknown> {
    const { log, epoch } = this.#options;
    if (!(error instanceof FencedError) || this.#live === undefined) return error;
    return checkEpoch(this.#live.connection, { log, epoch }).then(
      () => error,
      (meant: unknown) => meant,
    );
  }

  async #failed(error: unknown, last: boolean): Promise<KeeperOutcome | undefined> {
    const { clock, stop, logger } = this.#options;
    await this.close();
    if (await isGone(error, this.#options.openSession)) return { kind: 'gone' };
    if (error instanceof FencedError) return { kind: 'fenced', error };
    if (stop.aborted) return { kind: 'stopped' };
    if (!(error instanceof ShovelError)) return { kind: 'failed', error: unexpected(error) };
    if (!error.retryable || last) return { kind: 'failed', error };
    const pause = this.#backoff.next();
    logger[pause.level](
      { error, attempt: pause.attempt, pause_ms: pause.ms },
      'drawing met an error, trying again',
    );
    await clock.sleep(pause.ms, stop);
    return undefined;
  }
}

function isSuspended(error: unknown): boolean {
  return error instanceof ShovelError && error.code === 'capture_suspended';
}

/** Whatever is no ShovelError is a bug. */
export function unexpected(cause: unknown): ShovelError {
  return new ShovelError(
    { code: 'unexpected', exitCode: EXIT.bug, retryable: false },
    'The relay met an unexpected error.',
    { hint: 'This is a bug: please report it with the stack trace (--log-level debug).', cause },
  );
}
