/**
 * From log rows to mutations as they are published: application context joined to them, truncates of a partition told
 * from those of a whole table, filters applied, rows of tables that a stream does not carry left out. Everything it says of a row is
 * the same each time the batch is read.
 */
import { isJson, memberText, spaceLineBreaks } from '../model/json-text.js';
import type { Mutation, MutationMark, MutationOperation } from '../model/mutation.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { CapturedTables, KnownTable } from './captured-tables.js';
import { type BatchOptions, type LogRow, readLogRows } from './log-rows.js';
import { PartitionTruncates } from './partition-truncates.js';
import { RowFilters } from './row-filters.js';

export interface MutationReaderOptions extends BatchOptions {
  readonly tables: CapturedTables;
  /** Which tables the stream carries. */
  readonly carries: (table: KnownTable) => boolean;
  /** Called for every row that bears a mark, whether or not the stream carries it. */
  readonly marked?: (row: LogRow) => void;
}

export interface ReadMutation {
  readonly mutation: Mutation;
  readonly table: KnownTable;
}

/** Chunks of the batch, some of them perhaps empty. @throws what readLogRows and CapturedTables throw */
export async function* readMutations(
  connection: PostgresConnection,
  options: MutationReaderOptions,
): AsyncGenerator<readonly ReadMutation[]> {
  const contexts = new Contexts(connection, options);
  const filters = new RowFilters(connection, options.log);
  const truncates = new PartitionTruncates();
  for await (const rows of readLogRows(connection, options)) {
    await options.tables.load(connection, distinctRels(rows));
    await contexts.load(rows);
    await filters.load(rows, options.tables);
    const chunk: ReadMutation[] = [];
    for (const row of rows) {
      if (row.mark !== null) options.marked?.(row);
      const operation = operationOf(row.op);
      const table = operation === undefined ? undefined : options.tables.get(row.rel);
      if (operation === undefined || table === undefined || !options.carries(table)) continue;
      const truncated = truncates.next(row, { operation, table });
      if (truncated === 'part_of_root') continue;
      const published = operation === 'T' ? operation : filters.apply(row, operation, table);
      if (published === undefined) continue;
      const partition = truncated === 'partition' ? partitionOf(row) : null;
      const metadata = contexts.of(row);
      chunk.push({
        mutation: mutationOf(row, { operation: published, version: table.version, partition, metadata }),
        table,
      });
    }
    yield chunk;
  }
}

function mutationOf(
  row: LogRow,
  more: Pick<Mutation, 'version' | 'partition' | 'metadata'> & { readonly operation: MutationOperation },
): Mutation {
  return {
    seq: row.seq,
    xid: row.xid,
    atMs: row.atMs,
    rel: row.rel,
    version: more.version,
    op: more.operation,
    mark: markOf(row.mark),
    old: row.old,
    new: row.new,
    extra: row.extra,
    metadata: more.metadata,
    partition: more.partition,
  };
}

function operationOf(op: string): MutationOperation | undefined {
  return op === 'I' || op === 'U' || op === 'K' || op === 'D' || op === 'T' ? op : undefined;
}

/** A mark that this release does not know is one that it can't publish. */
function markOf(mark: string | null): MutationMark | null {
  return mark === null || mark === 'f' || mark === 'o' ? mark : 'u';
}

function distinctRels(rows: readonly LogRow[]): ReadonlySet<string> {
  const rels = new Set<string>();
  for (const row of rows) if (row.op !== 'M') rels.add(row.rel);
  return rels;
}

/** As it was when it was truncated; of one whose place could not be told only its number, and no bound. */
function partitionOf({ leaf, extra }: LogRow): { readonly name: string; readonly bound: string } {
  const name = memberText(extra ?? '', 'name') ?? JSON.stringify(`oid ${leaf}`);
  return { name, bound: memberText(extra ?? '', 'bound') ?? 'null' };
}

interface Context {
  readonly xid: string;
  readonly json: string;
}

/** Most texts kept at a time, and most of their characters. */
const KEPT = { texts: 1000, characters: 1024 * 1024 };

/** Application context by the number of its log row; the most recent ones are kept. */
class Contexts {
  readonly #connection: PostgresConnection;
  readonly #options: BatchOptions;
  #known = new Map<string, Context | undefined>();
  #characters = 0;

  constructor(connection: PostgresConnection, options: BatchOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /** Makes sure that all of this chunk's are known. */
  async load(rows: readonly LogRow[]): Promise<void> {
    const wanted = new Set<string>();
    for (const row of rows) if (row.meta !== null && row.op !== 'M') wanted.add(row.meta);
    if (wanted.size === 0) return;
    this.#forget(wanted);
    for (const row of rows) {
      if (row.op === 'M' && wanted.has(row.seq)) this.#learn(row.seq, { xid: row.xid, text: row.new });
    }
    const missing = [...wanted].filter((seq) => !this.#known.has(seq));
    if (missing.length === 0) return;
    const found = await this.#connection.arrays(
      `select l.seq, l.xid, l.new from ${this.#options.log.log} l where l.seq = any ($1::bigint[]) and l.op = 'M'`,
      [`{${missing.join(',')}}`],
    );
    for (const [seq, xid, text] of found) this.#learn(seq ?? '', { xid: xid ?? '', text: text ?? null });
    for (const seq of missing) if (!this.#known.has(seq)) this.#known.set(seq, undefined);
  }

  /** JSON text; null where there is none. A number that is not of the row's own transaction is an application's. */
  of(row: LogRow): string | null {
    const context = row.meta === null ? undefined : this.#known.get(row.meta);
    return context !== undefined && context.xid === row.xid ? context.json : null;
  }

  #learn(seq: string, { xid, text }: { readonly xid: string; readonly text: string | null }): void {
    if (text === null || text === '' || this.#known.has(seq)) return;
    const json = isJson(text) ? spaceLineBreaks(text.trim()) : JSON.stringify(text);
    this.#known.set(seq, { xid, json });
    this.#characters += json.length;
  }

  /** Before a chunk, of what it does not want: its own are bounded by its size. */
  #forget(wanted: ReadonlySet<string>): void {
    if (this.#known.size <= KEPT.texts && this.#characters <= KEPT.characters) return;
    const kept = new Map([...this.#known].filter(([seq]) => wanted.has(seq)));
    this.#known = kept;
    this.#characters = [...kept.values()].reduce((sum, context) => sum + (context?.json.length ?? 0), 0);
  }
}
