/**
 * A consumer that knows nothing but the message format: reads messages of set topics or lines of a file, checks every
 * marker, and rebuilds the tables. Rows stay the text that was sent, so a digit that was lost is found.
 */
import { createHash, type Hash } from 'node:crypto';
import { members, memberText } from '../../src/model/json-text.js';

export interface ReaderOptions {
  /** Key columns by `schema.table`; null: no key, rows are told apart by their whole content. */
  readonly keys: Readonly<Record<string, readonly string[] | null>>;
  /** Default true; false where there are too many to keep. */
  readonly keepMutations?: boolean;
  /** The stream has whole transactions one after another, so numbers only grow within each. Default false. */
  readonly transactions?: boolean;
  /** False for a partition of a keyed topic, which has mutations alone. Default true. */
  readonly markers?: boolean;
  /**
   * Whether a row stood in the partition that was truncated alone: the message names it and its bound, the row does
   * not. Without this such truncates leave the rows as they are.
   */
  readonly inPartition?: (
    row: string,
    truncated: { readonly table: string; readonly partition: string; readonly bound: string },
  ) => boolean;
}

/** A row as its messages make it. */
interface ReadRow {
  readonly text: string;
  /** Columns whose null is a JSON null. */
  readonly jsonNull: readonly string[];
  readonly count: number;
}

interface OpenBatch {
  readonly ticket: bigint;
  readonly snapshot: string;
  readonly hash: Hash;
  count: bigint;
  lastSeq: bigint;
}

/** Throws at the first message that is not what the format promises. */
export class Reader {
  readonly #options: ReaderOptions;
  /** Rows by key text, or by content with how often they are there. */
  readonly #tables = new Map<string, Map<string, ReadRow>>();
  #open: OpenBatch | undefined;
  #last: { readonly ticket: bigint; readonly snapshot: string } | undefined;
  /** Mutations read so far: operation, table, seq and context. */
  readonly mutations: {
    readonly op: string;
    readonly table: string;
    readonly ticket: bigint;
    readonly seq: bigint;
    readonly xid: string;
    readonly before: string;
    readonly after: string;
    readonly source: string;
  }[] = [];

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** The ticket of the newest whole batch. */
  get ticket(): bigint | undefined {
    return this.#last?.ticket;
  }

  get within(): boolean {
    return this.#open !== undefined;
  }

  take(value: string): void {
    if (value.includes('\n')) throw new Error('a message holds a raw line break');
    JSON.parse(value);
    const op = text(value, 'op');
    if (op === 'b') this.#begin(value);
    else if (op === 'e') this.#end(value);
    else this.#mutation(value, op);
  }

  /** Rows of a table, sorted, one as often as it is there. */
  rows(table: string): readonly string[] {
    return this.rowsWithNulls(table)
      .map(({ text: row }) => row)
      .sort();
  }

