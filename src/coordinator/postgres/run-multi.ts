/**
 * A multi as one transaction: the rows that it names are locked in the order of their paths, then judged, then
 * written. Only from the moment that COMMIT is sent can its outcome be unknown; before that a lost connection means
 * that nothing was done.
 */
import type { PostgresConnection } from '../../postgres/connect.js';
import { PostgresError, SQLSTATE } from '../../postgres/sqlstate.js';
import type { MultiResult, Operation } from '../coordinator.js';
import { coordinatorOutcomeUnknown } from '../coordinator-errors.js';
import { parentOf } from '../operations.js';
import { CHANNEL, CREATE_LOCK, CREATE_SCHEMA } from './coordinator-schema.js';
import { findConflict } from './plan-multi.js';

export type Attempt = MultiResult | { readonly kind: 'no_schema' };

/** @throws UnreachableError `coordinator_outcome_unknown`, and whatever the connection throws before COMMIT */
export async function runMulti(
  connection: PostgresConnection,
  { operations, display }: { operations: readonly Operation[]; display: string },
): Promise<Attempt> {
  await connection.script('begin isolation level read committed');
  let result: Attempt;
  try {
    result = await judgeAndWrite(connection, operations);
  } catch (error) {
    await connection.script('rollback').catch(() => undefined);
    if (isMissingSchema(error)) return { kind: 'no_schema' };
    throw error;
  }
  if (result.kind !== 'done') {
    await connection.script('rollback');
    return result;
  }
  await commit(connection, display);
  return result;
}

/** Makes the tables, where they are missing. @throws as runMulti */
export async function createSchema(
  connection: PostgresConnection,
  { display }: { display: string },
): Promise<void> {
  await connection.script('begin');
  try {
    await connection.query(CREATE_LOCK);
    await connection.script(CREATE_SCHEMA);
  } catch (error) {
    await connection.script('rollback').catch(() => undefined);
    throw error;
  }
  await commit(connection, display);
}

/** The schema or a table of it is not there. */
export function isMissingSchema(error: unknown): boolean {
  return (
    error instanceof PostgresError &&
    (error.sqlstate === SQLSTATE.undefinedTable || error.sqlstate === SQLSTATE.invalidSchema)
  );
}

async function commit(connection: PostgresConnection, display: string): Promise<void> {
  try {
    await connection.script('commit');
  } catch (error) {
    if (error instanceof PostgresError) throw error;
    throw coordinatorOutcomeUnknown(display, error);
  }
}

async function judgeAndWrite(
  connection: PostgresConnection,
  operations: readonly Operation[],
): Promise<MultiResult> {
  const paths = new Set<string>();
  for (const { kind, path } of operations) {
    paths.add(path);
    if (kind === 'create' || kind === 'remove') paths.add(parentOf(path));
  }
  const rows = await connection.query(
    `select path, version from shovel_coordinator.entry
      where path = any ($1::text[]) order by path for update`,
    [textArray([...paths])],
  );
  const versions = new Map(rows.map((row) => [row.path ?? '', Number(row.version)]));
  const conflict = findConflict(operations, {
    versions,
    children: await lockChildren(connection, operations),
  });
  if (conflict) return conflict;
  for (const [index, operation] of operations.entries()) {
    if (!(await write(connection, operation))) return { kind: 'conflict', index, reason: 'exists' };
  }
  const changed = new Set(operations.filter(({ kind }) => kind !== 'check').map(({ path }) => path));
  if (changed.size > 0) {
    await connection.query('select pg_notify($1, path) from unnest($2::text[]) path', [
      CHANNEL,
      textArray([...changed]),
    ]);
  }
  return { kind: 'done' };
}

/** After the locks: whoever adds a child or a lease must lock the parent first, and waits. */
async function lockChildren(
  connection: PostgresConnection,
  operations: readonly Operation[],
): Promise<Map<string, string[]>> {
  const children = new Map<string, string[]>();
  const removed = operations.filter(({ kind }) => kind === 'remove').map(({ path }) => path);
  if (removed.length === 0) return children;
  const parents = textArray(removed);
  await connection.query(
    `delete from shovel_coordinator.lease where parent = any ($1::text[]) and expires_at <= clock_timestamp()`,
    [parents],
  );
  const rows = await connection.query(
    `select parent, path from shovel_coordinator.entry where parent = any ($1::text[])
     union all
     select parent, '~' || path from shovel_coordinator.lease where parent = any ($1::text[])`,
    [parents],
  );
  for (const { parent, path } of rows) {
    const known = children.get(parent ?? '') ?? [];
    known.push(path ?? '');
    children.set(parent ?? '', known);
  }
  return children;
}

/** False where another has created the path since the locks were taken. */
async function write(connection: PostgresConnection, operation: Operation): Promise<boolean> {
  const { kind, path } = operation;
  switch (kind) {
    case 'create': {
      const rows = await connection.query(
        `insert into shovel_coordinator.entry (path, parent, data) values ($1, $2, $3)
         on conflict do nothing returning path`,
        [path, parentOf(path), operation.data],
      );
      return rows.length === 1;
    }
    case 'set':
      await connection.query(
        'update shovel_coordinator.entry set data = $2, version = version + 1 where path = $1',
        [path, operation.data],
      );
      return true;
    case 'remove':
      await connection.query('delete from shovel_coordinator.entry where path = $1', [path]);
      return true;
    case 'check':
      return true;
  }
}

/** PostgreSQL's text of an array of paths, which hold neither quotes nor backslashes. */
export function textArray(paths: readonly string[]): string {
  return `{${paths.map((path) => `"${path}"`).join(',')}}`;
}
