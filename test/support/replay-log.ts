/**
 * Makes tables out of the log alone, in its order, and compares them with the real ones, row by row and value by
 * value. Knows only what a log row says and what its definition says; on the way it holds whole old images against the
 * rows that it has, so that a mutation which is missing or out of order does not pass because a later one covers it.
 */
import type { CapturedTable } from '../../src/model/captured-table.js';
import { members } from '../../src/model/json-text.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { quoteIdentifier } from '../../src/postgres/sql-files.js';
import type { LogRow } from './captured-node.js';

type Definition = CapturedTable & { readonly relid: string };

/** A column's value: raw JSON, or PostgreSQL's text where JSON can't tell. */
interface Value {
  readonly kind: 'json' | 'text';
  readonly text: string;
}

interface ReplayedRow {
  readonly leaf: string | null;
  readonly columns: ReadonlyMap<string, Value>;
}

export interface ReplayContext {
  readonly definitions: ReadonlyMap<string, Definition>;
  readonly connection: PostgresConnection;
}

/** What differs, in words; `[]` where the log makes the tables. */
export async function replayLog(log: readonly LogRow[], context: ReplayContext): Promise<readonly string[]> {
  const tables = new Map<string, ReplayedTable>();
  const problems: string[] = [];
  for (const row of log) {
    if (row.op === 'M') continue;
    const definition = context.definitions.get(row.rel);
    if (!definition) {
      problems.push(`seq ${row.seq}: rel ${row.rel} is unknown`);
      continue;
    }
    const table = tables.get(definition.relid) ?? new ReplayedTable();
    tables.set(definition.relid, table);
    problems.push(...table.apply(row, definition));
  }
  const newest = new Map(
    [...context.definitions.values()].map((definition) => [definition.relid, definition]),
  );
  for (const [relid, definition] of newest) {
    problems.push(...(await compare(tables.get(relid) ?? new ReplayedTable(), { definition, context })));
  }
  return problems;
}

class ReplayedTable {
  /** By key; keyless rows by content, each as often as it is there. */
  readonly rows = new Map<string, ReplayedRow[]>();

  apply(row: LogRow, definition: Definition): readonly string[] {
    if (row.op === 'T') {
      this.#truncate(row.leaf ?? '', definition);
      return [];
    }
    if (row.mark === 'o' || row.mark === 'u') return [`seq ${row.seq} is marked ${row.mark} (${row.extra})`];
    const old = row.old === null ? undefined : image(row, 'old');
    const next = row.new === null ? undefined : image(row, 'new');
    const problems: string[] = [];
    let before: ReplayedRow | undefined;
    if (row.op !== 'I') {
      const from = row.op === 'U' && row.mark !== 'f' && definition.key ? (old ?? next) : old;
      if (!from) return [`seq ${row.seq}: ${row.op} without an image to find its row by`];
      const key = keyOf(from, definition);
      before = this.#take(key);
      if (!before) problems.push(`seq ${row.seq}: ${row.op} of ${key}, which is not there`);
      if (before && old && (definition.before === 'full' || row.mark === 'f')) {
        for (const [name, value] of old) {
          const there = before.columns.get(name);
          if (there && !same(there, value)) {
            problems.push(`seq ${row.seq}: old ${name} is ${value.text}, the row has ${there.text}`);
          }
        }
      }
    }
    if (row.op === 'D') return problems;
    if (!next) return [...problems, `seq ${row.seq}: ${row.op} without a new image`];
    const columns = new Map(next);
    for (const name of unchanged(row)) {
      const value = before?.columns.get(name);
      if (value) columns.set(name, value);
    }
    const key = keyOf(columns, definition);
    const there = this.rows.get(key) ?? [];
    if (definition.key && there.length > 0)
      problems.push(`seq ${row.seq}: ${row.op} of ${key}, which is there already`);
    this.rows.set(key, [...there, { leaf: row.leaf, columns }]);
    return problems;
  }

  #take(key: string): ReplayedRow | undefined {
    const there = this.rows.get(key) ?? [];
    const [first, ...rest] = there;
    if (rest.length === 0) this.rows.delete(key);
    else this.rows.set(key, rest);
    return first;
  }

  #truncate(leaf: string, definition: Definition): void {
    for (const [key, rows] of this.rows) {
      const kept = leaf === definition.relid ? [] : rows.filter((row) => row.leaf !== leaf);
      if (kept.length === 0) this.rows.delete(key);
      else this.rows.set(key, kept);
    }
  }
}

interface Extra {
  readonly text: ReadonlyMap<string, string>;
}

function extraOf(row: LogRow, side: 'old' | 'new'): Extra {
  const text = new Map<string, string>();
  const parsed: unknown = row.extra === null ? null : JSON.parse(row.extra);
  for (const [member, value] of Object.entries(record(record(parsed)[side]))) {
    if (!/^text\d*$/.test(member)) continue;
    for (const [name, one] of Object.entries(record(value))) text.set(name, String(one));
  }
  return { text };
}

