/** What keeps a change from being made, met while it is under way: said with the name of the thing, and nothing is changed. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adoptNode } from '../../src/admin/adopt-node.js';
import { createSet } from '../../src/admin/create-set.js';
import { inspectSet } from '../../src/admin/inspect-set.js';
import { recoverCluster } from '../../src/admin/recover-cluster.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import type { Coordinator, Operation } from '../../src/coordinator/coordinator.js';
import { openConnection } from '../../src/postgres/connect.js';
import { ensureNodeSchema } from '../../src/postgres/migrate.js';
import {
  type AdminCluster,
  type Administrator,
  catalogOf,
  configurationOf,
  makeAdminCluster,
  makeMainAndEu,
  type NodeDatabase,
  treeOf,
  zooKeeper,
} from '../support/admin-cluster.js';

const plain = { wait: false, dryRun: false } as const;

let cluster: AdminCluster;
let admin: Administrator;
let main: NodeDatabase;
let eu: NodeDatabase;
let root: string;
beforeEach(async () => {
  ({ cluster, admin, main, eu } = await makeMainAndEu());
  root = `/shovel/${cluster.name}`;
});
afterEach(() => cluster.remove());

const both = (tables: readonly string[] = ['public.accounts']) =>
  configurationOf({ databases: { main, eu }, tables });
const create = () => createSet(admin.context, { configuration: both(), ...plain });
const states = async () =>
  (await inspectSet(admin.context, { name: 'example' })).nodes.map((node) => node.state);
const everything = async () => [
  await treeOf(admin.coordinator, root),
  await catalogOf(main),
  await catalogOf(eu),
];

/** An administrator on whose way something happens, once. */
async function meeting(point: string, happens: () => Promise<unknown>): Promise<Administrator> {
  let met = false;
  return cluster.administrator({
    failpoint: async (name) => {
      if (met || name !== point) return;
      met = true;
      await happens();
    },
  });
}

async function set(path: string, data: (old: string) => string): Promise<void> {
  const entry = await admin.coordinator.read(path);
  const operation: Operation = {
    ...{ kind: 'set', path, data: data(entry?.data ?? '') },
    version: entry?.version ?? 0,
  };
  expect(await admin.coordinator.multi([operation])).toEqual({ kind: 'done' });
}

async function removeAll(path: string): Promise<void> {
  for (const name of (await admin.coordinator.list(path)) ?? []) await removeAll(`${path}/${name}`);
  const entry = await admin.coordinator.read(path);
  await admin.coordinator.multi([{ kind: 'remove', path, version: entry?.version ?? 0 }]);
}

describe('a cluster', () => {
  it('that is brought to another release when a set is created', async () => {
    const before = [await catalogOf(main), await catalogOf(eu)];
    const late = await meeting('begin.before', () => set(root, (old) => `${old} `));
    await expect(createSet(late.context, { configuration: both(), ...plain })).rejects.toMatchObject({
      code: 'cluster_changed',
      exitCode: 21,
      message: `Cluster ${cluster.name} was changed or destroyed meanwhile.`,
      hint: expect.stringContaining('shovel cluster status'),
    });
    expect([await catalogOf(main), await catalogOf(eu)]).toEqual(before);
    expect(await admin.coordinator.list(`${root}/intents`)).toEqual([]);
  });

  it('that is brought to another release while a set is changed', async () => {
    await create();
    const before = [await catalogOf(main), await catalogOf(eu)];
    const late = await meeting('decide.before', () => set(root, (old) => `${old} `));
    const next = { configuration: both(['public.orders']), ...plain };
    await expect(upgradeSet(late.context, next)).rejects.toMatchObject({
      code: 'cluster_changed',
      exitCode: 21,
    });
    expect([await catalogOf(main), await catalogOf(eu)]).toEqual(before);
    expect(await upgradeSet(late.context, next)).toMatchObject({ kind: 'upgraded', version: 2 });
    expect(await states()).toEqual(['capturing', 'capturing']);
  });
});

