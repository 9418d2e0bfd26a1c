/** Doctor finds what is wrong with a set and its databases, one trouble at a time, and nothing where all is well. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { adoptNode } from '../../src/admin/adopt-node.js';
import { createSet } from '../../src/admin/create-set.js';
import { type Diagnosis, type DoctorOptions, runDoctor } from '../../src/admin/doctor/doctor.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { upgradeCluster } from '../../src/admin/upgrade-cluster.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { coordinatorUnreachable } from '../../src/coordinator/coordinator-errors.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import {
  type AdminCluster,
  type Administrator,
  catalogOf,
  configurationOf,
  makeAdminCluster,
  makeMainAndEu,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';
import { testPgNo2pcUrl, testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

const TABLES = `create table accounts (id int primary key, owner text);
  create table orders (id int primary key, total numeric)`;
const plain = { wait: false, dryRun: false } as const;

let cluster: AdminCluster;
let admin: Administrator;

/** The server has other databases, in which other tests may keep a transaction open. */
const DAY_MS = 86_400_000;
const examine = (options: DoctorOptions = {}): Promise<Diagnosis> =>
  runDoctor(admin.context, { ...options, thresholds: { transactionMs: DAY_MS, ...options.thresholds } });
/** Each once: a table may lack several triggers. */
const told = ({ findings }: Diagnosis) => [
  ...new Set(
    findings
      .filter((one) => one.severity !== 'info')
      .map((one) => `${one.severity} ${one.code} ${one.object}`),
  ),
];

