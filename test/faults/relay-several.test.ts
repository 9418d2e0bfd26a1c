/**
 * Three relays over six sets: each set has one owner, a killed one's are taken over, one that was suspended and wakes up
 * as a zombie neither publishes twice nor moves a position, and losing the coordinator only pauses them.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { buildCli, type RunningCli, runCli, startCli } from '../support/cli.js';
import { zooKeeperTarget } from '../support/coordinators.js';
import { readTopic } from '../support/kafka.js';
import { Reader } from '../support/reader.js';
import { createTestDatabase, testKafkaBrokers, testZkHosts } from '../support/services.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';
import { until } from '../support/until.js';

const CLUSTER = `several_${randomBytes(4).toString('hex')}`;
const CHROOT = `/test/${randomUUID()}`;
const LEASE = { SHOVEL_LEASE_TIME: '6s' };
const ENV = { SHOVEL_CLUSTER: CLUSTER, SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}${CHROOT}`, ...LEASE };
const SETS = ['a', 'b', 'c', 'd', 'e', 'f'];
const brokers = testKafkaBrokers().split(',');
const slow = { timeoutMs: 90_000, everyMs: 100 };

let database: TestDatabase;
let connection: PostgresConnection;
let folder: string;
let proxy: TcpProxy;
const running = new Set<RunningCli>();

const shovel = (args: readonly string[], input = '') => runCli(args, { env: ENV, input });

beforeAll(async () => {
  await buildCli();
  database = await createTestDatabase();
  folder = temporaryFolder('several');
  connection = await openConnection({ dsn: database.url, name: 'of the test', applicationName: 'app' });
  await connection.script('create table public.item (id int primary key)');
  expect(await shovel(['cluster', 'init'])).toMatchObject({ code: 0 });
  for (const set of SETS) {
    const file = `name: ${set}
databases: { main: { dsn: "${database.url}" } }
tables: [{ name: item }]
streams:
  trail: { file: { path: "${folder}/{set}.jsonl" } }
  events: { kafka: { brokers: ${JSON.stringify(brokers)}, topic: "${CLUSTER}.{set}" } }
`;
    expect(await shovel(['set', 'create', '-'], file)).toMatchObject({ code: 0 });
  }
  proxy = await startTcpProxy(zooKeeperTarget());
}, 120_000);

afterAll(async () => {
  for (const relay of running) relay.child.kill('SIGKILL');
  for (const relay of running) await relay.done;
  await connection?.end();
  await database?.drop();
  await proxy?.close();
});

function start(env: Readonly<Record<string, string>> = ENV): RunningCli {
  const relay = startCli(['relay', '--log-format', 'json'], { env, timeoutMs: 300_000 });
  running.add(relay);
  return relay;
}

/** Sets by the process that has them, as the node knows it. */
async function owned(): Promise<ReadonlyMap<string, readonly string[]>> {
  const rows = await connection.query(
    `select relay_owner, set_name from shovel_${CLUSTER}.set_head where relay_owner is not null order by set_name`,
  );
  const owners = new Map<string, string[]>();
  for (const { relay_owner: owner, set_name: set } of rows) {
    const pid = owner?.split(':').at(-1) ?? '';
    owners.set(pid, [...(owners.get(pid) ?? []), set ?? '']);
  }
  return owners;
}

const pidOf = (relay: RunningCli) => String(relay.child.pid);
const spread = async (...relays: readonly RunningCli[]) => {
  const owners = await owned();
  const counts = relays.map((relay) => owners.get(pidOf(relay))?.length ?? 0);
  return (
    counts.reduce((sum, count) => sum + count, 0) === SETS.length &&
    Math.max(...counts) - Math.min(...counts) <= 1
  );
};

let rows = 0;
const write = () => {
  rows += 1;
  return connection.script(`insert into public.item values (${rows})`);
};

function inFile(set: string): Reader {
  const reader = new Reader({ keys: { 'public.item': ['id'] } });
  const path = join(folder, `${set}.jsonl`);
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  for (const line of text.split('\n').slice(0, -1)) reader.take(line);
  return reader;
}
const inFiles = (sets: readonly string[] = SETS) =>
  until(
    'every file has every row',
    () => sets.every((set) => inFile(set).rows('public.item').length === rows),
    slow,
  );

async function inTopics(sets: readonly string[] = SETS): Promise<void> {
  for (const set of sets) {
    await until(
      `the topic of ${set} has every row`,
      async () => {
        const reader = new Reader({ keys: { 'public.item': ['id'] } });
        const messages = await readTopic(brokers, `${CLUSTER}.${set}`, { atLeast: 3 });
        for (const { value } of messages) reader.take(value ?? '');
        return reader.rows('public.item').length === rows;
      },
      slow,
    );
  }
}

it('spread, take over, and are not troubled by a zombie', { timeout: 400_000 }, async () => {
  const first = start();
  await until('the first has them all', async () => (await owned()).get(pidOf(first))?.length === 6, slow);
  await write();
  await inFiles();
  const second = start();
  const third = start();
  await until('all three have two', () => spread(first, second, third), slow);
  await write();
  await inFiles();

  first.child.kill('SIGKILL');
  await first.done;
  await until('the others have three each', () => spread(second, third), slow);
  await write();
  await inFiles();

  const asleep = (await owned()).get(pidOf(second)) ?? [];
  second.child.kill('SIGSTOP');
  await until('the third has them all', () => spread(third), slow);
  await write();
  // The sleeper holds the locks of its files, and nothing of Kafka.
  await inTopics(asleep);
  second.child.kill('SIGCONT');
  await inFiles();
  await write();
  await until('both have three again', () => spread(second, third), slow);
  await write();
  await inFiles();
  await inTopics();
  for (const relay of [second, third]) relay.child.kill('SIGTERM');
  for (const relay of [second, third]) expect(await relay.done).toMatchObject({ code: 0 });
});

it('pauses without its coordinator and goes on with it', { timeout: 300_000 }, async () => {
  const relay = start({
    ...ENV,
    SHOVEL_ZOOKEEPER_HOSTS: `${proxy.host}:${proxy.port}${CHROOT}`,
  });
  await until('it has them all', () => spread(relay), slow);
  await write();
  await inFiles();
  proxy.setMode('half-open');
  await until('it says that the lease is lost', () => relay.stderr().includes('the lease is lost'), slow);
  // Another may have the sets now, so nothing is written by this one.
  const other = start();
  await until('the other has them', () => spread(other), slow);
  await write();
  await inFiles();
  proxy.setMode('forward');
  await until('they share again', () => spread(relay, other), slow);
  await write();
  await inFiles();
  await inTopics();
  for (const one of [relay, other]) one.child.kill('SIGTERM');
  for (const one of [relay, other]) expect(await one.done).toMatchObject({ code: 0 });
});
