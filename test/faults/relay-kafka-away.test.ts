/**
 * A relay whose broker is away: it says so, keeps trying, goes on by itself when the broker is back, and what was
 * written meanwhile arrives once, in order. The application notices nothing.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { buildCli, runCli, startCli } from '../support/cli.js';
import { readTopic } from '../support/kafka.js';
import { Reader } from '../support/reader.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import type { TestDatabase } from '../support/test-database.js';
import { until } from '../support/until.js';

const ENV = {
  SHOVEL_CLUSTER: `away_${randomBytes(4).toString('hex')}`,
  SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}/test/${randomUUID()}`,
};
const SET = `shop_${randomBytes(4).toString('hex')}`;
const TOPIC = `shovel.${SET}`;

let database: TestDatabase;
let connection: PostgresConnection;
let kafka: EphemeralService;

const shovel = (args: readonly string[], input = '') => runCli(args, { env: ENV, input });

beforeAll(async () => {
  await buildCli();
  kafka = await startEphemeral('kafka');
  database = await createTestDatabase();
  connection = await openConnection({ dsn: database.url, name: 'of the test', applicationName: 'app' });
  await connection.script('create table public.orders (id int primary key, total numeric)');
  expect(await shovel(['cluster', 'init'])).toMatchObject({ code: 0 });
  const file = `name: ${SET}
databases: { main: { dsn: "${database.url}" } }
tables: [{ name: orders }]
streams: { events: { kafka: { brokers: ["${kafka.address}"], topic: "shovel.{set}" } } }
`;
  expect(await shovel(['set', 'create', '-'], file)).toMatchObject({ code: 0 });
});

afterAll(async () => {
  await connection?.end();
  await database?.drop();
  await kafka?.close();
});

/** Two markers for each batch, and a mutation each. */
async function readRows(atLeast: number): Promise<readonly string[]> {
  const reader = new Reader({ keys: { 'public.orders': ['id'] } });
  for (const { value } of await readTopic([kafka.address], TOPIC, { atLeast })) reader.take(value ?? '');
  return reader.rows('public.orders');
}

it('waits for a broker that is away, says so, and goes on', { timeout: 240_000 }, async () => {
  await kafka.server.stop();
  await connection.script("insert into public.orders values (1, 10.50), (2, 'NaN')");
  const relay = startCli(['relay', SET], { env: ENV, timeoutMs: 200_000 });
  await until('the relay says that the broker is away', async () => relay.stderr().includes(kafka.address), {
    timeoutMs: 60_000,
  });
  expect(relay.child.exitCode).toBeNull();
  await connection.script('insert into public.orders values (3, 7)');

  await kafka.server.start();
  await until('the first rows arrive', async () => (await readRows(5)).length === 3, { timeoutMs: 90_000 });

  await kafka.server.kill();
  await connection.script(
    'update public.orders set total = 8 where id = 3; delete from public.orders where id = 1',
  );
  await kafka.server.start();
  await until(
    'the rest arrives',
    async () => (await readRows(7)).join(' ') === '{"id":2,"total":"NaN"} {"id":3,"total":8}',
    {
      timeoutMs: 90_000,
    },
  );
  relay.child.kill('SIGTERM');
  expect(await relay.done).toMatchObject({ code: 0 });
});

it('--once gives up with exit 23 and names the broker', { timeout: 120_000 }, async () => {
  await kafka.server.stop();
  await connection.script('insert into public.orders values (9, 9)');
  const result = await shovel(['relay', SET, '--once']);
  expect(result.code).toBe(23);
  expect(result.stderr).toContain(kafka.address);
  await kafka.server.start();
  expect(await shovel(['relay', SET, '--once'])).toMatchObject({ code: 0 });
  expect(await readRows(1)).toHaveLength(3);
});