function unchanged(row: LogRow): readonly string[] {
  const parsed: unknown = row.extra === null ? null : JSON.parse(row.extra);
  const list = record(record(parsed).update).unchanged;
  return Array.isArray(list) ? list.map(String) : [];
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function image(row: LogRow, side: 'old' | 'new'): ReadonlyMap<string, Value> {
  const { text } = extraOf(row, side);
  const left = side === 'new' ? new Set(unchanged(row)) : new Set<string>();
  const columns = new Map<string, Value>();
  for (const [name, raw] of members(row[side] ?? '')) {
    if (left.has(name)) continue;
    const replaced = text.get(name);
    columns.set(
      name,
      replaced === undefined ? { kind: 'json', text: raw } : { kind: 'text', text: replaced },
    );
  }
  return columns;
}

function same(a: Value, b: Value): boolean {
  return a.kind === b.kind && a.text === b.text;
}

function keyOf(columns: ReadonlyMap<string, Value>, definition: Definition): string {
  const list = definition.key ?? [...columns.keys()];
  return JSON.stringify(list.map((name) => [columns.get(name)?.kind, columns.get(name)?.text]));
}

/** Every row of the real table, as JSON and as text. */
async function compare(
  replayed: ReplayedTable,
  { definition, context }: { definition: Definition; context: ReplayContext },
): Promise<readonly string[]> {
  const { connection } = context;
  const found = await connection.query(
    `select n.nspname, c.relname, json_agg(a.attname order by a.attnum) as columns
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
     where c.oid = $1 group by 1, 2`,
    [definition.relid],
  );
  const [table] = found;
  if (!table) return [`${definition.schema}.${definition.table} is gone`];
  const all: readonly string[] = JSON.parse(table.columns ?? '[]') as readonly string[];
  const columns = definition.columns ? all.filter((name) => definition.columns?.includes(name)) : all;
  const only = definition.partitioned ? '' : 'only ';
  const texts = columns.map(
    (name) =>
      `case when num_nonnulls(t.${quoteIdentifier(name)}) = 1 then format('%s', t.${quoteIdentifier(name)}) end`,
  );
  const rows = await connection.arrays(
    `select row_to_json(t), ${texts.join(', ')} from ${only}${quoteIdentifier(table.nspname ?? '')}.${quoteIdentifier(table.relname ?? '')} t`,
  );
  const name = `${definition.schema}.${definition.table}`;
  const problems: string[] = [];
  const left = new Map([...replayed.rows].map(([key, list]) => [key, [...list]]));
  for (const [json, ...fields] of rows) {
    const raw = new Map(members(json ?? ''));
    const text = new Map(columns.map((column, i) => [column, fields[i] ?? null]));
    const key = keyFromTable({ raw, text }, { definition, columns, candidates: left });
    const list = left.get(key);
    const row = list?.pop();
    if (!row) {
      problems.push(`${name}: ${key} is not in the log`);
      continue;
    }
    if (list?.length === 0) left.delete(key);
    for (const column of columns) {
      const value = row.columns.get(column);
      const expected = value?.kind === 'text' ? text.get(column) : raw.get(column);
      // What was added later, with nothing written since.
      if (value === undefined && raw.get(column) === 'null') continue;
      if (value?.text !== expected)
        problems.push(`${name} ${key}: ${column} is ${expected}, the log says ${value?.text}`);
    }
    for (const column of row.columns.keys()) {
      if (!columns.includes(column) && !isGone(definition, all, column))
        problems.push(`${name} ${key}: the log has ${column}`);
    }
  }
  for (const key of left.keys()) problems.push(`${name}: ${key} is in the log and not in the table`);
  return problems;
}

/** Virtual generated columns are null in the log; a column that was dropped may still be there. */
function isGone(definition: Definition, all: readonly string[], column: string): boolean {
  return definition.columns === null && !all.includes(column);
}

/** Values that JSON can't tell stand in the log's key as text, so the plain key is a first guess only. */
function keyFromTable(
  row: { readonly raw: ReadonlyMap<string, string>; readonly text: ReadonlyMap<string, string | null> },
  {
    definition,
    columns,
    candidates,
  }: {
    definition: Definition;
    columns: readonly string[];
    candidates: ReadonlyMap<string, readonly ReplayedRow[]>;
  },
): string {
  const list = definition.key ?? columns;
  const plain = JSON.stringify(list.map((name) => ['json', row.raw.get(name)]));
  if (candidates.has(plain)) return plain;
  const matches = (one: ReplayedRow, name: string) => {
    const value = one.columns.get(name);
    return value?.text === (value?.kind === 'text' ? row.text.get(name) : row.raw.get(name));
  };
  for (const [key, rows] of candidates) {
    if (rows.some((one) => list.every((name) => matches(one, name)))) return key;
  }
  return plain;
}
