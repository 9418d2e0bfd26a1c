/**
 * What doctor can find: every code with its severity and what it means, in one table that the documentation is made
 * from. `error`: mutations are or will be lost, or something stands still; `warning`: will hurt; `info`: good to know,
 * and no finding for the exit code.
 */

export type Severity = 'error' | 'warning' | 'info';

/** Names as in the JSON of `doctor`. */
export interface Finding {
  readonly code: string;
  readonly severity: Severity;
  /** `example`, `example/main`, `example/main public.accounts`, `database main`, `cluster default`. */
  readonly object: string;
  readonly message: string;
  /** A command, or SQL, that mends it. */
  readonly fix: string;
}

/** Something that could not be looked at: no finding, and no all-clear either. */
export interface Unchecked {
  readonly check: string;
  readonly why: string;
}

/** By subject; the order is that of docs/doctor.md. */
export const FINDINGS = {
  cluster_missing: ['error', 'The coordinator has no such cluster: never made, or lost.'],
  cluster_empty: ['warning', 'The cluster has no sets: none was made yet, or they were lost.'],
  cluster_damaged: [
    'error',
    'The cluster’s own entry, or one that always stands below it, is missing or not what shovel writes.',
  ],
  record_damaged: ['error', 'A set’s record or document is missing, changed by hand, or can’t be read.'],
  change_damaged: ['error', 'A change under way can’t be read, and blocks every command.'],
  change_under_way: ['info', 'An administrator is changing the set.'],
  change_in_doubt: [
    'warning',
    'A change was left half done. The next command that writes, or recovery, ends it.',
  ],
  prepared_in_doubt: [
    'error',
    'A prepared transaction of shovel’s waits for its second phase; it holds back vacuum.',
  ],
  change_stray: ['warning', 'A database knows of a change that the coordinator does not know.'],
  set_unknown: [
    'error',
    'A database captures for a set that the coordinator does not know: the coordinator lost it.',
  ],
  set_left_behind: [
    'warning',
    'A database still captures for a set that was dropped, or that it left: its log grows.',
  ],
  schema_shared: ['error', 'A database holds a set of another coordinator’s cluster of the same name.'],
  node_behind: [
    'warning',
    'A database is at an older version of the set, or at another one of the same number.',
  ],
  node_ahead: ['error', 'A database is at a newer version than the coordinator: it has lost history.'],
  node_replaced: ['error', 'The DSN leads to another database than the one that joined the set.'],
  node_lost: ['error', 'A database holds nothing of the set any more.'],
  node_copied: ['error', 'A database is a copy, or was restored or upgraded by pg_upgrade.'],
  schema_missing: ['error', 'A database lacks shovel’s schema.'],
  schema_behind: ['warning', 'Functions of shovel’s schema in a database are of another release.'],
  schema_older: [
    'error',
    'Shovel’s schema in a database lacks migrations: relays and commands of this release refuse it.',
  ],
  schema_newer: ['error', 'Shovel’s schema in a database was made by a newer release.'],
  migration_changed: [
    'error',
    'Shovel’s schema was made by another text of a migration than this release’s.',
  ],
  trigger_missing: ['error', 'A trigger is missing: some of the table’s writes are not captured.'],
  trigger_disabled: ['error', 'A trigger is disabled: some of the table’s writes are not captured.'],
  trigger_mode: ['error', 'A trigger fires for other sessions than it should.'],
  trigger_elsewhere: [
    'error',
    'A table that is not captured has a trigger of one that is: it was detached from it, or copied.',
  ],
  partition_without_truncate_trigger: [
    'error',
    'A partition was attached later: truncating it alone is not captured.',
  ],
  function_missing: ['error', 'A capture function is missing.'],
  function_replaced: ['error', 'A capture function, or its owner, is not the one that the version made.'],
  table_dropped: ['error', 'A captured table was dropped.'],
  table_replaced: ['error', 'A captured table was dropped and made anew: the new one is not captured.'],
  table_renamed: ['warning', 'A captured table was renamed; it is published under its old name.'],
  table_changed: [
    'warning',
    'A table has changed since capture was made for it (columns, types, casts, partitions).',
  ],
  table_not_captured: ['warning', 'A table that the set file would include now is not captured.'],
  table_missing: ['error', 'A table of the set file does not exist.'],
  table_captured_twice: ['error', 'A partition is listed beside its partitioned table.'],
  schema_without_tables: ['error', 'A pattern of the set file matches no table.'],
  column_missing: ['error', 'A column of the set file does not exist.'],
  column_virtual: ['error', 'A column of the set file is virtual: triggers don’t see it.'],
  key_missing: ['error', 'A table has lost its key.'],
  key_not_unique: ['error', 'The key of the set file is not unique any more.'],
  key_not_captured: ['error', 'A key column is left out by the set file.'],
  statement_capture_refused: ['error', 'A table can’t be captured by statement any more.'],
  where_invalid: ['error', 'A row filter does not fit its table any more.'],
  where_column: ['error', 'A row filter names a column that is not captured.'],
  rows_by_fallback: ['warning', 'Rows were captured by the slower way, whole: the table has changed.'],
  rows_oversized: [
    'error',
    'Rows past limits.row_bytes were captured by their key alone: streams stop at them.',
  ],
  rows_unreadable: [
    'error',
    'Rows whose JSON can’t be made were captured by their key alone: streams stop at them.',
  ],
  capture_suspended: ['error', 'Capture is suspended: what is written now is in no log.'],
  log_bytes_over_limit: ['error', 'The log is larger than limits.log_bytes.'],
  lag_over_limit: ['error', 'The oldest mutation that is not published is older than limits.lag.'],
  log_bytes_near_limit: ['warning', 'The log has reached four fifths of limits.log_bytes.'],
  lag_near_limit: [
    'warning',
    'The oldest mutation that is not published has reached four fifths of limits.lag.',
  ],
  relay_not_seen: ['error', 'Mutations are pending, and no relay was seen for a minute.'],
  sequence_cached: [
    'error',
    'The log’s sequence hands out several numbers at a time: log order is not the order of changes.',
  ],
  log_autovacuum: ['warning', 'Autovacuum is on for a log table: it costs, and locks the table at times.'],
  log_exposed: ['error', 'A role that should not may read or change the log.'],
  publication_carries_log: [
    'error',
    'A publication carries shovel’s own tables: subscribers that lack them stop.',
  ],
  transaction_open_long: [
    'warning',
    'An old transaction keeps the log from being trimmed, and capture from being activated.',
  ],
  prepared_open_long: [
    'warning',
    'An old prepared transaction, not of shovel’s, keeps the log from being trimmed.',
  ],
  slot_holds_xmin: ['warning', 'A replication slot holds back vacuum.'],
  standby_holds_xmin: ['warning', 'A standby (hot_standby_feedback) holds back vacuum.'],
  autovacuum_off: ['warning', 'Autovacuum is off on the server.'],
  roles_incomplete: ['error', 'Roles or memberships that shovel needs are missing.'],
  role_too_strong: ['error', 'A role of shovel’s may log in, or may do more than it should.'],
  sandbox_privileged: ['error', 'The role that prints rows may do something: it should be nobody.'],
  unchanged_wide_pays: ['info', 'Updates of a table with wide columns: unchanged_wide: omit would pay.'],
  wake: ['info', 'How the relay learns of commits in this database, and why.'],
  dump_needs_exclusion: [
    'info',
    'Roles that own tables but may not read shovel’s schema: their pg_dump needs -N.',
  ],
} as const satisfies Readonly<Record<string, readonly [Severity, string]>>;

export type FindingCode = keyof typeof FINDINGS;

export function finding(
  code: FindingCode,
  about: { readonly object: string; readonly message: string; readonly fix: string },
): Finding {
  return { code, severity: FINDINGS[code][0], ...about };
}

const ORDER: readonly Severity[] = ['error', 'warning', 'info'];

/** Gravest first, then as they were found; what was found twice is told once. */
export function ranked(findings: readonly Finding[]): readonly Finding[] {
  const seen = new Set<string>();
  const once = findings.filter((one) => {
    const key = JSON.stringify(one);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
  return ORDER.flatMap((severity) => once.filter((one) => one.severity === severity));
}
