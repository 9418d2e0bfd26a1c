/** Reads ticket rows of a node. Which tickets there are, and what they mean, is decided in sql/set/draw.sql. */
import { IntegrityError, RefusedError } from '../errors.js';
import { type DrawnTicket, type Ticket, ticketOf } from '../model/ticket.js';
import type { PostgresConnection, Row } from '../postgres/connect.js';
import type { LogNames } from './relay-set.js';

/** Columns of a ticket row, for a select list; `t` is the row. */
export const TICKET_COLUMNS = `t.ticket, t.snapshot, t.floor_seq, t.first_seq, t.last_seq, t.mutations, t.set_version, t.nested,
  pg_catalog.floor(extract(epoch from t.drawn_at) * 1000)::bigint as drawn_at_ms`;

export function decodeTicket(row: Row): DrawnTicket {
  const optional = (text: string | null | undefined) =>
    text === null || text === undefined ? undefined : BigInt(text);
  return {
    ticket: ticketOf(row.ticket ?? '0'),
    snapshot: row.snapshot ?? '',
    floorSeq: BigInt(row.floor_seq ?? '0'),
    firstSeq: optional(row.first_seq),
    lastSeq: optional(row.last_seq),
    mutations: BigInt(row.mutations ?? '0'),
    setVersion: Number(row.set_version),
    nested: row.nested === 't',
    drawnAtMs: row.drawn_at_ms ?? '0',
  };
}

/** The newest; undefined only where the log is damaged: ticket 0 is there from the start. */
export async function newestTicket(
  connection: PostgresConnection,
  log: LogNames,
): Promise<DrawnTicket | undefined> {
  const rows = await connection.query(
    `select ${TICKET_COLUMNS} from ${log.ticket} t order by t.ticket desc limit 1`,
  );
  const [row] = rows;
  return row === undefined ? undefined : decodeTicket(row);
}

export async function oldestTicket(
  connection: PostgresConnection,
  log: LogNames,
): Promise<DrawnTicket | undefined> {
  const rows = await connection.query(
    `select ${TICKET_COLUMNS} from ${log.ticket} t order by t.ticket limit 1`,
  );
  const [row] = rows;
  return row === undefined ? undefined : decodeTicket(row);
}

/** Undefined where it was not drawn yet, or is not kept any more; one without its snapshot is none. */
export async function readTicket(
  connection: PostgresConnection,
  log: LogNames,
  ticket: Ticket,
): Promise<DrawnTicket | undefined> {
  const rows = await connection.query(
    `select ${TICKET_COLUMNS} from ${log.ticket} t where t.ticket = $1 and t.snapshot is not null`,
    [ticket.toString()],
  );
  const [row] = rows;
  return row === undefined ? undefined : decodeTicket(row);
}

/** Those with which incarnations began, oldest first: no other is empty, but the one before the first mutation. */
export async function firstsOfIncarnations(
  connection: PostgresConnection,
  log: LogNames,
): Promise<readonly DrawnTicket[]> {
  const rows = await connection.query(
    `select ${TICKET_COLUMNS} from ${log.ticket} t where t.mutations = 0 and t.ticket > 0 order by t.ticket`,
  );
  return rows.map(decodeTicket);
}

/** The batch of `ticket` is due, and it or the ticket before it is not kept. */
export function batchMissing(log: LogNames, ticket: Ticket): IntegrityError {
  return new IntegrityError(
    'batch_missing',
    `Set ${log.display}: the batch of ticket ${ticket} is due and not kept.`,
    {
      hint: "Was the log changed by hand? If it can't be restored: shovel set upgrade without the streams, then with them, and they go on from there; bootstrap their targets.",
      details: { set: log.set, ticket: ticket.toString() },
    },
  );
}

/** Someone has asked for the batch of `ticket`; `oldest` is the oldest ticket that there is a batch after. */
export function ticketNotKept(log: LogNames, ticket: Ticket, oldest: DrawnTicket | undefined): RefusedError {
  const from = ticketOf((oldest?.ticket ?? ticket) + 1n);
  return new RefusedError(
    'ticket_not_kept',
    `Set ${log.display} no longer keeps the batch of ticket ${ticket}.`,
    {
      hint: `Batches are kept until every stream has published them: name ticket ${from} or a newer one, or bootstrap the targets.`,
      details: { set: log.set, ticket: ticket.toString(), oldest: from.toString() },
    },
  );
}
