/** What goes wrong around a set, and how it is mended: by hand-finished transactions, lost coordinators, copies. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adoptNode } from '../../src/admin/adopt-node.js';
import { clusterStatus } from '../../src/admin/cluster-status.js';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { initCluster } from '../../src/admin/init-cluster.js';
import { inspectSet } from '../../src/admin/inspect-set.js';
import { loadSet } from '../../src/admin/load-set.js';
import { recoverCluster } from '../../src/admin/recover-cluster.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { UnreachableError } from '../../src/errors.js';
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
import { testPgUrl } from '../support/services.js';

const TABLES = `create table accounts (id int primary key, owner text);
  create table orders (id int primary key, total numeric)`;
const plain = { wait: false, dryRun: false } as const;

class Death extends Error {}

let cluster: AdminCluster;
let admin: Administrator;
let main: NodeDatabase;
let eu: NodeDatabase;
beforeEach(async () => {
  cluster = await makeAdminCluster(zooKeeper);
  admin = await cluster.administrator();
  main = await cluster.database(TABLES);
  eu = await cluster.database(TABLES);
});
afterEach(() => cluster.remove());

const states = async () =>
  (await inspectSet(admin.context, { name: 'example' })).nodes.map((node) => node.state);
const prepared = (database: NodeDatabase) =>
  database.column('select gid from pg_prepared_xacts where database = current_database()');

/** Changes the set as an administrator who dies at the point. */
async function dieAt(point: string, work: (dying: Administrator) => Promise<unknown>): Promise<void> {
  const opened: { end(): Promise<void> }[] = [];
  const dying = await cluster.administrator({
    openNode: async (database, configuration) => {
      const connection = await admin.context.openNode(database, configuration);
      opened.push(connection);
      return connection;
    },
    failpoint: async (name) => {
      if (name === point) throw new Death(name);
    },
  });
  await expect(work(dying)).rejects.toBeInstanceOf(Death);
  await Promise.all(opened.map((connection) => connection.end()));
  await dying.stop();
}

describe('transactions in doubt', () => {
  it('are listed with what was decided, and finished', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await dieAt('prepare.eu.before', (dying) => createSet(dying.context, { configuration, ...plain }));
    const undecided = await clusterStatus(admin.context);
    expect(undecided.in_doubt).toMatchObject([{ set: 'example', database: 'main', decision: 'rollback' }]);
    await createSet(admin.context, { configuration, ...plain });
    await dieAt('decide.after', (dying) =>
      upgradeSet(dying.context, {
        configuration: configurationOf({ databases: { main, eu }, tables: ['public.orders'] }),
        ...plain,
      }),
    );
    const decided = await clusterStatus(admin.context);
    expect(decided.in_doubt.map(({ database, decision }) => [database, decision])).toEqual([
      ['main', 'commit'],
      ['eu', 'commit'],
    ]);
    expect(decided.in_doubt[0]?.gid).toMatch(
      new RegExp(`^shovel:${cluster.name}:[0-9a-f-]{36}:[0-9a-f-]{36}$`),
    );
    expect(await states()).toEqual(['behind', 'behind']);
    expect(await recoverCluster(admin.context)).toMatchObject({
      changes: [{ set: 'example', version: 2, outcome: 'finished' }],
      problems: [],
    });
    expect(await states()).toEqual(['capturing', 'capturing']);
    expect((await clusterStatus(admin.context)).in_doubt).toEqual([]);
  });

  it('may be finished by hand, either way', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await dieAt('decide.after', (dying) => createSet(dying.context, { configuration, ...plain }));
    const [wrong] = await prepared(main);
    const [right] = await prepared(eu);
    await main.connection.script(`rollback prepared '${wrong}'`);
    await eu.connection.script(`commit prepared '${right}'`);
    await recoverCluster(admin.context);
    expect(await states()).toEqual(['capturing', 'capturing']);
    for (const database of [main, eu]) {
      await database.connection.script('insert into accounts values (1)');
      expect(await database.column(`select ver from ${cluster.names.schema}.log_example`)).toEqual(['1']);
    }
  });

  it('block no writer and no DDL of the application', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await createSet(admin.context, { configuration, ...plain });
    await dieAt('decide.before', (dying) =>
      upgradeSet(dying.context, {
        configuration: configurationOf({
          databases: { main, eu },
          tables: ['public.accounts', 'public.orders'],
        }),
        ...plain,
      }),
    );
    expect(await prepared(main)).toHaveLength(1);
    await main.connection.script(`set lock_timeout = '1s'`);
    await main.connection.script(`insert into accounts values (1); insert into orders values (1)`);
    await main.connection.script(
      'alter table accounts add column more int; alter table orders add column more int',
    );
    await main.connection.script('truncate accounts, orders');
    await main.connection.script('vacuum full accounts');
    await recoverCluster(admin.context);
    expect(await prepared(main)).toEqual([]);
    expect((await loadSet(admin.context, 'example')).version).toBe(1);
  });
});

