/**
 * Keeps one stream going: publishes every ticket in order, and after an error goes on from the position that the
 * destination then holds. Its trouble holds back neither the other streams nor drawing.
 *
 *   starting --position read--> running --error--> retrying --pause--> starting
 *   any --error that trying again can't mend--> failed;  any --stop--> stopped
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
import { CapturedTables } from './captured-tables.js';
import { checkEpoch } from './head.js';
import type { ChunkLimits } from './log-rows.js';
import { unexpected } from './node-keeper.js';
import { readRecord, readStreamRow, type StreamRow, streamUnknown, writeRecord } from './node-record.js';
import { isGone, type NodeSession } from './node-session.js';
import { type BatchContext, publishBatch } from './publish-batch.js';
import type { LogNames } from './relay-set.js';
import { carriesTable, createRoutes, type Routes } from './routes.js';
import { isBehind, type StartFacts, type StartPoint, startFrom, startPoint } from './start-position.js';
import type { StreamStateName, StreamStats } from './stream-state.js';
import type { TicketBoard } from './ticket-board.js';
import { batchMissing, oldestTicketFrom, readTicket } from './tickets.js';

export interface RelayStreamOptions {
  readonly log: LogNames;
  readonly cluster: string;
  readonly database: string;
  readonly stream: string;
  readonly configuration: StreamConfiguration;
  readonly nodeId: string;
  readonly nodeNumber: number;
  readonly epoch: bigint;
  readonly board: TicketBoard;
  /** Undefined where the node no longer holds the set. */
  readonly openSession: () => Promise<NodeSession | undefined>;
  readonly createPublisher: () => Promise<Publisher>;
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

interface Live {
  readonly session: NodeSession;
  readonly row: StreamRow;
  readonly routes: Routes;
  readonly publisher: Publisher;
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
          return await Promise.race([this.#session(), this.#abandoned]);
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

  /** Ends where there is nothing more to do; throws what has to be tried again. */
  async #session(): Promise<StreamOutcome> {
    const { log, stream, openSession } = this.#options;
    this.#tell('starting');
    await this.#close();
    const session = await openSession();
    if (session === undefined) return { kind: 'gone' };
    this.#connection = session.connection;
    const row = await readStreamRow(session.connection, { log, stream });
    if (row === undefined) throw streamUnknown(log.set, stream);
    const publisher = await this.#options.createPublisher();
    this.#publisher = publisher;
    const live = { session, row, publisher, routes: this.#routes(session) };
    const start = await this.#start(live);
    this.#completed = start.next - 1n;
    this.#tell('running');
    await this.#publishAll(live, start);
    return { kind: 'stopped' };
  }

  #routes(session: NodeSession): Routes {
    const { configuration, cluster, log, nodeId, nodeNumber, epoch } = this.#options;
    const { incarnation } = session.facts;
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
    const { log, stream, configuration } = this.#options;
    const { connection, facts } = live.session;
    const record = await readRecord(connection, { log, stream: live.row });
    const ticket =
      position === undefined ? undefined : await readTicket(connection, log, ticketOf(position.ticket));
    return {
      set: log.set,
      stream,
      incarnation: facts.incarnation,
      position,
      durable: configuration.kind === 'kafka',
      record,
      ticket,
      ticketHash: ticket === undefined ? undefined : sha256Hex(ticket.snapshot),
      firstTicket: live.row.firstTicket,
    };
  }

  async #publishAll(live: Live, start: StartPoint): Promise<void> {
    const { board, log, stop, epoch } = this.#options;
    const { connection } = live.session;
    const context = this.#batchContext(live);
    let { next, from } = start;
    let previous: DrawnTicket | undefined;
    for (;;) {
      if (!(await board.waitFor(next, stop)) || stop.aborted) return;
      const ticket = await readTicket(connection, log, next);
      previous ??= await readTicket(connection, log, ticketOf(next - 1n));
      if (ticket === undefined || previous === undefined) throw batchMissing(log, next, 'due');
      await writeRecord(connection, { log, epoch, stream: live.row, ticket: next, state: 'in_flight' });
      this.#epochCheckedMs = this.#options.clock.now();
      await publishBatch(connection, { ticket, previous, from }, context);
      // Where another ticket waits, saying that it is in flight says this as well.
      if (board.newest <= next || stop.aborted) {
        await writeRecord(connection, { log, epoch, stream: live.row, ticket: next, state: 'complete' });
      }
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

  #batchContext(live: Live): BatchContext {
    const { log, cluster, nodeId, epoch, configuration, chunkLimits, leave, clock } = this.#options;
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
      carries: (table) => carriesTable(configuration, table),
      routes: live.routes,
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
    const { log, epoch, openSession } = this.#options;
    const session = await openSession().catch(() => undefined);
    if (session === undefined) return false;
    try {
      await checkEpoch(session.connection, { log, epoch });
      return false;
    } catch (error) {
      return error instanceof FencedError;
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

function asShovelError(error: unknown): ShovelError {
  return error instanceof ShovelError ? error : unexpected(error);
}
