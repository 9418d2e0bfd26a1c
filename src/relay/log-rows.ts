/**
 * Reads the rows of one batch in chunks by number, each in a statement of its own, so that no transaction stays open
 * while they are published. Memory is bounded by rows and bytes of two chunks (the next is fetched while one is being
 * worked on), whatever the batch's size. Log rows never change, so chunks fit together as if read at once.
 */
import { IntegrityError } from '../errors.js';
import type { DrawnTicket } from '../model/ticket.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { quoteLiteral } from '../postgres/sql-files.js';
import type { LogNames } from './relay-set.js';

/** A log row as text, M rows (application context) included. */
export interface LogRow {
  readonly seq: string;
  readonly xid: string;
  readonly atMs: string;
  readonly rel: string;
  readonly op: string;
  readonly mark: string | null;
  readonly leaf: string | null;
  readonly meta: string | null;
  readonly old: string | null;
  readonly new: string | null;
  readonly extra: string | null;
  /** The number at which it was logged: another than `seq` where nested writes were put in order. */
  readonly source: string;
}

export interface ChunkLimits {
  readonly rows: number;
  /** Of old, new and extra together; a single row may be larger. */
  readonly bytes: number;
}

const CHUNK_LIMITS: ChunkLimits = { rows: 2000, bytes: 4 * 1024 * 1024 };

export interface BatchOptions {
  readonly log: LogNames;
  readonly ticket: DrawnTicket;
  readonly previousSnapshot: string;
  /** Whole transactions, one after another, in the order of their last numbers; else by number alone. */
  readonly transactions?: boolean;
  readonly limits?: ChunkLimits;
}

/**
 * Chunks in the order of publishing, as often as it is called.
 * @throws IntegrityError `batch_incomplete` where rows of the batch are gone
 */
export async function* readLogRows(
  connection: PostgresConnection,
  options: BatchOptions,
): AsyncGenerator<readonly LogRow[]> {
  const { ticket } = options;
  let found = 0n;
  if (ticket.firstSeq !== undefined && ticket.lastSeq !== undefined) {
    const chunks = options.transactions ? inTransactions(connection, options) : byNumber(connection, options);
    for await (const rows of chunks) {
      found += BigInt(rows.length);
      yield rows;
    }
  }
  if (found !== ticket.mutations) {
    throw new IntegrityError(
      'batch_incomplete',
      `Set ${options.log.display}: ticket ${ticket.ticket} was drawn over ${ticket.mutations} log rows, and ${found} are there.`,
      {
        hint: "Was the log changed by hand? If it can't be restored: shovel set upgrade without the streams, then with them, and they go on from there; bootstrap their targets.",
        details: { set: options.log.set, ticket: ticket.ticket.toString() },
      },
    );
  }
}

async function* byNumber(
  connection: PostgresConnection,
  options: BatchOptions,
): AsyncGenerator<readonly LogRow[]> {
  const { firstSeq = 0n, lastSeq = 0n } = options.ticket;
  // While the rows before are published nobody waits for the next: an error must not be taken for one that nobody minds.
  const ahead = (chunk: Promise<readonly LogRow[]>) => {
    chunk.catch(() => undefined);
    return chunk;
  };
  let next = ahead(readChunk(connection, firstSeq - 1n, options));
  try {
    for (;;) {
      const rows = await next;
      const last = rows.at(-1);
      if (last === undefined) break;
      const done = BigInt(last.seq) >= lastSeq;
      next = done ? NOTHING : ahead(readChunk(connection, BigInt(last.seq), options));
      yield rows;
      if (done) break;
    }
  } finally {
    // Whoever stops early must not leave a statement behind on the connection.
    await next.catch(() => undefined);
  }
}

const NOTHING: Promise<readonly LogRow[]> = Promise.resolve([]);

async function readChunk(
  connection: PostgresConnection,
  after: bigint,
  options: BatchOptions,
): Promise<readonly LogRow[]> {
  const { log, ticket, previousSnapshot, limits = CHUNK_LIMITS } = options;
  const rows = await connection.arrays(chunkSql(log, ticket.nested), [
    after.toString(),
    (ticket.lastSeq ?? 0n).toString(),
    ticket.snapshot,
    previousSnapshot,
    limits.rows.toString(),
    limits.bytes.toString(),
  ]);
  return rows.map(decodeRow);
}

function decodeRow(row: readonly (string | null)[]): LogRow {
  return {
    seq: row[0] ?? '',
    xid: row[1] ?? '',
    atMs: row[2] ?? '',
    rel: row[3] ?? '',
    op: row[4] ?? '',
    mark: row[5] ?? null,
    leaf: row[6] ?? null,
    meta: row[7] ?? null,
    old: row[8] ?? null,
    new: row[9] ?? null,
    extra: row[10] ?? null,
    source: row[11] ?? '',
  };
}

