/** What the numbers in the log stand for: captured tables of a set, read once each from the node. */
import { IntegrityError } from '../errors.js';
import { type CapturedTable, decodeCapturedTable } from '../model/captured-table.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { LogNames } from './relay-set.js';

export interface KnownTable {
  readonly captured: CapturedTable;
  /** Of the set, that its functions were made for. */
  readonly version: string;
  /** The root's, where it is partitioned. */
  readonly relid: string;
}

export class CapturedTables {
  readonly #log: LogNames;
  readonly #known = new Map<string, KnownTable>();

  constructor(log: LogNames) {
    this.#log = log;
  }

  /** Undefined until it was loaded. */
  get(rel: string): KnownTable | undefined {
    return this.#known.get(rel);
  }

  /** @throws IntegrityError `captured_table_missing` */
  async load(connection: PostgresConnection, rels: Iterable<string>): Promise<void> {
    const missing = [...rels].filter((rel) => !this.#known.has(rel));
    if (missing.length === 0) return;
    const rows = await connection.query(
      `select c.rel, c.set_version, c.relid, c.definition from ${this.#log.schema}.captured_table c
       where c.set_name = $1 and c.rel = any ($2::integer[])`,
      [this.#log.set, `{${missing.join(',')}}`],
    );
    for (const row of rows) this.#known.set(row.rel ?? '', this.#decode(row));
    const lost = missing.find((rel) => !this.#known.has(rel));
    if (lost !== undefined) throw this.#damaged(lost, undefined);
  }

  /**
   * The same table as later versions describe it, oldest first: what they know of its columns may fit a row that was
   * captured while the set still described the table as it had been before.
   */
  async later(connection: PostgresConnection, rel: string): Promise<readonly KnownTable[]> {
    const rows = await connection.query(
      `select c.rel, c.set_version, c.relid, c.definition from ${this.#log.schema}.captured_table c
       join ${this.#log.schema}.captured_table o on o.set_name = c.set_name and o.rel = $2::integer
         and c.rel > o.rel and (c.relid = o.relid or (c.schema_name, c.table_name) = (o.schema_name, o.table_name))
       where c.set_name = $1 order by c.rel`,
      [this.#log.set, rel],
    );
    return rows.map((row) => this.#decode(row));
  }

  #decode(row: Readonly<Record<string, string | null>>): KnownTable {
    try {
      const captured = decodeCapturedTable(row.definition ?? '');
      return { captured, version: row.set_version ?? '', relid: row.relid ?? '' };
    } catch (cause) {
      throw this.#damaged(row.rel ?? '', cause);
    }
  }

  #damaged(rel: string, cause: unknown): IntegrityError {
    return new IntegrityError(
      'captured_table_missing',
      `Set ${this.#log.display}: the log holds mutations of table number ${rel}, which the node does not describe.`,
      {
        hint: `Was the schema changed by hand? Restore the row with rel = ${rel} in ${this.#log.names.schema}.captured_table from a dump; else shovel set upgrade without the streams, then with them, and bootstrap their targets.`,
        details: { set: this.#log.set, rel },
        cause,
      },
    );
  }
}
