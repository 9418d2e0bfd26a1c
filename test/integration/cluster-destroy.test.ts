/** What is left of a cluster: nothing in the coordinator, nothing in its databases, and everything of another cluster. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { clusterStatus } from '../../src/admin/cluster-status.js';
import { createSet } from '../../src/admin/create-set.js';
import { destroyCluster } from '../../src/admin/destroy-cluster.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { initCluster } from '../../src/admin/init-cluster.js';
import {
  type AdminCluster,
  type Administrator,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  postgres,
  treeOf,
  zooKeeper,
} from '../support/admin-cluster.js';
import { databaseFootprint } from '../support/footprint.js';

const SETUP = `
  create table accounts (id int primary key, owner text);
  create table parts (id int, at date, primary key (id, at)) partition by range (at);
  create table parts_1 partition of parts for values from ('2026-01-01') to ('2027-01-01')`;
const plain = { wait: false, dryRun: false } as const;

/** Everything by name that a database holds (relhastriggers apart, which VACUUM puts right), and every role and prepared transaction of its server that is ours. */
async function inventory(database: NodeDatabase, prefix: string): Promise<readonly (string | null)[]> {
  return database.column(
    `select 'schema ' || nspname || ' ' || coalesce(nspacl::text, '') from pg_namespace where nspname !~ '^pg_(toast|temp)'
     union all select 'relation ' || c.oid::regclass || ' ' || c.relkind::text || ' ' || coalesce(c.relacl::text, '')
       from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_|^information_schema'
     union all select 'function ' || p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace
       where n.nspname !~ '^pg_|^information_schema'
     union all select 'trigger ' || tgrelid::regclass || ' ' || tgname from pg_trigger
     union all select 'type ' || t.oid::regtype from pg_type t join pg_namespace n on n.oid = t.typnamespace
       where n.nspname !~ '^pg_|^information_schema'
     union all select 'default ' || d.oid from pg_default_acl d
     union all select 'event trigger ' || evtname from pg_event_trigger
     union all select 'database ' || coalesce(datacl::text, '') from pg_database where datname = current_database()
     union all select 'setting ' || s.setconfig::text from pg_db_role_setting s
       join pg_database d on d.oid = s.setdatabase where d.datname = current_database()
     union all select 'prepared ' || gid from pg_prepared_xacts where database = current_database()
     union all select 'role ' || rolname from pg_roles where starts_with(rolname, $1)
     order by 1`,
    [prefix],
  );
}

