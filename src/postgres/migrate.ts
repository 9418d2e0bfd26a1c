/**
 * Brings a node's schema to this release: roles, schema, migrations (each run once, frozen by checksum) and the
 * functions of sql/functions (made again when their text changed). Only ever forward: what a newer release made is
 * left alone. Safe to run any number of times at once, by processes of any release. Needs no superuser: CREATEROLE,
 * or the roles made beforehand, and CREATE on the database. What a set needs besides is left to src/capture.
 */
import { ConfigurationError, RefusedError } from '../errors.js';
import { compareReleases, newestRelease } from '../model/release-order.js';
import type { PostgresConnection } from './connect.js';
import { lockHolders } from './lock-holders.js';
import { type NodeLevel, nodeSchemaExists, readNodeLevel, requireOlderNode } from './node-level.js';
import { noteFile, type Release, readRelease, type SqlFile } from './release-files.js';
import { ensureRoles } from './roles.js';
import { type NodeNames, quoteIdentifier, quoteLiteral } from './sql-files.js';
import { PostgresError, SQLSTATE } from './sqlstate.js';
import { transaction } from './transaction.js';
import { withRetries } from './with-retries.js';

export interface EnsureOptions {
  /** For each lock that a file needs; it is tried again for some seconds. Writers wait behind it no longer than that. */
  readonly lockTimeoutMs?: number;
}

const LOCK_TIMEOUT_MS = 1_000;

/**
 * Returns whether anything was to be done. One transaction: all of it, or nothing.
 * @throws ConfigurationError `role_missing`, `role_membership_missing`, `privilege_missing`: the hint holds the SQL
 * @throws RefusedError `schema_taken`, `schema_newer`, `schema_busy`
 * @throws IntegrityError `migration_changed`
 */
export async function ensureNodeSchema(
  connection: PostgresConnection,
  names: NodeNames,
  { lockTimeoutMs = LOCK_TIMEOUT_MS }: EnsureOptions = {},
): Promise<boolean> {
  const release = await readRelease(names);
  const work = async () => {
    // Roles each time anew: who drops the last schema of a server elsewhere drops them too.
    await ensureRoles(connection, names);
    if (isDone(await look(connection, { names, release }))) return false;
    await transaction(connection, async () => {
      await connection.script(`set local lock_timeout = '60s'`);
      await connection.query('select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))', [
        `shovel schema ${names.schema}`,
      ]);
      const { files, level } = await look(connection, { names, release });
      await connection.script(`set local lock_timeout = '${lockTimeoutMs}ms'`);
      for (const statement of await schemaStatements(connection, names)) await connection.script(statement);
      const rises = files.length > 0 && minimumRises(files, level);
      if (rises) await requireRest(connection, names);
      for (const file of files) {
        await connection.script(file.sql);
        await connection.script(noteFile(file, names));
      }
      if (rises) await connection.script(endEpochs(names));
    });
    return true;
  };
  try {
    return await withRetries(work);
  } catch (error) {
    if (!(error instanceof PostgresError) || error.sqlstate !== SQLSTATE.lockNotAvailable) throw error;
    throw new RefusedError(
      'schema_busy',
      `Tables of schema ${names.schema} in ${connection.display} are held by ${await schemaHolders(connection, names)}.`,
      {
        hint: 'Nothing was changed there. Run again when that has ended; a change that was left half done ends with shovel cluster recover.',
        cause: error,
      },
    );
  }
}

async function schemaHolders(connection: PostgresConnection, { schema }: NodeNames): Promise<string> {
  const rows = await connection.query(
    `select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1`,
    [schema],
  );
  return lockHolders(connection, { relids: rows.map((row) => row.oid ?? ''), readers: true });
}

/** The statements that ensureNodeSchema would run now beside those on roles. Reads only. @throws as that does */
export async function planNodeSchema(
  connection: PostgresConnection,
  names: NodeNames,
): Promise<readonly string[]> {
  const release = await readRelease(names);
  const looked = await look(connection, { names, release });
  if (isDone(looked)) return [];
  const { files, level } = looked;
  return [
    ...(await schemaStatements(connection, names)),
    ...files.flatMap((file) => [file.sql, noteFile(file, names)]),
    ...(minimumRises(files, level) ? [endEpochs(names)] : []),
  ];
}

interface Looked {
  /** What is not there yet, or of another text, in the order to be run. */
  readonly files: readonly SqlFile[];
  readonly level: NodeLevel | undefined;
}

function isDone({ files, level }: Looked): boolean {
  return files.length === 0 && level?.noted === true;
}

