/**
 * Row filters (`where`): asks PostgreSQL, which alone compares as the column's type does, whether the rows of a chunk
 * pass, and turns crossings into what a reader has to see: a row that leaves is deleted, one that enters inserted.
 * A row that lacks a column of its filter is judged by the first later version of the table whose filter fits it.
 */
import { EXIT, IntegrityError, ShovelError } from '../errors.js';
import type { MutationOperation } from '../model/mutation.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { PostgresError } from '../postgres/sqlstate.js';
import type { CapturedTables, KnownTable } from './captured-tables.js';
import type { LogRow } from './log-rows.js';
import type { LogNames } from './relay-set.js';

/** Classes of SQLSTATEs that say nothing of the rows: resources, a cancelled statement, an error of the system. */
const SERVER: ReadonlySet<string> = new Set(['53', '57', '58']);

/** Undefined: nothing is published. */
export type FilteredOperation = Exclude<MutationOperation, 'T'> | undefined;

interface Verdict {
  readonly old: boolean | undefined;
  readonly new: boolean | undefined;
}

export class RowFilters {
  readonly #connection: PostgresConnection;
  readonly #log: LogNames;
  /** By the number at which the row was logged; of one chunk. */
  #verdicts: ReadonlyMap<string, Verdict> = new Map();

  constructor(connection: PostgresConnection, log: LogNames) {
    this.#connection = connection;
    this.#log = log;
  }

  /** @throws IntegrityError `where_failed` */
  async load(rows: readonly LogRow[], tables: CapturedTables): Promise<void> {
    const bySource = new Map<string, { table: KnownTable; sources: string[] }>();
    for (const row of rows) {
      const table = row.op === 'T' || row.op === 'M' ? undefined : tables.get(row.rel);
      if (table?.captured.where === undefined) continue;
      const group = bySource.get(row.rel) ?? { table, sources: [] };
      group.sources.push(row.source);
      bySource.set(row.rel, group);
    }
    const verdicts = new Map<string, Verdict>();
    for (const [rel, { table, sources }] of bySource) {
      const { where } = table.captured;
      if (where === undefined) continue;
      for (const [seq, verdict] of await this.#judge(table, { rel, sources })) verdicts.set(seq, verdict);
      let open = rows.filter((row) => row.rel === rel && isOpen(row, verdicts.get(row.source)));
      if (open.length === 0) continue;
      for (const heir of await tables.later(this.#connection, rel)) {
        const judged = await this.#judge(heir, { rel, sources: open.map((row) => row.source) });
        for (const row of open) {
          const verdict = judged.get(row.source);
          if (verdict !== undefined && !isOpen(row, verdict)) verdicts.set(row.source, verdict);
        }
        open = open.filter((row) => isOpen(row, verdicts.get(row.source)));
        if (open.length === 0) break;
      }
    }
    this.#verdicts = verdicts;
  }

  /** What a table's filter says of rows, whichever version of the table they were captured by. */
  async #judge(
    table: KnownTable,
    { rel, sources }: { readonly rel: string; readonly sources: readonly string[] },
  ): Promise<ReadonlyMap<string, Verdict>> {
    const { where } = table.captured;
    if (where === undefined) return new Map(sources.map((source) => [source, { old: true, new: true }]));
    const found = await this.#ask(table, {
      sql: `select l.seq, (${where.old})::text, (${where.new})::text from ${this.#log.log} l
            where l.seq = any ($1::bigint[]) and l.rel = $2::integer`,
      values: [`{${sources.join(',')}}`, rel],
    });
    return new Map(found.map(([seq, old, next]) => [seq ?? '', { old: decode(old), new: decode(next) }]));
  }

  /**
   * As what a mutation of a filtered table is published.
   * @throws a retryable ShovelError `where_column_missing`
   */
  apply(row: LogRow, operation: Exclude<MutationOperation, 'T'>, table: KnownTable): FilteredOperation {
    if (table.captured.where === undefined || row.mark === 'o' || row.mark === 'u') return operation;
    const verdict = this.#verdicts.get(row.source);
    const before = operation === 'I' ? false : this.#known(verdict?.old, row, table);
    const after = operation === 'D' ? false : this.#known(verdict?.new, row, table);
    if (before && after) return operation;
    if (before) return 'D';
    return after ? 'I' : undefined;
  }

  async #ask(
    table: KnownTable,
    { sql, values }: { readonly sql: string; readonly values: readonly string[] },
  ): Promise<readonly (readonly (string | null)[])[]> {
    try {
      return await this.#connection.arrays(sql, values);
    } catch (error) {
      if (!(error instanceof PostgresError) || error.retryable || SERVER.has(error.sqlstate.slice(0, 2)))
        throw error;
      const { schema, table: name, where } = table.captured;
      throw new IntegrityError(
        'where_failed',
        `Table ${schema}.${name} of set ${this.#log.display}: its filter can't be evaluated on rows that were captured (SQLSTATE ${error.sqlstate}).`,
        {
          hint: `Was the type of ${where?.columns.join(', ') ?? 'a column'} dropped, or a label of it renamed? Put it back and start the relay again; else shovel set upgrade without the streams, then with them, and bootstrap their targets.`,
          details: { set: this.#log.set, schema, table: name, sqlstate: error.sqlstate },
          cause: error,
        },
      );
    }
  }

  #known(passes: boolean | undefined, row: LogRow, { captured }: KnownTable): boolean {
    if (passes !== undefined) return passes;
    throw new ShovelError(
      { code: 'where_column_missing', exitCode: EXIT.integrity, retryable: true },
      `Table ${captured.schema}.${captured.table}: the row of mutation ${row.seq} lacks a column of its filter (${captured.where?.columns.join(', ') ?? ''}).`,
      {
        hint: 'Was a column renamed or dropped? Run shovel set upgrade with a filter that names it as it is now.',
        details: { set: this.#log.set, schema: captured.schema, table: captured.table, seq: row.seq },
      },
    );
  }
}

/** Something that matters of it is unknown: the row lacks a column of the filter. */
function isOpen({ op, mark }: LogRow, verdict: Verdict | undefined): boolean {
  if (mark === 'o' || mark === 'u') return false;
  return (op !== 'I' && verdict?.old === undefined) || (op !== 'D' && verdict?.new === undefined);
}

function decode(text: string | null | undefined): boolean | undefined {
  return text === null || text === undefined ? undefined : text === 'true';
}
