/**
 * Brings a node's schema to this release: roles, schema, migrations (each run once, frozen by checksum) and the
 * functions of sql/functions (made again when their text changed). Safe to run any number of times at once. Needs no
 * superuser: CREATEROLE, or the roles made beforehand, and CREATE on the database. What a set needs besides is left
 * to src/capture.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { ConfigurationError, IntegrityError, RefusedError } from '../errors.js';
import type { PostgresConnection } from './connect.js';
import { ensureRoles } from './roles.js';
import { fillSql, type NodeNames, quoteIdentifier, quoteLiteral } from './sql-files.js';
import { PostgresError, SQLSTATE } from './sqlstate.js';
import { transaction } from './transaction.js';
import { withRetries } from './with-retries.js';

const ROOT = new URL('../../', import.meta.url);

/** A file of this release as it would be run in one database. */
interface SqlFile {
  /** Below the package's root. */
  readonly path: string;
  readonly sql: string;
  /** sha256 of the file as shipped, so that all databases have the same. */
  readonly checksum: string;
}

interface Release {
  readonly migrations: readonly SqlFile[];
  readonly functions: readonly SqlFile[];
}

/**
 * @throws ConfigurationError `role_missing`, `role_membership_missing`, `privilege_missing`: the hint holds the SQL
 * @throws RefusedError `schema_taken`, `schema_newer`
 * @throws IntegrityError `migration_changed`
 */
export async function ensureNodeSchema(connection: PostgresConnection, names: NodeNames): Promise<void> {
  const release = await readRelease(names);
  // Roles each time anew: who drops the last schema of a server elsewhere drops them too.
  await withRetries(async () => {
    await ensureRoles(connection, names);
    if ((await pendingFiles(connection, { names, release })).length === 0) return;
    await transaction(connection, async () => {
      await connection.script(`set local lock_timeout = '60s'`);
      await connection.query('select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))', [
        `shovel schema ${names.schema}`,
      ]);
      for (const statement of await schemaStatements(connection, names)) await connection.script(statement);
      for (const file of await pendingFiles(connection, { names, release })) {
        await connection.script(file.sql);
        await connection.query(
          `insert into ${quoteIdentifier(names.schema)}.installed_file as f (path, checksum) values ($1, $2)
           on conflict (path) do update set checksum = excluded.checksum, installed_at = pg_catalog.now()`,
          [file.path, file.checksum],
        );
      }
    });
  });
}

/** The statements that ensureNodeSchema would run now beside those on roles. Reads only. */
export async function planNodeSchema(
  connection: PostgresConnection,
  names: NodeNames,
): Promise<readonly string[]> {
  const release = await readRelease(names);
  const files = await pendingFiles(connection, { names, release });
  if (files.length === 0) return [];
  return [...(await schemaStatements(connection, names)), ...files.map((file) => file.sql)];
}

/** Whether the schema stands and is ours. */
export async function nodeSchemaExists(connection: PostgresConnection, names: NodeNames): Promise<boolean> {
  const rows = await connection.query('select pg_catalog.to_regclass($1)::oid as found', [
    `${quoteIdentifier(names.schema)}.installed_file`,
  ]);
  return rows[0]?.found !== null;
}

async function readRelease(names: NodeNames): Promise<Release> {
  const [migrations, functions] = await Promise.all([
    readFolder('migrations', names),
    readFolder('sql/functions', names),
  ]);
  return { migrations, functions };
}

async function readFolder(folder: string, names: NodeNames): Promise<readonly SqlFile[]> {
  const files = (await readdir(new URL(`${folder}/`, ROOT))).filter((file) => file.endsWith('.sql')).sort();
  return Promise.all(
    files.map(async (file) => {
      const path = `${folder}/${file}`;
      const text = await readFile(new URL(path, ROOT), 'utf8');
      return { path, sql: fillSql(text, names), checksum: createHash('sha256').update(text).digest('hex') };
    }),
  );
}

/** What is not there yet, in the order to be run. */
async function pendingFiles(
  connection: PostgresConnection,
  { names, release }: { names: NodeNames; release: Release },
): Promise<readonly SqlFile[]> {
  const all = [...release.migrations, ...release.functions];
  if (!(await nodeSchemaExists(connection, names))) return all;
  const rows = await connection.query(
    `select f.path, f.checksum from ${quoteIdentifier(names.schema)}.installed_file f`,
  );
  const installed = new Map(rows.map((row) => [row.path ?? '', row.checksum ?? '']));
  for (const path of installed.keys()) {
    if (path.startsWith('migrations/') && !release.migrations.some((file) => file.path === path)) {
      throw new RefusedError(
        'schema_newer',
        `Schema ${names.schema} of ${connection.display} was made by a newer release (${path}).`,
        { hint: 'Use that release, or a later one.' },
      );
    }
  }
  for (const file of release.migrations) {
    const checksum = installed.get(file.path);
    if (checksum !== undefined && checksum !== file.checksum) {
      throw new IntegrityError(
        'migration_changed',
        `Schema ${names.schema} of ${connection.display} was made by another text of ${file.path}.`,
        { hint: 'Install the package again: a released migration never changes.' },
      );
    }
  }
  return all.filter((file) => installed.get(file.path) !== file.checksum);
}

