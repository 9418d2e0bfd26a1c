/**
 * `shovel cluster upgrade` between real releases: copies of the package with other versions and other SQL, as processes
 * of their own. An application writes and relays publish all the time.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { nodeNames } from '../../src/postgres/sql-files.js';
import { buildCli, type CliResult, type RunningCli } from '../support/cli.js';
import { makeRelease, type OtherRelease } from '../support/release.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';
import { until } from '../support/until.js';

const CLUSTER = `up_${randomBytes(4).toString('hex')}`;
const SCHEMA = `shovel_${CLUSTER}`;
/** 0.2 changes tables and functions so that 0.1 can go on with it; 0.3 so that nobody before can. */
const SECOND = {
  'migrations/0900_add_note.sql':
    '--! minimum-version: 0.1.0\ncreate table @schema@.note (id int); alter table @schema@.intent add column note text;\n',
};
const THIRD = {
  ...SECOND,
  'migrations/0901_rename_note.sql':
    '--! minimum-version: 0.3.0\nalter table @schema@.note rename to remark;\n',
};
const MARK = '-- of another text';

let env: Record<string, string>;
let releases: { first: OtherRelease; second: OtherRelease; third: OtherRelease };
let databases: { main: TestDatabase; eu: TestDatabase };
let connections: { main: PostgresConnection; eu: PostgresConnection };
let folder: string;

beforeAll(async () => {
  await buildCli();
  const append = { 'sql/set/draw.sql': MARK, 'sql/functions/row_text.sql': MARK };
  releases = {
    first: makeRelease({ version: '0.1.0' }),
    second: makeRelease({ version: '0.2.0', files: SECOND, append }),
    third: makeRelease({ version: '0.3.0', files: THIRD, append }),
  };
  databases = { main: await createTestDatabase(), eu: await createTestDatabase() };
  const connect = (dsn: string) =>
    openConnection({ dsn, name: 'of the test', applicationName: 'application' });
  connections = { main: await connect(databases.main.url), eu: await connect(databases.eu.url) };
  for (const connection of Object.values(connections)) {
    await connection.script('create table public.accounts (id int primary key, owner text)');
  }
  folder = temporaryFolder('upgrade');
  env = {
    SHOVEL_CLUSTER: CLUSTER,
    SHOVEL_ZOOKEEPER_HOSTS: `${testZkHosts()}/test/${randomUUID()}`,
    EU_DSN: databases.eu.url,
  };
});

afterAll(async () => {
  for (const connection of Object.values(connections ?? {})) await connection.end();
  for (const database of Object.values(databases ?? {})) await database.drop();
});

function setFile({ owner = true, name = 'ledger' } = {}): string {
  return `name: ${name}
databases: { main: { dsn: "${databases.main.url}" }, eu: { dsn: "\${EU_DSN}" } }
tables: [{ name: accounts${owner ? '' : ', exclude: [owner]'} }]
streams: { trail: { file: { path: "${folder}/{set}.{node}.jsonl" } } }
`;
}

const ok = (result: CliResult) => {
  expect(result, result.stderr).toMatchObject({ code: 0 });
  return result;
};
const errorOf = ({ stdout }: CliResult) => JSON.parse(stdout).error;

/** All ids that were published, in order, a list per node. */
const published = () =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.jsonl'))
    .map((name) =>
      readFileSync(join(folder, name), 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line))
        .flatMap(({ op, after }) => (op === 'c' ? [after.id as number] : [])),
    );

/** Each id once, in order, from 1 to `last`, in each of two nodes. */
const isComplete = (last: number) => {
  const nodes = published();
  return (
    nodes.length === 2 && nodes.every((ids) => ids.length === last && ids.every((id, i) => id === i + 1))
  );
};

