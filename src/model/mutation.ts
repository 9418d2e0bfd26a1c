/**
 * A row of the mutation log as it is read for publishing. Numbers stay the decimal text that PostgreSQL prints:
 * they go into messages as they are.
 */

/** I insert, U update, K update that changed the key, D delete, T truncate. */
export type MutationOperation = 'I' | 'U' | 'K' | 'D' | 'T';

/** `f` whole-row fallback: the capture function did not fit the row. `o` oversized, `u` unreadable: the key alone. */
export type MutationMark = 'f' | 'o' | 'u';

export interface Mutation {
  readonly seq: string;
  /** xid8 of the top-level transaction. */
  readonly xid: string;
  /** The statement's time, milliseconds since the epoch. */
  readonly atMs: string;
  /** Number of a captured table: see CapturedTable. */
  readonly rel: string;
  /** The set's version under which it was captured. */
  readonly version: string;
  readonly op: MutationOperation;
  readonly mark: MutationMark | null;
  /** JSON text of the old row, or of its key alone. */
  readonly old: string | null;
  readonly new: string | null;
  /**
   * What JSON can't tell: `{"old":…,"new":{"text":{…},"json_null":[…]},"update":{"unchanged":[…]}}`; for an unreadable
   * row its SQLSTATE.
   */
  readonly extra: string | null;
  /** JSON text of the application's context; null where it gave none. */
  readonly metadata: string | null;
  /** Where a partition alone was truncated: JSON texts of its name and bound. */
  readonly partition: { readonly name: string; readonly bound: string } | null;
}
