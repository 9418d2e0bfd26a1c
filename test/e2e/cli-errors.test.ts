/**
 * Bad input, one by one: each is told in one line with the name of the thing and one line of advice, ends with its
 * exit code, and has changed nothing, neither in the database nor in the coordinator.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import { createZooKeeperCoordinator } from '../../src/coordinator/zookeeper/zookeeper-coordinator.js';
import { openConnection } from '../../src/postgres/connect.js';
import { silentLogger } from '../../src/runtime/logger.js';
import { buildCli, type CliResult, runCli } from '../support/cli.js';
import { coordinatorFootprint, databaseFootprint } from '../support/footprint.js';
import { type BadInput, refusal } from '../support/refusal.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import type { TestDatabase } from '../support/test-database.js';

const CLUSTER = `e2e_${randomBytes(4).toString('hex')}`;
const SCHEMA = `shovel_${CLUSTER}`;
const HOSTS = `${testZkHosts()}/test/${randomUUID()}`;
const PASSWORD = 'wr0ng-s3cret';
/** Nobody listens there. */
const NOWHERE = '127.0.0.1:1';

let database: TestDatabase;
let guarded: EphemeralService;
let coordinator: Coordinator;

interface SetFile {
  readonly name?: string;
  readonly dsn?: string;
  readonly tables?: string;
  readonly more?: string;
}

function setFile({
  name = 'example',
  dsn = database.url,
  tables = 'public.accounts',
  more = '',
}: SetFile = {}): string {
  return `name: ${name}
databases:
  main: { dsn: "${dsn}" }
tables:
  - name: ${tables}
streams:
  trail: { file: { path: "-" } }
${more}`;
}

function shovel(args: readonly string[], input = ''): Promise<CliResult> {
  return runCli([...args, '--cluster', CLUSTER], { input, env: { SHOVEL_ZOOKEEPER_HOSTS: HOSTS } });
}

beforeAll(async () => {
  await buildCli();
  database = await createTestDatabase();
  coordinator = createZooKeeperCoordinator({
    hosts: HOSTS,
    sessionTimeoutMs: 5_000,
    connectTimeoutMs: 5_000,
    logger: silentLogger(),
  });
  await coordinator.start();
  const connection = await openConnection({
    dsn: database.url,
    name: 'of the test',
    applicationName: 'test',
  });
  await connection.script(`
    create table public.accounts (id int primary key, owner text);
    create table public.keyless (id int, owner text);
    insert into public.keyless values (1, 'alice');
    create view public.names as select owner from public.accounts;
  `);
  await connection.end();
  guarded = await startGuarded();
});

/** A server that lets role `guarded` in with a password only. */
async function startGuarded(): Promise<EphemeralService> {
  const service = await startEphemeral('pg');
  const connection = await openConnection({
    dsn: service.address,
    name: 'of the test',
    applicationName: 'test',
  });
  const [row] = await connection.query("select current_setting('hba_file') as path");
  const path = row?.path ?? join(service.directory, 'pg_hba.conf');
  writeFileSync(path, `host all guarded 127.0.0.1/32 scram-sha-256\n${readFileSync(path, 'utf8')}`);
  await connection.script("create role guarded login password 'the-right-one'; select pg_reload_conf()");
  await connection.end();
  return service;
}

afterAll(async () => {
  await shovel(['set', 'drop', 'example']);
  await coordinator?.stop();
  await guarded?.close();
  await database?.drop();
});

const expectRefusal = refusal({
  shovel,
  state: async () =>
    `${await databaseFootprint(database.url, SCHEMA)}\n${await coordinatorFootprint(coordinator)}`,
  secrets: [PASSWORD],
});

describe('without a cluster', () => {
  it.each<BadInput>(
    [
      ['set', 'create', '-'],
      ['set', 'list'],
      ['set', 'inspect', 'example'],
      ['set', 'drop', 'example'],
      ['cluster', 'status'],
    ].map((args) => ({
      what: args.join(' '),
      args,
      input: () => setFile(),
      exit: 21,
      code: 'cluster_missing',
      names: [CLUSTER],
      advice: /shovel cluster init/,
    })),
  )('$what is refused', expectRefusal);
});