/** Writes to both databases until told to stop; a write that waited longer than one lock attempt of ours could fails. */
function startWriting() {
  const stop = new AbortController();
  let last = lastId;
  const ended = (async () => {
    for (const connection of Object.values(connections)) await connection.script(`set lock_timeout = '2s'`);
    while (!stop.signal.aborted) {
      last += 1;
      for (const connection of Object.values(connections)) {
        await connection.query('insert into public.accounts values ($1, $2)', [String(last), 'somebody']);
      }
    }
    lastId = last;
    return last;
  })();
  ended.catch(() => undefined);
  return {
    at: () => last,
    end: () => {
      stop.abort();
      return ended;
    },
  };
}
let lastId = 0;

const levels = (connection: PostgresConnection) =>
  connection.arrays(
    `select f.path, f.checksum, to_jsonb(f) ->> 'release' from ${SCHEMA}.installed_file f order by 1`,
  );
const drawText = async (connection: PostgresConnection) =>
  (
    await connection.query(
      `select f.path, f.release from ${SCHEMA}.installed_file f where f.path = 'sql/set/ledger/draw.sql'`,
    )
  )[0]?.release;

describe('a fleet of two releases', () => {
  let relay: RunningCli;
  let writing: ReturnType<typeof startWriting>;

  beforeAll(async () => {
    const { first } = releases;
    ok(await first.run(['cluster', 'init'], { env }));
    ok(await first.run(['set', 'create', '-', '--wait'], { env, input: setFile() }));
    relay = first.start(['relay', 'ledger'], { env, timeoutMs: 600_000 });
    writing = startWriting();
    await until('it publishes', () => published().some((ids) => ids.length > 0));
  });

  it('refuses to publish from, or change, nodes that are older than the release, and reads them', async () => {
    const { first, second } = releases;
    ok(await first.run(['set', 'create', '-'], { env, input: setFile({ name: 'quiet', owner: false }) }));
    const relayed = await second.run(['relay', 'quiet', '--once', '--json'], { env });
    expect(relayed).toMatchObject({ code: 21 });
    expect(errorOf(relayed).code).toBe('schema_older');
    ok(await first.run(['set', 'drop', 'quiet'], { env }));
    const upgraded = await second.run(['set', 'upgrade', '-', '--json'], {
      env,
      input: setFile({ owner: false }),
    });
    expect(upgraded).toMatchObject({ code: 21 });
    expect(errorOf(upgraded)).toMatchObject({
      code: 'schema_older',
      message: expect.stringContaining('0900_add_note'),
      hint: expect.stringContaining('shovel cluster upgrade'),
    });
    const dropped = await second.run(['set', 'drop', 'ledger', '--json'], { env });
    expect(dropped).toMatchObject({ code: 21 });
    expect(errorOf(dropped).code).toBe('schema_older');
    ok(await second.run(['set', 'inspect', 'ledger'], { env }));
    ok(await second.run(['cluster', 'status'], { env }));
  });

  it('shows the plan, and changes nothing by that', async () => {
    const before = await levels(connections.main);
    const result = ok(await releases.second.run(['cluster', 'upgrade', '--dry-run', '--json'], { env }));
    const plan = JSON.parse(result.stdout);
    expect(plan).toMatchObject({ kind: 'plan', release: '0.2.0' });
    expect(plan.nodes.map((node: { database: string }) => node.database)).toEqual(['main', 'eu']);
    for (const node of plan.nodes) {
      const text = node.statements.join('\n');
      expect(text).toContain(`create table "${SCHEMA}".note`);
      expect(text).toContain('draw_ledger');
      expect(text).not.toContain('accounts');
    }
    expect(await levels(connections.main)).toEqual(before);
  });

  it.each([
    'schema.main.before',
    'schema.main.after',
    'functions.main.ledger.after',
    'schema.eu.after',
    'record.before',
  ])('is killed at %s', async (point) => {
    const killed = await releases.second.run(['cluster', 'upgrade'], {
      env: { ...env, SHOVEL_FAILPOINT: `${point}:kill` },
    });
    expect(killed, killed.stderr).toMatchObject({ code: null, signal: 'SIGKILL' });
  });

  it('is finished by two at once', async () => {
    const upgrade = () => releases.second.run(['cluster', 'upgrade', '--json'], { env });
    for (const result of await Promise.all([upgrade(), upgrade()])) {
      expect(JSON.parse(ok(result).stdout)).toMatchObject({
        cluster: CLUSTER,
        release: '0.2.0',
        nodes: [
          { database: 'main', sets: ['ledger'], outcome: 'current' },
          { database: 'eu', sets: ['ledger'], outcome: 'current' },
        ],
      });
    }
    const expected = await levels(connections.main);
    expect(await levels(connections.eu)).toEqual(expected);
    expect(expected.map(([path]) => path)).toContain('migrations/0900_add_note.sql');
    expect(await drawText(connections.main)).toBe('0.2.0');
    const status = ok(await releases.second.run(['cluster', 'status', '--json'], { env }));
    expect(JSON.parse(status.stdout)).toMatchObject({ release: '0.2.0' });
  });

  it('has gone on publishing, and no writer noticed', async () => {
    const last = await writing.end();
    await until('all is published', () => isComplete(last));
    expect(relay.child.exitCode).toBeNull();
    writing = startWriting();
  });

  it('allows the older release what the migrations allow it', async () => {
    const { first } = releases;
    const back = await first.run(['cluster', 'upgrade', '--json'], { env });
    expect(back).toMatchObject({ code: 21 });
    expect(errorOf(back)).toMatchObject({
      code: 'cluster_newer',
      message: expect.stringMatching(/0\.2\.0.*0\.1\.0/),
    });
    ok(await first.run(['set', 'upgrade', '-'], { env, input: setFile({ owner: false }) }));
    expect(await drawText(connections.main)).toBe('0.2.0');
    const joined = await first.run(['set', 'create', '-', '--json'], {
      env,
      input: setFile({ name: 'second' }),
    });
    expect(joined).toMatchObject({ code: 21 });
    expect(errorOf(joined).code).toBe('schema_newer');
  });

  it('ends the older relay where they allow it nothing more, with both releases named', async () => {
    const { first, second, third } = releases;
    ok(await third.run(['cluster', 'upgrade'], { env }));
    const ended = await relay.done;
    expect(ended, ended.stderr).toMatchObject({ code: 21 });
    expect(ended.stderr).toMatch(/0\.3\.0/);
    expect(ended.stderr).toMatch(/0\.1\.0/);
    for (const [release, args] of [
      [first, ['set', 'list']],
      [second, ['relay', 'ledger', '--once']],
      [second, ['set', 'drop', 'ledger']],
    ] as const) {
      const result = await release.run([...args, '--json'], { env });
      expect(result).toMatchObject({ code: 21 });
      expect(errorOf(result).code).toBe('cluster_newer');
    }
    const last = await writing.end();
    ok(await third.run(['relay', 'ledger', '--once'], { env }));
    expect(isComplete(last)).toBe(true);
  });

  it('does the others where one is away, and that one later', async () => {
    const { third } = releases;
    const fourth = makeRelease({
      version: '0.4.0',
      files: {
        ...THIRD,
        'migrations/0902_add_place.sql':
          '--! minimum-version: 0.3.0\ncreate table @schema@.place (id int);\n',
      },
    });
    // A relay of a release that is new enough goes on, though the level changes under it.
    relay = third.start(['relay', 'ledger'], { env, timeoutMs: 600_000 });
    const away = await fourth.run(['cluster', 'upgrade', '--json'], {
      env: { ...env, EU_DSN: 'postgres://nobody@127.0.0.1:1/nowhere' },
    });
    expect(away).toMatchObject({ code: 23 });
    expect(errorOf(away)).toMatchObject({
      code: 'upgrade_incomplete',
      details: { nodes: [{ database: 'main', outcome: 'upgraded' }], failed: [{ database: 'eu' }] },
    });
    const back = ok(await fourth.run(['cluster', 'upgrade', '--json'], { env }));
    expect(JSON.parse(back.stdout).nodes).toMatchObject([
      { database: 'main', outcome: 'current' },
      { database: 'eu', outcome: 'upgraded' },
    ]);
    writing = startWriting();
    const from = writing.at();
    await until('there is something new', () => writing.at() > from + 5);
    const last = await writing.end();
    await until('all is published', () => isComplete(last));
    relay.child.kill('SIGTERM');
    ok(await relay.done);
    ok(await fourth.run(['set', 'drop', 'ledger'], { env }));
  });
});