async function look(
  connection: PostgresConnection,
  { names, release }: { names: NodeNames; release: Release },
): Promise<Looked> {
  const all = [...release.migrations, ...release.functions];
  const level = await readNodeLevel(connection, { names, release });
  if (level === undefined) return { files: all, level };
  requireOlderNode(connection, { names, level, release });
  return { files: all.filter((file) => level.installed.get(file.path) !== file.checksum), level };
}

/** Whether releases that could work with the node until now can do so no longer. */
function minimumRises(files: readonly SqlFile[], level: NodeLevel | undefined): boolean {
  const minimum = newestRelease(files.map((file) => file.minimumRelease));
  if (level === undefined || minimum === null) return false;
  return level.minimumRelease === null || compareReleases(minimum, level.minimumRelease) > 0;
}

/**
 * A change that an older release has begun may have prepared functions of its own making. None is under way, and none
 * begins until the transaction ends.
 */
async function requireRest(connection: PostgresConnection, names: NodeNames): Promise<void> {
  const schema = quoteIdentifier(names.schema);
  await connection.script(`lock table ${schema}.intent in share row exclusive mode`);
  const rows = await connection.query(`select i.set_name from ${schema}.intent i order by 1 limit 1`);
  const [row] = rows;
  if (row === undefined) return;
  throw new RefusedError(
    'schema_busy',
    `A change of set ${row.set_name} is not finished in ${connection.display}, and an older release may have begun it.`,
    {
      hint: 'Nothing was changed there. Run shovel cluster recover with the release that the node is at, then try again.',
    },
  );
}

/**
 * A relay that is at work meanwhile has to look at the node again before its next write. Without an owner the row says
 * that no other relay has taken over.
 */
function endEpochs(names: NodeNames): string {
  return `update ${quoteIdentifier(names.schema)}.set_head set epoch = epoch + 1, relay_owner = null, relay_since = null`;
}

/** Makes the schema where it is missing, and goes on as its owner. */
async function schemaStatements(
  connection: PostgresConnection,
  names: NodeNames,
): Promise<readonly string[]> {
  const rows = await connection.query(
    `select r.rolname as owner, pg_catalog.to_regclass($2)::oid as files,
        exists (select from pg_catalog.pg_attribute a
          where a.attrelid = pg_catalog.to_regclass($2)::oid and a.attname = 'minimum_release') as noted,
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
  if (found?.files) return [become, ...(found.noted === 't' ? [] : [addNotes(schema)])];
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
  path            text        constraint installed_file_pkey primary key,
  checksum        text        not null,
  installed_at    timestamptz not null default pg_catalog.now(),
  release         text,
  minimum_release text
);
comment on table ${schema}.installed_file is ${quoteLiteral('SQL files that have been run here, those of a set under its name. Migrations are frozen: their checksum never changes. release: which release ran it; minimum_release: the oldest that can work with this database since then.')}`,
  ];
}

/** Nodes made by the first release lack these columns. */
function addNotes(schema: string): string {
  return `alter table ${schema}.installed_file add column if not exists release text, add column if not exists minimum_release text`;
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
    await lockSchema(connection, names);
    const rows = await connection.query(
      `select exists (select from ${schema}.replication_set) or exists (select from ${schema}.intent) as used`,
    );
    if (rows[0]?.used !== 'f') return false;
    await connection.script(`drop schema ${schema} cascade`);
    return true;
  };
  try {
    const gone = await withRetries(() => transaction(connection, work), DROP_TRIES);
    if (gone) await dropRoles(connection, names);
    return gone;
  } catch (error) {
    // Who holds a lock there for so long is a change of another set: the schema is in use.
    if (error instanceof PostgresError && error.sqlstate === SQLSTATE.lockNotAvailable) return false;
    throw error;
  }
}

/** With pauses between them some ten seconds, where somebody reads there for long. */
const DROP_TRIES = 100;

/**
 * All or nothing, as LOCK TABLE does not wait: who reads for monitoring takes the view's lock first and then those of
 * the tables, and while we waited for one holding the other we would stand in a circle. So the view is waited for, while
 * we hold nothing, by giving it the owner that it has: LOCK TABLE would take the catalog's views below it along.
 */
async function lockSchema(connection: PostgresConnection, names: NodeNames): Promise<void> {
  const schema = quoteIdentifier(names.schema);
  await connection.script(
    `alter view if exists ${schema}.mutation_log owner to ${quoteIdentifier(names.owner)}`,
  );
  const tables = await connection.query(
    `select pg_catalog.format('%I.%I', n.nspname, c.relname) as name
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relkind = 'r' order by c.oid`,
    [names.schema],
  );
  if (tables.length === 0) return;
  const list = tables.map((table) => table.name).join(', ');
  await connection.script(`lock table ${list} in access exclusive mode nowait`);
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