/**
 * The order is sorted once, into a cursor that outlives its transaction: numbers alone, which spill to a temporary file
 * of some 20 bytes a mutation. Whoever comes again sorts the same batch into the same order.
 */
async function* inTransactions(
  connection: PostgresConnection,
  options: BatchOptions,
): AsyncGenerator<readonly LogRow[]> {
  const { log, ticket, limits = CHUNK_LIMITS } = options;
  const cursor = `shovel_order_${ticket.ticket}`;
  await connection.script(`declare ${cursor} no scroll cursor with hold for ${orderSql(options)}`);
  try {
    const columns = COLUMNS.map((name) => `s.${name}`).join(', ');
    // The lateral look-up keeps the order of its outer side.
    const rowsSql = withinBytes(
      `select n.slot as seq, n.source, n.place, ${columns}
       from (select u.slot, u.place, coalesce((select o.source from ${log.order} o where o.slot = u.slot), u.slot) as source
             from unnest($1::bigint[]) with ordinality u(slot, place) order by u.place) n
       cross join lateral (select * from ${log.log} one where one.seq = n.source limit 1) s`,
      { order: 'place', bytes: '$2' },
    );
    let slots: readonly string[] = [];
    for (;;) {
      if (slots.length < limits.rows) {
        const more = await connection.arrays(`fetch forward ${limits.rows} from ${cursor}`);
        slots = [...slots, ...more.map(([slot]) => slot ?? '')];
      }
      if (slots.length === 0) return;
      const wanted = slots.slice(0, limits.rows);
      const rows = await connection.arrays(rowsSql, [`{${wanted.join(',')}}`, limits.bytes.toString()]);
      // Rows that are gone end the batch here, and are missed when it is counted.
      if (rows.length === 0) return;
      slots = slots.slice(rows.length);
      yield rows.map(decodeRow);
    }
  } finally {
    // A connection that is lost took the cursor with it.
    await connection.script(`close ${cursor}`).catch(() => undefined);
  }
}

function orderSql({ log, ticket, previousSnapshot }: BatchOptions): string {
  const { firstSeq = 0n, lastSeq = 0n, snapshot } = ticket;
  const [now, before] = [snapshot, previousSnapshot].map((text) => `${quoteLiteral(text)}::pg_snapshot`);
  return `select q.seq from (
      select l.seq, pg_catalog.max(l.seq) over (partition by l.xid) as last from ${log.log} l
      where l.seq >= ${firstSeq} and l.seq <= ${lastSeq}
        and pg_catalog.pg_visible_in_snapshot(l.xid, ${now})
        and not pg_catalog.pg_visible_in_snapshot(l.xid, ${before})
    ) q order by q.last, q.seq`;
}

const COLUMNS = ['xid', 'at', 'rel', 'op', 'mark', 'leaf', 'meta', 'old', 'new', 'extra'];

/**
 * Where nested writes were put in order, the row that was logged at `source` is published at `slot`; the lateral look-up
 * keeps the order of its outer side.
 */
function chunkSql(log: LogNames, nested: boolean): string {
  const rows = nested
    ? `select l.seq, l.source, ${COLUMNS.map((name) => `s.${name}`).join(', ')}
        from (select b.seq, coalesce((select o.source from ${log.order} o where o.slot = b.seq), b.seq) as source
              from ${log.log} b where ${inBatch('b')} order by b.seq limit $5) l
        cross join lateral (select * from ${log.log} one where one.seq = l.source limit 1) s`
    : `select l.seq, l.seq as source, ${COLUMNS.map((name) => `l.${name}`).join(', ')}
        from ${log.log} l where ${inBatch('l')} order by l.seq limit $5`;
  return withinBytes(rows, { order: 'seq', bytes: '$6' });
}

/**
 * A chunk ends with the row that reaches the limit of bytes; octet_length reads the size of a TOASTed value without
 * fetching it.
 */
function withinBytes(
  rows: string,
  { order, bytes }: { readonly order: string; readonly bytes: string },
): string {
  return `select c.seq, c.xid, pg_catalog.floor(extract(epoch from c.at) * 1000)::bigint, c.rel, c.op, c.mark,
      c.leaf, c.meta, c.old, c.new, c.extra, c.source
    from (
      select r.*, pg_catalog.sum(r.bytes) over (order by r.${order} rows unbounded preceding) - r.bytes as ahead
      from (
        select q.*, coalesce(pg_catalog.octet_length(q.old), 0) + coalesce(pg_catalog.octet_length(q.new), 0)
          + coalesce(pg_catalog.octet_length(q.extra), 0) as bytes
        from (${rows}) q
      ) r
    ) c where c.ahead < ${bytes}::bigint order by c.${order}`;
}

function inBatch(row: string): string {
  return `${row}.seq > $1::bigint and ${row}.seq <= $2::bigint
          and pg_catalog.pg_visible_in_snapshot(${row}.xid, $3::pg_snapshot)
          and not pg_catalog.pg_visible_in_snapshot(${row}.xid, $4::pg_snapshot)`;
}