describe('a database', () => {
  it('that another coordinator’s decision has reached while its set is changed', async () => {
    await create();
    const { schema } = cluster.names;
    const made = await eu.value(`select intent_id from ${schema}.replication_set`);
    const decidedBy = (id: string) =>
      eu.connection.script(`update ${schema}.replication_set set intent_id = '${id}'`);
    const before = await everything();
    const late = await meeting('prepare.eu.before', () => decidedBy('00000000-0000-4000-8000-000000000001'));
    const next = { configuration: both(['public.orders']), ...plain };
    await expect(upgradeSet(late.context, next)).rejects.toMatchObject({
      code: 'node_moved',
      exitCode: 21,
      message: 'Database eu is not at version 1 of set example, which the coordinator holds.',
      hint: expect.stringContaining('shovel cluster recover'),
      details: { set: 'example', database: 'eu' },
    });
    await decidedBy(made ?? '');
    expect(await everything()).toEqual(before);
    expect(await recoverCluster(admin.context)).toMatchObject({ changes: [], healed: [], problems: [] });
    expect(await upgradeSet(admin.context, next)).toMatchObject({ kind: 'upgraded', version: 2 });
  });

  it('that holds nothing of its set can’t be adopted, and joins anew under another name', async () => {
    await create();
    await eu.connection.script(`drop schema ${cluster.names.schema} cascade`);
    const before = await everything();
    await expect(adoptNode(admin.context, { name: 'example', database: 'eu' })).rejects.toMatchObject({
      code: 'node_unknown',
      exitCode: 21,
      message: 'Database eu holds nothing of this node of set example.',
      hint: 'Check its DSN. If it lost it for good, let it join as a new node: under another name in the set file, shovel set upgrade example FILE --force.',
    });
    expect(await everything()).toEqual(before);
    const configuration = configurationOf({ databases: { main, europe: eu } });
    expect(await upgradeSet(admin.context, { configuration, ...plain, force: true })).toMatchObject({
      version: 2,
      left: ['eu'],
    });
    expect(await states()).toEqual(['capturing', 'capturing']);
    await eu.connection.script('insert into accounts values (1)');
    expect(await eu.value(`select count(*) from ${cluster.names.schema}.log_example`)).toBe('1');
  });

  it('that is a set’s only one, likewise', async () => {
    const configuration = configurationOf({ databases: { main } });
    await createSet(admin.context, { configuration, ...plain });
    await main.connection.script(`drop schema ${cluster.names.schema} cascade`);
    await expect(adoptNode(admin.context, { name: 'example', database: 'main' })).rejects.toMatchObject({
      code: 'node_unknown',
    });
    const next = configurationOf({ databases: { first: main } });
    await upgradeSet(admin.context, { configuration: next, ...plain, force: true });
    expect(await states()).toEqual(['capturing']);
  });

  it('whose schema of ours somebody holds', async () => {
    await ensureNodeSchema(main.connection, cluster.names);
    const { schema } = cluster.names;
    await main.connection.script(
      `update ${schema}.installed_file set checksum = 'old' where path = 'sql/functions/row_text.sql'`,
    );
    const holder = await openConnection({ dsn: main.url, name: 'test', applicationName: 'a report' });
    const [row] = await holder.query('select pg_backend_pid() as pid');
    await holder.script(`begin; lock table ${schema}.installed_file in share mode`);
    await expect(
      ensureNodeSchema(main.connection, cluster.names, { lockTimeoutMs: 10 }),
    ).rejects.toMatchObject({
      code: 'schema_busy',
      exitCode: 21,
      message: expect.stringMatching(
        `Tables of schema ${schema} .* are held by pid ${row?.pid} \\(a report, `,
      ),
      hint: expect.stringContaining('Nothing was changed there'),
    });
    await holder.script('rollback');
    await holder.end();
    expect(await ensureNodeSchema(main.connection, cluster.names)).toBe(true);
  });

  it('whose table a prepared transaction of the application holds', async () => {
    const impatient = await cluster.administrator({ giveUpMs: 200 });
    const gid = `app_${cluster.name}`;
    await main.connection.script(`begin; insert into accounts values (1); prepare transaction '${gid}'`);
    await expect(createSet(impatient.context, { configuration: both(), ...plain })).rejects.toMatchObject({
      code: 'table_busy',
      exitCode: 21,
      message: `Table public.accounts is held by prepared transaction '${gid}'.`,
    });
    await main.connection.script(`rollback prepared '${gid}'`);
  });
});

