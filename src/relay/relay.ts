/**
 * Relays one set of one node: one relay at a time by a lease of the coordinator, one epoch at a time by the node.
 * Decides who owns the set and for how long, and by which version of it; drawing is the keeper's, publishing each
 * stream's.
 *
 *   waiting --lease--> owning --epoch--> relaying
 *   relaying --the node has another version--> (batch in hand ends) --> owning
 *   relaying --lease lost, or asked for by another relay--> (batch in hand ends) --> waiting
 *   relaying --set dropped, stop, once and all published--> ended;  relaying --other epoch--> FencedError
 *
 * Maintained invariant: whatever is published, and every position, is written under the epoch that this relay took.
 */
import type { Lease } from '../coordinator/coordinator.js';
import { FencedError, ShovelError } from '../errors.js';
import { type Ticket, ticketOf } from '../model/ticket.js';
import { createBackoff } from '../runtime/backoff.js';
import type { Logger } from '../runtime/logger.js';
import { CaptureDrift } from './capture-drift.js';
import { watchCapture } from './capture-watch.js';
import { DatabaseWatch } from './database-watch.js';
import { followNode, GONE_AFTER_TRIES, nodeOf } from './follow-node.js';
import { takeOver } from './head.js';
import { NodeKeeper } from './node-keeper.js';
import { isGone } from './node-session.js';
import { RelayLease } from './relay-lease.js';
import { RelayNode } from './relay-node.js';
import { GIVE_UP_MS, type RelayOptions, type RelaySummary } from './relay-options.js';
import { type LogNames, logNames, type RelaySet } from './relay-set.js';
import { relayStream, type StreamOutcome } from './relay-stream.js';
import { SetVersions } from './set-versions.js';
import type { StreamStats } from './stream-state.js';
import { TicketBoard } from './ticket-board.js';
import { trimLimits } from './trim.js';

/**
 * Resolves when the relay has ended and nothing of it runs any more.
 * @throws FencedError `relay_fenced`, RefusedError `relay_running` (`once`), IntegrityError, ConfigurationError
 */
export async function runRelay(options: RelayOptions): Promise<RelaySummary> {
  return new Relay(options).run();
}

const GRACE_MS = 3000;
/** Between two looks for a set that has not reached its database yet. */
const NOT_YET_MS = 500;

/** `changed`: another version is active, or the node is reached another way; `yielded`: another relay asked for it. */
type TermOutcome = 'stopped' | 'lost' | 'changed' | 'yielded' | 'published' | 'dropped';

class Relay {
  readonly #options: RelayOptions;
  readonly #log: LogNames;
  readonly #node: RelayNode;
  readonly #logger: Logger;
  readonly #versions: SetVersions;
  readonly #drift: CaptureDrift;
  readonly #lease: RelayLease;
  readonly #stats = new Map<string, StreamStats>();
  #failure: ShovelError | undefined;
  #fromTicket: Ticket | undefined;

