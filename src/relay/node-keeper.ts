/**
 * What a relay does in its node besides publishing, on one connection: draws tickets, says that it is alive, keeps the
 * log small. Opens the connection again after a loss; the epoch stays the same, and is checked by every write.
 */
import { EXIT, FencedError, ShovelError } from '../errors.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { createBackoff } from '../runtime/backoff.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/logger.js';
import { Drawer } from './drawer.js';
import { checkEpoch, refreshSeen } from './head.js';
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
  readonly clock: Clock;
  readonly logger: Logger;
  readonly stop: AbortSignal;
  /** Break off whatever is under way. */
  readonly leave: AbortSignal;
}

export type KeeperOutcome =
  | { readonly kind: 'stopped' | 'gone' }
  | { readonly kind: 'failed' | 'fenced'; readonly error: ShovelError };

const SEEN_EVERY_MS = 10_000;

interface Live {
  readonly connection: PostgresConnection;
  readonly drawer: Drawer;
  readonly trimmer: Trimmer;
}

export class NodeKeeper {
  readonly #options: NodeKeeperOptions;
  readonly #pace: Pace;
  readonly #backoff = createBackoff({ maxMs: 10_000 });
  #live: Live | undefined;
  #seenMs: number;
  #trimmedMs: number;

  constructor(options: NodeKeeperOptions) {
    this.#options = options;
    this.#pace = new Pace(options.pace);
    this.#seenMs = options.clock.now();
    this.#trimmedMs = options.clock.now();
    options.leave.addEventListener('abort', () => {
      this.close().catch(() => undefined);
    });
  }

  /** Until it is told to stop, or can't go on. Never throws. */
  async run(): Promise<KeeperOutcome> {
    const { stop, clock } = this.#options;
    while (!stop.aborted) {
      const outcome = await this.#attempt(async (live) => {
        for (;;) {
          const startedMs = clock.now();
          const look = await live.drawer.look();
          this.#options.board.announce(live.drawer.newest);
          const endedMs = clock.now();
          await this.#tend(live);
          this.#backoff.reset();
          const quiet = look.kind === 'nothing' && look.quiet;
          if (stop.aborted) return;
          await clock.sleep(this.#pace.pauseMs({ nowMs: endedMs, tookMs: endedMs - startedMs, quiet }), stop);
          if (stop.aborted) return;
        }
      });
      if (outcome !== undefined) return outcome;
    }
    return { kind: 'stopped' };
  }

  /** One ticket of all that has committed before the call, or none. Tried again until `giveUpMs`. Never throws. */
  async once(giveUpMs: number): Promise<KeeperOutcome> {
    return this.#until(giveUpMs, async (live) => {
      await live.drawer.drawNow();
      this.#options.board.announce(live.drawer.newest);
    });
  }

  /** Trims what can be trimmed now. Never throws. */
  async trimNow(giveUpMs: number): Promise<KeeperOutcome> {
    return this.#until(giveUpMs, async (live) => {
      // To turn the switch, to see that nothing more was written, and to truncate.
      for (let step = 0; step < 2; step += 1) {
        await live.drawer.look();
        const { newest, settled } = live.drawer;
        await live.trimmer.step({ newest, settled, last: true });
      }
    });
  }

  async close(): Promise<void> {
    const live = this.#live;
    this.#live = undefined;
    await live?.connection.end();
  }

  async #until(giveUpMs: number, work: (live: Live) => Promise<void>): Promise<KeeperOutcome> {
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
    work: (live: Live) => Promise<void>,
    { last }: { readonly last: boolean } = { last: false },
  ): Promise<KeeperOutcome | undefined> {
    try {
      const live = this.#live ?? (await this.#open());
      if (live === undefined) return { kind: 'gone' };
      this.#live = live;
      await work(live);
      return { kind: 'stopped' };
    } catch (error) {
      return this.#failed(await this.#meaning(error), last);
    }
  }

  async #open(): Promise<Live | undefined> {
    const { log, epoch, clock, trimLimits, openSession } = this.#options;
    const session = await openSession();
    if (session === undefined) return undefined;
    const { connection } = session;
    try {
      await checkEpoch(connection, { log, epoch });
      const drawer = await Drawer.open(connection, { log, epoch });
      const trimmer = new Trimmer(connection, { log, epoch, clock, limits: trimLimits });
      return { connection, drawer, trimmer };
    } catch (error) {
      await connection.end();
      throw error;
    }
  }

  async #tend(live: Live): Promise<void> {
    const { clock, log, epoch, trimEveryMs, logger } = this.#options;
    if (clock.now() - this.#seenMs >= SEEN_EVERY_MS) {
      this.#seenMs = clock.now();
      await refreshSeen(live.connection, { log, epoch });
    }
    if (clock.now() - this.#trimmedMs < trimEveryMs) return;
    this.#trimmedMs = clock.now();
    const { rotated, truncated, busy } = await live.trimmer.step(live.drawer);
    if (rotated || truncated.length > 0) logger.debug({ rotated, truncated }, 'the log was trimmed');
    if (busy.length > 0)
      logger.debug({ segments: busy }, 'a segment of the log is being read, trimming it later');
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

/** Whatever is no ShovelError is a bug. */
export function unexpected(cause: unknown): ShovelError {
  return new ShovelError(
    { code: 'unexpected', exitCode: EXIT.bug, retryable: false },
    'The relay met an unexpected error.',
    { hint: 'This is a bug: please report it with the stack trace (--log-level debug).', cause },
  );
}
