/**
 * Servers that can't be worked with as they are: told with the name of the database and what to do about it, before
 * anything is begun. A standby is one of them only until it is promoted.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import type { AdminContext } from '../../src/admin/context.js';
import { createSet } from '../../src/admin/create-set.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { openConnection } from '../../src/postgres/connect.js';
import { createLogger } from '../../src/runtime/logger.js';
import {
  type AdminCluster,
  catalogOf,
  configurationOf,
  makeAdminCluster,
  treeOf,
  zooKeeper,
} from '../support/admin-cluster.js';
import { copyServer } from '../support/copy-server.js';
import { makeTrailFolder, startRelays } from '../support/running-relays.js';
import { testPgNo2pcUrl } from '../support/services.js';
import { until } from '../support/until.js';

const plain = { wait: false, dryRun: false } as const;
const TABLE = 'create table accounts (id int primary key, owner text)';

describe('a server', () => {
  let cluster: AdminCluster;
  beforeEach(async () => {
    cluster = await makeAdminCluster(zooKeeper);
  });
  afterEach(() => cluster.remove());

  it('without prepared transactions is refused where the set asks for them, and taken where it does not', async () => {
    const { context } = await cluster.administrator();
    const main = await cluster.database(TABLE, { server: testPgNo2pcUrl() });
    const create = (extra: string) =>
      createSet(context, { configuration: configurationOf({ databases: { main }, extra }), ...plain });
    const before = [await catalogOf(main), await treeOf(context.coordinator, `/shovel/${cluster.name}`)];
    await expect(create('commit: prepared')).rejects.toMatchObject({
      code: 'prepared_unavailable',
      exitCode: 20,
      message: "Database main can't prepare transactions: max_prepared_transactions is 0.",
      hint: expect.stringContaining('commit: auto'),
    });
    expect([await catalogOf(main), await treeOf(context.coordinator, `/shovel/${cluster.name}`)]).toEqual(
      before,
    );
    expect(await create('commit: auto')).toMatchObject({ kind: 'created' });
  });

  it('that says it is of an old release is refused', async () => {
    const old: AdminContext['openNode'] = async (database, { dsn }) => ({
      ...(await openConnection({ dsn, name: database, applicationName: 'shovel admin' })),
      serverVersion: 130_022,
    });
    const { context } = await cluster.administrator({ openNode: old });
    const main = await cluster.database(TABLE);
    const before = await catalogOf(main);
    const configuration = configurationOf({ databases: { main } });
    await expect(createSet(context, { configuration, ...plain })).rejects.toMatchObject({
      code: 'server_too_old',
      exitCode: 20,
      message: 'Database main runs on PostgreSQL 13.',
      hint: expect.stringContaining('14 or later'),
    });
    expect(await catalogOf(main)).toBe(before);
  });
});

describe('a standby', () => {
  let primary: EphemeralService;
  let standby: EphemeralService;
  let cluster: AdminCluster;
  /** Of the database, over any hosts. */
  let dsn: (hosts: readonly string[], query?: string) => string;
  const trail = makeTrailFolder();
  const host = ({ address }: EphemeralService) => new URL(address).host;
  const connect = (url: string) => openConnection({ dsn: url, name: 'test', applicationName: 'test' });

  beforeAll(async () => {
    [primary, standby] = await Promise.all([startEphemeral('pg'), startEphemeral('pg')]);
    cluster = await makeAdminCluster(zooKeeper);
    const main = await cluster.database(TABLE, { server: primary.address });
    const { username, pathname, hostname, port } = new URL(main.url);
    dsn = (hosts, query = '') => `postgres://${username}@${hosts.join(',')}${pathname}${query}`;
    await main.connection.script(
      `alter system set primary_conninfo = 'host=${hostname} port=${port} user=${username}'`,
    );
    const { context } = await cluster.administrator({ openNode: () => connect(main.url) });
    await createSet(context, { configuration: configuration(), ...plain, wait: true });
    await main.connection.end();
    await copyServer({ from: primary, to: standby, standby: true });
    const [there, here] = [await connect(dsn([host(primary)])), await connect(dsn([host(standby)]))];
    await there.script("insert into public.accounts values (1, 'alice')");
    await until(
      'the standby follows',
      async () => (await here.query('select from public.accounts')).length > 0,
    );
    await Promise.all([there.end(), here.end()]);
  }, 180_000);
  afterAll(async () => {
    await cluster?.remove();
    await Promise.all([primary?.close(), standby?.close()]);
  });

  const configuration = (extra = '') => {
    const made = configurationOf({ databases: { main: { url: '${MAIN_DSN}' } }, extra });
    return {
      ...made,
      streams: { trail: { ...made.streams.trail, path: trail.path('standby') } },
    } as typeof made;
  };
  const readWrite = '?target_session_attrs=read-write';

  it('is passed over where the DSN asks for a server that takes writes', async () => {
    const connection = await connect(dsn([host(standby), host(primary)], readWrite));
    const [row] = await connection.query('select pg_is_in_recovery()::text as standby');
    expect(row).toEqual({ standby: 'false' });
    await connection.end();
  });

  it('is named where no host of the DSN takes writes', async () => {
    await expect(connect(dsn([host(standby)], readWrite))).rejects.toMatchObject({
      code: 'database_read_only',
      exitCode: 23,
      retryable: true,
      message: expect.stringContaining(`takes no writes: ${host(standby)} is a standby.`),
      hint: expect.stringContaining('promote one'),
    });
    await expect(connect(dsn(['127.0.0.1:1', host(standby)], readWrite))).rejects.toMatchObject({
      code: 'database_read_only',
      message: expect.stringContaining(`127.0.0.1:1 does not answer, ${host(standby)} is a standby.`),
    });
  });

  it('is named where the DSN takes any host and the command writes', async () => {
    const openNode = () => connect(dsn([host(standby)]));
    const { context } = await cluster.administrator({ openNode });
    await expect(
      upgradeSet(context, { configuration: configuration('wake: poll'), ...plain }),
    ).rejects.toMatchObject({
      code: 'database_read_only',
      exitCode: 23,
      message: expect.stringContaining(`${host(standby)}/`),
      hint: expect.stringContaining('?target_session_attrs=read-write'),
    });
  });

  it('is relayed from as soon as it is promoted', { timeout: 180_000 }, async () => {
    let told = '';
    const write = (text: string) => {
      told += text;
    };
    await primary.server.stop();
    const relays = startRelays({
      cluster: cluster.name,
      sets: ['example'],
      logger: createLogger({ level: 'info', format: 'json', destination: { write } }),
      variables: { MAIN_DSN: dsn([host(standby)]) },
    });
    try {
      await until('the relay says why it waits', () => told.includes('takes no writes'));
      const connection = await connect(dsn([host(standby)]));
      await connection.query('select pg_promote()');
      await connection.script("insert into public.accounts values (2, 'bob')");
      await connection.end();
      const ids = async () =>
        (await trail.lines('standby'))
          .map((line) => JSON.parse(line))
          .flatMap(({ op, after }) => (op === 'c' ? [after.id] : []));
      await until('both rows are published', async () => (await ids()).length >= 2, { timeoutMs: 60_000 });
      expect(await ids()).toEqual([1, 2]);
    } finally {
      await relays.stop();
      await primary.server.start();
    }
  });
});