/** Makes the schema where it is missing, and goes on as its owner. */
async function schemaStatements(
  connection: PostgresConnection,
  names: NodeNames,
): Promise<readonly string[]> {
  const rows = await connection.query(
    `select r.rolname as owner, pg_catalog.to_regclass($2)::oid as files,
        pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') as may_create,
        pg_catalog.current_database() as database, current_user as me
     from (select 1) one
     left join pg_catalog.pg_namespace n on n.nspname = $1 left join pg_catalog.pg_roles r on r.oid = n.nspowner`,
    [names.schema, `${quoteIdentifier(names.schema)}.installed_file`],
  );
  const found = rows[0];
  const schema = quoteIdentifier(names.schema);
  const owner = quoteIdentifier(names.owner);
  const become = `set local role ${owner}`;
  if (found?.files) return [become];
  if (found?.owner && found.owner !== names.owner) {
    throw new RefusedError(
      'schema_taken',
      `Schema ${names.schema} of ${connection.display} belongs to ${found.owner}.`,
      { hint: `Rename or drop it: shovel keeps everything of its own in a schema of that name.` },
    );
  }
  if (!found?.owner && found?.may_create !== 't') {
    const grant = `grant create on database ${quoteIdentifier(found?.database ?? '')} to ${quoteIdentifier(found?.me ?? '')}`;
    throw new ConfigurationError(
      'privilege_missing',
      `Role ${found?.me} may not create schema ${names.schema} in ${connection.display}.`,
      { hint: `Have its owner run: ${grant};` },
    );
  }
  return [
    ...(found?.owner ? [] : [`create schema ${schema} authorization ${owner}`]),
    become,
    `create table ${schema}.installed_file (
  path         text        constraint installed_file_pkey primary key,
  checksum     text        not null,
  installed_at timestamptz not null default pg_catalog.now()
);
comment on table ${schema}.installed_file is ${quoteLiteral('SQL files of the release that have been run here. Migrations are frozen: their checksum never changes.')}`,
  ];
}

/**
 * Removes the schema with all that is in it, and the roles where nothing else on the server depends on them, unless
 * a set or a change that was begun still lives there. Returns whether it is gone.
 */
export async function dropNodeSchema(
  connection: PostgresConnection,
  { names, lockTimeoutMs }: { names: NodeNames; lockTimeoutMs: number },
): Promise<boolean> {
  const schema = quoteIdentifier(names.schema);
  const work = async () => {
    if (!(await nodeSchemaExists(connection, names))) return true;
    await connection.script(`set local lock_timeout = '${lockTimeoutMs}ms'`);
    await connection.script(`set local role ${quoteIdentifier(names.owner)}`);
    await connection.script(
      `lock table ${schema}.intent, ${schema}.replication_set in access exclusive mode`,
    );
    const rows = await connection.query(
      `select exists (select from ${schema}.replication_set) or exists (select from ${schema}.intent) as used`,
    );
    if (rows[0]?.used !== 'f') return false;
    await connection.script(`drop schema ${schema} cascade`);
    return true;
  };
  try {
    const gone = await withRetries(() => transaction(connection, work));
    if (gone) await dropRoles(connection, names);
    return gone;
  } catch (error) {
    // Who holds a lock there for so long is a change of another set: the schema is in use.
    if (error instanceof PostgresError && error.sqlstate === SQLSTATE.lockNotAvailable) return false;
    throw error;
  }
}

/** A role that other databases or people still need stays: that is no error. */
async function dropRoles(connection: PostgresConnection, names: NodeNames): Promise<void> {
  for (const role of [names.owner, names.capture, names.sandbox]) {
    const drop = () =>
      transaction(connection, async () => {
        await connection.script(`set local lock_timeout = '${ROLE_TIMEOUT}'`);
        await connection.script(`drop role if exists ${quoteIdentifier(role)}`);
      });
    const outcome = await withRetries(drop, 3).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (outcome === undefined) continue;
    const needed = outcome instanceof PostgresError && STILL_NEEDED.has(outcome.sqlstate);
    const mayNot = outcome instanceof ConfigurationError && outcome.code === 'privilege_missing';
    if (!needed && !mayNot) throw outcome;
  }
}

/** What another database's transaction makes, a prepared one too, locks the role that is to own it. */
const ROLE_TIMEOUT = '200ms';

/** dependent_objects_still_exist, object_in_use (the session's own role), lock_not_available */
const STILL_NEEDED: ReadonlySet<string> = new Set(['2BP01', '55006', SQLSTATE.lockNotAvailable]);
