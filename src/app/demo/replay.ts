/**
 * Rebuilds tables from what was published and holds them against the database, row by row, byte by byte. Trusts
 * nothing: every marker's count and checksum is checked, and that no ticket is missing or comes twice.
 *
 * It begins with a copy of the tables read in one snapshot; a mutation counts when its transaction was not visible in
 * that snapshot.
 */
import { IntegrityError } from '../../errors.js';
import { memberText } from '../../model/json-text.js';
import type { PostgresConnection } from '../../postgres/connect.js';
import { quoteIdentifier } from '../../postgres/sql-files.js';
import { createSha256, type RunningHash } from '../../runtime/hash.js';
import { SHOP_TABLES } from './shop.js';

/** Rows by key text, or by content with their number where a table has no key. */
type Rows = Map<string, { text: string; count: number }>;

export interface Comparison {
  readonly table: string;
  readonly rows: number;
  readonly missing: number;
  readonly extra: number;
  readonly different: number;
}

export class Replay {
  readonly #tables: ReadonlyMap<string, Rows>;
  readonly #baseline: Snapshot;
  #ticket: string | undefined;
  #open: { ticket: string; count: number; hash: RunningHash } | undefined;
  batches = 0;
  mutations = 0;

  constructor(tables: ReadonlyMap<string, Rows>, baseline: Snapshot) {
    this.#tables = tables;
    this.#baseline = baseline;
  }

  /** One message as it stands in the file. @throws IntegrityError */
  apply(line: string): void {
    const op = text(memberText(line, 'op'));
    const source = memberText(line, 'source') ?? '{}';
    const ticket = text(memberText(source, 'ticket'));
    if (op === 'b') {
      this.end();
      const previous = text(memberText(line, 'previous'));
      if (this.#ticket !== undefined && previous !== this.#ticket) {
        throw broken(`batch ${ticket} follows ${previous}, but the one before was ${this.#ticket}`);
      }
      this.#open = { ticket, count: 0, hash: createSha256() };
    } else if (op === 'e') {
      this.#close(line, ticket);
    } else {
      if (!this.#open) throw broken('a mutation stands outside of a batch');
      this.#open.count += 1;
      this.#open.hash.update(`${line}\n`);
      this.#mutate(line, { op, source });
    }
  }

  /** After the last message. @throws IntegrityError where it is not an end marker */
  end(): void {
    if (this.#open) throw broken(`batch ${this.#open.ticket} has no end`);
  }

  #close(line: string, ticket: string): void {
    const open = this.#open;
    if (open?.ticket !== ticket) throw broken(`the end of batch ${ticket} has no beginning`);
    const count = text(memberText(line, 'count'));
    if (count !== String(open.count))
      throw broken(`batch ${ticket} should have ${count} mutations, not ${open.count}`);
    if (text(memberText(line, 'checksum')) !== `sha256:${open.hash.hex()}`) {
      throw broken(`the checksum of batch ${ticket} is wrong`);
    }
    this.batches += 1;
    this.mutations += open.count;
    this.#ticket = ticket;
    this.#open = undefined;
  }

  #mutate(line: string, { op, source }: { op: string; source: string }): void {
    if (this.#baseline.shows(BigInt(memberText(source, 'txId') ?? '0'))) return;
    const name = `${text(memberText(source, 'schema'))}.${text(memberText(source, 'table'))}`;
    const rows = this.#tables.get(name);
    if (!rows) throw broken(`table ${name} is not in the set`);
    if (op === 't') {
      rows.clear();
      return;
    }
    const before = memberText(line, 'before');
    const after = memberText(line, 'after');
    if (op !== 'c') {
      const old = before === undefined || before === 'null' ? after : before;
      remove(rows, rowKey(name, old ?? '{}'), name);
    }
    if (op !== 'd' && after !== undefined) add(rows, rowKey(name, after), after);
  }

  /** `connection` reads in one snapshot of its own. */
  async compare(connection: PostgresConnection): Promise<readonly Comparison[]> {
    const found = await readTables(connection);
    return Object.keys(SHOP_TABLES).map((table) => {
      const replayed = this.#tables.get(table) ?? new Map<string, never>();
      const actual = found.get(table) ?? new Map<string, never>();
      const result = { table, rows: 0, missing: 0, extra: 0, different: 0 };
      for (const [key, row] of actual) {
        const other = replayed.get(key);
        result.rows += row.count;
        if (!other) result.missing += row.count;
        else if (other.text !== row.text || other.count !== row.count) result.different += 1;
      }
      for (const [key, row] of replayed) if (!actual.has(key)) result.extra += row.count;
      return result;
    });
  }
}

/** All tables in one statement each; the caller's transaction makes it one snapshot. */
export async function readTables(connection: PostgresConnection): Promise<ReadonlyMap<string, Rows>> {
  const tables = new Map<string, Rows>();
  for (const table of Object.keys(SHOP_TABLES)) {
    const name = table.split('.').map(quoteIdentifier).join('.');
    const rows: Rows = new Map();
    for (const [line] of await connection.arrays(`select pg_catalog.row_to_json(t)::text from ${name} t`)) {
      if (typeof line === 'string') add(rows, rowKey(table, line), line);
    }
    tables.set(table, rows);
  }
  return tables;
}

function rowKey(table: string, row: string): string {
  const key = SHOP_TABLES[table];
  return key ? key.map((column) => memberText(row, column)).join(' ') : row;
}

function add(rows: Rows, key: string, row: string): void {
  const found = rows.get(key);
  rows.set(key, { text: row, count: (found?.count ?? 0) + 1 });
}

function remove(rows: Rows, key: string, table: string): void {
  const found = rows.get(key);
  if (!found) throw broken(`a mutation of ${table} changes a row that is not there`);
  if (found.count > 1) found.count -= 1;
  else rows.delete(key);
}

/** pg_snapshot as text: `xmin:xmax:xip,xip`. */
export class Snapshot {
  readonly #xmax: bigint;
  readonly #running: ReadonlySet<bigint>;

  constructor(snapshot: string) {
    const [, xmax = '0', running = ''] = snapshot.split(':');
    this.#xmax = BigInt(xmax);
    this.#running = new Set(running === '' ? [] : running.split(',').map(BigInt));
  }

  /** Whether a transaction that has committed by now is in it. */
  shows(xid: bigint): boolean {
    return xid < this.#xmax && !this.#running.has(xid);
  }
}

/** A JSON string that needs no unescaping: names, tickets, checksums. */
function text(json: string | undefined): string {
  return json === undefined ? '' : json.replace(/^"|"$/g, '');
}

function broken(what: string): IntegrityError {
  return new IntegrityError('demo_stream_broken', `The published stream is broken: ${what}.`, {
    hint: 'This is a bug; please report it with the file of the stream.',
  });
}
