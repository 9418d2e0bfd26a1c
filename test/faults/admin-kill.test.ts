/**
 * The command line killed by SIGKILL in the middle of a change, nothing closed and nothing given back: the next command
 * waits until the dead one's lease has run out, settles what was left, and does its own work.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { buildCli, runCli } from '../support/cli.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';

const CLUSTER = `kill_${randomBytes(4).toString('hex')}`;

let databases: readonly TestDatabase[];
let coordination: TestDatabase;
let connections: readonly PostgresConnection[];
let file: string;

beforeAll(async () => {
  await buildCli();
  // Databases are taken in the order of their oids, so main is made first.
  databases = [await createTestDatabase(), await createTestDatabase()];
  coordination = await createTestDatabase();
  connections = await Promise.all(
    databases.map(({ url }) => openConnection({ dsn: url, name: 'test', applicationName: 'test' })),
  );
  for (const connection of connections) {
    await connection.script(
      'create table public.accounts (id int primary key); create table public.orders (id int primary key)',
    );
  }
  file = join(temporaryFolder('kill'), 'set.yaml');
});
afterAll(async () => {
  await Promise.all((connections ?? []).map((connection) => connection.end()));
  await Promise.all((databases ?? []).map((database) => database.drop()));
  await coordination?.drop();
});

function write(tables: readonly string[]): void {
  const [main, eu] = databases;
  writeFileSync(
    file,
    `name: example
databases: { main: { dsn: "${main?.url}" }, eu: { dsn: "${eu?.url}" } }
tables: [${tables.map((table) => `{ name: ${table} }`).join(', ')}]
streams: { trail: { file: { path: "-" } } }
`,
  );
}

const prepared = async () =>
  (
    await Promise.all(
      connections.map((connection) =>
        connection.query('select gid from pg_prepared_xacts where database = current_database()'),
      ),
    )
  ).flat().length;

describe.each([
  ['ZooKeeper', () => ({ SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}/test/${randomUUID()}` })],
  ['PostgreSQL', () => ({ SHOVEL_COORDINATOR: coordination.url })],
] as const)('an administrator killed, coordinator on %s', (_, environment) => {
  let env: Readonly<Record<string, string>>;
  beforeAll(async () => {
    env = { ...environment(), SHOVEL_CLUSTER: CLUSTER, SHOVEL_LEASE_TIME: '2s' };
    expect(await runCli(['cluster', 'init'], { env })).toMatchObject({ code: 0 });
  });

  async function killedAt(point: string, args: readonly string[]): Promise<void> {
    const killed = await runCli(args, { env: { ...env, SHOVEL_FAILPOINT: `${point}:kill` } });
    expect(killed, killed.stderr).toMatchObject({ code: null, signal: 'SIGKILL' });
  }

  it('before the decision, by the next create', async () => {
    write(['accounts']);
    await killedAt('prepare.eu.after', ['set', 'create', file]);
    expect(await prepared()).toBe(2);
    const status = await runCli(['cluster', 'status', '--json'], { env });
    expect(JSON.parse(status.stdout).in_doubt).toHaveLength(2);
    const second = await runCli(['set', 'create', file], { env });
    expect(second, second.stderr).toMatchObject({ code: 0 });
    expect(await prepared()).toBe(0);
  });

  it('after the decision, by recovery', async () => {
    write(['orders']);
    await killedAt('decide.after', ['set', 'upgrade', file]);
    expect(await prepared()).toBe(2);
    const recovered = await runCli(['cluster', 'recover', '--json'], { env });
    expect(recovered, recovered.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(recovered.stdout).changes).toMatchObject([
      { set: 'example', version: 2, outcome: 'finished' },
    ]);
    expect(await prepared()).toBe(0);
    const inspected = JSON.parse((await runCli(['set', 'inspect', 'example', '--json'], { env })).stdout);
    expect(inspected.nodes.map((node: { state: string }) => node.state)).toEqual(['capturing', 'capturing']);
  });

  it('between two databases that switch, by the drop', async () => {
    write(['accounts', 'orders']);
    await killedAt('commit.main.after', ['set', 'upgrade', file]);
    expect(await prepared()).toBe(1);
    const dropped = await runCli(['set', 'drop', 'example'], { env });
    expect(dropped, dropped.stderr).toMatchObject({ code: 0 });
    expect(await prepared()).toBe(0);
    for (const connection of connections) {
      const left = await connection.query('select nspname from pg_namespace where nspname = $1', [
        `shovel_${CLUSTER}`,
      ]);
      expect(left).toEqual([]);
    }
  });
});