  /** The same with what JSON can't tell, in no order. */
  rowsWithNulls(table: string): readonly Pick<ReadRow, 'text' | 'jsonNull'>[] {
    const rows = [...(this.#tables.get(table)?.values() ?? [])];
    return rows.flatMap((row) => Array.from({ length: row.count }, () => row));
  }

  #begin(value: string): void {
    if (this.#open) throw new Error(`batch ${this.#open.ticket} has no end`);
    const ticket = BigInt(text(memberText(value, 'source') ?? '', 'ticket'));
    const previous = BigInt(text(value, 'previous'));
    if (previous !== ticket - 1n) throw new Error(`ticket ${ticket} says that it follows ${previous}`);
    if (this.#last !== undefined) {
      if (this.#last.ticket !== previous) throw new Error(`ticket ${ticket} came after ${this.#last.ticket}`);
      if (this.#last.snapshot !== text(value, 'previous_snapshot')) throw new Error('snapshots do not join');
    }
    const snapshot = text(value, 'snapshot');
    this.#open = { ticket, snapshot, hash: createHash('sha256'), count: 0n, lastSeq: 0n };
  }

  #end(value: string): void {
    const open = this.#open;
    if (open === undefined) throw new Error('an end without a beginning');
    if (text(memberText(value, 'source') ?? '', 'ticket') !== open.ticket.toString()) {
      throw new Error(`batch ${open.ticket} is ended by another`);
    }
    if (text(value, 'count') !== open.count.toString())
      throw new Error(`batch ${open.ticket} lacks messages`);
    if (text(value, 'checksum') !== `sha256:${open.hash.digest('hex')}`) {
      throw new Error(`the checksum of batch ${open.ticket} is wrong`);
    }
    this.#last = { ticket: open.ticket, snapshot: open.snapshot };
    this.#open = undefined;
  }

  #mutation(value: string, op: string): void {
    const source = memberText(value, 'source') ?? '{}';
    const ticket = BigInt(text(source, 'ticket'));
    const seq = BigInt(text(source, 'seq'));
    if (this.#options.markers !== false) this.#inBatch(value, { ticket, seq });
    const table = `${text(source, 'schema')}.${text(source, 'table')}`;
    const before = memberText(value, 'before') ?? '';
    const after = memberText(value, 'after') ?? '';
    const xid = memberText(source, 'txId') ?? '';
    if (this.#options.keepMutations !== false) {
      this.mutations.push({ op, table, ticket, seq, xid, before, after, source });
    }
    this.#apply({ op, table, before, after, source });
  }

  #inBatch(value: string, { ticket, seq }: { readonly ticket: bigint; readonly seq: bigint }): void {
    const open = this.#open;
    if (open === undefined) throw new Error('a mutation outside of a batch');
    open.hash.update(`${value}\n`);
    open.count += 1n;
    if (ticket !== open.ticket) throw new Error('a mutation of another ticket');
    if (seq <= open.lastSeq && this.#options.transactions !== true)
      throw new Error(`mutation ${seq} came after ${open.lastSeq}`);
    open.lastSeq = seq;
  }

  #apply({
    op,
    table,
    before,
    after,
    source,
  }: Record<'op' | 'table' | 'before' | 'after' | 'source', string>) {
    const rows = this.#tables.get(table) ?? new Map<string, ReadRow>();
    this.#tables.set(table, rows);
    if (op === 't') {
      this.#truncate(rows, { table, source });
      return;
    }
    const key = this.#options.keys[table];
    if (key === undefined) throw new Error(`nobody said what the key of ${table} is`);
    let found: ReadRow | undefined;
    if (op === 'u' || op === 'd') {
      const nulls = names(source, op === 'd' ? 'json_null' : 'json_null_before');
      const old = rowKey(before === 'null' ? after : before, { key, nulls });
      found = rows.get(old);
      if (found === undefined) throw new Error(`${op} of a row of ${table} that is not there`);
      for (const [name, value] of members(before === 'null' ? '{}' : before)) {
        const there = memberText(found.text, name);
        if (there !== undefined && there !== value)
          throw new Error(`${op} of a row of ${table}: ${name} was ${there}, before says ${value}`);
      }
      if (found.count > 1) rows.set(old, { ...found, count: found.count - 1 });
      else rows.delete(old);
    }
    if (op === 'u' || op === 'c') {
      const row = merged({ after, source }, found);
      const own = rowKey(row.text, { key, nulls: row.jsonNull });
      const there = rows.get(own);
      if (there !== undefined && key !== null)
        throw new Error(`${op} of a row of ${table} that is there already`);
      rows.set(own, { ...row, count: (there?.count ?? 0) + 1 });
    }
  }

  #truncate(rows: Map<string, ReadRow>, { table, source }: { table: string; source: string }): void {
    if (memberText(source, 'partition') === undefined) {
      rows.clear();
      return;
    }
    const { inPartition } = this.#options;
    if (inPartition === undefined) return;
    const truncated = { table, partition: text(source, 'partition'), bound: text(source, 'bound') };
    for (const [key, row] of rows) if (inPartition(row.text, truncated)) rows.delete(key);
  }
}

/** What an update left out is taken from the row as it was, in that row's order of columns. */
function merged(
  { after, source }: { after: string; source: string },
  found: ReadRow | undefined,
): Pick<ReadRow, 'text' | 'jsonNull'> {
  const jsonNull = names(source, 'json_null');
  const unchanged = names(source, 'unchanged');
  if (unchanged.length === 0) return { text: after, jsonNull };
  if (found === undefined) throw new Error('an insert that leaves out columns');
  const columns = new Map(members(after));
  const kept = new Map(members(found.text));
  for (const name of unchanged) {
    if (columns.has(name) || !kept.has(name)) throw new Error(`${name} is said to be left out`);
  }
  const all = new Map([...kept].filter(([name]) => columns.has(name) || unchanged.includes(name)));
  for (const [name, value] of columns) all.set(name, value);
  return {
    text: `{${[...all].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`,
    jsonNull: [...jsonNull, ...found.jsonNull.filter((name) => unchanged.includes(name))].sort(),
  };
}

function names(source: string, member: string): readonly string[] {
  const list: unknown = JSON.parse(memberText(source, member) ?? '[]');
  if (!Array.isArray(list)) throw new Error(`${member} is no list`);
  return list.map(String).sort();
}

function rowKey(
  row: string,
  { key, nulls }: { key: readonly string[] | null; nulls: readonly string[] },
): string {
  if (key === null) return nulls.length === 0 ? row : `${row} ${JSON.stringify(nulls)}`;
  return key.map((column) => memberText(row, column)).join(' ');
}

/** A member that is a JSON string. */
function text(json: string, name: string): string {
  const value: unknown = JSON.parse(memberText(json, name) ?? 'null');
  if (typeof value !== 'string') throw new Error(`${name} is missing`);
  return value;
}