describe('a recovery', () => {
  it('that another administrator takes over says in which database', async () => {
    await create();
    const { schema } = cluster.names;
    class Death extends Error {}
    const dying = await meeting('decide.after', async () => {
      throw new Death();
    });
    await expect(
      upgradeSet(dying.context, { configuration: both(['public.orders']), ...plain }),
    ).rejects.toBeInstanceOf(Death);
    await dying.stop();
    const [change] = (await admin.coordinator.list(`${root}/intents`)) ?? [];
    const late = await meeting('clean.eu.before', () =>
      eu.connection.script(`update ${schema}.intent set state = 'aborted' where intent_id <> '${change}'`),
    );
    const recovered = await recoverCluster(late.context);
    expect(recovered.problems).toMatchObject([
      {
        set: 'example',
        database: 'eu',
        code: 'node_refused',
        message: expect.stringContaining('another administrator'),
      },
    ]);
    expect(await recoverCluster(admin.context)).toMatchObject({ problems: [] });
    expect(await states()).toEqual(['capturing', 'capturing']);
  });
});

describe('a coordinator that is refilled from databases', () => {
  const refill = (fromNodes: readonly string[], who = admin) => recoverCluster(who.context, { fromNodes });
  const foreignId = (old: string) =>
    old.replace(/"id":"[^"]+"/, '"id":"00000000-0000-4000-8000-000000000000"');

  it('needs one that holds a set of the cluster', async () => {
    await removeAll(root);
    for (const dsns of [[], [main.url]]) {
      await expect(refill(dsns)).rejects.toMatchObject({
        code: 'clusters_mixed',
        exitCode: 21,
        message: `No database that was asked holds a set of cluster ${cluster.name}.`,
        hint: expect.stringMatching(/--cluster.*--from-nodes 'DSN'/),
      });
    }
    expect(await admin.coordinator.read(root)).toBeUndefined();
  });

  it('takes no other cluster of the same name in', async () => {
    await create();
    const elsewhere = await makeAdminCluster(zooKeeper);
    try {
      const others = (name: string, database: NodeDatabase) =>
        createSet(
          { ...admin.context },
          { configuration: configurationOf({ name, databases: { only: database } }), ...plain },
        );
      // Its set was made while the coordinator was another.
      const third = await cluster.database('create table accounts (id int primary key)');
      const kept = await admin.coordinator.read(root);
      await set(root, foreignId);
      await others('second', third);
      await set(root, () => kept?.data ?? '');
      await removeAll(`${root}/sets/second`);
      const before = await treeOf(admin.coordinator, root);
      await expect(refill([third.url])).rejects.toMatchObject({
        code: 'clusters_mixed',
        message: `The databases hold sets of 2 clusters that are all called ${cluster.name}.`,
        hint: expect.stringContaining('--zookeeper-hosts'),
      });
      expect(await treeOf(admin.coordinator, root)).toBe(before);

      // The other way round: this coordinator has a set, and none of its databases says so.
      await removeAll(`${root}/sets/example/versions`);
      await set(`${root}/sets/example`, () => '{');
      const damaged = await treeOf(admin.coordinator, root);
      await expect(refill([third.url])).rejects.toMatchObject({
        code: 'clusters_mixed',
        message: expect.stringMatching(
          /sets of another cluster .* than the one at .*, which has sets of its own\.$/,
        ),
      });
      expect(await treeOf(admin.coordinator, root)).toBe(damaged);
    } finally {
      await elsewhere.remove();
    }
  });

  it('by two at once says so to the slower one, who may go on', async () => {
    await create();
    await removeAll(root);
    const real = cluster.place.open();
    let first = true;
    const slow: Coordinator = new Proxy(real, {
      get(target, key) {
        const value: unknown = Reflect.get(target, key);
        if (typeof value !== 'function') return value;
        if (key !== 'multi' || !first) return value.bind(target);
        return async (operations: readonly Operation[]) => {
          first = false;
          await refill([main.url]);
          return target.multi(operations);
        };
      },
    });
    const slower = await cluster.administrator({ coordinator: slow });
    await expect(refill([main.url], slower)).rejects.toMatchObject({
      code: 'refill_lost',
      exitCode: 21,
      message: `Cluster ${cluster.name} was changed by somebody else while it was refilled.`,
      hint: expect.stringContaining('shovel cluster recover --from-nodes'),
    });
    expect(await refill([main.url], slower)).toMatchObject({ refilled: [], problems: [] });
    expect(await states()).toEqual(['capturing', 'capturing']);
  });
});
