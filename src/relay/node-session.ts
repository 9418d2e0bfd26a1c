/**
 * A relay's connection to its node: opened with the settings that drawing and reading need, and held against what
 * was decided, so that nothing is ever published from a database that only looks like the node.
 */
import { IntegrityError, RefusedError } from '../errors.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { requireCurrentNode } from '../postgres/node-level.js';
import { PostgresError, SQLSTATE } from '../postgres/sqlstate.js';
import { SET_GONE } from './head.js';
import type { LogNames } from './relay-set.js';

/** What the node says of itself. */
export interface NodeFacts {
  /** PostgreSQL's name of the database. */
  readonly db: string;
  readonly incarnation: number;
  /** The version of the set that it has. */
  readonly version: number;
}

export interface NodeSession {
  readonly connection: PostgresConnection;
  readonly facts: NodeFacts;
}

export interface NodeSessionOptions {
  readonly openNode: () => Promise<PostgresConnection>;
  readonly log: LogNames;
  readonly database: string;
  readonly nodeId: string;
}

/**
 * Undefined where the node no longer holds the set.
 * @throws IntegrityError `node_changed`, `sequence_cached`; UnreachableError, ConfigurationError; RefusedError
 * `schema_older`, `schema_newer`: the node is of another release
 */
export async function openNodeSession(options: NodeSessionOptions): Promise<NodeSession | undefined> {
  const connection = inTurns(await options.openNode());
  try {
    await prepareSession(connection);
    await requireCurrentNode(connection, options.log.names);
    const facts = await readFacts(connection, options);
    if (facts !== undefined) return { connection, facts };
  } catch (error) {
    await connection.end();
    throw error;
  }
  await connection.end();
  return undefined;
}

/**
 * Log segments have no statistics (nothing analyses them), so the planner would sort and scan them whole; and what a
 * relay commits must be on disk, whatever the database's default is.
 */
async function prepareSession(connection: PostgresConnection): Promise<void> {
  await connection.query(
    `select pg_catalog.set_config('enable_seqscan', 'off', false),
       pg_catalog.set_config('enable_bitmapscan', 'off', false),
       pg_catalog.set_config('enable_sort', 'off', false),
       case when pg_catalog.current_setting('synchronous_commit') in ('off', 'local')
         then pg_catalog.set_config('synchronous_commit', 'on', false) end`,
  );
}

async function readFacts(
  connection: PostgresConnection,
  options: NodeSessionOptions,
): Promise<NodeFacts | undefined> {
  const { log, database, nodeId } = options;
  const row = await readSetRow(connection, log);
  if (row === undefined || row.node_id !== nodeId) return undefined;
  if (row.system_identifier !== row.system || row.database_oid !== row.oid) {
    throw new IntegrityError(
      'node_changed',
      `Database ${database} of set ${log.set} is not the one that the set was created in, but a copy of it.`,
      {
        hint: 'After pg_upgrade or a restore take it on again with shovel node adopt; else correct the DSN.',
        details: { set: log.set, database },
      },
    );
  }
  if (row.cache !== '1') {
    throw new IntegrityError(
      'sequence_cached',
      `Set ${log.set}, database ${database}: the log's sequence hands out ${row.cache ?? 'no'} numbers at a time, so log order is not the order of changes.`,
      { hint: `Run: alter sequence ${log.seq} cache 1; then bootstrap the targets again.` },
    );
  }
  return { db: row.db ?? '', incarnation: Number(row.incarnation), version: Number(row.set_version) };
}

async function readSetRow(connection: PostgresConnection, log: LogNames) {
  try {
    const rows = await connection.query(
      `select r.node_id, r.incarnation, r.set_version, r.system_identifier, r.database_oid, pg_catalog.current_database() as db,
         (select c.system_identifier from pg_catalog.pg_control_system() c) as system,
         (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()) as oid,
         (select s.seqcache from pg_catalog.pg_sequence s where s.seqrelid = pg_catalog.to_regclass($2)) as cache
       from ${log.schema}.replication_set r where r.set_name = $1`,
      [log.set, log.seq],
    );
    return rows[0];
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/**
 * Whether an error comes from a set that was dropped meanwhile: something of it is missing, and the node says that it
 * no longer holds it.
 */
export async function isGone(
  error: unknown,
  openSession: () => Promise<NodeSession | undefined>,
): Promise<boolean> {
  if (!isMissing(error) && !(error instanceof RefusedError && error.code === SET_GONE)) return false;
  try {
    const session = await openSession();
    await session?.connection.end();
    return session === undefined;
  } catch {
    return false;
  }
}

/** Tables, functions or the schema itself are missing. */
function isMissing(error: unknown): boolean {
  return error instanceof PostgresError && GONE.has(error.sqlstate);
}

const GONE: ReadonlySet<string> = new Set([
  SQLSTATE.undefinedTable,
  SQLSTATE.undefinedObject,
  SQLSTATE.invalidSchema,
  '42883', // undefined_function
]);

/**
 * Statements one after another, whoever asks for them: the next chunk of a batch is fetched while a part is sent, and
 * a driver's connection takes one statement at a time.
 */
function inTurns(connection: PostgresConnection): PostgresConnection {
  let last: Promise<unknown> = Promise.resolve();
  const turn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work, work);
    last = mine.catch(() => undefined);
    return mine;
  };
  return {
    display: connection.display,
    serverVersion: connection.serverVersion,
    lost: connection.lost,
    query: (text, values) => turn(() => connection.query(text, values)),
    arrays: (text, values) => turn(() => connection.arrays(text, values)),
    script: (text) => turn(() => connection.script(text)),
    end: () => connection.end(),
  };
}
