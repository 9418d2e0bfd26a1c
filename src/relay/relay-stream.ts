/**
 * Keeps one stream going: publishes every ticket in order, and after an error goes on from the position that the
 * destination then holds. Its trouble holds back neither the other streams nor drawing. What a batch holds and where it
 * goes is said by its ticket's version; where that is another place than before, the stream starts again there.
 *
 *   starting --position read--> running --error--> retrying --pause--> starting
 *   running --ticket of another place--> starting
 *   any --error that trying again can't mend--> failed;  any --stop, ticket of a newer version--> stopped
 */
import { FencedError, ShovelError } from '../errors.js';
import type { StreamConfiguration } from '../model/set-configuration.js';
import { type DrawnTicket, type Ticket, ticketOf } from '../model/ticket.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { createBackoff } from '../runtime/backoff.js';
import type { Clock } from '../runtime/clock.js';
import { sha256Hex } from '../runtime/hash.js';
import type { Logger } from '../runtime/logger.js';
import type { Publisher, StreamPosition } from '../streams/publisher.js';
import type { SourceNode } from '../wire/shovel-source.js';
import type { CaptureDrift } from './capture-drift.js';
import { CapturedTables, type KnownTable } from './captured-tables.js';
import { checkEpoch } from './head.js';
import type { ChunkLimits } from './log-rows.js';
import { unexpected } from './node-keeper.js';
import {
  readRecord,
  readStreamRow,
  type StreamRow,
  settleFirstTicket,
  streamUnknown,
  writeRecord,
} from './node-record.js';
import { isGone, type NodeSession } from './node-session.js';
import { type BatchContext, publishBatch } from './publish-batch.js';
import type { LogNames, RelaySet } from './relay-set.js';
import { carriesTable, createRoutes, type Routes } from './routes.js';
import { isBehind, type StartFacts, type StartPoint, startFrom, startPoint } from './start-position.js';
import { brokersMoved, reachable, samePlace } from './stream-place.js';
import type { StreamStateName, StreamStats } from './stream-state.js';
import type { TicketBoard } from './ticket-board.js';
import { batchMissing, oldestTicketFrom, readTicket } from './tickets.js';

export interface RelayStreamOptions {
  readonly log: LogNames;
  readonly cluster: string;
  readonly database: string;
  readonly stream: string;
  /** The version that the node has; it has the stream. */
  readonly active: RelaySet;
  readonly incarnation: number;
  /** Other versions of the set. */
  readonly versionAt: (connection: PostgresConnection, version: number) => Promise<RelaySet>;
  /** Called when the node turns out to have another version or incarnation than `active`: this stream then ends. */
  readonly moved: () => void;
  /** With the variables of this process in it. */
  readonly fill: (configuration: StreamConfiguration) => StreamConfiguration;
  readonly nodeId: string;
  readonly nodeNumber: number;
  readonly epoch: bigint;
  readonly board: TicketBoard;
  /** Of all streams of the set in this node. */
  readonly drift: CaptureDrift;
  /** Undefined where the node no longer holds the set. */
  readonly openSession: () => Promise<NodeSession | undefined>;
  readonly createPublisher: (configuration: StreamConfiguration) => Promise<Publisher>;
  /** Begin at this ticket, whatever the destination's position is. */
  readonly fromTicket: Ticket | undefined;
  /** How long errors are tried again; undefined: for ever. */
  readonly giveUpMs: number | undefined;
  readonly chunkLimits?: ChunkLimits | undefined;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Stop at the end of the batch in hand. */
  readonly stop: AbortSignal;
  /** Stop at the end of the part in hand. */
  readonly leave: AbortSignal;
  readonly stats: (stats: StreamStats) => void;
}

/** How a stream's loop ended: `gone` with its set, `fenced` because another relay has taken over. */
export type StreamOutcome =
  | { readonly kind: 'stopped' | 'gone' }
  | { readonly kind: 'failed' | 'fenced'; readonly error: ShovelError };

/** How often a position that is behind the node's record is read again before it is believed. */
const REREADS = 5;
/** Longest time between two looks at the epoch within a batch. */
const EPOCH_CHECK_MS = 1000;

