/** The rows of schema shovel that say what a node holds of a set: read and written here alone. */

import type { ChangeNode, Intent, SetDocument } from '../model/change-records.js';
import type { NodeView } from '../model/change-recovery.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { nodeSchemaExists } from '../postgres/node-level.js';
import { listPrepared } from '../postgres/prepared-transaction.js';
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';

/** Which database this is, whatever its name and address: no copy made by dump or restore shares it. */
export interface DatabaseIdentity {
  readonly systemIdentifier: string;
  readonly databaseOid: string;
}

export async function readIdentity(connection: PostgresConnection): Promise<DatabaseIdentity> {
  const rows = await connection.query(
    `select (select c.system_identifier from pg_catalog.pg_control_system() c) as system,
       (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()) as oid`,
  );
  return { systemIdentifier: rows[0]?.system ?? '', databaseOid: rows[0]?.oid ?? '' };
}

/** An order in which all administrators visit the same databases. */
export function compareIdentity(a: DatabaseIdentity, b: DatabaseIdentity): number {
  const system = a.systemIdentifier.localeCompare(b.systemIdentifier);
  return system === 0 ? Number(a.databaseOid) - Number(b.databaseOid) : system;
}

/** A set's row in a node. */
export interface NodeRow extends DatabaseIdentity {
  readonly set: string;
  readonly nodeId: string;
  readonly incarnation: number;
  readonly version: number;
  readonly intent: string;
  readonly hash: string;
  readonly document: string;
}

/** Of every set, or of one; empty where the schema is missing. */
export async function readNodeRows(
  connection: PostgresConnection,
  { names, set }: { names: NodeNames; set?: string },
): Promise<readonly NodeRow[]> {
  if (!(await nodeSchemaExists(connection, names))) return [];
  const rows = await connection.query(
    `select r.* from ${quoteIdentifier(names.schema)}.replication_set r
     where $1::text is null or r.set_name = $1 order by r.set_name`,
    [set ?? null],
  );
  return rows.map((row) => ({
    set: row.set_name ?? '',
    nodeId: row.node_id ?? '',
    incarnation: Number(row.incarnation),
    version: Number(row.set_version),
    intent: row.intent_id ?? '',
    hash: row.content_hash ?? '',
    document: row.document ?? '',
    systemIdentifier: row.system_identifier ?? '',
    databaseOid: row.database_oid ?? '',
  }));
}

/** `shovel:<cluster>:<intent>:<node>`: at most 123 bytes of the 199 that PostgreSQL takes. */
export function gidOf({
  cluster,
  intent,
  nodeId,
}: {
  cluster: string;
  intent: string;
  nodeId: string;
}): string {
  return `${gidPrefix(cluster)}${intent}:${nodeId}`;
}

export function gidPrefix(cluster: string): string {
  return `shovel:${cluster}:`;
}

/** Undefined where it is none of this cluster. */
export function parseGid(cluster: string, gid: string): { intent: string; nodeId: string } | undefined {
  if (!gid.startsWith(gidPrefix(cluster))) return undefined;
  const [intent, nodeId, ...rest] = gid.slice(gidPrefix(cluster).length).split(':');
  return intent && nodeId && rest.length === 0 ? { intent, nodeId } : undefined;
}

/** What recovery holds against the set's record. */
export async function viewNode(
  connection: PostgresConnection,
  { names, cluster, set, nodeId }: { names: NodeNames; cluster: string; set: string; nodeId: string },
): Promise<NodeView> {
  const [row] = await readNodeRows(connection, { names, set });
  const prepared = (await listPrepared(connection, gidPrefix(cluster)))
    .map(({ gid }) => parseGid(cluster, gid))
    .filter((one) => one?.nodeId === nodeId)
    .map((one) => one?.intent ?? '');
  const schema = quoteIdentifier(names.schema);
  if (!(await nodeSchemaExists(connection, names))) return { row: null, ground: false, changes: prepared };
  const begun = await connection.query(
    `select i.intent_id from ${schema}.intent i where i.set_name = $1
     union select s.intent_id from ${schema}.staged_version s where s.set_name = $1`,
    [set],
  );
  const log = await connection.query('select pg_catalog.to_regclass($1)::oid as log', [
    `${schema}.log_${set}`,
  ]);
  return {
    row: row ? { version: row.version, intent: row.intent, hash: row.hash, nodeId: row.nodeId } : null,
    ground: log[0]?.log !== null,
    changes: [...new Set([...prepared, ...begun.map((one) => one.intent_id ?? '')])],
  };
}

/**
 * Makes room for a set's row before anything else is done for it, so that a second administrator waits here. False
 * where there is one already.
 */
export async function insertNodeRow(connection: PostgresConnection, write: NodeWrite): Promise<boolean> {
  const { names, node, intent, document, identity } = write;
  const rows = await connection.query(
    `insert into ${quoteIdentifier(names.schema)}.replication_set
       (set_name, database_name, node_id, incarnation, set_version, intent_id, content_hash, document, system_identifier, database_oid)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (set_name) do nothing returning 1 as made`,
    [
      intent.set,
      node.database,
      node.nodeId,
      String(node.incarnation),
      String(intent.to),
      intent.intent,
      document.hash,
      intent.document,
      identity.systemIdentifier,
      identity.databaseOid,
    ],
  );
  if (rows.length === 0) return false;
  await keepDocument(connection, write);
  return true;
}

