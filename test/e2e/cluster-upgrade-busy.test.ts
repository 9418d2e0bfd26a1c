/**
 * `shovel cluster upgrade` where several sets share a database, while their relays run: somebody reads shovel's tables, or
 * has left a change half done. It refuses, changing nothing there, and is done once they are gone.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { buildCli, type CliResult, type RunningCli } from '../support/cli.js';
import { makeRelease, type OtherRelease } from '../support/release.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';
import { until } from '../support/until.js';

const CLUSTER = `busy_${randomBytes(4).toString('hex')}`;
const SCHEMA = `shovel_${CLUSTER}`;
const SETS = ['a', 'b'];
/** The first of them allows 0.1 to go on, the second doesn't. */
const SECOND = {
  'migrations/0900_add_note.sql':
    '--! minimum-version: 0.1.0\nalter table @schema@.set_head add column note text;\n',
};
const THIRD = {
  ...SECOND,
  'migrations/0901_add_remark.sql':
    '--! minimum-version: 0.3.0\nalter table @schema@.set_head add column remark text;\n',
};
const slow = { timeoutMs: 60_000, everyMs: 50 };

let releases: { first: OtherRelease; second: OtherRelease; third: OtherRelease };
let database: TestDatabase;
let connection: PostgresConnection;
let other: PostgresConnection;
let relay: RunningCli;
let folder: string;
let env: Record<string, string>;

const ok = (result: CliResult) => {
  expect(result, result.stderr).toMatchObject({ code: 0 });
  return result;
};
const setFile = (name: string, more = '') => `name: ${name}
databases: { main: { dsn: "${database.url}" } }
tables: [{ name: item }]
streams: { trail: { file: { path: "${folder}/{set}.jsonl" } } }
${more}
`;

beforeAll(async () => {
  await buildCli();
  const append = { 'sql/set/draw.sql': '-- of another text' };
  releases = {
    first: makeRelease({ version: '0.1.0' }),
    second: makeRelease({ version: '0.2.0', files: SECOND, append }),
    third: makeRelease({ version: '0.3.0', files: THIRD, append }),
  };
  database = await createTestDatabase();
  const connect = () =>
    openConnection({ dsn: database.url, name: 'of the test', applicationName: 'application' });
  [connection, other] = [await connect(), await connect()];
  await connection.script('create table public.item (id int primary key)');
  folder = temporaryFolder('busy');
  env = {
    SHOVEL_CLUSTER: CLUSTER,
    SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}/test/${randomUUID()}`,
    SHOVEL_LEASE_TIME: '2s',
  };
  const { first } = releases;
  ok(await first.run(['cluster', 'init'], { env }));
  for (const set of SETS) {
    ok(await first.run(['set', 'create', '-', '--wait'], { env, input: setFile(set) }));
  }
  relay = first.start(['relay'], { env, timeoutMs: 600_000 });
}, 180_000);
afterAll(async () => {
  relay?.child.kill('SIGKILL');
  await relay?.done;
  await connection?.end();
  await other?.end();
  await database?.drop();
});

let rows = 0;
/** Both sets publish what is written now, and have published everything before it, once. */
async function expectPublishing(): Promise<void> {
  rows += 1;
  await connection.script(`insert into public.item values (${rows})`);
  for (const set of SETS) {
    const path = join(folder, `${set}.jsonl`);
    const ids = () =>
      (existsSync(path) ? readFileSync(path, 'utf8') : '')
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line))
        .flatMap(({ op, after }) => (op === 'c' ? [after.id as number] : []));
    await until(`${set} has row ${rows}`, () => ids().includes(rows), slow);
    expect(ids()).toEqual(Array.from({ length: rows }, (_, index) => index + 1));
  }
}

const upgrade = (release: OtherRelease) => release.run(['cluster', 'upgrade', '--json'], { env });
/** Everything that is noted of the schema's files. */
const levels = () =>
  connection.arrays(`select path, checksum, release from ${SCHEMA}.installed_file order by 1`);
/** By which release each set's own functions were made. */
const made = async () =>
  (
    await connection.arrays(
      `select distinct release from ${SCHEMA}.installed_file where path like 'sql/set/%/draw.sql' order by 1`,
    )
  ).flat();

describe('an upgrade of a cluster', () => {
  it('finds both sets publishing', expectPublishing);

  it('refuses while somebody holds a table of its schema, and changes nothing', async () => {
    const before = await levels();
    await other.script(`begin; select from ${SCHEMA}.set_head`);
    const [[pid] = []] = await other.arrays('select pg_backend_pid()');
    const refused = await upgrade(releases.second);
    expect(refused).toMatchObject({ code: 21 });
    expect(JSON.parse(refused.stdout)).toMatchObject({
      error: {
        code: 'upgrade_refused',
        message: expect.stringMatching(`Tables of schema ${SCHEMA} .* pid ${pid} \\(application, `),
        hint: expect.stringContaining('Nothing was changed there'),
        details: { failed: [{ database: 'main', code: 'schema_busy' }] },
      },
    });
    expect(await levels()).toEqual(before);
    await expectPublishing();
    await other.script('rollback');
    ok(await upgrade(releases.second));
    expect(await made()).toEqual(['0.2.0']);
    expect(relay.child.exitCode).toBeNull();
    await expectPublishing();
  });

  it('refuses to shut older releases out while one of them may have left a change', async () => {
    const { second, third } = releases;
    const killed = await second.run(['set', 'upgrade', '-'], {
      env: { ...env, SHOVEL_FAILPOINT: 'decide.before:kill' },
      input: setFile('b', 'wake: poll'),
    });
    expect(killed).toMatchObject({ signal: 'SIGKILL' });
    const before = await levels();
    const refused = await upgrade(third);
    expect(refused).toMatchObject({ code: 21 });
    expect(JSON.parse(refused.stdout)).toMatchObject({
      error: {
        code: 'upgrade_refused',
        message: expect.stringContaining('A change of set b is not finished'),
        hint: expect.stringContaining('shovel cluster recover'),
        details: { failed: [{ database: 'main', code: 'schema_busy' }] },
      },
    });
    expect(await levels()).toEqual(before);
    await expectPublishing();
    ok(await second.run(['cluster', 'recover'], { env }));
    ok(await upgrade(third));
    // The relay of 0.1 may publish no more, and ends by itself.
    expect(await relay.done).toMatchObject({ code: 21 });
    relay = third.start(['relay'], { env, timeoutMs: 600_000 });
    await expectPublishing();
    relay.child.kill('SIGTERM');
    expect(await relay.done).toMatchObject({ code: 0 });
  });
});
