/**
 * Where a stream goes on, decided from what its destination and its node remember. Goes on only where both tell the
 * same history: a position that the node has never drawn, or whose ticket has another snapshot, means that the source
 * lost its tail or is a copy; one behind what the node has recorded means that the destination lost something.
 */
import { IntegrityError, RefusedError } from '../errors.js';
import { type DrawnTicket, type Ticket, ticketOf } from '../model/ticket.js';
import type { StreamPosition } from '../streams/publisher.js';
import type { NodeRecord } from './node-record.js';

export interface StartFacts {
  readonly set: string;
  readonly stream: string;
  readonly incarnation: number;
  /** What the destination holds. */
  readonly position: StreamPosition | undefined;
  /** Whether the destination keeps positions for good: without one it has nothing, or lost it. */
  readonly durable: boolean;
  readonly record: NodeRecord;
  /** The row of the position's ticket, where it is kept, and the hash of its snapshot. */
  readonly ticket: DrawnTicket | undefined;
  readonly ticketHash: string | undefined;
  /** The stream's first at this destination: what is there from before is not of this stay. */
  readonly firstTicket: Ticket;
  /** The empty ticket with which the incarnation after the position's began, where it is kept. */
  readonly reborn: Ticket | undefined;
}

export interface StartPoint {
  /** The first ticket to publish, or to go on with. */
  readonly next: Ticket;
  /** Parts of it that are out already. */
  readonly from: { readonly part: number; readonly lastSeq: bigint } | undefined;
}

/** The destination answers less than the node has recorded: worth reading again before it is believed. */
export function isBehind(facts: StartFacts): boolean {
  const { position, record } = facts;
  if (record.completed < facts.firstTicket) return false;
  if (position === undefined) return facts.durable;
  if (position.incarnation < facts.incarnation) return isForgotten(facts);
  return position.incarnation === facts.incarnation && completedBy(position) < record.completed;
}

/** The node has recorded more of its newer incarnation than a destination knows that is still in an older one. */
function isForgotten({ reborn, record, firstTicket }: StartFacts): boolean {
  return record.completed >= firstTicket && (reborn === undefined || record.completed > reborn);
}

/** @throws IntegrityError `source_went_back`, `position_went_back`, `position_lost` */
export function startPoint(facts: StartFacts): StartPoint {
  const { position, record } = facts;
  if (position === undefined) return withoutPosition(facts);
  if (position.incarnation > facts.incarnation) throw sourceWentBack(facts, position);
  if (position.incarnation < facts.incarnation) {
    if (isForgotten(facts)) throw positionWentBack(facts, position);
    // The position may be of a history that is gone, in which its number and those before it were other batches: then
    // the node alone knows what it has published of this one, and the newer incarnation gives out numbers again.
    const { reborn = ticketOf(0), firstTicket, ticketHash } = facts;
    const known = ticketHash === position.snapshotHash ? [] : [record.completed];
    const done = [completedBy(position), ...known].reduce((a, b) => (b < a ? b : a), reborn);
    return { next: later(ticketOf(done + 1n), firstTicket), from: undefined };
  }
  // Left by an earlier stay here, whose tickets may be kept no longer.
  const earlier = position.ticket < facts.firstTicket;
  if (earlier && facts.ticketHash === undefined) return { next: facts.firstTicket, from: undefined };
  // Ticket 0 stands for the time before the first batch, and a position never does.
  if (facts.ticketHash !== position.snapshotHash) throw sourceWentBack(facts, position);
  if (earlier) return { next: facts.firstTicket, from: undefined };
  if (completedBy(position) < record.completed) throw positionWentBack(facts, position);
  return position.complete
    ? { next: ticketOf(position.ticket + 1n), from: undefined }
    : { next: ticketOf(position.ticket), from: { part: position.part, lastSeq: position.lastSeq } };
}

function withoutPosition(facts: StartFacts): StartPoint {
  const { record, durable, firstTicket } = facts;
  const published = record.completed >= firstTicket;
  if (durable && published) {
    throw new IntegrityError(
      'position_lost',
      `Stream ${facts.stream} of set ${facts.set}: the destination holds no position, but ticket ${record.completed} was published.`,
      {
        hint: 'Was the topic deleted, or did its offsets expire? Publish again with shovel relay --from, or bootstrap the targets.',
        details: details(facts),
      },
    );
  }
  return { next: later(ticketOf(record.completed + 1n), firstTicket), from: undefined };
}

/**
 * Begins at a ticket that someone has named, if nothing would be left out by it.
 * @throws RefusedError `ticket_ahead`
 */
export function startFrom(
  ticket: Ticket,
  facts: Pick<StartFacts, 'set' | 'stream'> & { next: Ticket },
): StartPoint {
  if (ticket > facts.next) {
    throw new RefusedError(
      'ticket_ahead',
      `Stream ${facts.stream} of set ${facts.set} goes on with ticket ${facts.next}; from ticket ${ticket} on, batches would be missing.`,
      { hint: `Name ticket ${facts.next} or an older one.`, details: { ticket: ticket.toString() } },
    );
  }
  return { next: ticket, from: undefined };
}

/** The newest ticket that is out as a whole. */
export function completedBy(position: StreamPosition): bigint {
  return position.complete ? position.ticket : position.ticket - 1n;
}

function later(a: Ticket, b: Ticket): Ticket {
  return a > b ? a : b;
}

function positionWentBack(facts: StartFacts, position: StreamPosition): IntegrityError {
  return new IntegrityError(
    'position_went_back',
    `Stream ${facts.stream} of set ${facts.set} is at ticket ${completedBy(position)}, but ticket ${facts.record.completed} was published.`,
    {
      hint: 'Was the destination restored from an older copy? Publish again with shovel relay --from, or bootstrap the targets.',
      details: details(facts),
    },
  );
}

function sourceWentBack(facts: StartFacts, position: StreamPosition): IntegrityError {
  const known = facts.ticket === undefined ? 'does not know it' : 'has drawn it over other transactions';
  return new IntegrityError(
    'source_went_back',
    `Stream ${facts.stream} of set ${facts.set} was published up to ticket ${position.ticket}, but the database ${known}.`,
    {
      hint: 'Is it a copy, was it restored, or was a standby promoted that lacked the end? shovel node adopt takes it on again; --accept-timeline goes on after a promotion.',
      details: details(facts),
    },
  );
}

function details(facts: StartFacts): Readonly<Record<string, unknown>> {
  return {
    set: facts.set,
    stream: facts.stream,
    position: facts.position?.ticket.toString() ?? null,
    recorded: facts.record.completed.toString(),
  };
}
