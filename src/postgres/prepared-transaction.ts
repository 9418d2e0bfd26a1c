/**
 * PostgreSQL's half of two-phase commit. A prepared transaction belongs to the role that prepared it, so it is
 * prepared and finished as `role`, which every administrator is a member of; it lives in one database and can be
 * finished only there. What is prepared, and whether it should be committed, is decided elsewhere.
 */
import type { PostgresConnection } from './connect.js';
import { quoteIdentifier, quoteLiteral } from './sql-files.js';
import { PostgresError, SQLSTATE } from './sqlstate.js';

export interface PreparedTransaction {
  readonly gid: string;
  /** Seconds since it was prepared, by the server's clock. */
  readonly ageSeconds: number;
}

/** Ends the transaction that is open on this connection. On an error it is rolled back. `gid`: at most 199 bytes. */
export async function prepareTransaction(connection: PostgresConnection, gid: string): Promise<void> {
  await connection.script(`prepare transaction ${quoteLiteral(gid)}`);
}

/** `absent`: no such transaction in this database; somebody may have finished it. */
export function commitPrepared(
  connection: PostgresConnection,
  options: { readonly gid: string; readonly role: string },
): Promise<'done' | 'absent'> {
  return finishPrepared(connection, { ...options, verb: 'commit' });
}

export function rollbackPrepared(
  connection: PostgresConnection,
  options: { readonly gid: string; readonly role: string },
): Promise<'done' | 'absent'> {
  return finishPrepared(connection, { ...options, verb: 'rollback' });
}

async function finishPrepared(
  connection: PostgresConnection,
  { gid, role, verb }: { gid: string; role: string; verb: 'commit' | 'rollback' },
): Promise<'done' | 'absent'> {
  const listed = await connection.query(
    'select 1 as found from pg_catalog.pg_prepared_xacts p where p.gid = $1 and p.database = pg_catalog.current_database()',
    [gid],
  );
  if (listed.length === 0) return 'absent';
  await connection.script(`set role ${quoteIdentifier(role)}`);
  try {
    await connection.script(`${verb} prepared ${quoteLiteral(gid)}`);
    return 'done';
  } catch (error) {
    if (error instanceof PostgresError && error.sqlstate === SQLSTATE.undefinedObject) return 'absent';
    throw error;
  } finally {
    // Where the connection is gone the role went with it.
    await connection.script('reset role').catch(() => undefined);
  }
}

/** Those of this database whose gid starts with `prefix`, oldest first. */
export async function listPrepared(
  connection: PostgresConnection,
  prefix: string,
): Promise<readonly PreparedTransaction[]> {
  const rows = await connection.query(
    `select p.gid, pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp() - p.prepared))::bigint as age
     from pg_catalog.pg_prepared_xacts p
     where p.database = pg_catalog.current_database() and pg_catalog.starts_with(p.gid, $1) order by p.prepared`,
    [prefix],
  );
  return rows.map((row) => ({ gid: row.gid ?? '', ageSeconds: Number(row.age) }));
}

/** 0: the server can't prepare transactions, its default. */
export async function maxPreparedTransactions(connection: PostgresConnection): Promise<number> {
  const rows = await connection.query(
    `select pg_catalog.current_setting('max_prepared_transactions') as setting`,
  );
  return Number(rows[0]?.setting ?? 0);
}
