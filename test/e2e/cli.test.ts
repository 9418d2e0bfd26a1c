/** The built command line against real services: what users type first, and what signals do to it. */
import { randomBytes, randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConnection } from '../../src/postgres/connect.js';
import { buildCli, type CliOptions, runCli, startCli } from '../support/cli.js';
import { databaseFootprint } from '../support/footprint.js';
import { createTestDatabase, testPgUrl, testZkHosts } from '../support/services.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';

const CLUSTER = `e2e_${randomBytes(4).toString('hex')}`;
const SCHEMA = `shovel_${CLUSTER}`;
const PASSWORD = 'app-s3cret';

let database: TestDatabase;
let coordination: TestDatabase;

beforeAll(async () => {
  await buildCli();
  [database, coordination] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  const connection = await openConnection({
    dsn: database.url,
    name: 'of the test',
    applicationName: 'test',
  });
  await connection.script('create table public.accounts (id int primary key, owner text)');
  await connection.end();
});

afterAll(async () => {
  await database?.drop();
  await coordination?.drop();
});

function setFile(): string {
  return `databases:
  main: { dsn: "\${MAIN_DSN}" }
tables:
  - name: accounts
streams:
  trail: { file: { path: "-" } }
  events: { kafka: { brokers: ["127.0.0.1:1"], sasl: { mechanism: plain, username: me, password: "${PASSWORD}" } } }
`;
}

/** Answers nothing: whoever connects waits. */
async function silentServer(): Promise<{ address: string; server: Server }> {
  const server = createServer((socket) => socket.on('error', () => undefined));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return { address: `127.0.0.1:${address.port}`, server };
}