describe.each([zooKeeper, postgres])('a cluster in $name', (kind) => {
  let cluster: AdminCluster;
  let admin: Administrator;
  beforeEach(async () => {
    cluster = await makeAdminCluster(kind, { init: false });
    admin = await cluster.administrator();
  });
  afterEach(() => cluster.remove());

  const destroy = (dryRun = false) => destroyCluster(admin.context, { dryRun });
  const paths = () => [`/shovel/${cluster.name}`];

  it('leaves nothing in the coordinator, and nothing in the database', async () => {
    const main = await cluster.database(SETUP);
    const before = await inventory(main, cluster.names.schema);
    await initCluster(admin.context);
    const configuration = configurationOf({
      databases: { main },
      tables: ['public.accounts', 'public.parts'],
    });
    for (let round = 0; round < 2; round += 1) {
      await createSet(admin.context, { configuration, ...plain });
      await main.connection.script("insert into accounts values (1, 'a'); delete from accounts");
      expect(await inventory(main, cluster.names.schema)).not.toEqual(before);
      await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
    }
    expect(await inventory(main, cluster.names.schema)).toEqual(before);
    const [path = ''] = paths();
    const tree = await treeOf(admin.coordinator, path);
    const plan = await destroy(true);
    expect(plan.operations.at(-1)).toMatchObject({ kind: 'remove', path });
    expect(await treeOf(admin.coordinator, path)).toBe(tree);
    expect(await destroy()).toEqual({ kind: 'destroyed', cluster: cluster.name, operations: [] });
    expect(await admin.coordinator.read(path)).toBeUndefined();
    expect((await admin.coordinator.list('/shovel')) ?? []).not.toContain(cluster.name);
    await expect(clusterStatus(admin.context)).rejects.toMatchObject({ code: 'cluster_missing' });
    await expect(destroy()).rejects.toMatchObject({ code: 'cluster_missing', exitCode: 21 });
  });

  it('refuses while there are sets, and names them', async () => {
    const main = await cluster.database(SETUP);
    await initCluster(admin.context);
    for (const name of ['one', 'two']) {
      const configuration = configurationOf({ name, databases: { main } });
      await createSet(admin.context, { configuration, ...plain });
    }
    const [path = ''] = paths();
    const tree = await treeOf(admin.coordinator, path);
    const footprint = await databaseFootprint(main.url, cluster.names.schema);
    for (const dryRun of [true, false]) {
      await expect(destroy(dryRun)).rejects.toMatchObject({
        code: 'cluster_in_use',
        exitCode: 21,
        message: expect.stringContaining('one, two'),
        hint: expect.stringContaining('shovel set drop one'),
      });
    }
    expect(await treeOf(admin.coordinator, path)).toBe(tree);
    expect(await databaseFootprint(main.url, cluster.names.schema)).toBe(footprint);
  });

  it('can be made again, and is another one', async () => {
    await initCluster(admin.context);
    const [path = ''] = paths();
    const first = (await admin.coordinator.read(path))?.data;
    await Promise.all([
      destroy(),
      destroy().catch((error: unknown) => expect(error).toMatchObject({ code: 'cluster_missing' })),
    ]);
    await initCluster(admin.context);
    expect((await admin.coordinator.read(path))?.data).not.toBe(first);
  });

  it('waits for a relay to give its lease back, and says so where it does not', async () => {
    await initCluster(admin.context);
    const other = await cluster.administrator({ giveUpMs: 300 });
    const [path = ''] = paths();
    const lease = await admin.coordinator.tryLease(`${path}/leases/example.main`, 'a relay');
    await expect(destroyCluster(other.context, { dryRun: false })).rejects.toMatchObject({
      code: 'cluster_busy',
      exitCode: 21,
    });
    expect(await admin.coordinator.read(path)).toBeDefined();
    const destroying = destroy();
    await lease?.release();
    expect((await destroying).kind).toBe('destroyed');
  });
});

describe('two clusters in one database', () => {
  it('do not disturb each other, from the first set to the last', async () => {
    const one = await makeAdminCluster(zooKeeper);
    const two = await makeAdminCluster(postgres);
    try {
      const main = await one.database(SETUP);
      const first = await one.administrator();
      const second = await two.administrator();
      const configuration = configurationOf({ databases: { main } });
      const create = (admin: Administrator) => createSet(admin.context, { configuration, ...plain });
      const drop = (admin: Administrator) =>
        dropSet(admin.context, { name: 'example', force: false, dryRun: false });
      const logged = (cluster: AdminCluster) =>
        main.value(`select count(*) from ${cluster.names.schema}.log_example`);
      await create(first);
      await create(second);
      await main.connection.script("insert into accounts values (1, 'a')");
      expect([await logged(one), await logged(two)]).toEqual(['1', '1']);
      await drop(first);
      await destroyCluster(first.context, { dryRun: false });
      await main.connection.script("insert into accounts values (2, 'b')");
      expect(await logged(two)).toBe('2');
      expect(
        await main.value('select count(*) from pg_namespace where nspname = $1', [one.names.schema]),
      ).toBe('0');
      expect((await clusterStatus(second.context)).sets).toBe(1);
      await drop(second);
      await destroyCluster(second.context, { dryRun: false });
      expect(await main.column(`select tgname from pg_trigger where not tgisinternal`)).toEqual([]);
    } finally {
      await one.remove();
      await two.remove();
    }
  });
});
