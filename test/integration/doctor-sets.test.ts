/**
 * What doctor finds in a set when its tables, its log or its coordinator are not what they were: every finding is made
 * to happen once, and is gone when what caused it is.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { runDoctor } from '../../src/admin/doctor/doctor.js';
import { recoverCluster } from '../../src/admin/recover-cluster.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import { clusterPaths } from '../../src/model/change-paths.js';
import {
  type AdminCluster,
  type Administrator,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';

const TABLES = `
  create table accounts (id int primary key, owner text, region int not null unique);
  create table orders (id int primary key, number int not null);
  create unique index orders_number on orders (number);
  create table plain (id int primary key);
  create table filtered (id int primary key, kind text);
  create table tree (id int primary key) partition by range (id);
  create table lone (id int primary key);
  create schema shop; create table shop.one (id int primary key); create schema elsewhere`;
const CAPTURED = [
  'name: public.accounts, columns: [id, owner]',
  'name: public.orders, key: [number]',
  'public.plain',
  `name: public.filtered, where: "kind = 'k'"`,
  'public.tree',
  'public.lone',
  'name: shop.*',
];
const plain = { wait: false, dryRun: false } as const;
const DAY_MS = 86_400_000;

let cluster: AdminCluster;
let admin: Administrator;
let main: NodeDatabase;
let schema: string;

const examine = () => runDoctor(admin.context, { thresholds: { transactionMs: DAY_MS } });
/** Severity, code and object of all that is more than good to know. */
const told = async () => [
  ...new Set(
    (await examine()).findings
      .filter((one) => one.severity !== 'info')
      .map(({ severity, code, object }) => `${severity} ${code} ${object.replace(`${schema}.`, 'SCHEMA.')}`),
  ),
];

describe('tables and logs', () => {
  let configuration: ReturnType<typeof configurationOf>;
  beforeAll(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    admin = await cluster.administrator();
    main = await cluster.database(TABLES);
    schema = cluster.names.schema;
    configuration = configurationOf({
      databases: { main },
      tables: CAPTURED,
      extra: 'limits: { log_bytes: 1MB, lag: 1h }',
    });
    await createSet(admin.context, { configuration, ...plain });
    expect(await told()).toEqual([]);
  });
  afterAll(() => cluster.remove());

  const age = (interval: string) =>
    [0, 1, 2].map((k) => `update SCHEMA.log_${k}_example set at = at - interval '${interval}'`).join(';');
  const EMPTY = 'truncate SCHEMA.log_0_example, SCHEMA.log_1_example, SCHEMA.log_2_example';

  // What is done, what doctor says of it among other things, and what undoes it.
  it.each<[string, string, readonly string[], string]>([
    [
      'a listed column that is gone',
      'alter table accounts rename owner to holder',
      ['error column_missing example/main public.accounts'],
      'alter table accounts rename holder to owner',
    ],
    [
      'a listed column that is virtual now',
      `alter table accounts drop owner; alter table accounts add owner text generated always as ('x') virtual`,
      ['error column_virtual example/main public.accounts'],
      'alter table accounts drop owner; alter table accounts add owner text',
    ],
    [
      'a key that is not listed',
      'alter table accounts drop constraint accounts_pkey, add primary key (region)',
      ['error key_not_captured example/main public.accounts'],
      'alter table accounts drop constraint accounts_pkey, add primary key (id)',
    ],
    [
      'a key that is gone',
      'alter table plain drop constraint plain_pkey',
      ['error key_missing example/main public.plain'],
      'alter table plain add primary key (id)',
    ],
    [
      'a chosen key that is not unique any more',
      'drop index orders_number',
      ['error key_not_unique example/main public.orders'],
      'create unique index orders_number on orders (number)',
    ],
    [
      'a filter that does not fit its column',
      'alter table filtered alter kind type int using 0',
      ['error where_invalid example/main public.filtered'],
      'alter table filtered alter kind type text',
    ],
    [
      'a table that has become a partition of another',
      'alter table tree attach partition lone for values from (0) to (10)',
      ['error table_captured_twice example/main public.lone'],
      'alter table tree detach partition lone',
    ],
    [
      'a schema that has no tables any more',
      'alter table shop.one set schema elsewhere',
      ['error schema_without_tables example/main shop.*'],
      'alter table elsewhere.one set schema shop',
    ],
    [
      'a trigger that fires for replicas, too',
      'alter table plain enable always trigger "TRIGGER"',
      ['warning trigger_mode example/main public.plain'],
      'alter table plain enable trigger user',
    ],
    [
      'a trigger that fires for replicas alone',
      'alter table plain enable replica trigger "TRIGGER"',
      ['error trigger_mode example/main public.plain'],
      'alter table plain enable trigger user',
    ],
    [
      'a schema that lacks a migration',
      `create table public.kept as select * from SCHEMA.installed_file where path like 'migrations/0003%';
       delete from SCHEMA.installed_file where path like 'migrations/0003%'`,
      ['error schema_older database main'],
      'insert into SCHEMA.installed_file select * from public.kept; drop table public.kept',
    ],
    [
      'a migration of another text',
      `update SCHEMA.installed_file set checksum = 'x' || checksum where path like 'migrations/0002%'`,
      ['error migration_changed database main'],
      `update SCHEMA.installed_file set checksum = substr(checksum, 2) where path like 'migrations/0002%'`,
    ],
    [
      'mutations that have waited for nearly as long as they may',
      `insert into plain values (1); ${age('50 min')}`,
      ['warning lag_near_limit example/main', 'error relay_not_seen example/main'],
      EMPTY,
    ],
    [
      'mutations that have waited for longer than they may',
      `insert into plain values (2); ${age('61 min')}`,
      ['error lag_over_limit example/main'],
      EMPTY,
    ],
    [
      'rows that have no JSON',
      `insert into SCHEMA.capture_drift (set_name, rel, mark, mutations, last_seq)
       select 'example', c.rel, 'u', 3, 9 from SCHEMA.captured_table c where c.table_name = 'plain'`,
      ['error rows_unreadable example/main public.plain'],
      'delete from SCHEMA.capture_drift',
    ],
  ])('finds %s', async (_, harm, expected, undo) => {
    const trigger = await main.value(
      `select tgname from pg_trigger where tgrelid = 'plain'::regclass and not tgisinternal order by 1 limit 1`,
    );
    await main.connection.script(harm.replaceAll('SCHEMA', schema).replace('TRIGGER', trigger ?? ''));
    const found = await told();
    const { exitCode, unchecked } = await examine();
    await main.connection.script(undo.replaceAll('SCHEMA', schema));
    expect(found).toEqual(expect.arrayContaining([...expected]));
    expect({ exitCode, unchecked }).toEqual({ exitCode: 22, unchecked: [] });
    // Columns and triggers that were made anew are looked at by the next version.
    const left = await told();
    if (left.length > 0) await upgradeSet(admin.context, { configuration, ...plain });
    expect(await told()).toEqual([]);
  });

  it('finds a log that has nearly its size', async () => {
    let found: readonly string[] = [];
    for (let rows = 0; rows < 2500 && !found.some((one) => one.includes('limit')); rows += 100) {
      await main.connection.script(
        `insert into accounts (id, owner, region) select g, repeat('x', 500), g from generate_series(${rows + 1}, ${rows + 100}) g`,
      );
      found = await told();
    }
    expect(found).toContain('warning log_bytes_near_limit example/main');
    await main.connection.script(EMPTY.replaceAll('SCHEMA', schema));
    expect(await told()).toEqual([]);
  });
});

