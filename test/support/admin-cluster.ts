/**
 * A cluster for tests of administration: an empty place in a real coordinator, databases of its own in real servers,
 * and as many administrators as a test wants, each with its own connections.
 */
import { randomBytes } from 'node:crypto';
import type { AdminContext } from '../../src/admin/context.js';
import { initCluster } from '../../src/admin/init-cluster.js';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import type { SetConfiguration } from '../../src/model/set-configuration.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { type NodeNames, nodeNames } from '../../src/postgres/sql-files.js';
import { systemClock } from '../../src/runtime/clock.js';
import { silentLogger } from '../../src/runtime/logger.js';
import { type CoordinatorKind, type CoordinatorPlace, coordinatorKinds } from './coordinators.js';
import { createTestDatabase } from './services.js';
import { configured } from './set-file-text.js';
import type { TestDatabase } from './test-database.js';

export const zooKeeper: CoordinatorKind = kind('ZooKeeper');
export const postgres: CoordinatorKind = kind('PostgreSQL');

function kind(name: string): CoordinatorKind {
  const found = coordinatorKinds.find((one) => one.name === name);
  if (!found) throw new Error(`no coordinator ${name}`);
  return found;
}

export interface Administrator {
  readonly context: AdminContext;
  readonly coordinator: Coordinator;
  readonly said: readonly string[];
  stop(): Promise<void>;
}

export interface AdminCluster {
  readonly name: string;
  readonly names: NodeNames;
  readonly place: CoordinatorPlace;
  /** A started administrator; `init` made the cluster already unless asked not to. */
  administrator(options?: AdministratorOptions): Promise<Administrator>;
  /** A database with the given SQL run in it. */
  database(sql: string, options?: { server?: string }): Promise<NodeDatabase>;
  remove(): Promise<void>;
}

export interface AdministratorOptions {
  readonly coordinator?: Coordinator;
  readonly failpoint?: (name: string) => Promise<void>;
  readonly openNode?: AdminContext['openNode'];
  readonly signal?: AbortSignal;
  readonly giveUpMs?: number;
}

export interface NodeDatabase {
  readonly url: string;
  readonly name: string;
  readonly connection: PostgresConnection;
  /** First column of the first row. */
  value(sql: string, values?: readonly string[]): Promise<string | null | undefined>;
  /** First column of each row. */
  column(sql: string, values?: readonly string[]): Promise<readonly (string | null)[]>;
}

export async function makeAdminCluster(
  coordinatorKind: CoordinatorKind,
  { init = true }: { init?: boolean } = {},
): Promise<AdminCluster> {
  const name = `t${randomBytes(5).toString('hex')}`;
  const names = nodeNames(name);
  const place = await coordinatorKind.makePlace();
  const administrators: Administrator[] = [];
  const databases: { test: TestDatabase; connection: PostgresConnection }[] = [];

  async function administrator(options: AdministratorOptions = {}): Promise<Administrator> {
    const coordinator = options.coordinator ?? place.open();
    await coordinator.start();
    const said: string[] = [];
    const context: AdminContext = {
      cluster: name,
      coordinator,
      openNode:
        options.openNode ??
        ((database, { dsn }) =>
          openConnection({ dsn, name: `database ${database}`, applicationName: 'shovel admin' })),
      logger: silentLogger(),
      lockTimeoutMs: 40,
      giveUpMs: options.giveUpMs ?? 5_000,
      clock: systemClock,
      say: (line) => {
        said.push(line);
      },
      signal: options.signal ?? new AbortController().signal,
      owner: `test:${administrators.length + 1}`,
      ...(options.failpoint ? { failpoint: options.failpoint } : {}),
    };
    const made = { context, coordinator, said, stop: () => coordinator.stop() };
    administrators.push(made);
    return made;
  }

  if (init) {
    const first = await administrator();
    await initCluster(first.context);
  }
  return {
    name,
    names,
    place,
    administrator,
    async database(sql, options = {}) {
      const test = await createTestDatabase(options);
      const connection = await openConnection({
        dsn: test.url,
        name: 'test',
        applicationName: 'shovel test',
        settings: { search_path: 'public' },
      });
      databases.push({ test, connection });
      await connection.script(sql);
      const column: NodeDatabase['column'] = async (text, values) =>
        (await connection.arrays(text, values)).map((row) => row[0] ?? null);
      return {
        url: test.url,
        name: test.name,
        connection,
        column,
        value: async (text, values) => (await column(text, values))[0],
      };
    },
    async remove() {
      await Promise.all(administrators.map((one) => one.stop()));
      const urls = new Set<string>();
      for (const { test, connection } of databases) {
        await connection.end();
        await test.drop();
        urls.add(new URL('/postgres', test.url).href);
      }
      for (const url of urls) await dropRoles(url, names);
      await place.remove();
    },
  };
}