describe.each([
  ['that prepares', testPgUrl],
  ['that does not prepare', testPgNo2pcUrl],
])('in a server %s', (_, server) => {
  let main: NodeDatabase;
  let schema: string;
  let other: PostgresConnection;
  let configuration: ReturnType<typeof configurationOf>;

  beforeAll(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    admin = await cluster.administrator();
    main = await cluster.database(TABLES, { server: server() });
    schema = cluster.names.schema;
    configuration = configurationOf({
      databases: { main },
      tables: ['public.accounts', 'public.orders'],
      extra: 'limits: { log_bytes: 1MB, lag: 1h }',
    });
    await createSet(admin.context, { configuration, ...plain });
    other = await openConnection({ dsn: main.url, name: 'other', applicationName: 'payroll' });
  });
  afterAll(async () => {
    await other.end();
    await cluster.remove();
  });

  it('finds nothing where all is well, and changes nothing', async () => {
    const before = await catalogOf(main);
    const diagnosis = await examine();
    expect(told(diagnosis)).toEqual([]);
    expect(diagnosis).toMatchObject({ unchecked: [], exitCode: 0 });
    expect(diagnosis.findings.map((one) => one.code)).toEqual(['wake']);
    const [prepared] = await main.connection.query('show max_prepared_transactions');
    expect(diagnosis.findings[0]?.message).toMatch(
      prepared?.max_prepared_transactions === '0' ? /is notified \(wake: auto:/ : /polls \(wake: auto:/,
    );
    expect(await catalogOf(main)).toEqual(before);
    expect(await examine({ set: 'example' })).toEqual(diagnosis);
    await expect(examine({ set: 'nobody' })).rejects.toMatchObject({ code: 'set_not_found', exitCode: 21 });
  });

  // What is done, what doctor says, and what undoes it (`fix`: what doctor said).
  it.each<[string, string | (() => Promise<unknown>), readonly string[], string | (() => Promise<unknown>)]>([
    [
      'a disabled trigger',
      'alter table accounts disable trigger user',
      ['error trigger_disabled example/main public.accounts'],
      'alter table accounts enable trigger user',
    ],
    [
      'another column',
      'alter table accounts add extra int',
      ['warning table_changed example/main public.accounts'],
      'alter table accounts drop extra',
    ],
    [
      'a table that is gone',
      'alter table orders rename to purchases',
      ['error table_missing example/main public.orders', 'warning table_renamed example/main public.orders'],
      'alter table purchases rename to orders',
    ],
    [
      'a sequence with a cache',
      () => main.connection.script(`alter sequence ${schema}.seq_example cache 20`),
      ['error sequence_cached example/main'],
      'fix',
    ],
    [
      'autovacuum on the log',
      () => main.connection.script(`alter table ${schema}.log_1_example reset (autovacuum_enabled)`),
      ['warning log_autovacuum example/main SCHEMA.log_1_example'],
      'fix',
    ],
    [
      'a log that others may read',
      () => main.connection.script(`grant select on ${schema}.log_0_example to public`),
      ['error log_exposed example/main SCHEMA.log_0_example'],
      'fix',
    ],
    [
      'a publication of everything',
      () => main.connection.script(`create publication everything for all tables`),
      ['error publication_carries_log database main'],
      'drop publication everything',
    ],
    [
      'a role that may log in',
      () => main.connection.script(`alter role "${cluster.names.capture}" login createdb`),
      ['error role_too_strong database main'],
      'fix',
    ],
    [
      'a sandbox that may read',
      () => main.connection.script(`grant select, update on accounts to "${cluster.names.sandbox}"`),
      ['error sandbox_privileged database main'],
      'fix',
    ],
    [
      'a membership of the sandbox',
      () => main.connection.script(`grant pg_read_all_settings to "${cluster.names.sandbox}"`),
      ['error sandbox_privileged database main'],
      'fix',
    ],
    [
      'functions of an older release',
      () =>
        main.connection.script(
          `update ${schema}.installed_file set checksum = 'old' where path = 'sql/functions/row_text.sql'`,
        ),
      ['warning schema_behind database main'],
      () => upgradeCluster(admin.context, { dryRun: false }),
    ],
    [
      'a schema of a newer release',
      () =>
        main.connection.script(`insert into ${schema}.installed_file values ('migrations/9999_x.sql', 'x')`),
      ['error schema_newer database main'],
      () => main.connection.script(`delete from ${schema}.installed_file where path like '%9999%'`),
    ],
    [
      'a change that the coordinator does not know',
      () =>
        main.connection.script(
          `insert into ${schema}.intent (intent_id, set_name, state) values (gen_random_uuid(), 'example', 'open')`,
        ),
      ['warning change_stray example/main'],
      () => main.connection.script(`delete from ${schema}.intent`),
    ],
    [
      'rows that the relay met with marks',
      () =>
        main.connection.script(
          `insert into ${schema}.capture_drift (set_name, rel, mark, mutations, last_seq)
           select 'example', c.rel, m, 3, 9 from ${schema}.captured_table c cross join unnest(array['f', 'o']::"char"[]) m
           where c.table_name = 'accounts' and c.set_version = (select set_version from ${schema}.replication_set)`,
        ),
      [
        'error rows_oversized example/main public.accounts',
        'warning rows_by_fallback example/main public.accounts',
      ],
      () => upgradeSet(admin.context, { configuration: { ...configuration, wake: 'poll' }, ...plain }),
    ],
    [
      'a log beyond its limits, and no relay',
      async () => {
        await main.connection.script(
          `insert into accounts select g, repeat('x', 300) from generate_series(1, 5000) g`,
        );
      },
      ['error log_bytes_over_limit example/main', 'error relay_not_seen example/main'],
      async () => {
        await main.connection.script(
          `truncate ${schema}.log_0_example, ${schema}.log_1_example, ${schema}.log_2_example`,
        );
      },
    ],
  ])('finds %s, and what mends it', async (_name, harm, expected, undo) => {
    await (typeof harm === 'string' ? main.connection.script(harm) : harm());
    const diagnosis = await examine();
    const [first] = diagnosis.findings;
    if (undo === 'fix') await main.connection.script((first?.fix ?? '').split('; targets')[0] ?? '');
    else await (typeof undo === 'string' ? main.connection.script(undo) : undo());
    expect(told(diagnosis).map((line) => line.replace(`${schema}.`, 'SCHEMA.'))).toEqual(expected);
    expect(diagnosis).toMatchObject({ exitCode: 22, unchecked: [] });
    expect(told(await examine())).toEqual([]);
  });

  it('finds transactions that have been open for long, with the session to end', async () => {
    await other.script('begin; insert into public.orders values (1, 1)');
    const thresholds = { transactionMs: 0 };
    const { findings } = await examine({ thresholds });
    const open = findings.filter((one) => one.message.includes('payroll'));
    expect(open).toMatchObject([{ code: 'transaction_open_long', severity: 'warning' }]);
    expect(open[0]?.fix).toMatch(/pg_terminate_backend\(\d+\)/);
    expect(open[0]?.message).toContain('can’t be trimmed');
    await other.script('rollback');
    expect((await examine({ thresholds })).findings.some((one) => one.message.includes('payroll'))).toBe(
      false,
    );
  });

  it('proposes unchanged_wide: omit where updates leave wide columns alone', async () => {
    await main.connection.script(
      `alter table orders add note text; alter table orders alter note set storage external;
       insert into orders select g, 1, repeat('n', 9000) from generate_series(1, 20) g;
       update orders set total = 2; analyze orders`,
    );
    const proposed = await until('the figures of the updates have arrived', async () => {
      // Before PostgreSQL 15 an idle session keeps its figures to itself.
      await main.connection.query('select 1 as one');
      const { findings } = await examine({ thresholds: { updates: 20 } });
      return findings.find((one) => one.code === 'unchanged_wide_pays')?.object;
    });
    expect(proposed).toBe('example/main public.orders');
    await main.connection.script('alter table orders drop note');
  });

  it('finds capture that is suspended, until the node is taken on again', async () => {
    // Recorded by one transaction, turned off by another.
    for (let call = 0; call < 2; call += 1)
      await main.connection.query(`select ${schema}.suspend_example(null, 'its log has 2 MB')`);
    const { findings } = await examine();
    expect(findings.find(({ code }) => code === 'capture_suspended')).toMatchObject({
      severity: 'error',
      object: 'example/main',
      message: expect.stringContaining('its log has 2 MB'),
      fix: expect.stringContaining('shovel node adopt example main'),
    });
    await adoptNode(admin.context, { name: 'example', database: 'main' });
    expect(told(await examine())).not.toContain('error capture_suspended example/main');
  });
});

describe('a set over two databases', () => {
  let main: NodeDatabase;
  let eu: NodeDatabase;
  beforeAll(async () => {
    ({ cluster, admin, main, eu } = await makeMainAndEu());
    await createSet(admin.context, { configuration: configurationOf({ databases: { main, eu } }), ...plain });
  });
  afterAll(() => cluster.remove());

  const away = (database: string, dsn: string) =>
    database === 'main'
      ? openConnection({ dsn: 'postgres://127.0.0.1:1/x', name: 'main', applicationName: 'x' })
      : openConnection({ dsn, name: database, applicationName: 'x' });

  it('is looked at as far as it can be reached, and what is missing is no all-clear', async () => {
    const context = {
      ...admin.context,
      openNode: (name: string, { dsn }: { dsn: string }) => away(name, dsn),
    };
    const diagnosis = await runDoctor(context);
    expect(diagnosis).toMatchObject({
      exitCode: 23,
      unchecked: [{ check: 'database main', why: expect.stringContaining('ECONNREFUSED') }],
    });
    await eu.connection.script('alter table accounts disable trigger user');
    expect(await runDoctor(context)).toMatchObject({
      exitCode: 22,
      findings: expect.arrayContaining([
        expect.objectContaining({ code: 'trigger_disabled', object: 'example/eu public.accounts' }),
      ]),
      unchecked: [{ check: 'database main' }],
    });
    await eu.connection.script('alter table accounts enable trigger user');
  });

  it('is looked at without its coordinator, from one database to the others', async () => {
    const context = { ...admin.context, coordinator: coordinatorUnreachable('zk', 'ECONNREFUSED') };
    expect(await runDoctor(context)).toMatchObject({
      exitCode: 23,
      findings: [],
      unchecked: [{ check: 'coordinator' }, { check: 'databases', why: expect.stringContaining('--nodes') }],
    });
    await eu.connection.script('alter table accounts disable trigger user');
    expect(await runDoctor(context, { nodes: [main.url] })).toMatchObject({
      exitCode: 22,
      findings: expect.arrayContaining([expect.objectContaining({ code: 'trigger_disabled' })]),
      unchecked: [{ check: 'coordinator' }],
    });
    await eu.connection.script('alter table accounts enable trigger user');
  });

  it('is held against the coordinator', async () => {
    const { schema } = cluster.names;
    const root = `/shovel/${cluster.name}`;
    await eu.connection.script(`update ${schema}.replication_set set intent_id = gen_random_uuid()`);
    expect(told(await examine())).toEqual(['warning node_behind example/eu']);
    await eu.connection.script(
      `update ${schema}.replication_set set intent_id = (document::json ->> 'intent')::uuid, set_version = 2`,
    );
    expect(told(await examine({ set: 'example' }))).toEqual(['error node_ahead example/eu']);
    await eu.connection.script(
      `update ${schema}.replication_set set set_version = 1, system_identifier = '1'`,
    );
    expect(told(await examine())).toEqual(['error node_copied example/eu']);
    await eu.connection.script(
      `update ${schema}.replication_set set system_identifier = (select system_identifier::text from pg_control_system())`,
    );
    expect(told(await examine())).toEqual([]);

    const record = await admin.coordinator.read(`${root}/sets/example`);
    const put = async (data: string) => {
      const entry = await admin.coordinator.read(`${root}/sets/example`);
      await admin.coordinator.multi([
        { kind: 'set', path: `${root}/sets/example`, data, version: entry?.version ?? 0 },
      ]);
    };
    await put('rubbish');
    expect(told(await examine())).toEqual(['error record_damaged example']);
    await put(record?.data ?? '');
    expect(told(await examine())).toEqual([]);
  });

  it('tells what is in doubt, and who decides', async () => {
    const dying = await cluster.administrator({
      failpoint: async (name) => {
        if (name === 'commit.main.before') throw new Error('dead');
      },
    });
    const configuration = configurationOf({ databases: { main, eu }, tables: ['public.orders'] });
    await expect(upgradeSet(dying.context, { configuration, ...plain })).rejects.toThrow('dead');
    await dying.stop();
    const diagnosis = await examine();
    const doubts = diagnosis.findings.filter((one) => one.fix === 'shovel cluster recover');
    expect(doubts.map((one) => one.code)).toContain('change_in_doubt');
    expect(doubts.filter((one) => one.code === 'prepared_in_doubt')).toHaveLength(2);
    for (const one of doubts.filter(({ code }) => code !== 'node_behind'))
      expect(one.message).toContain('it is decided and will be committed');
    await upgradeSet(admin.context, { configuration, ...plain });
    expect(told(await examine())).toEqual([]);
  });

  it('is told to be left behind where a forced drop could not reach it', async () => {
    await dropSet(
      {
        ...admin.context,
        openNode: (name, { dsn }) => away(name, dsn),
      },
      { name: 'example', force: true, dryRun: false },
    );
    expect(told(await examine({ nodes: [main.url] }))).toEqual(['warning set_left_behind example/main']);
  });
});
