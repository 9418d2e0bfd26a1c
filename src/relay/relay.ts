/**
 * Relays one set of one node: one relay at a time by a lease of the coordinator, one epoch at a time by the node.
 * Decides who owns the set and for how long; drawing is the keeper's, publishing each stream's.
 *
 *   waiting --lease--> owning --epoch--> relaying
 *   relaying --lease lost--> (batch in hand ends) --> waiting
 *   relaying --set dropped, stop, once and all published--> ended;  relaying --other epoch--> FencedError
 *
 * Maintained invariant: whatever is published, and every position, is written under the epoch that this relay took.
 */
import type { Coordinator, Lease } from '../coordinator/coordinator.js';
import { FencedError, RefusedError, ShovelError } from '../errors.js';
import { clusterPaths } from '../model/change-paths.js';
import { type Ticket, ticketOf } from '../model/ticket.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { createBackoff } from '../runtime/backoff.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/logger.js';
import type { Publisher } from '../streams/publisher.js';
import { hasOwner, takeOver } from './head.js';
import type { ChunkLimits } from './log-rows.js';
import { NodeKeeper } from './node-keeper.js';
import { isGone, type NodeSession, openNodeSession } from './node-session.js';
import type { PaceOptions } from './pace.js';
import { type LogNames, logNames, type RelaySet } from './relay-set.js';
import { relayStream, type StreamOutcome } from './relay-stream.js';
import type { StreamStats } from './stream-state.js';
import { TicketBoard } from './ticket-board.js';
import { TRIM_LIMITS, type TrimLimits } from './trim.js';

export interface RelayTuning {
  readonly pace?: PaceOptions;
  readonly trim?: TrimLimits;
  /** Default 1 s. */
  readonly trimEveryMs?: number;
  readonly chunks?: ChunkLimits;
  /** How long the batch in hand may go on after a stop; default 3 s. */
  readonly graceMs?: number;
  /** `once`: how long a lease is waited for, and errors are tried again; default 30 s. */
  readonly giveUpMs?: number;
}

export interface RelayOptions {
  readonly cluster: string;
  readonly set: RelaySet;
  readonly database: string;
  /** Started. */
  readonly coordinator: Coordinator;
  /** A new connection to the node each time. */
  readonly openNode: () => Promise<PostgresConnection>;
  /** A new publisher of the stream each time, not started. */
  readonly createPublisher: (stream: string) => Promise<Publisher>;
  /** Publish what has committed by now, then end. */
  readonly once: boolean;
  /** Publish again from this ticket on. */
  readonly fromTicket?: bigint;
  /** Shown to people, e.g. `host:pid`. */
  readonly owner: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends the relay within 10 s, at the end of a batch where that comes soon enough. */
  readonly signal: AbortSignal;
  readonly stats?: (stats: StreamStats) => void;
  readonly tuning?: RelayTuning;
}

export interface RelaySummary {
  readonly set: string;
  readonly database: string;
  /** `dropped`: the node no longer holds the set. */
  readonly ended: 'stopped' | 'published' | 'dropped';
  readonly streams: readonly StreamStats[];
  /** Why streams failed; with `once` its exit code is the command's. */
  readonly error: ShovelError | undefined;
}

/**
 * Resolves when the relay has ended and nothing of it runs any more.
 * @throws FencedError `relay_fenced`, RefusedError `relay_running` (`once`), IntegrityError, ConfigurationError
 */
export async function runRelay(options: RelayOptions): Promise<RelaySummary> {
  return new Relay(options).run();
}

const GRACE_MS = 3000;
const GIVE_UP_MS = 30_000;
/** Between two tries to get a lease that another relay holds. */
const LEASE_EVERY_MS = 500;

type TermOutcome = 'stopped' | 'lost' | 'published' | 'dropped';