export async function updateNodeRow(connection: PostgresConnection, write: NodeWrite): Promise<void> {
  const { names, node, intent, document, identity } = write;
  await connection.query(
    `update ${quoteIdentifier(names.schema)}.replication_set set set_version = $2, intent_id = $3, content_hash = $4,
       document = $5, incarnation = $6, system_identifier = $7, database_oid = $8, decided_at = pg_catalog.now()
     where set_name = $1`,
    [
      intent.set,
      String(intent.to),
      intent.intent,
      document.hash,
      intent.document,
      String(node.incarnation),
      identity.systemIdentifier,
      identity.databaseOid,
    ],
  );
  await keepDocument(connection, write);
}

/** For a coordinator that loses its history. A schema of an older release has no place for it. */
async function keepDocument(
  connection: PostgresConnection,
  { names, intent }: Pick<NodeWrite, 'names' | 'intent'>,
): Promise<void> {
  const table = await optionalTable(connection, { names, table: 'decided_version' });
  if (table === undefined) return;
  await connection.query(
    `insert into ${table} as d (set_name, set_version, document) values ($1, $2, $3)
     on conflict (set_name, set_version) do update set document = excluded.document, stored_at = pg_catalog.now()`,
    [intent.set, String(intent.to), intent.document],
  );
}

/** Every version that the node was ever brought to, as far as its schema keeps them; the present one last. */
export async function readDocuments(
  connection: PostgresConnection,
  { names }: { names: NodeNames },
): Promise<readonly { readonly set: string; readonly version: number; readonly document: string }[]> {
  const present = await readNodeRows(connection, { names });
  const table = await optionalTable(connection, { names, table: 'decided_version' });
  const rows =
    table === undefined
      ? []
      : await connection.query(
          `select d.set_name, d.set_version, d.document from ${table} d order by d.set_name, d.set_version`,
        );
  return [
    ...rows.map((row) => ({
      set: row.set_name ?? '',
      version: Number(row.set_version),
      document: row.document ?? '',
    })),
    ...present.map(({ set, version, document }) => ({ set, version, document })),
  ];
}

/** Takes a set's row away where it is at `upTo` or older, with all that is remembered of the set. */
export async function deleteNodeRow(
  connection: PostgresConnection,
  { names, set, upTo }: { names: NodeNames; set: string; upTo: number },
): Promise<void> {
  const deleted = await connection.query(
    `delete from ${quoteIdentifier(names.schema)}.replication_set r
     where r.set_name = $1 and r.set_version <= $2 returning 1 as gone`,
    [set, String(upTo)],
  );
  if (deleted.length === 0) return;
  for (const name of ['decided_version', 'capture_drift']) {
    const table = await optionalTable(connection, { names, table: name });
    if (table !== undefined) await connection.query(`delete from ${table} d where d.set_name = $1`, [set]);
  }
}

export interface Drift {
  /** `schema.table` */
  readonly table: string;
  /** `f`, `o` or `u`, as in the log. */
  readonly mark: string;
  /** At least so many. */
  readonly mutations: string;
  readonly secondsAgo: number;
}

/** What relays met in a version's log that was not captured as that version says. */
export async function readDrift(
  connection: PostgresConnection,
  { names, set, version }: { names: NodeNames; set: string; version: number },
): Promise<readonly Drift[]> {
  const table = await optionalTable(connection, { names, table: 'capture_drift' });
  if (table === undefined) return [];
  const rows = await connection.query(
    `select c.schema_name || '.' || c.table_name as name, d.mark, d.mutations,
       pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp() - d.last_seen))::bigint as ago
     from ${table} d join ${quoteIdentifier(names.schema)}.captured_table c on c.rel = d.rel
     where c.set_name = $1 and c.set_version = $2 order by 1, 2`,
    [set, String(version)],
  );
  return rows.map((row) => ({
    table: row.name ?? '',
    mark: row.mark ?? '',
    mutations: row.mutations ?? '0',
    secondsAgo: Number(row.ago),
  }));
}

/** The qualified name of a table that a schema of an older release lacks. */
async function optionalTable(
  connection: PostgresConnection,
  { names, table }: { names: NodeNames; table: string },
): Promise<string | undefined> {
  const name = `${quoteIdentifier(names.schema)}.${table}`;
  const rows = await connection.query('select pg_catalog.to_regclass($1)::oid as found', [name]);
  return rows[0]?.found === null ? undefined : name;
}

export interface NodeWrite {
  readonly names: NodeNames;
  readonly node: ChangeNode;
  readonly intent: Intent;
  /** `intent.document`, decoded. */
  readonly document: SetDocument;
  readonly identity: DatabaseIdentity;
}
