/**
 * What a relay meets in the log that was not captured as its version says: rows that were captured whole because the
 * function did not fit them, and rows that have their key alone. Says so once for each table, and keeps count in the
 * node for `shovel doctor`: one row a table and mark, written every few seconds at most. Never in the way of publishing.
 */
import { ShovelError } from '../errors.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { PostgresError, SQLSTATE } from '../postgres/sqlstate.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/logger.js';
import type { CapturedTables } from './captured-tables.js';
import type { LogRow } from './log-rows.js';
import type { LogNames } from './relay-set.js';

export interface CaptureDriftOptions {
  readonly log: LogNames;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Seen {
  readonly rel: string;
  readonly mark: string;
  /** Of those that are not stored yet. */
  mutations: bigint;
  lastSeq: bigint;
  storedMs: number | undefined;
}

const STORE_EVERY_MS = 5000;

const WHAT: Readonly<Record<string, string>> = {
  f: 'rows are captured whole, because the table has changed since capture was made for it: run shovel set upgrade',
  o: 'rows past limits.row_bytes are captured by their key alone: streams stop at them',
  u: 'rows have no JSON and are captured by their key alone: streams stop at them',
};

export class CaptureDrift {
  readonly #options: CaptureDriftOptions;
  readonly #seen = new Map<string, Seen>();
  /** False where the node's schema has no place for it. */
  #stores = true;

  constructor(options: CaptureDriftOptions) {
    this.#options = options;
  }

  /** A row that bears a mark. Streams read the same rows, and batches are read again: each counts once. */
  note({ rel, mark, source }: Pick<LogRow, 'rel' | 'mark' | 'source'>): void {
    if (mark === null) return;
    const key = `${rel} ${mark}`;
    const seq = BigInt(source);
    const seen = this.#seen.get(key) ?? { rel, mark, mutations: 0n, lastSeq: -1n, storedMs: undefined };
    if (seq <= seen.lastSeq) return;
    seen.mutations += 1n;
    seen.lastSeq = seq;
    this.#seen.set(key, seen);
  }

  /** To be called at the end of a batch, however it ended. Throws only for bugs. */
  async store(connection: PostgresConnection, tables: CapturedTables): Promise<void> {
    const nowMs = this.#options.clock.now();
    for (const seen of this.#seen.values()) {
      if (seen.mutations === 0n) continue;
      if (seen.storedMs === undefined) this.#tell(seen, tables);
      else if (nowMs - seen.storedMs < STORE_EVERY_MS) continue;
      const { mutations } = seen;
      seen.storedMs = nowMs;
      if (await this.#write(connection, seen)) seen.mutations -= mutations;
    }
  }

  #tell({ rel, mark }: Seen, tables: CapturedTables): void {
    const table = tables.get(rel)?.captured;
    this.#options.logger.warn(
      { table: table === undefined ? rel : `${table.schema}.${table.table}` },
      WHAT[mark] ?? `rows bear the mark ${mark}, which this release does not know`,
    );
  }

  async #write(connection: PostgresConnection, seen: Seen): Promise<boolean> {
    if (!this.#stores) return false;
    const { log, logger } = this.#options;
    try {
      await connection.query(
        `insert into ${log.schema}.capture_drift as d (set_name, rel, mark, mutations, last_seq)
         values ($1, $2, $3, $4, $5) on conflict (set_name, rel, mark) do update
         set mutations = d.mutations + excluded.mutations, last_seq = excluded.last_seq, last_seen = pg_catalog.clock_timestamp()
         where d.last_seq < excluded.last_seq`,
        [log.set, seen.rel, seen.mark, seen.mutations.toString(), seen.lastSeq.toString()],
      );
      return true;
    } catch (error) {
      if (!(error instanceof ShovelError)) throw error;
      if (error instanceof PostgresError && error.sqlstate === SQLSTATE.undefinedTable) this.#stores = false;
      logger.debug({ error }, 'what was met in the log could not be counted');
      return false;
    }
  }
}
