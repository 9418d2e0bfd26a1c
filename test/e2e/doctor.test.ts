/** `shovel doctor` as people and cron run it, and what relays tell it about rows that were not captured as they should. */
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { buildCli, runCli } from '../support/cli.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';

const CLUSTER = `e2e_${randomBytes(4).toString('hex')}`;
const HOSTS = `${testZkHosts()}/test/${randomUUID()}`;

let database: TestDatabase;
let connection: PostgresConnection;
let path: string;

const shovel = (args: readonly string[], { input = '', hosts = HOSTS } = {}) =>
  runCli(args, { env: { SHOVEL_CLUSTER: CLUSTER, SHOVEL_ZOOKEEPER_HOSTS: hosts }, input });

const setFile = (limits = '') => `name: ledger
databases: { main: { dsn: "${database.url}" } }
tables: [{ name: accounts }]
streams: { trail: { file: { path: "${path}" } }, second: { file: { path: "${path}.2" } } }
${limits}`;

beforeAll(async () => {
  await buildCli();
  database = await createTestDatabase();
  path = join(temporaryFolder('doctor'), 'ledger.jsonl');
  connection = await openConnection({
    dsn: database.url,
    name: 'of the test',
    applicationName: 'application',
  });
  await connection.script('create table public.accounts (id int primary key, owner text, note text)');
  expect(await shovel(['cluster', 'init'])).toMatchObject({ code: 0 });
});
afterAll(async () => {
  await connection?.end();
  await database?.drop();
});

async function findings() {
  const result = await shovel(['doctor', 'ledger', '--json']);
  expect(result.stdout.trimEnd().split('\n')).toHaveLength(1);
  const document = JSON.parse(result.stdout) as {
    findings: readonly { code: string; severity: string; object: string; message: string; fix: string }[];
    unchecked: readonly unknown[];
  };
  return {
    code: result.code,
    unchecked: document.unchecked,
    told: document.findings.filter((one) => one.severity !== 'info'),
  };
}

describe('doctor', () => {
  it('warns of a cluster without sets', async () => {
    const result = await shovel(['doctor']);
    expect(result).toMatchObject({ code: 22, stderr: '' });
    expect(result.stdout).toContain('cluster_empty');
    expect(await shovel(['doctor', 'ledger'])).toMatchObject({ code: 21 });
  });

  it('finds nothing wrong, says so, and exits with 0', async () => {
    expect(await shovel(['set', 'create', '-'], { input: setFile() })).toMatchObject({ code: 0 });
    const result = await shovel(['doctor']);
    expect(result).toMatchObject({ code: 0, stderr: '' });
    expect(result.stdout).toMatch(/Nothing is wrong\.\n$/);
    expect(await shovel(['doctor', 'nobody'])).toMatchObject({ code: 21 });
    expect(await shovel(['doctor', 'No Name'])).toMatchObject({ code: 2 });
  });

  it('tells people the gravest first, each with what mends it', async () => {
    await connection.script('alter table public.accounts disable trigger user, add extra int');
    const { code, stdout } = await shovel(['doctor', 'ledger']);
    expect(code).toBe(22);
    expect(stdout).toMatch(
      /^error {2}ledger\/main public\.accounts {2}trigger_disabled\n {2}Trigger .*\n {2}fix: alter table/,
    );
    expect(stdout.indexOf('table_changed')).toBeGreaterThan(stdout.lastIndexOf('trigger_disabled'));
    expect(stdout).toMatch(/Found: 4 error, 1 warning, 1 info; not checked: 0\./);
    await connection.script('alter table public.accounts enable trigger user, drop extra');
  });

  it('says where it could not look: 23 without the coordinator, or without a database', async () => {
    const away = await shovel(['doctor', '--json'], { hosts: '127.0.0.1:1' });
    expect(away.code).toBe(23);
    expect(JSON.parse(away.stdout)).toMatchObject({
      findings: [],
      unchecked: [{ check: 'coordinator' }, { check: 'databases' }],
    });
    const found = await shovel(['doctor', '--json', '--nodes', database.url], { hosts: '127.0.0.1:1' });
    expect(found.code).toBe(23);
    expect(JSON.parse(found.stdout)).toMatchObject({
      findings: [{ code: 'wake' }],
      unchecked: [{ check: 'coordinator' }],
    });
    expect(found.stdout + found.stderr).not.toContain(new URL(database.url).password || 'no password');
  });
});

describe('rows that were not captured as the version says', () => {
  it('are counted by the relay once, whatever the number of streams, and forgotten with the next version', async () => {
    await connection.script('alter table public.accounts rename owner to holder');
    await connection.script(`insert into public.accounts values (1, 'a'), (2, 'b'), (3, 'c')`);
    const relay = await shovel(['relay', 'ledger', '--once', '--log-format', 'json']);
    expect(relay).toMatchObject({ code: 0 });
    expect(relay.stderr.match(/rows are captured whole/g)).toHaveLength(1);
    const { code, told } = await findings();
    expect(code).toBe(22);
    expect(told.map((one) => `${one.code} ${one.object}`)).toEqual([
      'table_changed ledger/main public.accounts',
      'rows_by_fallback ledger/main public.accounts',
    ]);
    expect(told[1]?.message).toMatch(/^Rows of public\.accounts .*: 3; /);
    expect(told[1]?.fix).toBe('shovel set upgrade ledger FILE');
    await connection.script(`insert into public.accounts values (4, 'd')`);
    expect(await shovel(['relay', 'ledger', '--once'])).toMatchObject({ code: 0 });
    expect((await findings()).told[1]?.message).toMatch(/: 4; /);

    expect(await shovel(['set', 'upgrade', '-'], { input: setFile() })).toMatchObject({ code: 0 });
    await connection.script(`insert into public.accounts values (5, 'e')`);
    expect(await shovel(['relay', 'ledger', '--once'])).toMatchObject({ code: 0 });
    expect(await findings()).toEqual({ code: 0, told: [], unchecked: [] });
  });

  it('stop their streams where they have but their key, and are told, too', async () => {
    expect(
      await shovel(['set', 'upgrade', '-'], { input: setFile('limits: { row_bytes: 100kB }') }),
    ).toMatchObject({ code: 0 });
    await connection.script(`insert into public.accounts values (6, repeat('x', 200000))`);
    expect(await shovel(['relay', 'ledger', '--once'])).toMatchObject({ code: 25 });
    const { code, told } = await findings();
    expect(code).toBe(22);
    expect(told.map((one) => `${one.severity} ${one.code}`)).toContain('error rows_oversized');
    expect(told.find((one) => one.code === 'rows_oversized')?.message).toMatch(/: 1; /);
  });
});