describe('with a cluster and a set', () => {
  beforeAll(async () => {
    expect(await shovel(['cluster', 'init'])).toMatchObject({ code: 0 });
    expect(await shovel(['set', 'create', '-'], setFile())).toMatchObject({ code: 0, stderr: '' });
  });

  it.each<BadInput>([
    {
      what: 'a set that exists already',
      args: ['set', 'create', '-'],
      input: () => setFile(),
      exit: 21,
      code: 'set_exists',
      names: ['example'],
      advice: /upgrade|another name/,
    },
    {
      what: 'a cluster that exists already',
      args: ['cluster', 'init'],
      exit: 21,
      code: 'cluster_exists',
      names: [CLUSTER],
      advice: /cluster status/,
    },
    {
      what: 'no such set',
      args: ['set', 'inspect', 'nosuch'],
      exit: 21,
      code: 'set_not_found',
      names: ['nosuch', CLUSTER],
      advice: /shovel set list/,
    },
    {
      what: 'another version',
      args: ['set', 'drop', 'example@7'],
      exit: 21,
      code: 'version_mismatch',
      names: ['example', '7'],
      advice: /./,
    },
    {
      what: 'no such table',
      args: ['set', 'create', '-'],
      input: () => setFile({ name: 'second', tables: 'public.nosuch' }),
      exit: 20,
      code: 'table_missing',
      names: ['stdin:', 'public.nosuch', 'main'],
      advice: /./,
    },
    {
      what: 'a view',
      args: ['set', 'create', '-'],
      input: () => setFile({ name: 'second', tables: 'public.names' }),
      exit: 20,
      code: 'table_not_capturable',
      names: ['public.names', 'main'],
      advice: /./,
    },
    {
      what: 'a table without a key, and none is chosen',
      args: ['set', 'create', '-'],
      input: () => setFile({ name: 'second', tables: 'public.keyless' }),
      exit: 20,
      code: 'key_missing',
      names: ['public.keyless', 'main'],
      advice: /key/,
    },
    {
      what: 'an unknown key in the file',
      args: ['set', 'create', '-'],
      input: () => setFile({ name: 'second', more: 'wakeup: poll\n' }),
      exit: 20,
      code: 'set_file_invalid',
      names: ['stdin:8:1', 'wakeup'],
      advice: /wake/,
    },
    {
      what: 'text that is no YAML',
      args: ['set', 'create', '-'],
      input: () => 'name: [',
      mistakes: 2,
      exit: 20,
      code: 'set_file_invalid',
      names: ['stdin:1:'],
      advice: /./,
    },
    {
      what: 'a file that is not there',
      args: ['set', 'create', './nosuch.yaml'],
      exit: 20,
      code: 'set_file_unreadable',
      names: ['./nosuch.yaml'],
      advice: /path/,
    },
    {
      what: 'a variable that is not set',
      args: ['set', 'create', '-'],
      input: () => setFile({ name: 'second', dsn: '${NO_SUCH_DSN}' }),
      exit: 20,
      code: 'variable_missing',
      names: ['NO_SUCH_DSN', 'main'],
      advice: /NO_SUCH_DSN/,
    },
    {
      what: 'a DSN that is none',
      args: ['set', 'create', '-'],
      input: () => setFile({ name: 'second', dsn: `mysql://me:${PASSWORD}@db/app` }),
      exit: 20,
      code: 'set_file_invalid',
      names: ['stdin:3:'],
      advice: /postgres:\/\//,
    },
    {
      what: 'a database that is not there',
      args: ['set', 'create', '-'],
      input: () => setFile({ name: 'second', dsn: database.url.replace(database.name, 'nosuch_database') }),
      exit: 20,
      code: 'database_missing',
      names: ['nosuch_database'],
      advice: /./,
    },
    {
      what: 'a database that nobody answers for',
      args: ['set', 'create', '-'],
      input: () => setFile({ name: 'second', dsn: `postgres://me:${PASSWORD}@${NOWHERE}/app` }),
      exit: 23,
      code: 'database_unreachable',
      names: [`${NOWHERE}/app`],
      advice: /running/,
    },
    {
      what: 'a wrong password',
      args: ['set', 'create', '-'],
      input: () =>
        setFile({
          name: 'second',
          dsn: `postgres://guarded:${PASSWORD}@${new URL(guarded.address).host}/postgres`,
        }),
      exit: 20,
      code: 'database_login_refused',
      names: ['guarded@', () => new URL(guarded.address).host],
      advice: /password/,
    },
    {
      what: 'a coordinator that nobody answers for',
      args: ['set', 'list', '--zookeeper-hosts', `${NOWHERE}/test`],
      exit: 23,
      code: 'coordinator_unreachable',
      names: [NOWHERE],
      advice: /--zookeeper-hosts/,
    },
    {
      what: 'a coordinator in PostgreSQL that nobody answers for',
      args: ['set', 'list', '--coordinator', `postgres://me:${PASSWORD}@${NOWHERE}/app`],
      exit: 23,
      code: 'coordinator_unreachable',
      names: [NOWHERE],
      advice: /--coordinator/,
    },
  ])('$what is refused', expectRefusal);

  it.each<BadInput>([
    {
      what: 'two mistakes at once',
      args: ['set', 'create', '-'],
      input: () => setFile({ name: 'second', tables: 'public.keyless\n  - name: public.nosuch' }),
      mistakes: 2,
      exit: 20,
      code: 'table_missing',
      names: ['public.nosuch', 'public.keyless'],
      advice: /./,
    },
  ])('$what are told together', expectRefusal);
});
