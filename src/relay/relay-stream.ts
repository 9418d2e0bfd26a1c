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
import type { Logger } from '../runtime/logger.js';
import type { Publisher } from '../streams/publisher.js';
import type { SourceNode } from '../wire/shovel-source.js';
import type { CaptureDrift } from './capture-drift.js';
import { CapturedTables } from './captured-tables.js';
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
import type { StartPoint } from './start-position.js';
import { samePlace } from './stream-place.js';
import { startStream } from './stream-start.js';
import type { StreamStateName, StreamStats } from './stream-state.js';
import { StreamWays, type StreamWaysOptions, type Way } from './stream-ways.js';
import type { TicketBoard } from './ticket-board.js';
import { batchMissing, readTicket } from './tickets.js';

export interface RelayStreamOptions extends StreamWaysOptions {
  readonly database: string;
  /** Called when the node turns out to have another version or incarnation than `active`: this stream then ends. */
  readonly moved: () => void;
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
  /** Of the ticket that it starts with; later ones may differ, but go to the same place. */
  readonly way: Way;
  readonly publisher: Publisher;
}

class StreamRelay {
  readonly #options: RelayStreamOptions;
  readonly #tables: CapturedTables;
  readonly #ways: StreamWays;
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
    this.#ways = new StreamWays(options);
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
    if (row === undefined) throw streamUnknown(log, stream);
    const { completed } = await readRecord(session.connection, { log, stream: row });
    if (completed < row.firstTicket) {
      row = await settleFirstTicket(session.connection, { log, epoch, stream, row });
    }
    const { way, firstHere } = await this.#ways.next(session.connection, row, this.#fromTicket);
    const publisher = await this.#options.createPublisher(way.configuration);
    this.#publisher = publisher;
    const start = await startStream({
      ...this.#options,
      connection: session.connection,
      row,
      configuration: way.configuration,
      publisher,
      firstHere,
      fromTicket: this.#fromTicket,
    });
    this.#completed = start.next - 1n;
    this.#tell('running');
    return this.#publishAll({ session, row, publisher, way }, start);
  }

  /** The node has another version than this stream was started with: it is to be started again. */
  #hasMoved({ facts }: NodeSession): boolean {
    const { active, incarnation, moved } = this.#options;
    if (facts.version === active.version && facts.incarnation === incarnation) return false;
    moved();
    return true;
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
      if (ticket === undefined || previous === undefined) throw batchMissing(log, next);
      if (ticket.setVersion > active.version) {
        moved();
        return { kind: 'stopped' };
      }
      const way = await this.#ways.of(connection, ticket.setVersion);
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
    const { clock, stop, logger, giveUpMs } = this.#options;
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
      logger.error({ error: failure }, 'the stream has stopped');
      return { kind: 'failed', error: failure };
    }
    const pause = this.#backoff.next();
    this.#error = failure;
    this.#tell('retrying');
    logger[pause.level](
      { error: failure, attempt: pause.attempt, pause_ms: pause.ms },
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

function asShovelError(error: unknown): ShovelError {
  return error instanceof ShovelError ? error : unexpected(error);
}
