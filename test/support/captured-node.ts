/**
 * A database that is captured from: schema, ground and activation as a set's creation makes them, without coordinator
 * and relay. For tests of what capture writes into the log. The tables to capture are said in the words of a set file.
 */
import { activationStatements } from '../../src/capture/activate.js';
import { describeTables } from '../../src/capture/describe.js';
import { prepareGround } from '../../src/capture/ground.js';
import { type KeptTable, removeCapture } from '../../src/capture/remove.js';
import { readStandingTables } from '../../src/capture/renumber.js';
import type { CatalogIssue, TableDescription } from '../../src/capture/table-description.js';
import { type CapturedTable, decodeCapturedTable } from '../../src/model/captured-table.js';
import type { SetConfiguration } from '../../src/model/set-configuration.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { ensureNodeSchema } from '../../src/postgres/migrate.js';
import { nodeNames, quoteIdentifier } from '../../src/postgres/sql-files.js';
import { transaction } from '../../src/postgres/transaction.js';
import { sha256Hex } from '../../src/runtime/hash.js';
import { replayLog } from './replay-log.js';
import { createTestDatabase } from './services.js';
import { configured } from './set-file-text.js';

export const names = nodeNames('default');
export const SET = 'example';

/** A row of the log, every value as PostgreSQL's text. */
export interface LogRow {
  readonly seq: string;
  readonly xid: string;
  readonly rel: string;
  readonly ver: string;
  readonly op: string;
  readonly mark: string | null;
  readonly old_ctid: string | null;
  readonly new_ctid: string | null;
  readonly leaf: string | null;
  readonly meta: string | null;
  readonly old: string | null;
  readonly new: string | null;
  readonly extra: string | null;
  /** `schema.table` of rel; null for application context. */
  readonly table: string | null;
}

export interface NodeOptions {
  /** A superuser's URL. */
  readonly server: string;
  /** Entries under `tables` of a set file, YAML in flow style or as written: `- name: public.accounts`. */
  readonly tables: string;
  /** Other keys of the set file, e.g. `capture_replicated: true`. */
  readonly more?: string;
}

export class CapturedNode {
  readonly url: string;
  /** A superuser's, with this project's pinned settings. */
  readonly connection: PostgresConnection;
  readonly #options: { readonly server: string; readonly drop: () => Promise<void> };
  readonly #sessions: PostgresConnection[] = [];
  #version = 0;

  private constructor(
    connection: PostgresConnection,
    options: { readonly url: string; readonly server: string; readonly drop: () => Promise<void> },
  ) {
    this.url = options.url;
    this.connection = connection;
    this.#options = options;
  }

  /** A database with shovel's schema, in which nothing is captured yet. */
  static async create(server: string): Promise<CapturedNode> {
    const database = await createTestDatabase({ server });
    const connection = await openConnection({
      dsn: database.url,
      name: 'of the test',
      applicationName: 'shovel-test',
    });
    await ensureNodeSchema(connection, names);
    return new CapturedNode(connection, { url: database.url, server, drop: database.drop });
  }

  /** Another session; `settings` as an application may have them, so none of ours. */
  async session({
    user,
    settings = {},
  }: {
    readonly user?: string;
    readonly settings?: Readonly<Record<string, string>>;
  } = {}): Promise<PostgresConnection> {
    const session = await openConnection({
      dsn: this.url,
      name: 'of the application',
      applicationName: 'application',
    });
    this.#sessions.push(session);
    await session.script('reset all');
    for (const [name, value] of Object.entries(settings)) {
      await session.query('select pg_catalog.set_config($1, $2, false)', [name, value]);
    }
    if (user !== undefined) await session.script(`set session authorization ${quoteIdentifier(user)}`);
    return session;
  }

  async describe(options: Omit<NodeOptions, 'server'>): Promise<{
    readonly tables: readonly TableDescription[];
    readonly issues: readonly CatalogIssue[];
    readonly configuration: SetConfiguration;
  }> {
    const configuration = parseTables(options);
    return { ...(await describeTables(this.connection, configuration, { names })), configuration };
  }