describe('a relay that is new enough for what its nodes come to ask for', () => {
  it('takes its sets over again, since the epoch that it drew under has ended', async () => {
    const own = { ...env, SHOVEL_CLUSTER: `${CLUSTER}_own` };
    const relayed = makeRelease({ version: '0.3.0', files: SECOND });
    const later = makeRelease({ version: '0.3.1', files: THIRD });
    ok(await relayed.run(['cluster', 'init'], { env: own }));
    ok(await relayed.run(['set', 'create', '-', '--wait'], { env: own, input: setFile({ name: 'own' }) }));
    const before = published().length;
    const relay = relayed.start(['relay', 'own'], { env: own, timeoutMs: 600_000 });
    const count = () => published().reduce((sum, ids) => sum + ids.length, 0);
    const write = async () => {
      lastId += 1;
      const from = count();
      for (const connection of Object.values(connections)) {
        await connection.query("insert into public.accounts values ($1, 'somebody')", [String(lastId)]);
      }
      await until('both are published', () => count() === from + 2);
    };
    await write();
    expect(published()).toHaveLength(before + 2);
    const epoch = `select epoch from ${SCHEMA}_own.set_head`;
    const drawn = BigInt((await connections.main.arrays(epoch))[0]?.[0] ?? '0');
    ok(await later.run(['cluster', 'upgrade'], { env: own }));
    await write();
    // One for the upgrade, one for the relay.
    expect(BigInt((await connections.main.arrays(epoch))[0]?.[0] ?? '0')).toBe(drawn + 2n);
    relay.child.kill('SIGTERM');
    ok(await relay.done);
    ok(await later.run(['set', 'drop', 'own'], { env: own }));
    ok(await later.run(['cluster', 'destroy'], { env: own }));
  });
});