class Relay {
  readonly #options: RelayOptions;
  readonly #log: LogNames;
  readonly #logger: Logger;
  readonly #stats = new Map<string, StreamStats>();
  #failure: ShovelError | undefined;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#log = logNames(options.cluster, options.set.name);
    this.#logger = options.logger.child({ set: options.set.name, database: options.database });
  }

  async run(): Promise<RelaySummary> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      const lease = await this.#lease();
      if (lease === undefined) break;
      try {
        const outcome = await this.#term(lease);
        if (outcome === 'published' || outcome === 'dropped') return this.#summary(outcome);
        if (outcome === 'lost' && !signal.aborted) {
          this.#logger.warn({}, 'the lease is lost: standing by until it can be had again');
        }
      } catch (error) {
        if (!(error instanceof FencedError) || !(await this.#isFree())) throw error;
        this.#logger.info({}, 'the node was upgraded: taking the set over again');
      } finally {
        await lease.release();
      }
    }
    return this.#summary('stopped');
  }

  /**
   * Whether an epoch ended without another relay: by `cluster upgrade`, where this release may still be new enough.
   * @throws RefusedError `schema_newer` where it is not
   */
  async #isFree(): Promise<boolean> {
    try {
      const session = await this.#openSession();
      if (session === undefined) return false;
      try {
        return !(await hasOwner(session.connection, this.#log));
      } finally {
        await session.connection.end();
      }
    } catch (error) {
      if (error instanceof ShovelError && error.retryable) return false;
      throw error;
    }
  }

  /** Waits until nobody else holds it; undefined when told to stop. */
  async #lease(): Promise<Lease | undefined> {
    const { coordinator, cluster, set, database, owner, clock, signal, once, tuning } = this.#options;
    const path = clusterPaths(cluster).relay(set.name, database);
    const backoff = createBackoff({ maxMs: 5000 });
    const deadlineMs = clock.now() + (tuning?.giveUpMs ?? GIVE_UP_MS);
    let waiting = false;
    while (!signal.aborted) {
      const late = once && clock.now() >= deadlineMs;
      try {
        const lease = await coordinator.tryLease(path, owner);
        if (lease !== undefined) return lease;
        if (late) throw await this.#running(path);
        if (!waiting) this.#logger.info({}, 'another relay has this set: standing by');
        waiting = true;
        await clock.sleep(LEASE_EVERY_MS, signal);
      } catch (error) {
        if (!(error instanceof ShovelError && error.retryable) || late) throw error;
        const pause = backoff.next();
        this.#logger[pause.level](
          { error, pause_ms: pause.ms },
          'the coordinator does not answer, trying again',
        );
        await clock.sleep(pause.ms, signal);
      }
    }
    return undefined;
  }

  async #running(path: string): Promise<RefusedError> {
    const holder = await this.#options.coordinator.leaseHolder(path);
    const { set, database } = this.#options;
    return new RefusedError(
      'relay_running',
      `Set ${set.name}, database ${database}: another relay (${holder?.owner ?? 'unknown'}) is publishing it.`,
      { hint: 'Stop it first, or leave the work to it.' },
    );
  }

  /** From taking the set over until it is lost, ended, or told to stop. */
  async #term(lease: Lease): Promise<TermOutcome> {
    const { clock, signal, tuning } = this.#options;
    const ending = new AbortController();
    const stop = AbortSignal.any([signal, lease.lost, ending.signal]);
    const epoch = await this.#epoch(stop);
    if (epoch === 'gone') return 'dropped';
    if (epoch === undefined) return signal.aborted ? 'stopped' : 'lost';
    this.#logger.info({ epoch }, 'relaying');
    const leaving = new AbortController();
    const done = new AbortController();
    const grace = afterAbort(stop, done.signal)
      .then((stopped) => (stopped ? clock.sleep(tuning?.graceMs ?? GRACE_MS, done.signal) : undefined))
      .then(() => leaving.abort());
    try {
      return await this.#relay({ epoch, stop, leave: leaving.signal, ending, lease });
    } finally {
      done.abort();
      await grace;
    }
  }

  /** Undefined: told to stop first. */
  async #epoch(stop: AbortSignal): Promise<bigint | 'gone' | undefined> {
    const { clock, once, owner, tuning } = this.#options;
    const backoff = createBackoff({ maxMs: 10_000 });
    const deadlineMs = clock.now() + (tuning?.giveUpMs ?? GIVE_UP_MS);
    while (!stop.aborted) {
      try {
        const session = await this.#openSession();
        if (session === undefined) return 'gone';
        try {
          return await takeOver(session.connection, { log: this.#log, owner });
        } finally {
          await session.connection.end();
        }
      } catch (error) {
        if (await isGone(error, () => this.#openSession())) return 'gone';
        if (!(error instanceof ShovelError) || !error.retryable) throw error;
        if (once && clock.now() >= deadlineMs) throw error;
        const pause = backoff.next();
        this.#logger[pause.level]({ error, pause_ms: pause.ms }, 'the node does not answer, trying again');
        await clock.sleep(pause.ms, stop);
      }
    }
    return undefined;
  }

  async #relay(term: {
    readonly epoch: bigint;
    readonly stop: AbortSignal;
    readonly leave: AbortSignal;
    readonly ending: AbortController;
    readonly lease: Lease;
  }): Promise<TermOutcome> {
    const { once, signal, tuning, clock } = this.#options;
    const board = new TicketBoard();
    const keeper = new NodeKeeper({
      log: this.#log,
      epoch: term.epoch,
      board,
      openSession: () => this.#openSession(),
      pace: tuning?.pace ?? {},
      trimLimits: tuning?.trim ?? TRIM_LIMITS,
      trimEveryMs: tuning?.trimEveryMs ?? 1000,
      clock,
      logger: this.#logger,
      stop: term.stop,
      leave: term.leave,
    });
    const giveUpMs = tuning?.giveUpMs ?? GIVE_UP_MS;
    try {
      const drawing = once ? keeper.once(giveUpMs) : keeper.run();
      const streams = this.#streams({ ...term, board });
      const drawn = drawing.then((outcome) => {
        if (once && outcome.kind === 'stopped') board.close();
        else term.ending.abort();
        return outcome;
      });
      const ended = await Promise.all(
        streams.map(async (stream) => {
          const outcome = await stream;
          if (outcome.kind === 'fenced' || outcome.kind === 'gone') term.ending.abort();
          return outcome;
        }),
      );
      // Streams that failed for good leave drawing to go on, so that nothing waits for them when they come back.
      const kept = await drawn;
      const trimmed = once && !term.stop.aborted ? await keeper.trimNow(giveUpMs) : undefined;
      return this.#verdict([kept, ...ended, ...(trimmed === undefined ? [] : [trimmed])], {
        once,
        lost: !signal.aborted && term.lease.lost.aborted,
      });
    } finally {
      term.ending.abort();
      await keeper.close();
    }
  }

  #verdict(
    outcomes: readonly StreamOutcome[],
    { once, lost }: { readonly once: boolean; readonly lost: boolean },
  ): TermOutcome {
    const [drawing] = outcomes;
    for (const outcome of outcomes) if (outcome.kind === 'fenced' && !lost) throw outcome.error;
    if (drawing?.kind === 'failed') throw drawing.error;
    if (lost) return 'lost';
    if (outcomes.some((outcome) => outcome.kind === 'gone')) return 'dropped';
    for (const outcome of outcomes) if (outcome.kind === 'failed') this.#failure ??= outcome.error;
    return once && !this.#options.signal.aborted ? 'published' : 'stopped';
  }

  #streams(term: {
    readonly epoch: bigint;
    readonly stop: AbortSignal;
    readonly leave: AbortSignal;
    readonly board: TicketBoard;
  }): readonly Promise<StreamOutcome>[] {
    const { set, database, cluster, clock, once, fromTicket, tuning, createPublisher } = this.#options;
    const node = this.#node();
    const from: Ticket | undefined = fromTicket === undefined ? undefined : ticketOf(fromTicket);
    return Object.entries(set.configuration.streams).map(([stream, configuration]) =>
      relayStream({
        log: this.#log,
        cluster,
        database,
        stream,
        configuration,
        nodeId: node.nodeId,
        nodeNumber: node.number,
        epoch: term.epoch,
        board: term.board,
        openSession: () => this.#openSession(),
        createPublisher: () => createPublisher(stream),
        fromTicket: from,
        giveUpMs: once ? (tuning?.giveUpMs ?? GIVE_UP_MS) : undefined,
        chunkLimits: tuning?.chunks,
        clock,
        logger: this.#logger.child({ stream }),
        stop: term.stop,
        leave: term.leave,
        stats: (stats) => {
          this.#stats.set(stream, stats);
          this.#options.stats?.(stats);
        },
      }),
    );
  }

  #openSession(): Promise<NodeSession | undefined> {
    const { openNode, database } = this.#options;
    return openNodeSession({ openNode, database, log: this.#log, nodeId: this.#node().nodeId });
  }

  #node() {
    const { set, database } = this.#options;
    const node = set.nodes.find((one) => one.database === database);
    if (node === undefined) {
      throw new RefusedError('database_not_in_set', `Set ${set.name} has no database ${database}.`, {
        hint: `Its databases are ${set.nodes.map((one) => one.database).join(', ')}.`,
      });
    }
    return node;
  }

  #summary(ended: RelaySummary['ended']): RelaySummary {
    const { set, database } = this.#options;
    return { set: set.name, database, ended, streams: [...this.#stats.values()], error: this.#failure };
  }
}

/** True when `signal` aborts first, false when `done` does. */
function afterAbort(signal: AbortSignal, done: AbortSignal): Promise<boolean> {
  return new Promise((resolve) => {
    const finish = (aborted: boolean) => () => resolve(aborted);
    if (signal.aborted) return resolve(true);
    signal.addEventListener('abort', finish(true), { once: true });
    done.addEventListener('abort', finish(false), { once: true });
  });
}