  constructor(options: RelayOptions) {
    this.#options = options;
    this.#log = logNames(options.cluster, options.set.name, options.database);
    this.#logger = options.logger.child({ set: options.set.name, database: options.database });
    this.#node = new RelayNode(options, this.#log);
    this.#fromTicket = options.fromTicket === undefined ? undefined : ticketOf(options.fromTicket);
    this.#drift = new CaptureDrift({ log: this.#log, clock: options.clock, logger: this.#logger });
    this.#lease = new RelayLease({ ...options, logger: this.#logger, isOut: () => this.#node.isOut() });
    this.#versions = new SetVersions({
      cluster: options.cluster,
      log: this.#log,
      coordinator: options.coordinator,
      logger: this.#logger,
      first: options.set,
    });
  }

  async run(): Promise<RelaySummary> {
    const { signal } = this.#options;
    while (!signal.aborted) {
      const lease = await this.#lease.wait();
      if (lease === undefined) return this.#summary(signal.aborted ? 'stopped' : 'dropped');
      try {
        const outcome = await this.#own(lease);
        if (outcome === 'published' || outcome === 'dropped') return this.#summary(outcome);
        if (outcome === 'lost' && !signal.aborted) {
          this.#logger.warn({}, 'the lease is lost: standing by until it can be had again');
        }
      } catch (error) {
        if (!(error instanceof FencedError) || !(await this.#node.isFree())) throw error;
        this.#logger.info({}, 'the node was upgraded: taking the set over again');
      } finally {
        await lease.release();
      }
    }
    return this.#summary('stopped');
  }

  /** From having the lease until it is given back. */
  async #own(lease: Lease): Promise<Exclude<TermOutcome, 'changed'>> {
    const { share, signal } = this.#options;
    const yielding = new AbortController();
    const given = share?.held(this.#lease.path, () => yielding.abort());
    try {
      for (;;) {
        const outcome = await this.#term(lease, yielding.signal);
        if (outcome !== 'changed') return outcome;
        if (signal.aborted) return 'stopped';
        if (lease.lost.aborted) return 'lost';
      }
    } finally {
      given?.();
    }
  }

  /** From taking the set over until it is lost, ended, begun anew, or told to stop. */
  async #term(lease: Lease, yielding: AbortSignal): Promise<TermOutcome> {
    const { clock, signal, tuning } = this.#options;
    const ending = new AbortController();
    const stop = AbortSignal.any([signal, lease.lost, yielding, ending.signal]);
    const start = await this.#epoch(stop);
    if (start === 'gone') return 'dropped';
    if (start === undefined) return this.#stoppedBy(lease, yielding);
    const { active, epoch } = start;
    this.#logger.info({ epoch, version: active.version }, 'relaying');
    const leaving = new AbortController();
    const done = new AbortController();
    const grace = afterAbort(stop, done.signal)
      .then((stopped) => (stopped ? clock.sleep(tuning?.graceMs ?? GRACE_MS, done.signal) : undefined))
      .then(() => leaving.abort());
    let turned: 'changed' | 'dropped' | undefined;
    const turn = (outcome: 'changed' | 'dropped') => {
      turned ??= outcome;
      ending.abort();
    };
    const { feed } = this.#options;
    const following =
      feed &&
      followNode({
        ...start,
        feed,
        nodeId: this.#node.own.nodeId,
        database: this.#options.database,
        versionOfNode: () => this.#node.version(),
        clock,
        stop,
        turn,
      });
    try {
      const outcome = await this.#relay({ ...start, stop, leave: leaving.signal, ending, lease, turn });
      if (outcome === 'lost' || outcome === 'dropped' || signal.aborted || turned === undefined) {
        return outcome === 'stopped' ? this.#stoppedBy(lease, yielding) : outcome;
      }
      return turned;
    } finally {
      ending.abort();
      done.abort();
      await grace;
      await following;
    }
  }

  #stoppedBy(lease: Lease, yielding: AbortSignal): TermOutcome {
    if (this.#options.signal.aborted) return 'stopped';
    if (lease.lost.aborted) return 'lost';
    return yielding.aborted ? 'yielded' : 'stopped';
  }

  /** Undefined: told to stop first. */
  async #epoch(stop: AbortSignal): Promise<Start | 'gone' | undefined> {
    const { clock, once, owner, tuning } = this.#options;
    const backoff = createBackoff({ maxMs: 10_000 });
    const deadlineMs = clock.now() + (tuning?.giveUpMs ?? GIVE_UP_MS);
    for (let tries = 1; !stop.aborted; tries += 1) {
      const dsn = this.#node.database?.dsn;
      try {
        const session = await this.#node.open();
        if (session === undefined) {
          if (this.#node.mayBeGone()) return 'gone';
          // The news of a set that is created comes before its databases have switched.
          if (tries === 1) this.#logger.info({}, 'the set is decided and not in the database yet: waiting');
          await this.#pause(Math.min(backoff.next().ms, NOT_YET_MS), stop);
          continue;
        }
        const { connection, facts } = session;
        try {
          const active = await this.#versions.active(connection, facts.version);
          // The node has the version that takes it out of the set; what is left of it goes now.
          if (nodeOf(active, this.#node.own.nodeId) === undefined) return 'gone';
          const epoch = await takeOver(connection, { log: this.#log, owner });
          return { epoch, active, incarnation: facts.incarnation, dsn };
        } finally {
          await connection.end();
        }
      } catch (error) {
        if (this.#node.mayBeGone() && (await isGone(error, this.#node.open))) return 'gone';
        if (!(error instanceof ShovelError)) throw error;
        if (!error.retryable) {
          if (this.#node.isOut()) return 'gone';
          throw error;
        }
        if (once && clock.now() >= deadlineMs) throw error;
        if (this.#node.isOut() && tries >= GONE_AFTER_TRIES) return 'gone';
        const pause = backoff.next();
        this.#logger[pause.level]({ error, pause_ms: pause.ms }, 'the node does not answer, trying again');
        await this.#pause(pause.ms, stop);
      }
    }
    return undefined;
  }

  /** Shorter where something else is decided meanwhile: another address, say. */
  async #pause(ms: number, stop: AbortSignal): Promise<void> {
    const over = new AbortController();
    const { feed, clock } = this.#options;
    feed?.listen(() => over.abort(), over.signal);
    await clock.sleep(ms, AbortSignal.any([stop, over.signal]));
    over.abort();
  }

  async #relay(
    term: {
      readonly stop: AbortSignal;
      readonly leave: AbortSignal;
      readonly ending: AbortController;
      readonly lease: Lease;
      readonly turn: (outcome: 'changed') => void;
    } & Start,
  ): Promise<TermOutcome> {
    const { once, tuning, clock, database, watch } = this.#options;
    const { databases, limits, wake } = term.active.configuration;
    const board = new TicketBoard();
    const keeper = new NodeKeeper({
      log: this.#log,
      epoch: term.epoch,
      board,
      openSession: this.#node.open,
      pace: tuning?.pace ?? {},
      trimLimits: tuning?.trim ?? trimLimits(limits.logBytes),
      trimEveryMs: tuning?.trimEveryMs ?? 1000,
      limitsEveryMs: tuning?.limitsEveryMs,
      database,
      limits,
      wake,
      watch: watch?.(databases[database]) ?? new DatabaseWatch({ clock, logger: this.#logger }),
      clock,
      logger: this.#logger,
      stop: term.stop,
      leave: term.leave,
      failpoint: this.#options.failpoint,
    });
    const giveUpMs = tuning?.giveUpMs ?? GIVE_UP_MS;
    const watching = watchCapture({
      openSession: this.#node.open,
      log: this.#log,
      active: term.active,
      once,
      everyMs: tuning?.captureEveryMs,
      clock,
      logger: this.#logger,
      stop: term.stop,
      leave: term.leave,
    });
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
      const over = term.stop.aborted ? undefined : board.ended;
      if (over !== undefined) term.ending.abort();
      const kept = await drawn;
      const trimmed = once && !term.stop.aborted ? await keeper.trimNow(giveUpMs) : undefined;
      if (once) await watching;
      const outcomes = [kept, ...ended, ...(trimmed === undefined ? [] : [trimmed])];
      if (kept.kind === 'failed') {
        const version = await this.#node.version();
        // Something was taken away while it was in use.
        if (version !== undefined && version !== term.active.version) return 'changed';
      }
      const fenced = outcomes.some((outcome) => outcome.kind === 'fenced');
      const lost = fenced ? !(await this.#lease.owns(term.lease)) : term.lease.lost.aborted;
      return this.#verdict(outcomes, { once, lost, over });
    } finally {
      term.ending.abort();
      await keeper.close();
      await watching;
    }
  }

  #verdict(
    outcomes: readonly StreamOutcome[],
    about: { readonly once: boolean; readonly lost: boolean; readonly over: ShovelError | undefined },
  ): TermOutcome {
    const { once, lost, over } = about;
    const [drawing] = outcomes;
    for (const outcome of outcomes) if (outcome.kind === 'fenced' && !lost) throw outcome.error;
    if (drawing?.kind === 'failed') throw drawing.error;
    if (lost && !this.#options.signal.aborted) return 'lost';
    if (outcomes.some((outcome) => outcome.kind === 'gone')) return 'dropped';
    for (const outcome of outcomes) if (outcome.kind === 'failed') this.#failure ??= outcome.error;
    if (over !== undefined && once) this.#failure ??= over;
    else if (over !== undefined) throw over;
    return once && !this.#options.signal.aborted ? 'published' : 'stopped';
  }

  #streams(
    term: {
      readonly stop: AbortSignal;
      readonly leave: AbortSignal;
      readonly board: TicketBoard;
      readonly turn: (outcome: 'changed') => void;
    } & Start,
  ): readonly Promise<StreamOutcome>[] {
    const { database, cluster, clock, once, tuning, createPublisher, fill } = this.#options;
    const { active, incarnation } = term;
    const node = nodeOf(active, this.#node.own.nodeId) ?? this.#node.own;
    // Only once: a term that comes after goes on where this one was.
    const fromTicket = this.#fromTicket;
    this.#fromTicket = undefined;
    for (const stream of this.#stats.keys()) {
      if (active.configuration.streams[stream] === undefined) this.#stats.delete(stream);
    }
    return Object.keys(active.configuration.streams).map((stream) =>
      relayStream({
        log: this.#log,
        cluster,
        database,
        stream,
        active,
        incarnation,
        versionAt: (connection, version) => this.#versions.at(connection, version),
        moved: () => term.turn('changed'),
        fill: (configuration) => fill?.(stream, configuration) ?? configuration,
        nodeId: node.nodeId,
        nodeNumber: node.number,
        epoch: term.epoch,
        board: term.board,
        drift: this.#drift,
        openSession: this.#node.open,
        createPublisher: (configuration) => createPublisher(stream, configuration),
        fromTicket,
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

  #summary(ended: RelaySummary['ended']): RelaySummary {
    const { set, database } = this.#options;
    return { set: set.name, database, ended, streams: [...this.#stats.values()], error: this.#failure };
  }
}

/** What a term starts with. */
interface Start {
  readonly epoch: bigint;
  /** The version that the node has. */
  readonly active: RelaySet;
  readonly incarnation: number;
  /** By which it was reached. */
  readonly dsn: string | undefined;
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