  /** Ground and activation of the next version. Throws where the catalog has something against the tables. */
  async capture(options: Omit<NodeOptions, 'server'>): Promise<readonly TableDescription[]> {
    const { tables, issues, configuration } = await this.describe(options);
    if (issues.length > 0) throw new Error(issues.map((issue) => issue.message).join('\n'));
    await this.ground(tables);
    await this.activate(tables, configuration);
    return tables;
  }

  ground(tables: readonly TableDescription[]): Promise<void> {
    return prepareGround(this.connection, { names, set: SET, tables, ...PATIENCE });
  }

  async activate(tables: readonly TableDescription[], configuration: SetConfiguration): Promise<void> {
    this.#version += 1;
    const statements = activationStatements({
      names,
      set: SET,
      version: this.#version,
      tables,
      rowBytes: configuration.limits.rowBytes,
      streams: Object.keys(configuration.streams),
      hash: sha256Hex,
      standing: await readStandingTables(this.connection, { names, set: SET, version: this.#version }),
    });
    await transaction(this.connection, async () => {
      await this.connection.script(`set local role ${quoteIdentifier(names.owner)}`);
      for (const statement of statements) await this.connection.script(statement);
    });
  }

  removeCapture(keep: readonly KeptTable[] = []): Promise<void> {
    return removeCapture(this.connection, { names, set: SET, keep, ...PATIENCE });
  }

  /** In the order of the log. */
  async log(where = 'true'): Promise<readonly LogRow[]> {
    const rows = await this.connection.query(
      `select l.seq, l.xid, l.rel, l.ver, l.op, l.mark, l.old_ctid, l.new_ctid, l.leaf, l.meta, l.old, l.new, l.extra,
              c.schema_name || '.' || c.table_name as "table"
       from ${names.schema}.log_${SET} l left join ${names.schema}.captured_table c on c.rel = l.rel
       where ${where} order by l.seq`,
    );
    return rows as unknown as readonly LogRow[];
  }

  /** The number of the newest row; 0 before the first. */
  async lastSeq(): Promise<string> {
    const rows = await this.connection.query(
      `select coalesce(max(l.seq), 0) as seq from ${names.schema}.log_${SET} l`,
    );
    return rows[0]?.seq ?? '0';
  }

  async definitions(): Promise<ReadonlyMap<string, CapturedTable & { readonly relid: string }>> {
    const rows = await this.connection.query(
      `select c.rel, c.relid, c.definition from ${names.schema}.captured_table c`,
    );
    return new Map(
      rows.map((row) => [
        row.rel ?? '',
        { ...decodeCapturedTable(row.definition ?? ''), relid: row.relid ?? '' },
      ]),
    );
  }

  /** The differences between the tables and what the log makes of them; `[]` is right. Needs a log from the start. */
  async differences(): Promise<readonly string[]> {
    return replayLog(await this.log(), {
      definitions: await this.definitions(),
      connection: this.connection,
    });
  }

  /** Ends sessions and drops the database, unless a test of the file failed or it is to be kept. */
  async close({ keep = false }: { readonly keep?: boolean } = {}): Promise<void> {
    for (const session of this.#sessions) await session.end();
    await this.connection.end();
    if (!keep) await this.#options.drop();
  }
}

/** A node with tables made by `setup` and captured at once. */
export async function createCapturedNode(
  options: NodeOptions & { readonly setup: string },
): Promise<CapturedNode> {
  const node = await CapturedNode.create(options.server);
  await onPublic(node.connection, options.setup);
  await node.capture(options);
  return node;
}

/** Runs a script with `search_path` public, as an application would. */
export async function onPublic(connection: PostgresConnection, script: string): Promise<void> {
  await connection.script('set search_path = public');
  try {
    await connection.script(script);
  } finally {
    await connection.script('set search_path = pg_catalog').catch(() => undefined);
  }
}

export function parseTables({ tables, more = '' }: Omit<NodeOptions, 'server'>): SetConfiguration {
  const indented = tables.trim().replaceAll(/^\s*-/gm, '  -');
  const text = `name: ${SET}
databases: { main: { dsn: "postgres://localhost/example" } }
tables:
${indented}
streams: { trail: { file: { path: "-" } } }
${more}`;
  return configured(text);
}

const PATIENCE = { lockTimeoutMs: 40, giveUpMs: 30_000, waiting: () => undefined };