/** How long a part may take that was under way when the batch was to be left. */
const BREAK_OFF_MS = 1000;

/** Never throws. */
export async function relayStream(options: RelayStreamOptions): Promise<StreamOutcome> {
  return new StreamRelay(options).run();
}

/** Thrown to leave a batch at a part's end. */
class Leave extends Error {}

/** What a version says of the stream. */
interface Way {
  readonly configuration: StreamConfiguration;
  readonly routes: Routes;
  readonly carries: (table: KnownTable) => boolean;
}

interface Live {
  readonly session: NodeSession;
  readonly row: StreamRow;
  /** Of the ticket that it starts with; later ones may differ, but go to the same place. */
  readonly way: Way;
  readonly publisher: Publisher;
  /** The first ticket that is known to have gone, or to go, where this publisher sends. */
  readonly firstHere: Ticket;
}

class StreamRelay {
  readonly #options: RelayStreamOptions;
  readonly #tables: CapturedTables;
  readonly #backoff = createBackoff();
  #publisher: Publisher | undefined;
  #connection: PostgresConnection | undefined;
  #epochCheckedMs = 0;
  #failingSinceMs: number | undefined;
  #fromTicket: Ticket | undefined;
  #state: StreamStateName = 'starting';
  #error: ShovelError | undefined;
  #completed = 0n;
  readonly #ways = new Map<number, Way>();
  #messages = 0;
  #bytes = 0;

