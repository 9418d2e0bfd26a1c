/**
 * The whole way on real input: pgbench's tables captured, a relay publishing to Kafka all the while, and a consumer
 * that knows only the message format and rebuilds every row. Among the writers are transactions that commit out of
 * the order of their numbers, and one that stays open across many tickets.
 */
import { execFile } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { buildCli, runCli, startCli } from '../support/cli.js';
import { kafkaBrokers, testKafka, withTestAdmin } from '../support/kafka.js';
import { Reader } from '../support/reader.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import type { TestDatabase } from '../support/test-database.js';
import { until } from '../support/until.js';

const run = promisify(execFile);
const SET = `bank_${randomBytes(4).toString('hex')}`;
const TOPIC = `shovel.${SET}`;
const CLUSTER = `e2e_${randomBytes(4).toString('hex')}`;
const ENV = {
  SHOVEL_CLUSTER: CLUSTER,
  SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}/test/${randomUUID()}`,
  SHOVEL_LOG_LEVEL: 'warn',
};
const KEYS = {
  'public.pgbench_accounts': ['aid'],
  'public.pgbench_branches': ['bid'],
  'public.pgbench_tellers': ['tid'],
  'public.pgbench_history': null,
};

let database: TestDatabase;
const connections: PostgresConnection[] = [];

const shovel = (args: readonly string[], input = '') => runCli(args, { env: ENV, input, timeoutMs: 240_000 });
const pgbench = (...args: string[]) => run('pgbench', [...args, database.url], { maxBuffer: 1 << 24 });

async function connect(): Promise<PostgresConnection> {
  const connection = await openConnection({ dsn: database.url, name: 'of the test', applicationName: 'app' });
  connections.push(connection);
  return connection;
}

beforeAll(async () => {
  await buildCli();
  database = await createTestDatabase();
  await pgbench('-i', '-I', 'dtp', '-s', '5', '-q');
  expect(await shovel(['cluster', 'init'])).toMatchObject({ code: 0 });
});

afterAll(async () => {
  for (const connection of connections) await connection.end();
  await database?.drop();
});

const setFile = () => `name: ${SET}
databases: { main: { dsn: "${database.url}" } }
tables:
  - name: pgbench_accounts
  - name: pgbench_branches
  - name: pgbench_tellers
  - name: pgbench_history
    key: none
streams:
  events:
    kafka: { brokers: ["${kafkaBrokers().join('", "')}"], topic: "shovel.{set}" }
`;

/** The one that begins first commits last, over and over, until told to stop. Returns how many rows it left. */
async function commitOutOfOrder(stopped: () => boolean): Promise<number> {
  const first = await connect();
  const second = await connect();
  const insert = (delta: number) =>
    `insert into public.pgbench_history (tid, bid, aid, delta, mtime) values (0, 0, 0, ${delta}, now())`;
  let rows = 0;
  while (!stopped()) {
    await first.script(`begin; ${insert(rows)}`);
    for (let i = 0; i < 3; i += 1) await second.script(insert(rows + 1 + i));
    await first.script(`${insert(rows + 4)}; commit`);
    rows += 5;
    await first.script(`begin; ${insert(-1)}; rollback`);
  }
  return rows;
}

/** Reads the topic to its end as a `read_committed` consumer; tells of every message's identity. */
async function readAll(reader: Reader): Promise<{ messages: number; identities: number }> {
  const ends = await withTestAdmin(kafkaBrokers(), (admin) => admin.fetchTopicOffsets(TOPIC));
  const end = BigInt(ends[0]?.high ?? '0');
  const consumer = testKafka(kafkaBrokers()).consumer({
    groupId: `reader.${randomUUID()}`,
    readUncommitted: false,
    maxWaitTimeInMs: 100,
  });
  const identities = new Set<string>();
  let messages = 0;
  await consumer.connect();
  try {
    await consumer.subscribe({ topic: TOPIC, fromBeginning: true });
    await new Promise<void>((resolve, reject) => {
      const reached = (next: bigint) => {
        if (next >= end) resolve();
      };
      consumer.on('consumer.crash', ({ payload }) => reject(payload.error));
      consumer.on('consumer.end_batch_process', ({ payload }) => reached(BigInt(payload.lastOffset) + 1n));
      consumer
        .run({
          autoCommit: false,
          eachBatch: async ({ batch }) => {
            try {
              for (const message of batch.messages) {
                reader.take(message.value?.toString('utf8') ?? '');
                const id = message.headers?.['shovel-id']?.toString() ?? '';
                identities.add(`${id} ${message.headers?.['shovel-op']?.toString()}`);
                messages += 1;
              }
            } catch (error) {
              reject(error);
            }
          },
        })
        .catch(reject);
    });
  } finally {
    await consumer.disconnect();
  }
  return { messages, identities: identities.size };
}

it('rebuilds every table from the topic, each mutation once', { timeout: 600_000 }, async () => {
  expect(await shovel(['set', 'create', '-', '--wait'], setFile())).toMatchObject({ code: 0 });
  const relay = startCli(['relay', SET], { env: ENV, timeoutMs: 500_000 });

  await pgbench('-i', '-I', 'gv', '-s', '5', '-q');
  const long = await connect();
  await long.script(`begin; insert into public.pgbench_accounts values (1000001, 1, 7, 'open for long')`);
  let over = false;
  const outOfOrder = commitOutOfOrder(() => over);
  await pgbench('-n', '-c', '4', '-j', '2', '-T', '20');
  over = true;
  const extra = await outOfOrder;
  const head = await connect();
  const tickets = async () => {
    const [row] = await head.query(
      `select count(*) as n from shovel_${CLUSTER}.ticket_${SET} where ticket > 0`,
    );
    return Number(row?.n ?? 0);
  };
  await until('tickets are drawn beside the open transaction', async () => {
    // Each look is at something new: a busy relay may have drawn all of the run as a few large tickets.
    await head.script('update public.pgbench_branches set bbalance = bbalance where bid = 1');
    return (await tickets()) > 10;
  });
  await long.script(`update public.pgbench_accounts set abalance = 8 where aid = 1000001; commit`);

  relay.child.kill('SIGTERM');
  expect(await relay.done).toMatchObject({ code: 0 });
  expect(await shovel(['relay', SET, '--once'])).toMatchObject({ code: 0 });

  const reader = new Reader({ keys: KEYS, keepMutations: false });
  const { messages, identities } = await readAll(reader);
  expect(reader.within).toBe(false);
  expect(identities).toBe(messages);
  for (const table of Object.keys(KEYS)) {
    const rows = await head.arrays(`select pg_catalog.row_to_json(t)::text from ${table} t`);
    const expected = rows.map(([row]) => row ?? '').sort();
    expect(reader.rows(table).length, table).toBe(expected.length);
    expect(
      reader.rows(table).every((row, i) => row === expected[i]),
      table,
    ).toBe(true);
  }
  const kept = await head.query(
    'select count(*) as n from public.pgbench_history where tid = 0 and delta >= 0',
  );
  expect(Number(kept[0]?.n)).toBe(extra);
  expect(await shovel(['set', 'drop', SET])).toMatchObject({ code: 0 });
});
