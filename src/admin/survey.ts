/**
 * Looks at every database of a configuration before anything is written: who it is, what it may and can, what stands
 * in it already, and what its catalog has against the set file. All that can be refused is refused here, so that a
 * refusal has changed nothing anywhere.
 */
import { describeTables } from '../capture/describe.js';
import type { CatalogIssue, TableDescription } from '../capture/table-description.js';
import { ConfigurationError, IntegrityError, RefusedError } from '../errors.js';
import { decodeDocument, decodeRecord } from '../model/change-records.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { planNodeSchema } from '../postgres/migrate.js';
import { requireCurrentNode } from '../postgres/node-level.js';
import { maxPreparedTransactions } from '../postgres/prepared-transaction.js';
import { checkRoles } from '../postgres/roles.js';
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';
import { changedModes } from './capture-mode.js';
import { catalogError } from './catalog-error.js';
import { type AdminContext, namesOf, pathsOf } from './context.js';
import { type DatabaseIdentity, type NodeRow, readIdentity, readNodeRows } from './node-rows.js';
import type { NodeSessions } from './node-sessions.js';

export interface SurveyedNode {
  readonly database: string;
  readonly dsn: string;
  readonly connection: PostgresConnection;
  readonly identity: DatabaseIdentity;
  /** The set's row, if one stands there. */
  readonly row: NodeRow | undefined;
  readonly tables: readonly TableDescription[];
}

export interface SurveyOptions {
  readonly configuration: SetConfiguration;
  readonly clusterId: string;
  /** Goes on where a publication would carry our tables. */
  readonly force: boolean;
}

/**
 * @throws UnreachableError; ConfigurationError: what the catalog lacks, `database_listed_twice`,
 * `prepared_unavailable`, missing roles and privileges; RefusedError `publication_carries_log`, `schema_shared`
 */
export async function surveyNodes(
  context: AdminContext,
  sessions: NodeSessions,
  options: SurveyOptions,
): Promise<readonly SurveyedNode[]> {
  const entries = Object.entries(options.configuration.databases);
  const nodes = await Promise.all(
    entries.map(async ([database, { dsn }]) => {
      const connection = await sessions.connection({ database, dsn });
      return { database, dsn, connection, identity: await readIdentity(connection) };
    }),
  );
  refuseTwins(nodes);
  const surveyed: SurveyedNode[] = [];
  const found: { database: string; issues: readonly CatalogIssue[] }[] = [];
  for (const node of nodes) {
    await checkServer(node.connection, { context, node, options });
    const rows = await readNodeRows(node.connection, { names: namesOf(context) });
    refuseStrangers(rows, { node, options });
    await checkLevel(context, { connection: node.connection, rows, set: options.configuration.name });
    const { tables, issues } = await describeTables(node.connection, options.configuration, {
      names: namesOf(context),
    });
    const row = rows.find((one) => one.set === options.configuration.name);
    const kept = { names: namesOf(context), set: options.configuration.name, tables };
    const all = [
      ...issues,
      ...(await unownedTables(node.connection, tables)),
      ...(row ? await changedModes(node.connection, { ...kept, version: row.version }) : []),
    ];
    if (all.length > 0) found.push({ database: node.database, issues: all });
    surveyed.push({ ...node, tables, row });
  }
  const several = nodes.length > 1;
  const issues = found.flatMap(({ database, issues: some }) =>
    some.map((issue) =>
      several ? { ...issue, message: issue.message.replace(/\.$/, ` (database ${database}).`) } : issue,
    ),
  );
  if (issues.length > 0) throw catalogError(issues, found.map((one) => one.database).join(', '));
  return surveyed;
}

function refuseTwins(nodes: readonly { database: string; identity: DatabaseIdentity }[]): void {
  const seen = new Map<string, string>();
  for (const { database, identity } of nodes) {
    const key = `${identity.systemIdentifier} ${identity.databaseOid}`;
    const twin = seen.get(key);
    if (twin !== undefined) {
      throw new ConfigurationError(
        'database_listed_twice',
        `Databases ${twin} and ${database} of the set are one and the same database.`,
        {
          hint: 'List it once: each database of a set is captured under one name.',
          details: { databases: [twin, database] },
        },
      );
    }
    seen.set(key, database);
  }
}

