/** What the catalog says of a table that a set captures, joined with what the set file asks for. */
import type { CapturedTable } from '../model/captured-table.js';
import type { Setting } from './pinned-settings.js';

/** How a column needs more than row_to_json to be published as the value that it is. */
export interface ColumnDescription {
  readonly name: string;
  /** As format_type prints it. */
  readonly type: string;
  /** Its type as any role may name it under any settings, without modifiers; undefined where it is not built in. */
  readonly builtin: string | undefined;
  /** PostgreSQL 18: null in triggers, so left out. */
  readonly virtual: boolean;
  /** A cast to json that is not built in would change it: its text is published. */
  readonly asText: boolean;
  /** Of json and jsonb, JSON null and NULL print the same. */
  readonly json: 'json' | 'jsonb' | null;
  /** `array`: lower bounds are lost in JSON; `nested`: an array or json value stands deeper inside. */
  readonly shape: 'scalar' | 'array' | 'nested';
  /** It is an array itself, or a domain over one. */
  readonly array: boolean;
}

export interface PartitionDescription {
  readonly relid: number;
  readonly schema: string;
  readonly table: string;
}

export interface ColumnOrder {
  readonly columns: readonly string[];
  /** Empty: all that are not named elsewhere. */
  readonly relids: readonly number[];
}

export interface TableDescription {
  readonly relid: number;
  readonly captured: CapturedTable;
  readonly columns: readonly ColumnDescription[];
  /**
   * Names of all columns, virtual ones too, in the table's order; then the orders that some partitions have instead,
   * with their relids.
   */
  readonly orders: readonly ColumnOrder[];
  /** Of its name and its columns' names and numbers: what columns_are takes. */
  readonly columnsDigest: string;
  /** Columns that an update leaves out where it did not change them (`unchanged_wide: omit`). */
  readonly omitted: readonly string[];
  /** The server tells by which number a value is kept out of line (PostgreSQL 17). */
  readonly toastIds: boolean;
  /** Every partition below, at any depth, in oid order. */
  readonly partitions: readonly PartitionDescription[];
  /** Settings of a writer's session that would change how its values print. */
  readonly settings: readonly Setting[];
  /**
   * Its owner, or the owner of one of its types, is not trusted with the log: casts to json that they may define
   * must run as the sandbox role, which may do nothing.
   */
  readonly isolated: boolean;
  /** Also what arrives under session_replication_role = replica. */
  readonly replicated: boolean;
}

export interface CatalogIssue {
  /** As in the set file, e.g. `public.accounts`. */
  readonly table: string;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** Type by name of each captured column. */
export function columnTypes(table: TableDescription): Readonly<Record<string, string>> {
  return Object.fromEntries(table.columns.map(({ name, type }) => [name, type]));
}
