/**
 * A set is dropped and made again under the same name while topic, broker and file are still full of the old one's
 * batches: the new one streams at once, and by node, incarnation and identity nothing of one can be taken for the other.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { buildCli, runCli } from '../support/cli.js';
import { kafkaBrokers, type ReadMessage, readTopic, withTestAdmin } from '../support/kafka.js';
import { Reader } from '../support/reader.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';

const SET = `again_${randomBytes(4).toString('hex')}`;
const CLUSTER = `e2e_${randomBytes(4).toString('hex')}`;
const ENV = { SHOVEL_CLUSTER: CLUSTER, SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}/test/${randomUUID()}` };
const TOPIC = `shovel.${SET}`;

let database: TestDatabase;
let connection: PostgresConnection;
let path: string;

async function shovel(...args: readonly string[]) {
  const result = await runCli([...args, '--json'], { env: ENV, input: setFile() });
  expect(result, result.stderr).toMatchObject({ code: 0 });
  return JSON.parse(result.stdout);
}

beforeAll(async () => {
  await buildCli();
  database = await createTestDatabase();
  path = join(temporaryFolder('again'), 'trail.jsonl');
  connection = await openConnection({ dsn: database.url, name: 'of the test', applicationName: 'app' });
  await connection.script('create table public.accounts (id int primary key, owner text)');
  await shovel('cluster', 'init');
});

afterAll(async () => {
  await connection?.end();
  await database?.drop();
});

const setFile = () => `name: ${SET}
databases: { main: { dsn: "${database.url}" } }
tables: [{ name: accounts }]
streams:
  events: { kafka: { brokers: ["${kafkaBrokers().join('", "')}"], topic: "shovel.{set}" } }
  trail: { file: { path: "${path}" } }
`;

interface Source {
  readonly node: string;
  readonly incarnation: number;
  readonly ticket: string;
}
const sourceOf = (text: string): Source => JSON.parse(text).source;
const insert = (from: number, to: number) =>
  connection.query(`insert into public.accounts select g, 'somebody' from generate_series(${from}, ${to}) g`);
const ids = (values: readonly string[]) =>
  values.map((text) => JSON.parse(text)).flatMap(({ op, after }) => (op === 'c' ? [after.id as number] : []));
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const lines = () => readFileSync(path, 'utf8').trimEnd().split('\n');

/** Where a stream of a node is, as Kafka keeps it. */
const positionOf = (node: string) =>
  withTestAdmin(kafkaBrokers(), async (admin) => {
    const [found] = await admin.fetchOffsets({
      groupId: `shovel.${CLUSTER}.${SET}.${node}.events`,
      topics: [TOPIC],
    });
    return found?.partitions.find(({ partition }) => partition === 0);
  });

it('streams at once, and is no other than itself', async () => {
  const nodeOf = async () => (await shovel('set', 'inspect', SET)).nodes[0].node_id as string;
  await shovel('set', 'create', '-', '--wait');
  const old = await nodeOf();
  for (const from of [1, 21, 41]) {
    await insert(from, from + 19);
    await shovel('relay', SET, '--once');
  }
  const before = {
    topic: await readTopic(kafkaBrokers(), TOPIC, { atLeast: 66 }),
    file: lines(),
    position: await positionOf(old),
  };
  expect(before.position?.offset).toBe('3');
  // Captured, and gone with the set.
  await insert(61, 70);
  await shovel('set', 'drop', SET);

  await shovel('set', 'create', '-', '--wait');
  const fresh = await nodeOf();
  expect(fresh).not.toBe(old);
  await insert(101, 110);
  const relayed = await shovel('relay', SET, '--once');
  expect(relayed.relays[0].streams.map((one: { error: unknown }) => one.error)).toEqual([null, null]);

  const topic = await readTopic(kafkaBrokers(), TOPIC, { atLeast: before.topic.length + 12 });
  const identity = ({ headers }: ReadMessage) => `${headers['shovel-id']} ${headers['shovel-op']}`;
  expect(topic.slice(0, before.topic.length).map(identity)).toEqual(before.topic.map(identity));
  const added = topic.slice(before.topic.length);
  expect(added).toHaveLength(12);

  const values = topic.map(({ value }) => value ?? '');
  for (const all of [values, lines()]) {
    // Tickets begin anew, so that it is the node alone that tells the two apart.
    const mine = (node: string) => all.filter((text) => sourceOf(text).node === node);
    expect(mine(old).length + mine(fresh).length).toBe(all.length);
    expect(new Set(mine(old).map((text) => sourceOf(text).ticket))).toEqual(new Set(['1', '2', '3']));
    expect(new Set(mine(fresh).map((text) => sourceOf(text).ticket))).toEqual(new Set(['1']));
    expect(ids(mine(old))).toEqual(range(1, 60));
    expect(ids(mine(fresh))).toEqual(range(101, 110));
    // A consumer that follows one node and incarnation meets one unbroken history.
    for (const node of [old, fresh]) {
      const reader = new Reader({ keys: { 'public.accounts': ['id'] } });
      for (const text of mine(node)) reader.take(text);
      expect(reader.rows('public.accounts')).toHaveLength(node === old ? 60 : 10);
    }
    // One that does not look at the node is stopped by the markers, and does not go on with the wrong rows.
    const careless = new Reader({ keys: { 'public.accounts': ['id'] } });
    expect(() => {
      for (const text of all) careless.take(text);
    }).toThrow();
  }
  expect(lines().slice(0, before.file.length)).toEqual(before.file);

  const seen = new Set(before.topic.map(identity));
  expect(added.filter((message) => seen.has(identity(message)))).toEqual([]);
  expect(added.every(({ headers }) => headers['shovel-id']?.startsWith(`${fresh}/1/1`))).toBe(true);

  // The old one's place is as it was; the new one has its own.
  expect(await positionOf(old)).toEqual(before.position);
  expect((await positionOf(fresh))?.offset).toBe('1');
  await shovel('relay', SET, '--once');
  expect(await readTopic(kafkaBrokers(), TOPIC, { atLeast: topic.length })).toHaveLength(topic.length);
  expect(lines()).toHaveLength(values.length);
});