async function checkServer(
  connection: PostgresConnection,
  { context, node, options }: { context: AdminContext; node: { database: string }; options: SurveyOptions },
): Promise<void> {
  const names = namesOf(context);
  if (connection.serverVersion < 140_000) {
    throw new ConfigurationError(
      'server_too_old',
      `Database ${node.database} runs on PostgreSQL ${Math.floor(connection.serverVersion / 10_000)}.`,
      { hint: 'shovel needs PostgreSQL 14 or later.' },
    );
  }
  await checkRoles(connection, names);
  if (options.configuration.commit === 'prepared' && (await maxPreparedTransactions(connection)) === 0) {
    throw new ConfigurationError(
      'prepared_unavailable',
      `Database ${node.database} can't prepare transactions: max_prepared_transactions is 0.`,
      { hint: 'Raise it and restart the server, or say commit: auto in the set file.' },
    );
  }
  const publications = options.force ? [] : await carryingPublications(connection, names);
  if (publications.length > 0) {
    throw new RefusedError(
      'publication_carries_log',
      `Publication ${publications.join(', ')} of database ${node.database} would carry shovel's own tables.`,
      {
        hint: 'It stops every subscriber that lacks them: let it name its tables; for --force see docs/publications.md.',
        details: { database: node.database, publications },
      },
    );
  }
}

/**
 * A schema that live sets share is brought to another level by `cluster upgrade` alone, which asks who else works with
 * it. One that none is in any more is made anew for whoever joins: nothing else would ever come by there.
 */
async function checkLevel(
  context: AdminContext,
  { connection, rows, set }: { connection: PostgresConnection; rows: readonly NodeRow[]; set: string },
): Promise<void> {
  const names = namesOf(context);
  for (const row of rows) {
    if (!(await isLive(context, row.set))) continue;
    await requireCurrentNode(connection, names);
    break;
  }
  if (!rows.some((row) => row.set === set)) await planNodeSchema(connection, names);
}

async function isLive(context: AdminContext, set: string): Promise<boolean> {
  const path = pathsOf(context).set(set);
  const entry = await context.coordinator.read(path);
  // What the coordinator does not know may be what it lost.
  return entry === undefined || decodeRecord(entry.data, path).state === 'live';
}

/** FOR ALL TABLES, and since PostgreSQL 15 FOR TABLES IN SCHEMA. */
async function carryingPublications(
  connection: PostgresConnection,
  names: NodeNames,
): Promise<readonly string[]> {
  const bySchema =
    connection.serverVersion >= 150_000
      ? `or exists (select from pg_catalog.pg_publication_namespace n
           join pg_catalog.pg_namespace s on s.oid = n.pnnspid where n.pnpubid = p.oid and s.nspname = $1)`
      : 'and $1::text is not null';
  const rows = await connection.query(
    `select p.pubname from pg_catalog.pg_publication p where p.puballtables ${bySchema} order by p.pubname`,
    [names.schema],
  );
  return rows.map((row) => row.pubname ?? '');
}

/** Triggers can be made and dropped only by a table's owner. */
async function unownedTables(
  connection: PostgresConnection,
  tables: readonly TableDescription[],
): Promise<readonly CatalogIssue[]> {
  const rows = await connection.query(
    `select n.nspname, c.relname, r.rolname as owner, current_user as me
     from pg_catalog.json_array_elements_text($1::json) as t (relid)
     join pg_catalog.pg_class c on c.oid = t.relid::oid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     join pg_catalog.pg_roles r on r.oid = c.relowner
     where not pg_catalog.pg_has_role(r.oid, 'USAGE') order by 1, 2`,
    [JSON.stringify(tables.map((table) => String(table.relid)))],
  );
  return rows.map((row) => ({
    table: `${row.nspname}.${row.relname}`,
    code: 'table_not_owned',
    message: `Table ${row.nspname}.${row.relname} belongs to ${row.owner}, and ${row.me} is no member of that role.`,
    hint: `Triggers need it: grant ${quoteIdentifier(row.owner ?? '')} to ${quoteIdentifier(row.me ?? '')};`,
  }));
}

/** Two coordinators that both have a cluster of this name would undo each other's sets. */
function refuseStrangers(
  rows: readonly NodeRow[],
  { node, options }: { node: { database: string; identity: DatabaseIdentity }; options: SurveyOptions },
): void {
  for (const row of rows) {
    const what = `set ${row.set} in database ${node.database}`;
    if (!sameDatabase(row, node.identity)) {
      throw new IntegrityError(
        'node_copied',
        `Database ${node.database} holds set ${row.set} of another database: it is a copy, or was restored.`,
        {
          hint: `Take it on again with shovel node adopt ${row.set} ${node.database}, or drop the schema of the copy.`,
        },
      );
    }
    if (decodeDocument(row.document, what).clusterId !== options.clusterId) {
      throw new RefusedError(
        'schema_shared',
        `Database ${node.database} holds set ${row.set} of a cluster of the same name at another coordinator.`,
        { hint: 'Choose another --cluster, or the coordinator that knows the set.' },
      );
    }
  }
}

export function sameDatabase(row: DatabaseIdentity, identity: DatabaseIdentity): boolean {
  return row.systemIdentifier === identity.systemIdentifier && row.databaseOid === identity.databaseOid;
}
