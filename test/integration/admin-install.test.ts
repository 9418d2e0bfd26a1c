/** The schema of a node: many installs at once, least privileges, and what is said where something is missing. */
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { dropNodeSchema, ensureNodeSchema } from '../../src/postgres/migrate.js';
import {
  type AdminCluster,
  catalogOf,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';
import { testPgNo2pcUrl, testPgUrl, testService } from '../support/services.js';

const plain = { wait: true, dryRun: false } as const;

let cluster: AdminCluster;
const opened: PostgresConnection[] = [];
const logins: { server: string; role: string }[] = [];
beforeEach(async () => {
  cluster = await makeAdminCluster(zooKeeper);
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((connection) => connection.end()));
  await cluster.remove();
});
afterAll(async () => {
  for (const { server, role } of logins) {
    const connection = await openConnection({ dsn: server, name: 'test', applicationName: 'shovel test' });
    await connection.script(`drop role if exists ${role}`).catch(() => undefined);
    await connection.end();
  }
});

async function connect(dsn: string): Promise<PostgresConnection> {
  const connection = await openConnection({ dsn, name: 'test', applicationName: 'shovel test' });
  opened.push(connection);
  return connection;
}

describe('the schema of a node', () => {
  it('is the same after twenty installs at once in two databases', async () => {
    const [main, eu] = await Promise.all([cluster.database('select 1'), cluster.database('select 1')]);
    const connections = await Promise.all(
      Array.from({ length: 20 }, (_, index) => connect(index % 2 === 0 ? main.url : eu.url)),
    );
    await Promise.all(connections.map((connection) => ensureNodeSchema(connection, cluster.names)));
    const files = `select path || ' ' || checksum from ${cluster.names.schema}.installed_file order by 1`;
    const installed = await main.column(files);
    expect(installed.length).toBeGreaterThan(2);
    expect(await eu.column(files)).toEqual(installed);
    const before = await catalogOf(main);
    await ensureNodeSchema(main.connection, cluster.names);
    expect(await catalogOf(main)).toBe(before);
    const drops = await Promise.all(
      [main, eu].map(({ connection }) =>
        dropNodeSchema(connection, { names: cluster.names, lockTimeoutMs: 1_000 }),
      ),
    );
    expect(drops).toEqual([true, true]);
  });

  it('is made again where a function’s text changed, and refused where a migration’s did', async () => {
    const main = await cluster.database('select 1');
    await ensureNodeSchema(main.connection, cluster.names);
    const { schema } = cluster.names;
    await main.connection.script(
      `update ${schema}.installed_file set checksum = 'old' where path = 'sql/functions/row_text.sql';
       create or replace function ${schema}.row_text(r_ record) returns text language plpgsql as $$ begin return 'old'; end $$`,
    );
    await ensureNodeSchema(main.connection, cluster.names);
    expect(await main.value(`select ${schema}.row_text(row(1))`)).toBe('{"f1":1}');
    await main.connection.script(
      `update ${schema}.installed_file set checksum = 'old' where path like 'migrations/0001%'`,
    );
    await expect(ensureNodeSchema(main.connection, cluster.names)).rejects.toMatchObject({
      exitCode: 25,
      code: 'migration_changed',
    });
    await main.connection.script(
      `insert into ${schema}.installed_file values ('migrations/9999_later.sql', 'x')`,
    );
    await expect(ensureNodeSchema(main.connection, cluster.names)).rejects.toMatchObject({
      exitCode: 21,
      code: 'schema_newer',
    });
  });

  it('keeps sets apart whose names could be taken for another one’s parts', async () => {
    const main = await cluster.database('create table accounts (id int primary key)');
    const { context } = await cluster.administrator();
    const sets = ['a', 'a_0', 'a_seq', 'a_pkey', 'key_ticket_0_a', 'a_deadbeef', 'a_deadbeef_0123abcd'];
    for (const name of sets) {
      await createSet(context, { configuration: configurationOf({ name, databases: { main } }), ...plain });
    }
    await main.connection.script('insert into public.accounts values (1)');
    for (const [i, set] of sets.entries()) {
      await dropSet(context, { name: set, force: false, dryRun: false });
      await main.connection.script(`insert into public.accounts values (${i + 2})`);
      for (const kept of sets.slice(i + 1)) {
        const { schema } = cluster.names;
        expect(await main.value(`select count(*) from ${schema}.log_${kept} l where l.op = 'I'`)).toBe(
          String(i + 2),
        );
      }
    }
  });

  it('is not made over somebody else’s schema of that name', async () => {
    const main = await cluster.database(`create schema ${cluster.names.schema}`);
    await expect(ensureNodeSchema(main.connection, cluster.names)).rejects.toMatchObject({
      exitCode: 21,
      code: 'schema_taken',
    });
  });
});

