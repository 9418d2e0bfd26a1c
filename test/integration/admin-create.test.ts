/** Sets are created, listed, inspected and dropped on real databases, with either coordinator. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adoptNode } from '../../src/admin/adopt-node.js';
import { clusterStatus } from '../../src/admin/cluster-status.js';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { initCluster } from '../../src/admin/init-cluster.js';
import { inspectSet } from '../../src/admin/inspect-set.js';
import { listSets } from '../../src/admin/list-sets.js';
import { loadSet } from '../../src/admin/load-set.js';
import { upgradeCluster } from '../../src/admin/upgrade-cluster.js';
import { rollbackSet, upgradeSet } from '../../src/admin/upgrade-set.js';
import {
  type AdminCluster,
  catalogOf,
  configurationOf,
  makeAdminCluster,
  postgres,
  treeOf,
  zooKeeper,
} from '../support/admin-cluster.js';
import { testPgNo2pcUrl } from '../support/services.js';

const ACCOUNTS = 'create table accounts (id int primary key, owner text, balance numeric)';
const plain = { wait: true, dryRun: false } as const;

describe.each([zooKeeper, postgres])('administration with $name', (kind) => {
  let cluster: AdminCluster;
  beforeEach(async () => {
    cluster = await makeAdminCluster(kind);
  });
  afterEach(() => cluster.remove());

  it('creates a set in two databases, captures, and leaves nothing when it is dropped', async () => {
    const admin = await cluster.administrator();
    const main = await cluster.database(ACCOUNTS);
    const eu = await cluster.database(ACCOUNTS, { server: testPgNo2pcUrl() });
    const before = await Promise.all([catalogOf(main), catalogOf(eu)]);
    const configuration = configurationOf({ databases: { main, eu } });
    const created = await createSet(admin.context, { configuration, ...plain });
    expect(created).toMatchObject({ kind: 'created', name: 'example', version: 1 });

    for (const database of [main, eu]) {
      await database.connection.script(`insert into public.accounts values (1, 'a', 10.50)`);
      expect(
        await database.column(`select op::text || ver || new from ${cluster.names.schema}.log_example`),
      ).toEqual(['I1{"id":1,"owner":"a","balance":10.50}']);
      expect(
        await database.value('select count(*) from pg_prepared_xacts where database = current_database()'),
      ).toBe('0');
      expect(await database.column(`select intent_id from ${cluster.names.schema}.intent`)).toEqual([]);
      expect(await database.column(`select intent_id from ${cluster.names.schema}.staged_version`)).toEqual(
        [],
      );
    }
    expect(await listSets(admin.context)).toEqual([
      {
        name: 'example',
        version: 1,
        hash: expect.stringMatching(/^[0-9a-f]{64}$/),
        databases: ['main', 'eu'],
        tables: 1,
        streams: ['trail'],
        targets: [],
      },
    ]);
    const inspected = await inspectSet(admin.context, { name: 'example' });
    expect(inspected.nodes.map((node) => [node.database, node.version, node.state])).toEqual([
      ['main', 1, 'capturing'],
      ['eu', 1, 'capturing'],
    ]);
    expect(await clusterStatus(admin.context)).toMatchObject({ sets: 1, in_doubt: [], unreachable: [] });
    expect(await admin.coordinator.list(`/shovel/${cluster.name}/intents`)).toEqual([]);

    const dropped = await dropSet(admin.context, {
      name: 'example',
      version: 1,
      force: false,
      dryRun: false,
    });
    expect(dropped).toEqual({ kind: 'dropped', name: 'example', version: 2, left: [] });
    expect(await Promise.all([catalogOf(main), catalogOf(eu)])).toEqual(before);
    expect(
      await main.column('select rolname from pg_roles where rolname like $1', [`${cluster.names.schema}%`]),
    ).toEqual([]);
    expect(await listSets(admin.context)).toEqual([]);
    expect(await admin.coordinator.list(`/shovel/${cluster.name}/intents`)).toEqual([]);
    await main.connection.script(`insert into public.accounts values (2, 'b', 1)`);
  });

  it('goes on counting the versions of a name, with new node ids', async () => {
    const admin = await cluster.administrator();
    const main = await cluster.database(ACCOUNTS);
    const configuration = configurationOf({ databases: { main } });
    await createSet(admin.context, { configuration, ...plain });
    const first = await loadSet(admin.context, 'example');
    await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
    const again = await createSet(admin.context, { configuration, ...plain });
    expect(again).toMatchObject({ kind: 'created', version: 3 });
    const second = await loadSet(admin.context, 'example');
    expect(second.hash).toBe(first.hash);
    expect(second.nodes[0]?.nodeId).not.toBe(first.nodes[0]?.nodeId);
    await main.connection.script('insert into public.accounts values (1)');
    expect(await main.column(`select ver from ${cluster.names.schema}.log_example`)).toEqual(['3']);
  });

  it('keeps another set and its schema when one of two is dropped', async () => {
    const admin = await cluster.administrator();
    const main = await cluster.database(ACCOUNTS);
    await createSet(admin.context, { configuration: configurationOf({ databases: { main } }), ...plain });
    await createSet(admin.context, {
      configuration: configurationOf({ name: 'other', databases: { main } }),
      ...plain,
    });
    await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
    await main.connection.script('insert into public.accounts values (1)');
    expect(await main.column(`select ver from ${cluster.names.schema}.log_other`)).toEqual(['1']);
    await dropSet(admin.context, { name: 'other', force: false, dryRun: false });
    expect(
      await main.value('select count(*) from pg_namespace where nspname = $1', [cluster.names.schema]),
    ).toBe('0');
  });

  it('writes nothing on a dry run, and nothing when it refuses', async () => {
    const admin = await cluster.administrator();
    const main = await cluster.database(`${ACCOUNTS}; create table keyless (a int)`);
    const configuration = configurationOf({ databases: { main } });
    const state = async () => [
      await catalogOf(main),
      await treeOf(admin.coordinator, `/shovel/${cluster.name}`),
    ];
    const empty = await state();
    const plan = await createSet(admin.context, { configuration, wait: false, dryRun: true });
    expect(plan).toMatchObject({ kind: 'plan', version: 1, nodes: [{ database: 'main' }] });
    expect(plan.kind === 'plan' && plan.nodes[0]?.statements.join('\n')).toMatch(/create or replace trigger/);
    await expect(
      createSet(admin.context, {
        configuration: configurationOf({ databases: { main }, tables: ['public.keyless', 'public.nowhere'] }),
        ...plain,
      }),
    ).rejects.toMatchObject({ exitCode: 20, message: expect.stringContaining('public.nowhere') });
    await expect(
      createSet(admin.context, {
        configuration: configurationOf({
          databases: { main, twin: { url: `${main.url}?application_name=twin` } },
        }),
        ...plain,
      }),
    ).rejects.toMatchObject({ exitCode: 20, code: 'database_listed_twice' });
    await expect(
      dropSet(admin.context, { name: 'example', force: false, dryRun: false }),
    ).rejects.toMatchObject({
      exitCode: 21,
      code: 'set_not_found',
    });
    expect(await state()).toEqual(empty);

    await createSet(admin.context, { configuration, ...plain });
    const created = await state();
    await expect(createSet(admin.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 21,
      code: 'set_exists',
    });
    await expect(
      dropSet(admin.context, { name: 'example', version: 7, force: false, dryRun: false }),
    ).rejects.toMatchObject({ exitCode: 21, code: 'version_mismatch' });
    expect(await dropSet(admin.context, { name: 'example', force: false, dryRun: true })).toMatchObject({
      kind: 'plan',
    });
    expect(await state()).toEqual(created);
  });

  it('writes nothing on a dry run of what changes a set, and shows what it would', async () => {
    const admin = await cluster.administrator();
    const main = await cluster.database(`${ACCOUNTS}; create table orders (id int primary key)`);
    const configuration = configurationOf({ databases: { main } });
    await createSet(admin.context, { configuration, ...plain });
    const wider = configurationOf({ databases: { main }, tables: ['public.accounts', 'public.orders'] });
    await upgradeSet(admin.context, { configuration: wider, ...plain });
    const { schema } = cluster.names;
    const state = async () => [
      await catalogOf(main),
      await main.column(
        `select c.relname || query_to_xml(format('select * from %I.%I', '${schema}', c.relname), true, false, '')::text
         from pg_class c where c.relnamespace = '${schema}'::regnamespace and c.relkind in ('r', 'S') order by 1`,
      ),
      await treeOf(admin.coordinator, `/shovel/${cluster.name}`),
    ];
    const before = await state();
    const dry = { wait: false, dryRun: true } as const;
    const adopting = await adoptNode(admin.context, { name: 'example', database: 'main', dryRun: true });
    const plans = [
      await upgradeSet(admin.context, { configuration: { ...wider, wake: 'poll' }, ...dry }),
      await rollbackSet(admin.context, { name: 'example', version: 1, ...dry }),
      await dropSet(admin.context, { name: 'example', force: false, dryRun: true }),
      adopting,
    ];
    expect(await upgradeCluster(admin.context, { dryRun: true })).toBeDefined();
    expect(await state()).toEqual(before);
    for (const plan of plans) {
      expect(plan).toMatchObject({ kind: 'plan', version: 3, nodes: [{ database: 'main' }] });
      if (plan.kind === 'plan') expect(plan.nodes[0]?.statements.length).toBeGreaterThan(0);
    }
    expect(adopting.kind === 'plan' && adopting.operations.at(-1)).toMatchObject({
      data: expect.stringContaining('"incarnation":2'),
    });
    expect(await adoptNode(admin.context, { name: 'example', database: 'main' })).toMatchObject({
      kind: 'adopted',
      version: 3,
      incarnation: 2,
    });
  });

  it('says that a cluster is missing, and that it exists', async () => {
    const bare = await makeAdminCluster(kind, { init: false });
    const admin = await bare.administrator();
    await expect(listSets(admin.context)).rejects.toMatchObject({
      exitCode: 21,
      code: 'cluster_missing',
      hint: expect.stringContaining('shovel cluster init'),
    });
    const before = await admin.coordinator.read(`/shovel/${bare.name}`);
    expect(await initCluster(admin.context, { dryRun: true })).toMatchObject({ kind: 'plan' });
    expect(await admin.coordinator.read(`/shovel/${bare.name}`)).toEqual(before);
    expect(await initCluster(admin.context)).toMatchObject({ kind: 'created' });
    await expect(initCluster(admin.context)).rejects.toMatchObject({ exitCode: 21, code: 'cluster_exists' });
    await bare.remove();
  });

  it('lets exactly one of many administrators create a set', async () => {
    const main = await cluster.database(ACCOUNTS);
    const eu = await cluster.database(ACCOUNTS);
    const configuration = configurationOf({ databases: { main, eu } });
    const admins = await Promise.all(Array.from({ length: 4 }, () => cluster.administrator()));
    const results = await Promise.allSettled(
      admins.map((admin) => createSet(admin.context, { configuration, wait: false, dryRun: false })),
    );
    const refused = results.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
    expect(refused).toHaveLength(3);
    for (const reason of refused) expect(reason).toMatchObject({ exitCode: 21 });
    const [admin] = admins;
    if (!admin) throw new Error('no administrator');
    const inspected = await inspectSet(admin.context, { name: 'example' });
    expect(inspected.nodes.map((node) => node.state)).toEqual(['capturing', 'capturing']);
    for (const database of [main, eu]) {
      await database.connection.script('insert into public.accounts values (1)');
      expect(await database.column(`select ver from ${cluster.names.schema}.log_example`)).toEqual(['1']);
      expect(await database.column(`select intent_id from ${cluster.names.schema}.intent`)).toEqual([]);
    }
  });
});
