/** Where a stream goes on: what its destination holds, beside what the node has on record. */
import type { StreamConfiguration } from '../model/set-configuration.js';
import { type Ticket, ticketOf } from '../model/ticket.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { Clock } from '../runtime/clock.js';
import { sha256Hex } from '../runtime/hash.js';
import type { Publisher, StreamPosition } from '../streams/publisher.js';
import { checkEpoch } from './head.js';
import { readRecord, type StreamRow } from './node-record.js';
import type { LogNames, RelaySet } from './relay-set.js';
import {
  completedBy,
  isBehind,
  type StartFacts,
  type StartPoint,
  startFrom,
  startPoint,
} from './start-position.js';
import { brokersMoved } from './stream-place.js';
import { firstsOfIncarnations, oldestTicket, readTicket, ticketNotKept } from './tickets.js';

/** How often a position that is behind the node's record is read again before it is believed. */
const REREADS = 5;

export interface StreamStart {
  readonly log: LogNames;
  readonly stream: string;
  readonly connection: PostgresConnection;
  readonly row: StreamRow;
  readonly nodeId: string;
  readonly incarnation: number;
  readonly epoch: bigint;
  /** The version that the node has. */
  readonly active: RelaySet;
  /** Of the ticket that it starts with. */
  readonly configuration: StreamConfiguration;
  readonly publisher: Publisher;
  /** The first ticket that is known to have gone, or to go, where this publisher sends. */
  readonly firstHere: Ticket;
  /** Begin at this ticket, whatever the destination's position is. */
  readonly fromTicket: Ticket | undefined;
  readonly versionAt: (connection: PostgresConnection, version: number) => Promise<RelaySet>;
  readonly fill: (configuration: StreamConfiguration) => StreamConfiguration;
  readonly createPublisher: (configuration: StreamConfiguration) => Promise<Publisher>;
  readonly clock: Clock;
  /** Nothing is read again once it aborts. */
  readonly stop: AbortSignal;
}

/**
 * The order is the point: the destination shuts others out, then the epoch is looked at, then anything is sent.
 *
 * @throws FencedError `relay_fenced`, IntegrityError of start-position.ts, RefusedError `ticket_not_kept`
 */
export async function startStream(start: StreamStart): Promise<StartPoint> {
  const { log, epoch, stream, connection, clock, stop, fromTicket, publisher } = start;
  let position = await publisher.start();
  await checkEpoch(connection, { log, epoch });
  let facts = await factsOf(start, position);
  const { before, asked } = await positionElsewhere(start, facts);
  if (asked) {
    // They may be the same brokers by another name, and have shut this publisher out.
    position = await publisher.start();
    facts = await factsOf(start, position);
  }
  if (before !== undefined) {
    // A batch of which those brokers have a part is sent whole: its parts are of no use apart.
    facts = await factsOf(start, before);
    const { next } = startPoint(facts);
    return resume(start, { facts, point: { next, from: undefined } });
  }
  for (let read = 1; facts.durable && isBehind(facts) && read < REREADS && !stop.aborted; read += 1) {
    await clock.sleep(100 * 2 ** read, stop);
    position = await publisher.start();
    facts = await factsOf(start, position);
  }
  if (fromTicket === undefined) return resume(start, { facts, point: startPoint(facts) });
  const point = startFrom(fromTicket, { set: log.set, stream, next: furthest(facts) });
  if ((await readTicket(connection, log, ticketOf(point.next - 1n))) === undefined) {
    throw ticketNotKept(log, point.next, await oldestTicket(connection, log));
  }
  return point;
}

async function factsOf(start: StreamStart, position: StreamPosition | undefined): Promise<StartFacts> {
  const { log, stream, connection, row, incarnation, configuration, firstHere } = start;
  const record = await readRecord(connection, { log, stream: row });
  const ticket =
    position === undefined ? undefined : await readTicket(connection, log, ticketOf(position.ticket));
  return {
    set: log.set,
    stream,
    incarnation,
    position,
    durable: configuration.kind === 'kafka',
    record,
    ticket,
    ticketHash: ticket === undefined ? undefined : sha256Hex(ticket.snapshot),
    firstTicket: firstHere,
    reborn: await rebornAfter(start, position),
  };
}

async function rebornAfter(
  { connection, log, nodeId, incarnation, versionAt }: StreamStart,
  position: StreamPosition | undefined,
): Promise<Ticket | undefined> {
  if (position === undefined || position.incarnation >= incarnation) return undefined;
  for (const { ticket, setVersion } of await firstsOfIncarnations(connection, log)) {
    const { nodes } = await versionAt(connection, setVersion);
    const began = nodes.find((node) => node.nodeId === nodeId)?.incarnation ?? incarnation;
    if (began > position.incarnation) return ticket;
  }
  return undefined;
}

/**
 * Brokers that hold less than was published may not be those that it was published to: where an upgrade has named
 * others, the ones that a version before had named say how far the stream is. Of several the newest that knows of all
 * that the node has recorded; undefined: these are the ones, or nobody knows.
 * @throws UnreachableError where one that may know does not answer
 */
async function positionElsewhere(
  start: StreamStart,
  { position, durable, record, firstTicket }: StartFacts,
): Promise<{ readonly before?: StreamPosition; readonly asked: boolean }> {
  const { active, log, versionAt, stream, fill, createPublisher, connection, configuration } = start;
  if (start.fromTicket !== undefined) return { asked: false };
  const isWhole = (of: StreamPosition | undefined) => of !== undefined && completedBy(of) >= record.completed;
  if (!durable || record.completed < firstTicket || isWhole(position)) return { asked: false };
  const newest = await readTicket(connection, log, record.completed);
  const asked = [configuration];
  let unanswered: { readonly error: unknown } | undefined;
  for (let version = active.version - 1; version >= (newest?.setVersion ?? active.version); version -= 1) {
    const said = (await versionAt(connection, version)).configuration.streams[stream];
    const before = said === undefined ? undefined : fill(said);
    if (before === undefined || !asked.every((one) => brokersMoved(before, one))) continue;
    asked.push(before);
    try {
      const found = await positionAt(await createPublisher(before));
      if (found !== undefined && isWhole(found)) return { before: found, asked: true };
    } catch (error) {
      unanswered ??= { error };
    }
  }
  if (unanswered !== undefined) throw unanswered.error;
  return { asked: asked.length > 1 };
}

function furthest(facts: StartFacts): Ticket {
  try {
    return startPoint(facts).next;
  } catch {
    // Going back to a ticket is how a lost or wrong position is mended; the node knows how far it may be.
    return ticketOf(facts.record.completed + 1n);
  }
}

/** Where a node was taken on again, its first ticket after that stands for what it does not keep from before. */
async function resume(
  { log, connection }: StreamStart,
  { facts, point }: { readonly facts: StartFacts; readonly point: StartPoint },
): Promise<StartPoint> {
  const { reborn } = facts;
  if (reborn === undefined || point.next > reborn) return point;
  if ((await readTicket(connection, log, ticketOf(point.next - 1n))) !== undefined) return point;
  return { next: ticketOf(reborn + 1n), from: undefined };
}

async function positionAt(publisher: Publisher): Promise<StreamPosition | undefined> {
  try {
    return await publisher.start();
  } finally {
    await publisher.stop();
  }
}
