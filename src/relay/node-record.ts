/**
 * The node's own record of how far a stream is: a sequence, changed in place, that holds 2 * ticket while the ticket is
 * being sent and 2 * ticket + 1 once it is out. Destinations keep the position; this is what it is held against, and
 * what trimming goes by. Written with the head row locked, so that a relay which was replaced can't write it.
 */
import { IntegrityError } from '../errors.js';
import { type Ticket, ticketOf } from '../model/ticket.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { quoteIdentifier } from '../postgres/sql-files.js';
import { transaction } from '../postgres/transaction.js';
import { throwFenced } from './head.js';
import type { LogNames } from './relay-set.js';

export interface StreamRow {
  /** Where a stream without a position begins. */
  readonly firstTicket: Ticket;
  /** The version that brought it in. */
  readonly sinceVersion: number;
  readonly positionName: string;
}

/** What the node knows: the newest ticket that is out, and whether the one after it was begun. */
export interface NodeRecord {
  readonly completed: Ticket;
  readonly inFlight: boolean;
}

/** Undefined where the node does not know the stream. */
export async function readStreamRow(
  connection: PostgresConnection,
  { log, stream }: { readonly log: LogNames; readonly stream: string },
): Promise<StreamRow | undefined> {
  const rows = await connection.query(
    `select s.first_ticket, s.since_version, s.position_name from ${log.schema}.stream s where s.set_name = $1 and s.stream_name = $2`,
    [log.set, stream],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  return {
    firstTicket: ticketOf(row.first_ticket ?? '1'),
    sinceVersion: Number(row.since_version),
    positionName: row.position_name ?? '',
  };
}

/**
 * Where a stream that has published nothing yet begins: at the first ticket of a version that has it. The upgrade that
 * brought it in could not know, for tickets go on being drawn while it is prepared. Returns the row as it then is.
 * @throws FencedError `relay_fenced`, IntegrityError `source_went_back`
 */
export async function settleFirstTicket(
  connection: PostgresConnection,
  { log, epoch, stream, row }: { log: LogNames; epoch: bigint; stream: string; row: StreamRow },
): Promise<StreamRow> {
  const settled = await transaction(connection, async () => {
    // Nothing is drawn meanwhile, so what comes next has at least the version that is seen here.
    const held = await connection.query(
      `select from ${log.schema}.set_head h where h.set_name = $1 and h.epoch = $2::bigint for update`,
      [log.set, epoch.toString()],
    );
    if (held.length === 0) await throwFenced(connection, { log, epoch });
    // A change that takes the stream out may hold the row, prepared, for long.
    await connection.query(
      `update ${log.schema}.stream s set first_ticket = f.first from (
         select greatest(o.first_ticket, coalesce(
             (select pg_catalog.min(t.ticket) from ${log.ticket} t
              where t.ticket >= o.first_ticket and t.set_version >= o.since_version),
             (select pg_catalog.max(t.ticket) + 1 from ${log.ticket} t))) as first
         from ${log.schema}.stream o where o.set_name = $1 and o.stream_name = $2 for update of o skip locked) f
       where s.set_name = $1 and s.stream_name = $2 and s.first_ticket < f.first`,
      [log.set, stream],
    );
    return readStreamRow(connection, { log, stream });
  });
  return settled ?? row;
}

export async function readRecord(
  connection: PostgresConnection,
  { log, stream }: { readonly log: LogNames; readonly stream: StreamRow },
): Promise<NodeRecord> {
  const rows = await connection.query(
    `select s.last_value from ${log.schema}.${quoteIdentifier(stream.positionName)} s`,
  );
  return decodeRecord(BigInt(rows[0]?.last_value ?? '0'), stream.firstTicket);
}

/** 0 is where the sequence starts: nothing was begun. */
export function decodeRecord(value: bigint, firstTicket: Ticket): NodeRecord {
  if (value <= 1n) return { completed: ticketOf(firstTicket - 1n), inFlight: false };
  return value % 2n === 0n
    ? { completed: ticketOf(value / 2n - 1n), inFlight: true }
    : { completed: ticketOf(value / 2n), inFlight: false };
}

export interface RecordWrite {
  readonly log: LogNames;
  readonly epoch: bigint;
  readonly stream: StreamRow;
  readonly ticket: Ticket;
  readonly state: 'in_flight' | 'complete';
}

/**
 * Need not be on disk: after a crash the record may be behind, which harms nobody.
 * @throws FencedError `relay_fenced`, IntegrityError `source_went_back`
 */
export async function writeRecord(connection: PostgresConnection, write: RecordWrite): Promise<void> {
  const { log, epoch, stream, ticket, state } = write;
  const rows = await connection.query(
    `select pg_catalog.setval($1::regclass, $2::bigint) as value from (
       select pg_catalog.set_config('synchronous_commit', 'off', true)
       from ${log.schema}.set_head h where h.set_name = $3 and h.epoch = $4::bigint for update) held`,
    [
      `${log.schema}.${quoteIdentifier(stream.positionName)}`,
      (ticket * 2n + (state === 'complete' ? 1n : 0n)).toString(),
      log.set,
      epoch.toString(),
    ],
  );
  if (rows.length === 0) await throwFenced(connection, { log, epoch });
}

export function streamUnknown(log: LogNames, stream: string): IntegrityError {
  return new IntegrityError(
    'stream_unknown',
    `Set ${log.display}: the node does not know stream ${stream}.`,
    {
      hint: `Is an upgrade under way? shovel cluster recover finishes it. Was its row deleted by hand? shovel node adopt ${log.set} DATABASE begins it anew; bootstrap its targets.`,
      details: { set: log.set, stream },
    },
  );
}
