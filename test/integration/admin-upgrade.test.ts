/** Sets change on real databases: tables, columns, streams and databases come and go, forwards and back. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { inspectSet } from '../../src/admin/inspect-set.js';
import { loadSet } from '../../src/admin/load-set.js';
import { diffSet, setHistory } from '../../src/admin/set-history.js';
import { rollbackSet, upgradeSet } from '../../src/admin/upgrade-set.js';
import { openConnection } from '../../src/postgres/connect.js';
import {
  type AdminCluster,
  type Administrator,
  catalogOf,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  treeOf,
  zooKeeper,
} from '../support/admin-cluster.js';
import { testPgNo2pcUrl } from '../support/services.js';
import { until } from '../support/until.js';

const TABLES = `create table accounts (id int primary key, owner text, balance numeric);
  create table orders (id int primary key, total numeric)`;
const plain = { wait: true, dryRun: false } as const;

describe('a set that changes', () => {
  let cluster: AdminCluster;
  let admin: Administrator;
  let main: NodeDatabase;
  beforeEach(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    admin = await cluster.administrator();
    main = await cluster.database(TABLES);
  });
  afterEach(() => cluster.remove());

  const logged = (database: NodeDatabase) =>
    database.column(
      `select ver || ' ' || op::text || coalesce(new, '') from ${cluster.names.schema}.log_example order by seq`,
    );
  const triggers = (database: NodeDatabase) =>
    database.column(
      `select distinct tgrelid::regclass::text from pg_trigger where tgname like '!shovel%' order by 1`,
    );

  it.each(['row', 'statement'])(
    'keeps how a table is captured, by %s, for statements that are under way',
    async (mode) => {
      const entry = (capture: string) =>
        configurationOf({
          databases: { main },
          tables: [`name: public.accounts, capture: ${capture}`, 'public.orders'],
        });
      const other = mode === 'row' ? 'statement' : 'row';
      await createSet(admin.context, { configuration: entry(mode), ...plain });
      const before = await catalogOf(main);
      await expect(
        upgradeSet(admin.context, { configuration: entry(other), ...plain }),
      ).rejects.toMatchObject({
        code: 'capture_mode_kept',
        exitCode: 20,
        message: expect.stringContaining(`public.accounts is captured by ${mode}`),
      });
      expect(await catalogOf(main)).toBe(before);
      const without = configurationOf({ databases: { main }, tables: ['public.orders'] });
      await upgradeSet(admin.context, { configuration: without, ...plain });
      await upgradeSet(admin.context, { configuration: entry(other), ...plain });
      await main.connection.script(`insert into accounts values (1, 'a', 1), (2, 'b', 2)`);
      expect(await logged(main)).toHaveLength(2);
      await expect(
        rollbackSet(admin.context, { name: 'example', version: 1, ...plain }),
      ).rejects.toMatchObject({ code: 'capture_mode_kept' });
    },
  );

  it('follows a table from name to name while it is written to, on every database, each row once', async () => {
    const eu = await cluster.database(TABLES, { server: testPgNo2pcUrl() });
    const configuration = (name: string) =>
      configurationOf({ databases: { main, eu }, tables: [`public.${name}`, 'public.orders'] });
    await createSet(admin.context, { configuration: configuration('accounts'), ...plain });
    // A view goes by the table itself, whatever it is called.
    for (const { connection } of [main, eu])
      await connection.script('create view same as select * from accounts');
    let done = false;
    let next = 1;
    const write = async (database: NodeDatabase) => {
      const session = await openConnection({
        dsn: database.url,
        name: 'of the application',
        applicationName: 'app',
      });
      while (!done) {
        const id = next;
        next += 3;
        await session.script(
          `insert into public.same values (${id}, 'a', 1), (${id + 1}, 'b', 2), (${id + 2}, 'c', 3)`,
        );
      }
      await session.end();
    };
    const writing = [main, main, eu, eu].map((database) => write(database));
    const names = ['first', 'second', 'accounts', 'third', 'accounts'];
    let name = 'accounts';
    for (const to of names) {
      for (const { connection } of [main, eu]) await connection.script(`alter table ${name} rename to ${to}`);
      expect(await upgradeSet(admin.context, { configuration: configuration(to), ...plain })).toMatchObject({
        kind: 'upgraded',
      });
      name = to;
    }
    done = true;
    await Promise.all(writing);
    for (const database of [main, eu]) {
      const written = await database.column('select a.id::text from accounts a order by a.id');
      const ids = `select l.new::json ->> 'id' from ${cluster.names.schema}.log_example l order by (l.new::json ->> 'id')::int`;
      expect(await database.column(ids)).toEqual(written);
      expect(written.length).toBeGreaterThan(0);
      expect(
        await database.column(
          `select distinct c.table_name from ${cluster.names.schema}.log_example l
           join ${cluster.names.schema}.captured_table c on c.rel = l.rel order by 1`,
        ),
      ).toEqual(expect.arrayContaining(['accounts', 'third']));
      expect(await triggers(database)).toEqual(['accounts', 'orders']);
    }
  });

  it('gains and loses tables, columns and streams', async () => {
    const one = configurationOf({ databases: { main }, streams: ['trail', 'second'] });
    await createSet(admin.context, { configuration: one, ...plain });
    await main.connection.script(`insert into accounts values (1, 'a', 1)`);
    const two = configurationOf({
      databases: { main },
      tables: ['name: public.accounts, columns: [id, owner]', 'public.orders'],
      streams: ['trail', 'third'],
    });
    expect(await diffSet(admin.context, { configuration: two })).toMatchObject({
      changed: true,
      version: 1,
      changes: [
        { kind: 'added', path: ['tables', 'public.accounts', 'columns'], after: '["id","owner"]' },
        { kind: 'added', path: ['tables', 'public.orders'] },
        { kind: 'removed', path: ['streams', 'second'] },
        { kind: 'added', path: ['streams', 'third'] },
      ],
    });
    expect(await upgradeSet(admin.context, { configuration: two, version: 1, ...plain })).toMatchObject({
      kind: 'upgraded',
      version: 2,
    });
    await main.connection.script(`insert into accounts values (2, 'b', 2); insert into orders values (1, 5)`);
    const three = configurationOf({
      databases: { main },
      tables: ['public.orders'],
      streams: ['trail', 'second'],
    });
    await upgradeSet(admin.context, { configuration: three, ...plain });
    await main.connection.script(`insert into accounts values (3, 'c', 3); insert into orders values (2, 6)`);
    expect(await logged(main)).toEqual([
      '1 I{"id":1,"owner":"a","balance":1}',
      expect.stringMatching(/^2 I\{"id" ?: ?2, ?"owner" ?: ?"b"\}$/),
      '2 I{"id":1,"total":5}',
      '3 I{"id":2,"total":6}',
    ]);
    expect(await triggers(main)).toEqual(['orders']);
    expect(await main.column(`select stream_name from ${cluster.names.schema}.stream order by 1`)).toEqual([
      'second',
      'trail',
    ]);
    expect(
      await main.value(
        `select count(*) from pg_class where relkind = 'S' and relname like 'position_example%'`,
      ),
    ).toBe('2');
  });

  it('is left alone where nothing changes, and made again where DDL made it drift', async () => {
    const configuration = configurationOf({ databases: { main } });
    await createSet(admin.context, { configuration, ...plain });
    const before = await treeOf(admin.coordinator, `/shovel/${cluster.name}`);
    expect(await upgradeSet(admin.context, { configuration, ...plain })).toMatchObject({
      kind: 'unchanged',
      version: 1,
    });
    expect(await treeOf(admin.coordinator, `/shovel/${cluster.name}`)).toBe(before);
    await main.connection.script('alter table accounts rename column id to number');
    expect(await upgradeSet(admin.context, { configuration, ...plain })).toMatchObject({
      kind: 'upgraded',
      version: 2,
    });
    await main.connection.script('drop trigger "!shovel_drift" on accounts').catch(() => undefined);
    const trigger = await main.value(
      `select tgname from pg_trigger where tgname like '!shovel%' order by 1 limit 1`,
    );
    await main.connection.script(`drop trigger "${trigger}" on accounts`);
    expect(await upgradeSet(admin.context, { configuration, ...plain })).toMatchObject({ version: 3 });
    expect(await upgradeSet(admin.context, { configuration, ...plain })).toMatchObject({ kind: 'unchanged' });
  });

  it('gains and loses databases, whatever their way to commit, and keeps the others’ numbers', async () => {
    const eu = await cluster.database(TABLES, { server: testPgNo2pcUrl() });
    const us = await cluster.database(TABLES);
    const untouched = await catalogOf(main);
    await createSet(admin.context, { configuration: configurationOf({ databases: { main, eu } }), ...plain });
    const first = await loadSet(admin.context, 'example');
    await upgradeSet(admin.context, { configuration: configurationOf({ databases: { us, eu } }), ...plain });
    const second = await loadSet(admin.context, 'example');
    expect(second.nodes.find((node) => node.database === 'eu')).toEqual(
      first.nodes.find((node) => node.database === 'eu'),
    );
    expect(second.nodes.map((node) => [node.database, node.number])).toEqual([
      ['eu', 1],
      ['us', 2],
    ]);
    expect(await catalogOf(main)).toBe(untouched);
    for (const database of [main, eu, us])
      await database.connection.script('insert into accounts values (7)');
    expect(await logged(eu)).toEqual(['2 I{"id":7,"owner":null,"balance":null}']);
    expect(await logged(us)).toEqual(['2 I{"id":7,"owner":null,"balance":null}']);
    await expect(
      upgradeSet(admin.context, {
        configuration: configurationOf({ databases: { states: us, eu } }),
        ...plain,
      }),
    ).rejects.toMatchObject({ code: 'database_renamed', exitCode: 20 });
    await expect(
      upgradeSet(admin.context, {
        configuration: configurationOf({ databases: { us: main, eu } }),
        ...plain,
      }),
    ).rejects.toMatchObject({ code: 'node_replaced', exitCode: 25 });
    const inspected = await inspectSet(admin.context, { name: 'example' });
    expect(inspected.nodes.map((node) => node.state)).toEqual(['capturing', 'capturing']);
  });

  it('goes back to an older configuration as a new version, and tells its history', async () => {
    await createSet(admin.context, { configuration: configurationOf({ databases: { main } }), ...plain });
    await upgradeSet(admin.context, {
      configuration: configurationOf({ databases: { main }, tables: ['public.orders'] }),
      ...plain,
    });
    await expect(
      upgradeSet(admin.context, {
        configuration: configurationOf({ databases: { main } }),
        version: 1,
        ...plain,
      }),
    ).rejects.toMatchObject({ code: 'version_mismatch', exitCode: 21 });
    expect(await rollbackSet(admin.context, { name: 'example', version: 1, ...plain })).toMatchObject({
      kind: 'upgraded',
      version: 3,
    });
    expect(await rollbackSet(admin.context, { name: 'example', version: 1, ...plain })).toMatchObject({
      kind: 'unchanged',
      version: 3,
    });
    await expect(rollbackSet(admin.context, { name: 'example', version: 9, ...plain })).rejects.toMatchObject(
      {
        code: 'version_not_found',
        exitCode: 21,
      },
    );
    expect(await triggers(main)).toEqual(['accounts']);
    await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
    const history = await setHistory(admin.context, { name: 'example' });
    expect(history.map(({ version, state }) => [version, state])).toEqual([
      [4, 'dropped'],
      [3, 'live'],
      [2, 'live'],
      [1, 'live'],
    ]);
    expect(history[1]?.hash).toBe(history[3]?.hash);
  });

  it('lets one of two upgrades win, and the other name the winner', async () => {
    const eu = await cluster.database(TABLES);
    await createSet(admin.context, { configuration: configurationOf({ databases: { main, eu } }), ...plain });
    const other = await cluster.administrator();
    const results = await Promise.allSettled(
      [admin, other].map((one, index) =>
        upgradeSet(one.context, {
          configuration: configurationOf({
            databases: { main, eu },
            tables: index === 0 ? ['public.orders'] : ['public.accounts', 'public.orders'],
          }),
          version: 1,
          ...plain,
        }),
      ),
    );
    const refused = results.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
    expect(refused).toHaveLength(1);
    expect(refused[0]).toMatchObject({ exitCode: 21, message: expect.stringContaining('version 2') });
    const inspected = await inspectSet(admin.context, { name: 'example' });
    expect(inspected.nodes.map((node) => [node.version, node.state])).toEqual([
      [2, 'capturing'],
      [2, 'capturing'],
    ]);
  });

  it('waits for transactions that wrote before the switch, and names them', async () => {
    await createSet(admin.context, { configuration: configurationOf({ databases: { main } }), ...plain });
    const configuration = configurationOf({
      databases: { main },
      tables: ['public.accounts', 'public.orders'],
    });
    const application = await admin.context.openNode('main', { dsn: main.url });
    // With the triggers in place, and the functions behind them still doing nothing, a transaction begins.
    const patient = await cluster.administrator({
      failpoint: async (name) => {
        if (name === 'prepare.main.before')
          await application.script('begin; insert into public.orders values (1, 1)');
      },
    });
    let ended = false;
    const upgrading = upgradeSet(patient.context, { configuration, ...plain }).finally(() => {
      ended = true;
    });
    upgrading.catch(() => undefined);
    await until('the administrator says whom it waits for', () =>
      patient.said.some((line) => /^database main: waiting .* pid \d+ \(shovel admin, \d+ s\)/.test(line)),
    );
    expect(await loadSet(admin.context, 'example')).toMatchObject({ version: 2 });
    expect(ended).toBe(false);
    await application.script('commit');
    expect(await upgrading).toMatchObject({ kind: 'upgraded', version: 2 });
    await application.end();
  });

  it('and says that the change is done where that wait is broken off', async () => {
    await createSet(admin.context, { configuration: configurationOf({ databases: { main } }), ...plain });
    const configuration = configurationOf({
      databases: { main },
      tables: ['public.accounts', 'public.orders'],
    });
    const application = await admin.context.openNode('main', { dsn: main.url });
    const interrupting = new AbortController();
    const hasty = await cluster.administrator({
      signal: interrupting.signal,
      failpoint: async (name) => {
        if (name === 'prepare.main.before')
          await application.script('begin; insert into public.orders values (1, 1)');
      },
    });
    const upgrading = upgradeSet(hasty.context, { configuration, ...plain });
    upgrading.catch(() => undefined);
    await until('the administrator says whom it waits for', () =>
      hasty.said.some((line) => line.startsWith('database main: waiting')),
    );
    interrupting.abort();
    await expect(upgrading).rejects.toBeDefined();
    expect(hasty.said.at(-1)).toMatch(/^the change is done in all databases/);
    expect(await loadSet(admin.context, 'example')).toMatchObject({ version: 2 });
    await application.script('commit');
    await application.end();
  });
});