export interface MainAndEu {
  readonly cluster: AdminCluster;
  readonly admin: Administrator;
  readonly main: NodeDatabase;
  readonly eu: NodeDatabase;
}

/** A cluster in ZooKeeper with an administrator and two databases, each with tables `accounts` and `orders`. */
export async function makeMainAndEu(): Promise<MainAndEu> {
  const tables = `create table accounts (id int primary key, owner text);
    create table orders (id int primary key, total numeric)`;
  const cluster = await makeAdminCluster(zooKeeper);
  return {
    cluster,
    admin: await cluster.administrator(),
    main: await cluster.database(tables),
    eu: await cluster.database(tables),
  };
}

/** Roles outlive a database that was dropped as a whole; those of a database that was kept stay with it. */
async function dropRoles(url: string, names: NodeNames): Promise<void> {
  const server = await openConnection({ dsn: url, name: 'test', applicationName: 'shovel test' });
  for (const role of [names.owner, names.capture, names.sandbox]) {
    await server.script(`drop role if exists "${role}"`).catch(() => undefined);
  }
  await server.end();
}

/** Databases by name in the set, tables by their entries, a stream into a file that no test reads. */
export function configurationOf({
  name = 'example',
  databases,
  tables = ['public.accounts'],
  extra = '',
  streams = ['trail'],
}: {
  name?: string;
  databases: Readonly<Record<string, { readonly url: string }>>;
  tables?: readonly string[];
  extra?: string;
  streams?: readonly string[];
}): SetConfiguration {
  const text = [
    `name: ${name}`,
    'databases:',
    ...Object.entries(databases).map(([key, { url }]) => `  ${key}: { dsn: "${url}" }`),
    'tables:',
    ...tables.map((table) => (table.includes(':') ? `  - { ${table} }` : `  - name: ${table}`)),
    'streams:',
    ...streams.map((stream) => `  ${stream}: { file: { path: "/dev/null/{set}.${stream}" } }`),
    extra,
  ].join('\n');
  return configured(text);
}

/** All that stands in a database and that an administrator could have changed, as one text. */
export async function catalogOf(database: NodeDatabase): Promise<string> {
  const rows = await database.column(`
    select 'relation ' || n.nspname || '.' || c.relname || ' ' || c.relkind::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
      where n.nspname !~ '^pg_(toast|temp)' and n.nspname <> 'information_schema' and n.nspname <> 'pg_catalog'
    union all select 'function ' || n.nspname || '.' || p.proname || ' ' || md5(p.prosrc) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
      where n.nspname not in ('pg_catalog', 'information_schema')
    union all select 'trigger ' || t.tgrelid::regclass || ' ' || t.tgname || ' ' || t.tgenabled::text from pg_trigger t
    union all select 'schema ' || nspname from pg_namespace where nspname !~ '^pg_(toast|temp)'
    union all select 'prepared ' || gid from pg_prepared_xacts where database = current_database()
    order by 1`);
  return rows.join('\n');
}

/** Everything below a path of the coordinator, as one text. */
export async function treeOf(coordinator: Coordinator, path = '/'): Promise<string> {
  const entry = await coordinator.read(path);
  const names = (await coordinator.list(path)) ?? [];
  const below: string[] = [];
  for (const name of names)
    below.push(await treeOf(coordinator, path === '/' ? `/${name}` : `${path}/${name}`));
  return [`${path} ${entry?.version} ${entry?.data}`, ...below].join('\n');
}
