/**
 * Turns a suspended capture on again, as the first step of taking its node on as a new incarnation.
 *
 * Maintained invariant: nothing is drawn before that incarnation begins, and its first ticket is drawn when everyone has
 * ended who wrote while capture was off. So each later batch holds whole transactions, and whoever reads them meets the
 * new incarnation first, which says that something is missing before it.
 */
import { functionPattern } from '../capture/generated-names.js';
import { readSuspension } from '../capture/limits.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';
import { waitForWriters } from './activation.js';
import { type AdminContext, namesOf } from './context.js';

/** Does nothing where capture is not suspended. May be repeated; without the incarnation it ends nothing. */
export async function resumeCapture(
  context: AdminContext,
  { connection, set, database }: { connection: PostgresConnection; set: string; database: string },
): Promise<void> {
  const names = namesOf(context);
  const rows = await connection.query(resumeStatement(names, set));
  if (rows[0]?.suspended !== 't') return;
  // Partitions have the triggers of their root, or clones of them.
  const tables = await connection.query(
    `select distinct t.tgrelid as relid from pg_catalog.pg_trigger t
     join pg_catalog.pg_proc p on p.oid = t.tgfoid join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname = $1 and p.proname ~ $2`,
    [names.schema, functionPattern(set)],
  );
  const relids = tables.map((row) => Number(row.relid));
  await waitForWriters(context, [{ database, connection, relids }]);
}

/** What `resumeCapture` would run, for --dry-run; nothing where capture is not suspended. */
export async function planResume(
  context: AdminContext,
  { connection, set }: { connection: PostgresConnection; set: string },
): Promise<readonly string[]> {
  const names = namesOf(context);
  return (await readSuspension(connection, { names, set })) === undefined
    ? []
    : [resumeStatement(names, set)];
}

function resumeStatement(names: NodeNames, set: string): string {
  return `select ${quoteIdentifier(names.schema)}.resume_${set}() as suspended`;
}
