/** Sets that share a database and know nothing of each other: their administrators work at the same time. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { runDoctor } from '../../src/admin/doctor/doctor.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { recoverCluster } from '../../src/admin/recover-cluster.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import {
  type AdminCluster,
  type Administrator,
  catalogOf,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';
import { buildCli, runCli, startCli } from '../support/cli.js';
import { makeTrailFolder, type TrailFolder } from '../support/running-relays.js';
import { testPgNo2pcUrl, testPgUrl, testZkHosts } from '../support/services.js';
import { until } from '../support/until.js';

const plain = { wait: true, dryRun: false } as const;
const NAMES = ['one', 'two', 'three'];

describe.each([
  ['prepares', testPgUrl],
  ['does not prepare', testPgNo2pcUrl],
])('in a server that %s', (_, server) => {
  let cluster: AdminCluster;
  let main: NodeDatabase;
  let eu: NodeDatabase;
  beforeEach(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    const sql = 'create table accounts (id int primary key); create table orders (id int primary key)';
    main = await cluster.database(sql, { server: server() });
    eu = await cluster.database(sql, { server: server() });
  });
  afterEach(() => cluster.remove());

  it('three sets of the same tables are created, upgraded and dropped at once', async () => {
    const admins = await Promise.all(NAMES.map(() => cluster.administrator({ giveUpMs: 30_000 })));
    const all = (work: (context: Administrator['context'], name: string) => Promise<unknown>) =>
      Promise.all(NAMES.map((name, index) => work((admins[index] as Administrator).context, name)));
    const versions = (database: NodeDatabase) =>
      database.column(
        `select set_name || ' ' || set_version from ${cluster.names.schema}.replication_set order by 1`,
      );
    const before = await catalogOf(main);
    await all((context, name) =>
      createSet(context, { configuration: configurationOf({ name, databases: { main, eu } }), ...plain }),
    );
    await main.connection.script('insert into accounts values (1); insert into orders values (1)');
    await all((context, name) =>
      upgradeSet(context, {
        configuration: configurationOf({
          name,
          databases: { main, eu },
          tables: ['public.accounts', 'public.orders'],
        }),
        ...plain,
      }),
    );
    await main.connection.script('insert into accounts values (2); insert into orders values (2)');
    for (const database of [main, eu])
      expect(await versions(database)).toEqual(['one 2', 'three 2', 'two 2']);
    for (const name of NAMES) {
      expect(await main.column(`select new from ${cluster.names.schema}.log_${name} order by seq`)).toEqual([
        '{"id":1}',
        '{"id":2}',
        '{"id":2}',
      ]);
    }
    const [admin] = admins as [Administrator];
    const { findings } = await runDoctor(admin.context, { thresholds: { transactionMs: 86_400_000 } });
    expect(findings.filter(({ severity, code }) => severity !== 'info' && code !== 'relay_not_seen')).toEqual(
      [],
    );
    await all((context, name) => dropSet(context, { name, dryRun: false, force: false }));
    expect(await catalogOf(main)).toBe(before);
    expect(
      await main.column(`select gid from pg_prepared_xacts where database = current_database()`),
    ).toEqual([]);
  });
});

describe('an administrator who waits for writers', () => {
  let cluster: AdminCluster;
  let main: NodeDatabase;
  let folder: TrailFolder;
  beforeAll(async () => {
    await buildCli();
    cluster = await makeAdminCluster(zooKeeper);
    main = await cluster.database('create table accounts (id int primary key)');
    folder = await makeTrailFolder();
  });
  afterAll(() => cluster.remove());

  it('may be killed: the set is there, and captures all that begins later', async () => {
    const env = {
      SHOVEL_CLUSTER: cluster.name,
      SHOVEL_ZOOKEEPER_HOSTS: testZkHosts(),
      SHOVEL_LEASE_TIME: '2s',
    };
    const file = `name: example
databases: { main: { dsn: "${main.url}" } }
tables: [{ name: public.accounts }]
streams: { trail: { file: { path: "${folder.path('trail')}" } } }
`;
    const waiting = startCli(['set', 'create', '-', '--wait'], {
      env: { ...env, SHOVEL_FAILPOINT: 'decide.before:pause' },
      input: file,
    });
    await until('it is about to decide', () => waiting.stderr().includes('paused at decide.before'));
    await main.connection.script('begin; insert into accounts values (1)');
    waiting.child.kill('SIGCONT');
    await until('it says for whom it waits', () =>
      /waiting for transactions from before: .*shovel test/.test(waiting.stderr()),
    );
    waiting.child.kill('SIGKILL');
    expect(await waiting.done).toMatchObject({ signal: 'SIGKILL' });

    const again = await runCli(['set', 'create', '-', '--wait'], { env, input: file });
    expect(again).toMatchObject({ code: 21 });
    expect(again.stderr).toContain('example');
    const admin = await cluster.administrator();
    await recoverCluster(admin.context);
    const { findings } = await runDoctor(admin.context, { thresholds: { transactionMs: 86_400_000 } });
    expect(findings.filter(({ severity }) => severity !== 'info')).toEqual([]);
    // The one that it waited for wrote before capture began.
    await main.connection.script('insert into accounts values (2); commit');
    await main.connection.script('insert into accounts values (3)');
    expect(await runCli(['relay', 'example', '--once'], { env })).toMatchObject({ code: 0 });
    const rows = (await folder.lines('trail')).filter((line) => line.includes('"op":"c"'));
    const ids = rows.map((line) => JSON.parse(line).after.id);
    expect(ids).not.toContain(1);
    expect(ids.at(-1)).toBe(3);
  });
});