describe('a database that no set is in', () => {
  it('is brought along from the very first level by whoever joins', async () => {
    const own = { ...env, SHOVEL_CLUSTER: `${CLUSTER}_first` };
    const schema = `${SCHEMA}_first`;
    const later = readdirSync(new URL('../../migrations/', import.meta.url)).filter(
      (name) => !name.startsWith('0001_'),
    );
    const functions = readdirSync(new URL('../../sql/functions/', import.meta.url));
    const oldest = makeRelease({
      version: '0.0.1',
      without: [
        ...later.map((name) => `migrations/${name}`),
        ...functions.map((name) => `sql/functions/${name}`),
      ],
    });
    const { ensureNodeSchema } = await import(join(oldest.folder, 'dist', 'postgres', 'migrate.js'));
    await ensureNodeSchema(connections.main, nodeNames(`${CLUSTER}_first`));
    const installed = async () =>
      (await connections.main.arrays(`select path from ${schema}.installed_file order by 1`)).map(
        ([path]) => path,
      );
    expect(await installed()).toEqual(['migrations/0001_create_node_schema.sql']);
    const { first } = releases;
    ok(await first.run(['cluster', 'init'], { env: own }));
    ok(await first.run(['set', 'create', '-'], { env: own, input: setFile({ name: 'first' }) }));
    expect(await installed()).toEqual(expect.arrayContaining(later.map((name) => `migrations/${name}`)));
    const upgraded = ok(await first.run(['cluster', 'upgrade', '--json'], { env: own }));
    expect(JSON.parse(upgraded.stdout).nodes.map((node: { outcome: string }) => node.outcome)).toEqual([
      'current',
      'current',
    ]);
    ok(await first.run(['set', 'drop', 'first'], { env: own }));
    ok(await first.run(['cluster', 'destroy'], { env: own }));
  });
});