describe.each([
  ['ZooKeeper', () => ({ SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}/test/${randomUUID()}` })],
  ['PostgreSQL', () => ({ SHOVEL_COORDINATOR: coordination.url })],
])('with a coordinator in %s', (_, address) => {
  let options: CliOptions;
  const shovel = (...args: readonly string[]) => runCli([...args, '--cluster', CLUSTER], options);

  beforeAll(() => {
    options = { env: { ...address(), MAIN_DSN: database.url } };
  });

  it('a set comes and goes, and leaves nothing behind', async () => {
    const before = await databaseFootprint(database.url, SCHEMA);
    const file = join(temporaryFolder('cli'), 'set.yaml');
    writeFileSync(file, setFile());

    expect(await shovel('cluster', 'init')).toMatchObject({ code: 0, stderr: '' });
    expect((await shovel('set', 'list')).stdout).toContain('shovel set create');
    expect(JSON.parse((await shovel('set', 'list', '--json')).stdout)).toEqual([]);

    const plan = await shovel('set', 'create', 'example', file, '--dry-run');
    expect(plan).toMatchObject({ code: 0, stderr: '' });
    expect(plan.stdout).toContain(`create schema "${SCHEMA}"`);
    expect(plan.stdout).toContain('/sets/example');
    expect(plan.stdout).not.toContain(PASSWORD);
    const planned = JSON.parse(
      (await shovel('set', 'create', 'example', file, '--dry-run', '--json')).stdout,
    );
    expect(planned).toMatchObject({ name: 'example', version: 1, nodes: [{ database: 'main' }] });
    expect(await databaseFootprint(database.url, SCHEMA)).toBe(before);

    const created = await shovel('set', 'create', 'example', file, '--wait');
    expect(created).toMatchObject({ code: 0, stderr: '' });
    expect(created.stdout).toContain('Set example is created, at version 1.');
    expect(created.stdout).toContain('Next: shovel relay example');

    const [listed] = JSON.parse((await shovel('set', 'list', '--json')).stdout);
    expect(listed).toEqual({
      name: 'example',
      version: 1,
      hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      databases: ['main'],
      tables: 1,
      streams: ['events', 'trail'],
      targets: [],
    });

    const inspected = await shovel('set', 'inspect', 'example@1', '--json');
    expect(JSON.parse(inspected.stdout)).toMatchObject({
      name: 'example',
      version: 1,
      hash: listed.hash,
      created_at: expect.stringMatching(/^\d{4}-/),
      config: { databases: { main: { dsn: '${MAIN_DSN}' } } },
      nodes: [{ database: 'main', incarnation: 1, version: 1, state: 'capturing' }],
    });
    expect(inspected.stdout).not.toContain(PASSWORD);
    expect((await shovel('set', 'inspect', 'example')).stdout).toMatch(/main +capturing +1 +1 /);

    expect(JSON.parse((await shovel('cluster', 'status', '--json')).stdout)).toMatchObject({
      cluster: CLUSTER,
      sets: 1,
      in_doubt: [],
    });

    writeFileSync(file, setFile().replace('accounts', 'accounts\n    before: full'));
    const diff = await shovel('set', 'diff', 'example', file);
    expect(diff.stdout).toContain('tables.public.accounts.before changed\n  - "key"\n  + "full"\n');
    expect(await shovel('set', 'upgrade', 'example@7', file)).toMatchObject({ code: 21 });
    const upgraded = await shovel('set', 'upgrade', 'example@1', file);
    expect(upgraded).toMatchObject({ code: 0, stderr: '' });
    expect(upgraded.stdout).toContain('Set example is upgraded: version 2.');
    expect((await shovel('set', 'upgrade', 'example', file)).stdout).toContain('Nothing was changed.');
    expect(JSON.parse((await shovel('set', 'diff', 'example', file, '--json')).stdout)).toMatchObject({
      version: 2,
      changed: false,
    });
    expect((await shovel('set', 'rollback', 'example@1')).stdout).toContain(
      'as at version 1 again: version 3.',
    );
    expect(await shovel('set', 'rollback', 'example')).toMatchObject({ code: 2 });
    const history = await shovel('set', 'history', 'example');
    expect(history.stdout).toMatch(
      /^VERSION .*\n +3 .* tables\.public\.accounts\.before\n +2 .*\n +1 .*-\n$/,
    );

    const recovered = await shovel('cluster', 'recover');
    expect(recovered).toMatchObject({ code: 0, stderr: '' });
    expect(recovered.stdout).toContain('nothing is in doubt');

    expect(await shovel('node', 'adopt', 'example', 'eu')).toMatchObject({ code: 21, stdout: '' });
    const adopted = await shovel('node', 'adopt', 'example', 'main', '--json');
    expect(adopted).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(adopted.stdout)).toMatchObject({ database: 'main', incarnation: 2, version: 4 });

    const dropped = await shovel('set', 'drop', 'example@4', '--json');
    expect(dropped).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(dropped.stdout)).toMatchObject({ name: 'example', version: 5 });
    expect((await shovel('set', 'list', '--json')).stdout).toBe('[]\n');
    expect((await shovel('set', 'drop', 'example')).code).toBe(21);
    await expectNothingOfOurs();
  });
});

/** No schema, function or role of the cluster is left. */
async function expectNothingOfOurs(): Promise<void> {
  const connection = await openConnection({
    dsn: database.url,
    name: 'of the test',
    applicationName: 'test',
  });
  try {
    const left = await connection.query(
      `select nspname as name from pg_catalog.pg_namespace where nspname = '${SCHEMA}'
       union all select tgname from pg_catalog.pg_trigger where not tgisinternal
       union all select rolname from pg_catalog.pg_roles where starts_with(rolname, '${SCHEMA}')`,
    );
    expect(left).toEqual([]);
  } finally {
    await connection.end();
  }
}

it('a coordinator that was lost is filled again from the databases', async () => {
  const shovel = (root: string, ...args: readonly string[]) =>
    runCli([...args, '--cluster', CLUSTER, '--zookeeper-hosts', `${testZkHosts()}/test/${root}`], {
      input: `name: refilled\n${setFile()}`,
      env: { MAIN_DSN: database.url },
    });
  const [before, after] = [randomUUID(), randomUUID()];
  expect(await shovel(before, 'cluster', 'init')).toMatchObject({ code: 0 });
  expect(await shovel(before, 'set', 'create', '-')).toMatchObject({ code: 0 });
  expect(await shovel(after, 'set', 'list')).toMatchObject({ code: 21 });
  const recovered = await shovel(after, 'cluster', 'recover', '--from-nodes', '${MAIN_DSN}');
  expect(recovered).toMatchObject({ code: 0, stderr: '' });
  expect(recovered.stdout).toContain('Set refilled: at version 1; written again: 1.');
  expect(await shovel(after, 'set', 'drop', 'refilled@1')).toMatchObject({ code: 0, stderr: '' });
  await expectNothingOfOurs();
});

describe('options', () => {
  it('come from .env, below the environment, below the command line', async () => {
    const cwd = temporaryFolder('cli');
    writeFileSync(join(cwd, '.env'), 'SHOVEL_CLUSTER=From_file\nSHOVEL_LOG_LEVEL=loud\n');
    const fromFile = await runCli(['set', 'list'], { cwd });
    expect(fromFile).toMatchObject({ code: 2 });
    expect(fromFile.stderr).toContain('SHOVEL_CLUSTER');
    const fromEnvironment = await runCli(['set', 'list'], { cwd, env: { SHOVEL_CLUSTER: 'fine' } });
    expect(fromEnvironment).toMatchObject({ code: 2 });
    expect(fromEnvironment.stderr).toContain('SHOVEL_LOG_LEVEL');
    const fromFlags = await runCli(
      [
        'set',
        'list',
        '--log-level',
        'silent',
        '--cluster',
        'fine',
        '--zookeeper-hosts',
        `${testZkHosts()}/test/none`,
      ],
      { cwd },
    );
    expect(fromFlags).toMatchObject({ code: 21 });
    expect(fromFlags.stderr).toContain('Cluster fine is not initialised');
  });

  it('let libpq variables of .env reach the driver', async () => {
    const cwd = temporaryFolder('cli');
    const { hostname, port, username } = new URL(testPgUrl());
    writeFileSync(join(cwd, '.env'), `PGUSER=${username}\nPGPASSWORD=x\n`);
    const url = `postgres://${hostname}:${port}/${coordination.name}`;
    const result = await runCli(['set', 'list', '--cluster', 'nosuch', '--coordinator', url], { cwd });
    expect(result).toMatchObject({ code: 21 });
    expect(result.stderr).toContain('Cluster nosuch is not initialised');
  });
});

describe('a one-shot command', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('is interrupted by %s', async (signal, code) => {
    const { address, server } = await silentServer();
    const connected = new Promise((resolve) => server.once('connection', resolve));
    const cli = startCli(['set', 'list', '--zookeeper-hosts', address]);
    await connected;
    cli.child.kill(signal);
    const result = await cli.done;
    server.close();
    expect(result).toMatchObject({ code, stdout: '' });
    expect(result.stderr).toContain(`Interrupted by ${signal}.`);
  });

  it('ends quietly when whoever reads it has seen enough', async () => {
    const cli = startCli(['--help']);
    cli.child.stdout?.destroy();
    const result = await cli.done;
    expect(result).toMatchObject({ code: 0, stderr: '' });
  });
});

it('a stack is printed at --log-level debug, on standard error, beside the document', async () => {
  const url = 'postgres://127.0.0.1:1/x';
  const result = await runCli(['set', 'list', '--log-level', 'debug', '--json', '--coordinator', url]);
  expect(result.code).toBe(23);
  expect(JSON.parse(result.stdout)).toMatchObject({ error: { code: 'coordinator_unreachable' } });
  expect(result.stderr).toMatch(/UnreachableError: .*\n\s+at /);
});
