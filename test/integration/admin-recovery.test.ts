/** What goes wrong around a change, and how it is mended: transactions in doubt, nodes away, tables held. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { clusterStatus } from '../../src/admin/cluster-status.js';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { inspectSet } from '../../src/admin/inspect-set.js';
import { loadSet } from '../../src/admin/load-set.js';
import { previewRecovery } from '../../src/admin/preview-recovery.js';
import { recoverCluster } from '../../src/admin/recover-cluster.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { UnreachableError } from '../../src/errors.js';
import { clusterPaths } from '../../src/model/change-paths.js';
import {
  type AdminCluster,
  type Administrator,
  catalogOf,
  configurationOf,
  makeMainAndEu,
  type NodeDatabase,
  treeOf,
} from '../support/admin-cluster.js';

const plain = { wait: false, dryRun: false } as const;

class Death extends Error {}

let cluster: AdminCluster;
let admin: Administrator;
let main: NodeDatabase;
let eu: NodeDatabase;
beforeEach(async () => {
  ({ cluster, admin, main, eu } = await makeMainAndEu());
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

/** What a dry run says, which leaves everything as it is. */
async function preview() {
  const { cluster: path } = clusterPaths(cluster.name);
  const state = async () => [
    await treeOf(admin.coordinator, path),
    await catalogOf(main),
    await catalogOf(eu),
  ];
  const before = await state();
  const found = await previewRecovery(admin.context);
  expect(await state()).toEqual(before);
  return found;
}

describe('recovery, tried dry', () => {
  it('says what would be undone, finished and brought along, and changes nothing', async () => {
    const nothing = { refilled: [], operations: [], changes: [], behind: [], strays: 0, problems: [] };
    const configuration = configurationOf({ databases: { main, eu } });
    await dieAt('prepare.eu.before', (dying) => createSet(dying.context, { configuration, ...plain }));
    expect(await preview()).toMatchObject({
      ...nothing,
      changes: [{ set: 'example', version: 1, outcome: 'undone' }],
    });
    await createSet(admin.context, { configuration, ...plain });
    expect(await preview()).toMatchObject(nothing);
    const more = configurationOf({ databases: { main, eu }, tables: ['public.orders'] });
    await dieAt('decide.after', (dying) => upgradeSet(dying.context, { configuration: more, ...plain }));
    expect(await preview()).toMatchObject({
      ...nothing,
      changes: [{ set: 'example', version: 2, outcome: 'finished' }],
    });
    // Lost from the coordinator, it is still what the set's record says.
    const { intents, intent } = clusterPaths(cluster.name);
    const [id = ''] = (await admin.coordinator.list(intents)) ?? [];
    const entry = await admin.coordinator.read(intent(id));
    await admin.coordinator.multi([{ kind: 'remove', path: intent(id), version: entry?.version ?? -1 }]);
    const found = await preview();
    expect(found).toMatchObject({
      ...nothing,
      behind: [
        { set: 'example', database: 'main' },
        { set: 'example', database: 'eu' },
      ],
      strays: expect.any(Number),
    });
    expect(await recoverCluster(admin.context)).toMatchObject({ healed: found.behind, problems: [] });
    expect(await preview()).toMatchObject(nothing);
    expect(await states()).toEqual(['capturing', 'capturing']);
  });

  it('tells of a database that it can’t bring along, tried or not', async () => {
    const { schema } = cluster.names;
    const configuration = configurationOf({ databases: { main, eu } });
    await createSet(admin.context, { configuration, ...plain });
    const more = configurationOf({ databases: { main, eu }, tables: ['public.orders'] });
    await upgradeSet(admin.context, { configuration: more, ...plain });
    const row = `update ${schema}.replication_set set`;
    await eu.connection.script(`${row} set_version = 1, intent_id = '00000000-0000-4000-8000-000000000001'`);
    expect(await preview()).toMatchObject({ behind: [{ database: 'eu' }], problems: [] });
    // What stands there is of version 2.
    expect(await recoverCluster(admin.context)).toMatchObject({
      healed: [],
      problems: [{ set: 'example', database: 'eu', code: 'database_error' }],
    });
    await eu.connection.script(`${row} set_version = 3`);
    expect((await preview()).problems).toMatchObject([{ set: 'example', code: 'node_ahead' }]);
    await eu.connection.script(`${row} set_version = 2`);
  });
});

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