describe('a node that can’t be reached', () => {
  it('keeps a change from being decided, and follows later where it was', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await createSet(admin.context, { configuration, ...plain });
    let down = false;
    let cuts = 0;
    const cut = await cluster.administrator({
      openNode: async (database, { dsn }) => {
        if (down && database === 'eu')
          throw new UnreachableError('database_unreachable', 'eu is away.', { hint: '' });
        return admin.context.openNode(database, { dsn });
      },
      failpoint: async (name) => {
        if (name !== 'decide.after' || cuts > 0) return;
        cuts += 1;
        down = true;
        await eu.connection.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'shovel admin'`,
        );
      },
    });
    const next = configurationOf({ databases: { main, eu }, tables: ['public.orders'] });
    await expect(upgradeSet(cut.context, { configuration: next, ...plain })).rejects.toMatchObject({
      exitCode: 24,
      code: 'change_unfinished',
      message: expect.stringContaining('database eu'),
    });
    const back = configurationOf({ databases: { main, eu } });
    await expect(upgradeSet(cut.context, { configuration: back, ...plain })).rejects.toMatchObject({
      exitCode: 24,
    });
    expect(await states()).toEqual(['capturing', 'behind']);
    down = false;
    await upgradeSet(cut.context, { configuration: back, ...plain });
    expect(await states()).toEqual(['capturing', 'capturing']);
    expect((await loadSet(admin.context, 'example')).version).toBe(3);

    down = true;
    const tree = await treeOf(admin.coordinator, `/shovel/${cluster.name}`);
    const fresh = await cluster.administrator({ openNode: cut.context.openNode });
    await expect(upgradeSet(fresh.context, { configuration: next, ...plain })).rejects.toMatchObject({
      exitCode: 23,
    });
    expect(await treeOf(admin.coordinator, `/shovel/${cluster.name}`)).toBe(tree);
  });

  it('is left behind by a forced drop, and tidied when the set begins there again', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await createSet(admin.context, { configuration, ...plain });
    const cut = await cluster.administrator({
      openNode: async (database, { dsn }) => {
        if (database === 'eu')
          throw new UnreachableError('database_unreachable', 'eu is away.', { hint: '' });
        return admin.context.openNode(database, { dsn });
      },
    });
    await expect(
      dropSet(cut.context, { name: 'example', force: false, dryRun: false }),
    ).rejects.toMatchObject({
      exitCode: 23,
    });
    expect(await dropSet(cut.context, { name: 'example', force: true, dryRun: false })).toMatchObject({
      left: ['eu'],
    });
    expect(await eu.column(`select set_version from ${cluster.names.schema}.replication_set`)).toEqual(['1']);
    await createSet(admin.context, { configuration, ...plain });
    expect(await states()).toEqual(['capturing', 'capturing']);
    await eu.connection.script('insert into accounts values (1)');
    expect(await eu.column(`select ver from ${cluster.names.schema}.log_example`)).toEqual(['3']);
  });
});

describe('a coordinator that lost history', () => {
  it('is never followed: a node ahead of it stops everything with 25', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await createSet(admin.context, { configuration, ...plain });
    const path = `/shovel/${cluster.name}/sets/example`;
    const old = await admin.coordinator.read(path);
    const next = configurationOf({ databases: { main, eu }, tables: ['public.orders'] });
    await upgradeSet(admin.context, { configuration: next, ...plain });
    const now = await admin.coordinator.read(path);
    await admin.coordinator.multi([
      { kind: 'set', path, data: old?.data ?? '', version: now?.version ?? 0 },
      { kind: 'remove', path: `${path}/versions/2`, version: 0 },
    ]);
    const before = await Promise.all([catalogOf(main), catalogOf(eu)]);
    await expect(upgradeSet(admin.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 25,
      code: 'node_ahead',
      hint: expect.stringContaining('--from-nodes'),
    });
    await expect(recoverCluster(admin.context)).rejects.toMatchObject({ exitCode: 25, code: 'node_ahead' });
    expect(await Promise.all([catalogOf(main), catalogOf(eu)])).toEqual(before);
    expect(await states()).toEqual(['ahead', 'ahead']);
    expect(await recoverCluster(admin.context, { fromNodes: [] })).toMatchObject({
      refilled: [{ set: 'example', version: 2 }],
    });
    expect(await states()).toEqual(['capturing', 'capturing']);
  });

  it('is refilled from one database, and finds the others by it', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await createSet(admin.context, { configuration, ...plain });
    const before = await loadSet(admin.context, 'example');
    const root = `/shovel/${cluster.name}`;
    for (const name of [
      'admins',
      'intents',
      'leases',
      'sets/example/versions/1',
      'sets/example/versions',
      'sets/example',
      'sets',
      '',
    ]) {
      const path = name === '' ? root : `${root}/${name}`;
      const entry = await admin.coordinator.read(path);
      const result = await admin.coordinator.multi([{ kind: 'remove', path, version: entry?.version ?? 0 }]);
      expect(result, path).toEqual({ kind: 'done' });
    }
    await expect(recoverCluster(admin.context)).rejects.toMatchObject({ code: 'cluster_missing' });
    expect(await recoverCluster(admin.context, { fromNodes: [eu.url] })).toMatchObject({
      refilled: [{ set: 'example', version: 1 }],
    });
    expect(await loadSet(admin.context, 'example')).toEqual(before);
    expect(await states()).toEqual(['capturing', 'capturing']);
  });

  it('does not take a database that another coordinator’s cluster of the same name is in', async () => {
    const configuration = configurationOf({ databases: { main } });
    await createSet(admin.context, { configuration, ...plain });
    const root = `/shovel/${cluster.name}`;
    const entry = await admin.coordinator.read(root);
    await admin.coordinator.multi([
      {
        kind: 'set',
        path: root,
        version: entry?.version ?? 0,
        data: (entry?.data ?? '').replace(/"id":"[^"]+"/, '"id":"00000000-0000-4000-8000-000000000000"'),
      },
    ]);
    await expect(
      createSet(admin.context, {
        configuration: configurationOf({ name: 'second', databases: { main } }),
        ...plain,
      }),
    ).rejects.toMatchObject({ exitCode: 21, code: 'schema_shared' });
    await expect(initCluster(admin.context)).rejects.toMatchObject({ code: 'cluster_exists' });
  });
});

describe('a database that is not what it was', () => {
  it('is refused as a copy, and taken on again as a new incarnation', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await createSet(admin.context, { configuration, ...plain });
    await main.connection.script('insert into accounts values (1)');
    const server = await openConnection({ dsn: testPgUrl(), name: 'test', applicationName: 'shovel test' });
    const copy = `${main.name}_copy`;
    await main.connection.end();
    await server.script(`create database ${copy} template ${main.name}`);
    const url = new URL(main.url);
    url.pathname = `/${copy}`;
    const moved = configurationOf({ databases: { main: { url: url.href }, eu } });
    await expect(upgradeSet(admin.context, { configuration: moved, ...plain })).rejects.toMatchObject({
      exitCode: 25,
      code: 'node_copied',
    });
    // The original is lost, and the copy stands at its address.
    await server.script(`drop database ${main.name} with (force)`);
    await server.script(`alter database ${copy} rename to ${main.name}`);
    expect(await states()).toEqual(['copied', 'capturing']);
    await expect(
      dropSet(admin.context, { name: 'example', force: false, dryRun: false }),
    ).rejects.toMatchObject({
      code: 'node_copied',
      hint: expect.stringContaining('shovel node adopt example main'),
    });
    expect(await adoptNode(admin.context, { name: 'example', database: 'main' })).toMatchObject({
      version: 2,
      incarnation: 2,
    });
    expect(await states()).toEqual(['capturing', 'capturing']);
    expect((await loadSet(admin.context, 'example')).nodes.map((node) => node.incarnation)).toEqual([2, 1]);
    await expect(adoptNode(admin.context, { name: 'example', database: 'nowhere' })).rejects.toMatchObject({
      exitCode: 21,
      code: 'database_not_in_set',
    });
    await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
    await server.end();
  });

  it('is refused where it holds a set that the coordinator does not know', async () => {
    const configuration = configurationOf({ databases: { main } });
    await createSet(admin.context, { configuration, ...plain });
    const path = `/shovel/${cluster.name}/sets/example`;
    const entry = await admin.coordinator.read(path);
    const removed = await admin.coordinator.multi([
      { kind: 'remove', path: `${path}/versions/1`, version: 0 },
      { kind: 'remove', path: `${path}/versions`, version: 0 },
      { kind: 'remove', path, version: entry?.version ?? 0 },
    ]);
    expect(removed).toEqual({ kind: 'done' });
    await expect(createSet(admin.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 21,
      code: 'set_in_database',
    });
  });
});

describe('what is in the way', () => {
  it('is named where a publication would carry our tables', async () => {
    await main.connection.script('create publication everything for all tables');
    const configuration = configurationOf({ databases: { main } });
    const before = await catalogOf(main);
    await expect(createSet(admin.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 21,
      code: 'publication_carries_log',
      message: expect.stringContaining('everything'),
    });
    expect(await catalogOf(main)).toBe(before);
    expect(await createSet(admin.context, { configuration, ...plain, force: true })).toMatchObject({
      version: 1,
    });
  });

  it('is named where a table is held, and everything is taken back', async () => {
    const impatient = await cluster.administrator({ giveUpMs: 300 });
    const holder = await admin.context.openNode('eu', { dsn: eu.url });
    await holder.script('begin; insert into public.orders values (1)');
    const before = await Promise.all([catalogOf(main), catalogOf(eu)]);
    const tree = await treeOf(admin.coordinator, `/shovel/${cluster.name}`);
    const configuration = configurationOf({
      databases: { main, eu },
      tables: ['public.accounts', 'public.orders'],
    });
    await expect(createSet(impatient.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 21,
      code: 'table_busy',
      message: expect.stringMatching(/public\.orders .*pid \d+/),
    });
    expect(await Promise.all([catalogOf(main), catalogOf(eu)])).toEqual(before);
    expect(await treeOf(admin.coordinator, `/shovel/${cluster.name}`)).toBe(tree);
    await holder.script('rollback');
    await holder.end();
  });

  it('stops before anything is decided when the administrator is interrupted', async () => {
    const controller = new AbortController();
    const interrupted = await cluster.administrator({
      signal: controller.signal,
      failpoint: async (name) => {
        if (name === 'prepare.main.after') controller.abort(new Error('interrupted'));
      },
    });
    const before = await Promise.all([catalogOf(main), catalogOf(eu)]);
    await expect(
      createSet(interrupted.context, {
        configuration: configurationOf({ databases: { main, eu } }),
        ...plain,
      }),
    ).rejects.toThrow('interrupted');
    expect(await Promise.all([catalogOf(main), catalogOf(eu)])).toEqual(before);
    await expect(loadSet(admin.context, 'example')).rejects.toMatchObject({ code: 'set_not_found' });
  });
});
