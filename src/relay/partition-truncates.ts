/**
 * Tells the truncate of a partition alone from that of its whole table. TRUNCATE of a root fires the root's trigger,
 * then those of all of its partitions, in one statement: one message for the root is enough. A partition's comes alone
 * where only it was truncated.
 */
import type { MutationOperation } from '../model/mutation.js';
import type { KnownTable } from './captured-tables.js';
import type { LogRow } from './log-rows.js';

/** The root's truncate, and the partitions whose own has come since. */
interface RootTruncate {
  readonly atMs: string;
  readonly partitions: Set<string>;
}

export class PartitionTruncates {
  /** By transaction and table; only while nothing else of that table has come since. */
  readonly #roots = new Map<string, RootTruncate>();

  /** In the order of the log. `whole`: of the table itself; what is no truncate is `none`. */
  next(
    row: LogRow,
    { operation, table }: { readonly operation: MutationOperation; readonly table: KnownTable },
  ): 'none' | 'whole' | 'partition' | 'part_of_root' {
    const id = `${row.xid} ${row.rel}`;
    if (operation !== 'T') {
      if (this.#roots.size > 0) this.#roots.delete(id);
      return 'none';
    }
    if (row.leaf === null || row.leaf === table.relid || !table.captured.partitioned) {
      if (table.captured.partitioned) this.#roots.set(id, { atMs: row.atMs, partitions: new Set() });
      return 'whole';
    }
    const root = this.#roots.get(id);
    if (root === undefined || root.atMs !== row.atMs || root.partitions.has(row.leaf)) return 'partition';
    root.partitions.add(row.leaf);
    return 'part_of_root';
  }
}
