/** `shovel relay` as a process: to a file, to standard output, and what signals and mistakes do to it. */
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { buildCli, runCli, startCli } from '../support/cli.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';
import { until } from '../support/until.js';

const CLUSTER = `e2e_${randomBytes(4).toString('hex')}`;
const ENV = { SHOVEL_CLUSTER: CLUSTER, SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}/test/${randomUUID()}` };
/** What contract and supervisors allow. */

let database: TestDatabase;
let connection: PostgresConnection;
let folder: string;

const shovel = (args: readonly string[], input = '') => runCli(args, { env: ENV, input });
const start = (args: readonly string[]) => startCli(args, { env: ENV });

beforeAll(async () => {
  await buildCli();
  database = await createTestDatabase();
  folder = temporaryFolder('relay');
  connection = await openConnection({
    dsn: database.url,
    name: 'of the test',
    applicationName: 'application',
  });
  await connection.script('create table public.accounts (id int primary key, owner text)');
  expect(await shovel(['cluster', 'init'])).toMatchObject({ code: 0 });
});

afterAll(async () => {
  await connection?.end();
  await database?.drop();
});

function setFile(name: string, stream: string): string {
  return `name: ${name}
databases: { main: { dsn: "${database.url}" } }
tables: [{ name: accounts }]
streams: { trail: ${stream} }
`;
}

interface Line {
  readonly op: string;
  readonly after?: { readonly id: number } | null;
  readonly count?: string;
}

function parse(text: string): readonly Line[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

const ids = (text: string) => parse(text).flatMap(({ op, after }) => (op === 'c' && after ? [after.id] : []));
const ops = (text: string) => parse(text).map(({ op }) => op);

describe('to a file', () => {
  let path: string;
  let next = 1;
  const insert = async (count: number) => {
    const from = next;
    next += count;
    await connection.query(
      `insert into public.accounts select g, 'somebody' from generate_series(${from}, ${next - 1}) g`,
    );
  };
  const written = () => (existsSync(path) ? readFileSync(path, 'utf8') : '');
  const all = () => Array.from({ length: next - 1 }, (_, i) => i + 1);

  beforeAll(async () => {
    path = join(folder, 'ledger.jsonl');
    const created = await shovel(
      ['set', 'create', '-', '--wait'],
      setFile('ledger', `{ file: { path: "${path}" } }`),
    );
    expect(created).toMatchObject({ code: 0 });
  });

  afterAll(async () => {
    expect(await shovel(['set', 'drop', 'ledger'])).toMatchObject({ code: 0 });
  });

  it('--once publishes what is pending, and nothing twice', async () => {
    await insert(3);
    expect(await shovel(['relay', 'ledger', '--once'])).toMatchObject({ code: 0 });
    expect(ids(written())).toEqual([1, 2, 3]);
    expect(ops(written()).at(0)).toBe('b');
    expect(parse(written()).at(-1)).toMatchObject({ op: 'e', count: '3' });
    const before = written();
    expect(await shovel(['relay', 'ledger', '--once'])).toMatchObject({ code: 0 });
    expect(written()).toBe(before);
  });

  it('--once --json says what was done, in one document', async () => {
    await insert(2);
    const result = await shovel(['relay', 'ledger', '--once', '--json']);
    expect(result).toMatchObject({ code: 0 });
    expect(result.stdout.trimEnd().split('\n')).toHaveLength(1);
    expect(JSON.parse(result.stdout)).toMatchObject({
      relays: [{ set: 'ledger', database: 'main', streams: [{ stream: 'trail', error: null }] }],
    });
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('goes on until %s, then ends with 0', async (signal) => {
    const relay = start(['relay', 'ledger']);
    await insert(4);
    await until('all is published', () => ids(written()).length === next - 1);
    // Where it does not end in time, the signal's own exit code says so.
    relay.child.kill(signal);
    const result = await relay.done;
    expect(result).toMatchObject({ code: 0, signal: null });
    expect(ids(written())).toEqual(all());
    expect(ops(written()).at(-1)).toBe('e');
  });

  it('is killed without losing or repeating anything', async () => {
    const relay = start(['relay', 'ledger']);
    await insert(500);
    await until('something is published', () => ids(written()).length > 9);
    relay.child.kill('SIGKILL');
    await relay.done;
    await insert(5);
    expect(await shovel(['relay', 'ledger', '--once'])).toMatchObject({ code: 0 });
    expect(ids(written())).toEqual(all());
  });

  it('takes part with all sets where none is named', async () => {
    await insert(1);
    expect(await shovel(['relay', '--once'])).toMatchObject({ code: 0 });
    expect(ids(written())).toEqual(all());
  });

  it('follows an upgrade while it runs', async () => {
    const files = ['one', 'two', 'more'].map((name) => join(folder, `${name}.jsonl`));
    const [one = '', two = '', more = ''] = files;
    const set = (path: string) => setFile('moving', `{ file: { path: "${path}" } }`);
    expect(await shovel(['set', 'create', '-', '--wait'], set(one))).toMatchObject({ code: 0 });
    const relay = start(['relay', 'moving']);
    const has = (path: string, id: number) =>
      until(
        `row ${id} is in ${path}`,
        () => existsSync(path) && ids(readFileSync(path, 'utf8')).includes(id),
      );
    const put = (id: number) => connection.query(`insert into public.accounts values (${id}, 'somebody')`);
    await put(2_000_001);
    await has(one, 2_000_001);
    const upgraded = `${set(two).replace('streams: {', `streams: { more: { file: { path: "${more}" } },`)}`;
    expect(await shovel(['set', 'upgrade', '-', '--wait'], upgraded)).toMatchObject({ code: 0 });
    await put(2_000_002);
    for (const path of [two, more]) await has(path, 2_000_002);
    expect(ids(readFileSync(one, 'utf8'))).toEqual([2_000_001]);
    expect(ids(readFileSync(more, 'utf8'))).toEqual([2_000_002]);
    expect(await shovel(['set', 'drop', 'moving'])).toMatchObject({ code: 0 });
    expect(await relay.done).toMatchObject({ code: 0 });
    await connection.query('delete from public.accounts where id > 2000000');
  });

  it('ends with 0 when its set is dropped', async () => {
    expect(
      await shovel(['set', 'create', '-'], setFile('brief', `{ file: { path: "${folder}/brief.jsonl" } }`)),
    ).toMatchObject({ code: 0 });
    const relay = start(['relay', 'brief', '--log-level', 'debug']);
    await connection.query("update public.accounts set owner = 'another' where id = 1");
    await until('it publishes', () => existsSync(join(folder, 'brief.jsonl')));
    expect(await shovel(['set', 'drop', 'brief'])).toMatchObject({ code: 0 });
    expect(await relay.done).toMatchObject({ code: 0 });
  });
});

describe('to standard output', () => {
  beforeEach(async () => {
    await shovel(['set', 'drop', 'printed']);
    expect(
      await shovel(['set', 'create', '-', '--wait'], setFile('printed', '{ file: { path: "-" } }')),
    ).toMatchObject({ code: 0 });
  });

  afterAll(async () => {
    expect(await shovel(['set', 'drop', 'printed'])).toMatchObject({ code: 0 });
  });

  it('prints messages, a line each, and log lines elsewhere', async () => {
    await connection.query("insert into public.accounts values (1000001, 'a third'), (1000002, 'a third')");
    const result = await shovel([
      'relay',
      'printed',
      '--once',
      '--log-level',
      'debug',
      '--log-format',
      'json',
    ]);
    expect(result.code).toBe(0);
    expect(ops(result.stdout)).toEqual(['b', 'c', 'c', 'e']);
    for (const line of result.stderr.trimEnd().split('\n')) expect(JSON.parse(line)).toHaveProperty('level');
    expect(result.stderr).not.toContain('a third');
  });

  it('refuses --json, which wants standard output for itself', async () => {
    const result = await shovel(['relay', 'printed', '--once', '--json']);
    expect(result).toMatchObject({ code: 2 });
    expect(JSON.parse(result.stdout)).toMatchObject({ error: { code: 'stdout_taken' } });
  });
});

describe('mistakes', () => {
  it('no such set', async () => {
    const result = await shovel(['relay', 'nosuch']);
    expect(result).toMatchObject({ code: 21, stdout: '' });
    expect(result.stderr).toContain('nosuch');
  });

  it('no such database', async () => {
    expect(
      await shovel(['set', 'create', '-'], setFile('known', '{ file: { path: "/dev/null" } }')),
    ).toMatchObject({
      code: 0,
    });
    const result = await shovel(['relay', 'known', '--database', 'eu']);
    await shovel(['set', 'drop', 'known']);
    expect(result).toMatchObject({ code: 21, stdout: '' });
    expect(result.stderr).toMatch(/^error: .*known.*eu/);
  });
});