describe('a coordinator and its databases', () => {
  let eu: NodeDatabase;
  let paths: ReturnType<typeof clusterPaths>;
  beforeAll(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    admin = await cluster.administrator();
    main = await cluster.database('create table accounts (id int primary key)');
    eu = await cluster.database('create table accounts (id int primary key, more int)');
    schema = cluster.names.schema;
    paths = clusterPaths(cluster.name);
    await createSet(admin.context, { configuration: configurationOf({ databases: { main } }), ...plain });
  });
  afterAll(() => cluster.remove());

  it('finds a change that is under way, and one that can’t be read', async () => {
    let reached: () => void = () => undefined;
    let go: () => void = () => undefined;
    const there = new Promise<void>((resolve) => {
      reached = resolve;
    });
    const may = new Promise<void>((resolve) => {
      go = resolve;
    });
    const slow = await cluster.administrator({
      failpoint: async (name) => {
        if (name !== 'decide.before') return;
        reached();
        await may;
      },
    });
    const upgraded = upgradeSet(slow.context, {
      configuration: configurationOf({ databases: { main, eu } }),
      ...plain,
    });
    await there;
    const { findings, exitCode } = await examine();
    go();
    await upgraded;
    expect(findings.filter(({ severity }) => severity !== 'info')).toEqual([]);
    expect(exitCode).toBe(0);
    expect(findings.find(({ code }) => code === 'change_under_way')).toMatchObject({
      object: 'example',
      message: expect.stringContaining('to version 2, begun by test:'),
    });
    expect(await told()).toEqual([]);

    const path = paths.intent(randomUUID());
    await admin.coordinator.multi([{ kind: 'create', path, data: 'rubbish' }]);
    expect(await told()).toEqual([expect.stringMatching(/^error change_damaged change /)]);
    await admin.coordinator.multi([{ kind: 'remove', path, version: 0 }]);
    expect(await told()).toEqual([]);
  });

  it('finds a DSN that leads to another member of a set of that name', async () => {
    const [node] = await eu.column(`select node_id from ${schema}.replication_set`);
    await eu.connection.script(`update ${schema}.replication_set set node_id = gen_random_uuid()`);
    expect(await told()).toContain('error node_replaced example/eu');
    await eu.connection.script(`update ${schema}.replication_set set node_id = '${node}'`);
    expect(await told()).toEqual([]);
  });

  it('finds a database that has lost its schema', async () => {
    await eu.connection.script(`drop schema ${schema} cascade`);
    expect(await told()).toEqual(['error node_lost example/eu', 'error schema_missing database eu']);
    await upgradeSet(admin.context, {
      configuration: configurationOf({ databases: { main } }),
      ...plain,
      force: true,
    });
    expect(await told()).toEqual([]);
    await upgradeSet(admin.context, {
      configuration: configurationOf({ databases: { main, eu } }),
      ...plain,
    });
    expect(await told()).toEqual([]);
  });

  it('finds a set that the coordinator has lost', async () => {
    await removeTree(admin.coordinator, paths.set('example'));
    expect(await told()).toEqual([`warning cluster_empty cluster ${cluster.name}`]);
    const { findings } = await runDoctor(admin.context, { nodes: [main.url] });
    expect(findings.find(({ code }) => code === 'set_unknown')).toMatchObject({
      severity: 'error',
      object: 'example/main',
      fix: expect.stringContaining('cluster recover --from-nodes'),
    });
    await recoverCluster(admin.context, { fromNodes: [main.url] });
    expect(await told()).toEqual([]);
  });
});

async function removeTree(coordinator: Coordinator, path: string): Promise<void> {
  for (const name of (await coordinator.list(path)) ?? []) await removeTree(coordinator, `${path}/${name}`);
  const entry = await coordinator.read(path);
  if (entry) await coordinator.multi([{ kind: 'remove', path, version: entry.version }]);
}