describe.each([
  { major: '18', server: async () => testPgUrl() },
  { major: '15', server: () => testService('pg15') },
  { major: '14', server: async () => testPgNo2pcUrl() },
])('an installer who is no superuser, PostgreSQL $major', ({ server: serverOf }) => {
  let server: string;
  let main: NodeDatabase;
  let login: string;
  beforeEach(async () => {
    server = await serverOf();
    login = `installer_${cluster.name}`;
    main = await cluster.database(`create role ${login} login; create role app_${cluster.name} nologin`, {
      server,
    });
    logins.push({ server, role: login }, { server, role: `app_${cluster.name}` });
    await main.connection.script(
      `create table accounts (id int primary key, owner text); alter table accounts owner to app_${cluster.name}`,
    );
  });

  const asInstaller = () => {
    const url = new URL(main.url);
    url.username = login;
    return { url: url.href };
  };

  it('creates, changes and drops a set with CREATEROLE, CREATE on the database and the tables’ owner role', async () => {
    const admin = await cluster.administrator();
    const configuration = configurationOf({ databases: { main: asInstaller() } });
    const before = await catalogOf(main);
    await expect(createSet(admin.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 20,
      code: 'role_missing',
      hint: expect.stringContaining(`create role "${cluster.names.owner}" nologin`),
    });
    await main.connection.script(`alter role ${login} createrole`);
    await expect(createSet(admin.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 20,
      code: 'privilege_missing',
      hint: expect.stringContaining(`grant create on database "${main.name}" to "${login}"`),
    });
    await main.connection.script(`grant create on database ${main.name} to ${login}`);
    await expect(createSet(admin.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 20,
      code: 'table_not_owned',
    });
    expect(await catalogOf(main)).toBe(before);
    await main.connection.script(`grant app_${cluster.name} to ${login}`);
    await createSet(admin.context, { configuration, ...plain });
    await main.connection.script(`insert into accounts values (1, 'a')`);
    expect(await main.column(`select op::text || new from ${cluster.names.schema}.log_example`)).toEqual([
      'I{"id":1,"owner":"a"}',
    ]);
    const narrow = configurationOf({
      databases: { main: asInstaller() },
      tables: ['name: public.accounts, columns: [id]'],
    });
    expect(await upgradeSet(admin.context, { configuration: narrow, ...plain })).toMatchObject({
      version: 2,
    });
    await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
    expect(await catalogOf(main)).toBe(before);
    expect(
      await main.column('select rolname from pg_roles where rolname like $1', [`${cluster.names.schema}%`]),
    ).toEqual([]);
    await main.connection.script(`revoke create on database ${main.name} from ${login}`);
  });

  it('needs no CREATEROLE where the roles were made beforehand', async () => {
    const admin = await cluster.administrator();
    const { owner, capture, sandbox } = cluster.names;
    const granular = main.connection.serverVersion >= 160_000 ? ' with set true, inherit true' : '';
    await main.connection.script(
      `create role ${owner} nologin; create role ${capture} nologin; create role ${sandbox} nologin;
       grant ${capture} to ${owner}${granular}; grant ${sandbox} to ${owner}${granular};
       grant create on database ${main.name} to ${login}; grant app_${cluster.name} to ${login}`,
    );
    const configuration = configurationOf({ databases: { main: asInstaller() } });
    await expect(createSet(admin.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 20,
      code: 'role_membership_missing',
      hint: expect.stringContaining(`grant "${owner}" to "${login}"`),
    });
    await main.connection.script(`grant ${owner} to ${login}${granular}`);
    await createSet(admin.context, { configuration, ...plain });
    await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
    expect(
      await main.value('select count(*) from pg_namespace where nspname = $1', [cluster.names.schema]),
    ).toBe('0');
    await main.connection.script(`revoke create on database ${main.name} from ${login}`);
  });

  it('lets an application write that may do nothing in our schema', async () => {
    const admin = await cluster.administrator();
    await createSet(admin.context, { configuration: configurationOf({ databases: { main } }), ...plain });
    await main.connection.script(
      `set role app_${cluster.name}; insert into accounts values (1, 'a'); update accounts set owner = 'b'; truncate accounts; reset role`,
    );
    expect(
      await main.value(
        `select string_agg(op::text, '' order by seq) from ${cluster.names.schema}.log_example`,
      ),
    ).toBe('IUT');
    await main.connection.script(`set role app_${cluster.name}`);
    await expect(
      main.connection.query(`select * from ${cluster.names.schema}.log_example`),
    ).rejects.toMatchObject({
      code: 'privilege_missing',
    });
    await main.connection.script('reset role');
  });
});
