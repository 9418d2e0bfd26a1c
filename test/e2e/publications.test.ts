/**
 * A database with a subscriber of its own: a publication that would carry shovel's tables is refused with words, and the
 * subscriber goes on; what happens where it is asked for all the same, and how that is mended.
 */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { buildCli, runCli } from '../support/cli.js';
import { databaseFootprint } from '../support/footprint.js';
import { testZkHosts } from '../support/services.js';
import { until } from '../support/until.js';

const ENV = { SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}/test/${randomUUID()}` };

const services: EphemeralService[] = [];
let publisher: PostgresConnection;
let subscriber: PostgresConnection;
let source: string;

async function start(): Promise<{ address: string; connection: PostgresConnection }> {
  const service = await startEphemeral('pg15', {
    settings: { wal_level: 'logical', wal_retrieve_retry_interval: '100ms' },
  });
  services.push(service);
  const connection = await openConnection({
    dsn: service.address,
    name: 'of the test',
    applicationName: 'app',
  });
  await connection.script('create table public.accounts (id int primary key, owner text)');
  return { address: service.address, connection };
}

beforeAll(async () => {
  await buildCli();
  const [one, two] = await Promise.all([start(), start()]);
  source = one.address;
  publisher = one.connection;
  subscriber = two.connection;
  expect(await runCli(['cluster', 'init'], { env: ENV })).toMatchObject({ code: 0 });
});

afterAll(async () => {
  await publisher?.end();
  await subscriber?.end();
  await Promise.all(services.map((service) => service.close()));
});

const shovel = (...args: readonly string[]) =>
  runCli([...args, '--json'], {
    env: ENV,
    input: `name: ledger
databases: { main: { dsn: "${source}" } }
tables: [{ name: accounts }]
streams: { trail: { file: { path: "/dev/null" } } }
`,
  });

let last = 0;
const write = async () => {
  last += 1;
  await publisher.query('insert into public.accounts values ($1, $2)', [String(last), 'somebody']);
};
const arrives = () =>
  until(`row ${last} is at the subscriber`, async () => {
    const rows = await subscriber.query('select count(*) as n from public.accounts where id <= $1', [
      String(last),
    ]);
    return rows[0]?.n === String(last);
  });
const logged = async () => (await publisher.query('select count(*) as n from shovel.log_ledger'))[0]?.n;

it('of a publication for all tables: refused, nothing changed, and the subscriber goes on', async () => {
  await publisher.script('create publication everything for all tables');
  await subscriber.script(`create subscription everything connection '${source}' publication everything`);
  await write();
  await arrives();
  const before = await databaseFootprint(source, 'shovel');
  for (const args of [
    ['set', 'create', '-'],
    ['set', 'create', '-', '--dry-run'],
  ]) {
    const refused = await shovel(...args);
    expect(refused).toMatchObject({ code: 21 });
    expect(JSON.parse(refused.stdout).error).toMatchObject({
      code: 'publication_carries_log',
      message: expect.stringContaining('everything'),
      details: { database: 'main', publications: ['everything'] },
    });
  }
  expect(await databaseFootprint(source, 'shovel')).toBe(before);
  await write();
  await arrives();
});

it('with --force it stops at the first row of the log, until it has tables to leave that out for', async () => {
  expect(await shovel('set', 'create', '-', '--force')).toMatchObject({ code: 0 });
  await write();
  expect(await logged()).toBe('1');
  await until('the subscriber has stopped', async () => {
    const rows = await subscriber.query(
      'select apply_error_count > 0 as failed from pg_stat_subscription_stats',
    );
    return rows[0]?.failed === 't';
  });
  // What docs say: the tables, empty, at the subscriber. They are in no subscription there, so nothing gets into them.
  const tables = await publisher.query(
    `select format('create table shovel.%I (%s)', c.relname,
       string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum)) as ddl
     from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
     where c.relnamespace = 'shovel'::regnamespace and c.relkind = 'r' group by c.oid, c.relname`,
  );
  await subscriber.script('create schema shovel');
  for (const { ddl } of tables) await subscriber.script(ddl ?? '');
  await arrives();
  await write();
  await arrives();
  expect(await logged()).toBe('2');
  expect((await subscriber.query('select count(*) as n from shovel.log_0_ledger'))[0]?.n).toBe('0');
  expect(await shovel('set', 'drop', 'ledger')).toMatchObject({ code: 0 });
  await write();
  await arrives();
});

it('of publications of its own tables: none of them is in the way', async () => {
  await subscriber.script('drop subscription everything');
  await subscriber.script('drop schema shovel cascade; truncate public.accounts');
  await publisher.script('drop publication everything; create publication own for tables in schema public');
  await subscriber.script(`create subscription own connection '${source}' publication own`);
  await arrives();
  expect(await shovel('set', 'create', '-')).toMatchObject({ code: 0 });
  await write();
  await arrives();
  expect(await logged()).toBe('1');
});

it('of one that is made later: PostgreSQL refuses the subscriber, capture goes on; nor does an upgrade agree to it', async () => {
  for (const publication of ['for all tables', 'for tables in schema shovel']) {
    await publisher.script(`create publication late ${publication}`);
    await expect(
      subscriber.script(`create subscription late connection '${source}' publication late`),
    ).rejects.toThrow(/schema "shovel"/);
    const before = Number(await logged());
    await write();
    await arrives();
    expect(Number(await logged())).toBe(before + 1);
    const refused = await shovel('set', 'upgrade', '-');
    expect(refused).toMatchObject({ code: 21 });
    expect(JSON.parse(refused.stdout).error).toMatchObject({
      code: 'publication_carries_log',
      message: expect.stringContaining('late'),
    });
    await publisher.script('drop publication late');
  }
  await subscriber.script('drop subscription own');
});
