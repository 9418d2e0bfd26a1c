/**
 * Stores the order of a ticket whose mutations nested writes logged out of order, before its first message is sent:
 * from then on every reader, after every crash, meets them in the same order. Only mutations that hang together with
 * an inversion are read; the numbers that they occupy are dealt out anew among them.
 */
import { type NestedMutation, orderNested } from '../model/nested-order.js';
import type { PostgresConnection, Row } from '../postgres/connect.js';
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';

export interface NestedTicket {
  readonly ticket: string;
  readonly snapshot: string;
  readonly previousSnapshot: string;
  readonly firstSeq: string;
  readonly lastSeq: string;
}

/** Rows stored in one statement. */
const CHUNK = 10_000;

/** Does nothing where the order is stored already. */
export async function orderTicket(
  connection: PostgresConnection,
  ticket: NestedTicket,
  { names, set }: { names: NodeNames; set: string },
): Promise<void> {
  const schema = quoteIdentifier(names.schema);
  const done = `-${ticket.ticket}`;
  const known = await connection.query(`select from ${schema}.order_${set} where slot = $1`, [done]);
  if (known.length > 0) return;
  const rows = await connection.query(
    `select xid, rel, seq, op, place, emptied::text as emptied, old_ctid, new_ctid, old_key, new_key
     from ${schema}.nested_${set}($1, $2, $3, $4)`,
    [ticket.previousSnapshot, ticket.snapshot, ticket.firstSeq, ticket.lastSeq],
  );
  const slots: string[] = [];
  const sources: string[] = [];
  for (const group of transactions(rows)) {
    const ordered = orderNested(group);
    for (const [i, mutation] of ordered.entries()) {
      const slot = group[i]?.seq;
      if (slot === undefined || slot === mutation.seq) continue;
      slots.push(slot.toString());
      sources.push(mutation.seq.toString());
    }
  }
  const store = (some: readonly string[], from: readonly string[]) =>
    connection.query(`select ${schema}.store_order_${set}($1, $2, $3)`, [
      ticket.ticket,
      `{${some.join(',')}}`,
      `{${from.join(',')}}`,
    ]);
  for (let at = 0; at < slots.length; at += CHUNK) {
    await store(slots.slice(at, at + CHUNK), sources.slice(at, at + CHUNK));
  }
  await store([done], ['0']);
}

/** Mutations of one transaction and table each, by their numbers. */
function* transactions(rows: readonly Row[]): Generator<readonly NestedMutation[]> {
  let group: NestedMutation[] = [];
  let name = '';
  for (const row of rows) {
    const own = `${row.xid} ${row.rel}`;
    if (own !== name && group.length > 0) {
      yield group;
      group = [];
    }
    name = own;
    group.push({
      seq: BigInt(row.seq ?? '0'),
      place: row.place ?? '',
      emptied: row.emptied === 'true',
      oldCtid: row.old_ctid ?? null,
      newCtid: row.new_ctid ?? null,
      oldKey: row.old_key ?? null,
      newKey: row.new_key ?? null,
    });
  }
  if (group.length > 0) yield group;
}