  #breaking: NodeJS.Timeout | undefined;
  #abandon: (outcome: StreamOutcome) => void = () => undefined;
  readonly #abandoned = new Promise<StreamOutcome>((resolve) => {
    this.#abandon = resolve;
  });
  /** What does not come to the end of its part by itself is cut short, and left behind where even that is no use. */
  readonly #breakOff = (): void => {
    this.#breaking = setTimeout(() => {
      const abandon = () => this.#abandon({ kind: 'stopped' });
      this.#close().then(abandon, abandon);
    }, BREAK_OFF_MS);
  };

  constructor(options: RelayStreamOptions) {
    this.#options = options;
    this.#tables = new CapturedTables(options.log);
    this.#fromTicket = options.fromTicket;
  }

  async run(): Promise<StreamOutcome> {
    const { stop, leave } = this.#options;
    leave.addEventListener('abort', this.#breakOff);
    try {
      while (!stop.aborted) {
        try {
          const outcome = await Promise.race([this.#session(), this.#abandoned]);
          if (outcome !== 'again') return outcome;
        } catch (error) {
          if (error instanceof Leave) break;
          const outcome = await this.#failed(error);
          if (outcome !== undefined) return outcome;
        }
      }
      return { kind: 'stopped' };
    } finally {
      leave.removeEventListener('abort', this.#breakOff);
      clearTimeout(this.#breaking);
      await this.#close();
      if (this.#state !== 'failed') this.#tell('stopped');
    }
  }

  /** Ends where there is nothing more to do, or where it has to start elsewhere; throws what has to be tried again. */
  async #session(): Promise<StreamOutcome | 'again'> {
    const { log, stream, epoch, openSession } = this.#options;
    this.#tell('starting');
    await this.#close();
    const session = await openSession();
    if (session === undefined) return { kind: 'gone' };
    this.#connection = session.connection;
    if (this.#hasMoved(session)) return { kind: 'stopped' };
    let row = await readStreamRow(session.connection, { log, stream });
    if (row === undefined) throw streamUnknown(log.set, stream);
    const { completed } = await readRecord(session.connection, { log, stream: row });
    if (completed < row.firstTicket) {
      row = await settleFirstTicket(session.connection, { log, epoch, stream, row });
    }
    const { way, firstHere } = await this.#place(session, row);
    const publisher = await this.#options.createPublisher(way.configuration);
    this.#publisher = publisher;
    const live = { session, row, publisher, way, firstHere };
    const start = await this.#start(live);
    this.#completed = start.next - 1n;
    this.#tell('running');
    return this.#publishAll(live, start);
  }

  /** The node has another version than this stream was started with: it is to be started again. */
  #hasMoved({ facts }: NodeSession): boolean {
    const { active, incarnation, moved } = this.#options;
    if (facts.version === active.version && facts.incarnation === incarnation) return false;
    moved();
    return true;
  }

  /** Where the next batch goes, by the node's record; the destination may know of more, and lead on from there. */
  async #place(session: NodeSession, row: StreamRow): Promise<{ way: Way; firstHere: Ticket }> {
    const { log, active } = this.#options;
    const { connection } = session;
    const { completed } = await readRecord(connection, { log, stream: row });
    const next = this.#fromTicket ?? ticketOf(completed + 1n);
    const ticket = await readTicket(connection, log, next);
    const way = await this.#way(connection, ticket?.setVersion ?? active.version);
    const before = await readTicket(connection, log, ticketOf(next - 1n));
    const came = before === undefined || before.ticket < row.firstTicket ? undefined : before.setVersion;
    const same =
      came === undefined || samePlace((await this.#way(connection, came)).configuration, way.configuration);
    return { way, firstHere: same ? row.firstTicket : next };
  }

  /** A version from before the stream was there has nothing to say of it. */
  async #way(connection: PostgresConnection, version: number): Promise<Way> {
    const known = this.#ways.get(version);
    if (known !== undefined) return known;
    const { active, stream, fill, versionAt } = this.#options;
    const current = this.#current();
    const set = version === active.version ? active : await versionAt(connection, version);
    const configuration = reachable(fill(set.configuration.streams[stream] ?? current), current);
    const way = {
      configuration,
      routes: this.#routes(configuration),
      carries: (table: KnownTable) => carriesTable(configuration, table),
    };
    this.#ways.set(version, way);
    return way;
  }

  #current(): StreamConfiguration {
    const { active, stream, fill, log } = this.#options;
    const current = active.configuration.streams[stream];
    if (current === undefined) throw streamUnknown(log.set, stream);
    return fill(current);
  }

  #routes(configuration: StreamConfiguration): Routes {
    const { cluster, log, nodeId, nodeNumber, epoch, incarnation } = this.#options;
    return createRoutes({ configuration, cluster, set: log.set, nodeId, nodeNumber, incarnation, epoch });
  }

  /** The order is the point: the destination shuts others out, then the epoch is looked at, then anything is sent. */
  async #start(live: Live): Promise<StartPoint> {
    const { log, epoch, stream, clock, stop, leave } = this.#options;
    const { connection } = live.session;
    let position = await live.publisher.start();
    await checkEpoch(connection, { log, epoch });
    let facts = await this.#facts(live, position);
    for (
      let read = 1;
      facts.durable && isBehind(facts) && read < REREADS && !stop.aborted && !leave.aborted;
      read += 1
    ) {
      await clock.sleep(100 * 2 ** read, stop);
      position = await live.publisher.start();
      facts = await this.#facts(live, position);
    }
    if (this.#fromTicket === undefined) {
      const elsewhere = await this.#elsewhere(live, facts);
      if (elsewhere !== undefined) facts = { ...facts, firstTicket: elsewhere };
      const point = startPoint(facts);
      const older = position !== undefined && position.incarnation < facts.incarnation;
      return older ? this.#resume(live, point) : point;
    }
    const next = this.#furthest(facts);
    const point = startFrom(this.#fromTicket, { set: log.set, stream, next });
    if ((await readTicket(connection, log, ticketOf(point.next - 1n))) === undefined) {
      throw batchMissing(log, point.next, 'asked for');
    }
    return point;
  }

  /**
   * Brokers that hold no position, although something was published, may not be those that it was published to: where
   * an upgrade has named others, the ones before say what is still to be sent. Undefined: these are the ones.
   */
  async #elsewhere(live: Live, { position, durable, record, firstTicket, incarnation }: StartFacts) {
    const { active, log, versionAt, stream, fill, createPublisher } = this.#options;
    const { connection } = live.session;
    if (position !== undefined || !durable || record.completed < firstTicket) return undefined;
    const newest = await readTicket(connection, log, record.completed);
    for (let version = active.version - 1; version >= (newest?.setVersion ?? active.version); version -= 1) {
      const said = (await versionAt(connection, version)).configuration.streams[stream];
      const before = said === undefined ? undefined : fill(said);
      if (before === undefined || !brokersMoved(before, live.way.configuration)) continue;
      const publisher = await createPublisher(before);
      const found = await positionAt(publisher);
      if (found !== undefined && found.incarnation === incarnation) {
        return ticketOf(found.complete ? found.ticket + 1n : found.ticket);
      }
    }
    return undefined;
  }

  #furthest(facts: StartFacts): Ticket {
    try {
      return startPoint(facts).next;
    } catch {
      // Going back to a ticket is how a lost or wrong position is mended; the node knows how far it may be.
      return ticketOf(facts.record.completed + 1n);
    }
  }

  /** After a node was taken on again its tickets go on from a higher number, which stands for what went before. */
  async #resume(live: Live, point: StartPoint): Promise<StartPoint> {
    const { log, board } = this.#options;
    const { connection } = live.session;
    if (point.next > board.newest || point.from !== undefined) return point;
    if ((await readTicket(connection, log, ticketOf(point.next - 1n))) !== undefined) return point;
    const oldest = await oldestTicketFrom(connection, log, point.next);
    return oldest === undefined ? point : { ...point, next: ticketOf(oldest.ticket + 1n) };
  }

  async #facts(live: Live, position: StreamPosition | undefined): Promise<StartFacts> {
    const { log, stream } = this.#options;
    const { connection, facts } = live.session;
    const record = await readRecord(connection, { log, stream: live.row });
    const ticket =
      position === undefined ? undefined : await readTicket(connection, log, ticketOf(position.ticket));
    return {
      set: log.set,
      stream,
      incarnation: facts.incarnation,
      position,
      durable: live.way.configuration.kind === 'kafka',
      record,
      ticket,
      ticketHash: ticket === undefined ? undefined : sha256Hex(ticket.snapshot),
      firstTicket: live.firstHere,
    };
  }

  async #publishAll(live: Live, start: StartPoint): Promise<StreamOutcome | 'again'> {
    const { board, log, stop, active, moved } = this.#options;
    const { connection } = live.session;
    let { next, from } = start;
    let previous: DrawnTicket | undefined;
    for (;;) {
      if (!(await board.waitFor(next, stop)) || stop.aborted) return { kind: 'stopped' };
      const ticket = await readTicket(connection, log, next);
      previous ??= await readTicket(connection, log, ticketOf(next - 1n));
      if (ticket === undefined || previous === undefined) throw batchMissing(log, next, 'due');
      if (ticket.setVersion > active.version) {
        moved();
        return { kind: 'stopped' };
      }
      const way = await this.#way(connection, ticket.setVersion);
      if (!samePlace(way.configuration, live.way.configuration)) {
        await this.#write(live, previous.ticket, 'complete');
        this.#fromTicket = this.#options.fromTicket === undefined ? undefined : next;
        return 'again';
      }
      await this.#write(live, next, 'in_flight');
      this.#epochCheckedMs = this.#options.clock.now();
      await publishBatch(connection, { ticket, previous, from }, this.#batchContext(live, way));
      // Where another ticket waits, saying that it is in flight says this as well.
      if (board.newest <= next || stop.aborted) await this.#write(live, next, 'complete');
      this.#fromTicket = undefined;
      this.#completed = next;
      this.#failingSinceMs = undefined;
      this.#backoff.reset();
      this.#tell('running');
      previous = ticket;
      from = undefined;
      next = ticketOf(next + 1n);
    }
  }

  async #write(live: Live, ticket: Ticket, state: 'in_flight' | 'complete'): Promise<void> {
    const { log, epoch } = this.#options;
    await writeRecord(live.session.connection, { log, epoch, stream: live.row, ticket, state });
  }

  #batchContext(live: Live, { configuration, routes, carries }: Way): BatchContext {
    const { log, cluster, nodeId, epoch, chunkLimits, leave, clock } = this.#options;
    const { connection, facts } = live.session;
    const source: SourceNode = {
      cluster,
      db: facts.db,
      set: log.set,
      nodeId,
      incarnation: facts.incarnation,
    };
    return {
      log,
      source,
      epoch,
      tables: this.#tables,
      drift: this.#options.drift,
      carries,
      routes,
      transactions: configuration.transactions,
      publisher: live.publisher,
      chunkLimits,
      beforePart: async () => {
        if (leave.aborted) throw new Leave();
        if (clock.now() - this.#epochCheckedMs < EPOCH_CHECK_MS) return;
        await checkEpoch(connection, { log, epoch });
        this.#epochCheckedMs = clock.now();
      },
      published: (messages, bytes) => {
        this.#messages += messages;
        this.#bytes += bytes;
      },
    };
  }

  /** Decides what an error means for the stream; undefined: try again. */
  async #failed(error: unknown): Promise<StreamOutcome | undefined> {
    const { clock, stop, logger, stream, giveUpMs } = this.#options;
    if (stop.aborted && !(error instanceof FencedError)) return { kind: 'stopped' };
    if (await isGone(error, this.#options.openSession)) return { kind: 'gone' };
    const failure = asShovelError(error);
    if (failure instanceof FencedError && (await this.#isFenced())) return { kind: 'fenced', error: failure };
    const retryable = failure.retryable || failure instanceof FencedError;
    // An upgrade may have taken away what was being read, or mend what is wrong.
    if (!retryable && (await this.#finds((session) => this.#hasMoved(session)))) return { kind: 'stopped' };
    this.#failingSinceMs ??= clock.now();
    const late = giveUpMs !== undefined && clock.now() - this.#failingSinceMs > giveUpMs;
    if (!retryable || late) {
      this.#error = failure;
      this.#tell('failed');
      logger.error({ stream, error: failure }, 'the stream has stopped');
      return { kind: 'failed', error: failure };
    }
    const pause = this.#backoff.next();
    this.#error = failure;
    this.#tell('retrying');
    logger[pause.level](
      { stream, error: failure, attempt: pause.attempt, pause_ms: pause.ms },
      'the stream met an error, trying again',
    );
    await this.#close();
    await clock.sleep(pause.ms, stop);
    return undefined;
  }

  /** A broker's fence may be our own doing, from a connection before; the node's epoch is what counts. */
  async #isFenced(): Promise<boolean> {
    const { log, epoch } = this.#options;
    return this.#finds(async ({ connection }) => {
      try {
        await checkEpoch(connection, { log, epoch });
        return false;
      } catch (error) {
        return error instanceof FencedError;
      }
    });
  }

  /** Asks the node on another connection; false where it can't be asked. */
  async #finds(ask: (session: NodeSession) => boolean | Promise<boolean>): Promise<boolean> {
    const session = await this.#options.openSession().catch(() => undefined);
    if (session === undefined) return false;
    try {
      return await ask(session);
    } finally {
      await session.connection.end();
    }
  }

  async #close(): Promise<void> {
    const publisher = this.#publisher;
    const connection = this.#connection;
    this.#publisher = undefined;
    this.#connection = undefined;
    await publisher?.stop().catch((error: unknown) => {
      this.#options.logger.debug(
        { stream: this.#options.stream, error },
        'the publisher did not stop cleanly',
      );
    });
    await connection?.end();
  }

  #tell(state: StreamStateName): void {
    this.#state = state;
    if (state === 'running' || state === 'stopped') this.#error = undefined;
    const { log, database, stream, stats } = this.#options;
    stats({
      set: log.set,
      database,
      stream,
      state,
      ticket: this.#completed,
      error: this.#error,
      messages: this.#messages,
      bytes: this.#bytes,
    });
  }
}

async function positionAt(publisher: Publisher): Promise<StreamPosition | undefined> {
  try {
    return await publisher.start();
  } finally {
    await publisher.stop();
  }
}

function asShovelError(error: unknown): ShovelError {
  return error instanceof ShovelError ? error : unexpected(error);
}
