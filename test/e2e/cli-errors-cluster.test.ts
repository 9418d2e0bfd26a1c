/**
 * Commands that can't do what they are asked, for what the cluster, its databases or the folder are like: told in one
 * line with the name of the thing and one line of advice, with an exit code, and nothing is changed.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import { createZooKeeperCoordinator } from '../../src/coordinator/zookeeper/zookeeper-coordinator.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { silentLogger } from '../../src/runtime/logger.js';
import { buildCli, type CliResult, runCli } from '../support/cli.js';
import { coordinatorFootprint, databaseFootprint } from '../support/footprint.js';
import { type BadInput, refusal } from '../support/refusal.js';
import { createTestDatabase, testPgUrl, testZkHosts } from '../support/services.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';

const CLUSTER = `e2e_${randomBytes(4).toString('hex')}`;
const SCHEMA = `shovel_${CLUSTER}`;
const HOSTS = `${testZkHosts()}/test/${randomUUID()}`;

let main: TestDatabase;
let eu: TestDatabase;
let coordinator: Coordinator;
let server: PostgresConnection;

const connect = (dsn: string) => openConnection({ dsn, name: 'of the test', applicationName: 'test' });

function shovel(args: readonly string[], input = ''): Promise<CliResult> {
  return runCli([...args, '--cluster', CLUSTER], { input, env: { SHOVEL_ZOOKEEPER_HOSTS: HOSTS } });
}

const setFile = () => `name: pair
databases:
  main: { dsn: "${main.url}" }
  eu: { dsn: "${eu.url}" }
tables:
  - name: public.accounts
streams:
  trail: { file: { path: "/dev/null/{node}" } }
`;

beforeAll(async () => {
  await buildCli();
  server = await connect(testPgUrl());
  [main, eu] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  for (const { url } of [main, eu]) {
    const connection = await connect(url);
    await connection.script('create table public.accounts (id int primary key, owner text)');
    await connection.end();
  }
  coordinator = createZooKeeperCoordinator({
    hosts: HOSTS,
    sessionTimeoutMs: 5_000,
    connectTimeoutMs: 5_000,
    logger: silentLogger(),
  });
  await coordinator.start();
  expect(await shovel(['cluster', 'init'])).toMatchObject({ code: 0 });
});

afterAll(async () => {
  await coordinator?.stop();
  await server?.end();
  await main?.drop();
  await eu?.drop();
});

const expectRefusal = refusal({
  shovel,
  state: async () =>
    `${await databaseFootprint(main.url, SCHEMA)}\n${await coordinatorFootprint(coordinator)}`,
  secrets: [],
});

describe('a cluster without sets', () => {
  it.each<BadInput>([
    {
      what: 'relay --once',
      args: ['relay', '--once'],
      exit: 21,
      code: 'sets_missing',
      names: [CLUSTER],
      advice: /shovel set create FILE/,
    },
  ])('has nothing for $what', expectRefusal);
});

describe('a set in two databases', () => {
  beforeAll(async () => {
    expect(await shovel(['set', 'create', '-', '--wait'], setFile())).toMatchObject({ code: 0 });
  });

  it.each<BadInput>([
    {
      what: 'a ticket without its database',
      args: ['relay', 'pair', '--from', '1'],
      exit: 2,
      code: 'database_needed',
      names: ['pair'],
      advice: /--database with one of: main, eu\.$/,
    },
    {
      what: 'a database that it does not have',
      args: ['relay', 'pair', '--database', 'us'],
      exit: 21,
      code: 'database_not_in_set',
      names: ['pair', 'us'],
      advice: /main, eu\.$/,
    },
  ])('$what is refused', expectRefusal);

  describe('one of which takes no connections', () => {
    beforeAll(() => server.script(`alter database ${eu.name} allow_connections false`));
    afterAll(() => server.script(`alter database ${eu.name} allow_connections true`));

    it.each<BadInput>([
      {
        what: 'a recovery says what it could not look at',
        args: ['cluster', 'recover'],
        exit: 24,
        code: 'recovery_incomplete',
        names: [`${CLUSTER}: one thing`, 'Set pair', () => eu.name, 'not currently accepting connections'],
        advice: /allow_connections true .*Then run shovel cluster recover again\.$/,
      },
      {
        what: 'a change is refused',
        args: ['set', 'upgrade', '-'],
        input: () => `${setFile()}wake: poll\n`,
        exit: 23,
        code: 'database_unreachable',
        names: [() => eu.name, 'not currently accepting connections'],
        advice: /allow_connections true/,
      },
    ])('$what', expectRefusal);
  });

  it('is whole again as soon as it does', async () => {
    expect(await shovel(['cluster', 'recover'])).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('nothing is in doubt'),
    });
  });
});

describe('a file .env', () => {
  it('that can’t be read is named with its folder', async () => {
    const cwd = temporaryFolder('env');
    // Not even root can follow it.
    symlinkSync('.env', join(cwd, '.env'));
    const told = await runCli(['version'], { cwd });
    expect(told).toMatchObject({ code: 2, stdout: '' });
    expect(told.stderr).toMatch(/^error: The file \/.*\/\.env can't be read: ELOOP\.\nhint: {2}.*\n$/);
    expect(told.stderr).toContain(cwd);
    const document = await runCli(['version', '--json'], { cwd });
    expect(document).toMatchObject({ code: 2, stderr: '' });
    expect(JSON.parse(document.stdout).error.code).toBe('env_file_unreadable');
  });

  it('is read where it can be, and a folder of that name is none', async () => {
    const cwd = temporaryFolder('env');
    writeFileSync(join(cwd, '.env'), `SHOVEL_ZOOKEEPER_HOSTS=${HOSTS}\nSHOVEL_CLUSTER=${CLUSTER}\n`);
    expect(await runCli(['set', 'list'], { cwd })).toMatchObject({ code: 0 });
    const other = temporaryFolder('env');
    mkdirSync(join(other, '.env'));
    expect(await runCli(['version'], { cwd: other })).toMatchObject({ code: 0 });
  });
});
