/**
 * Serializable applications: capture reads nothing that PostgreSQL would have to watch, so the same transactions are
 * refused with it as without. Shown three ways: no predicate lock on anything of ours on any way through a capture
 * function, the same schedule refused at the same steps, and, coarsely, pgbench in rounds that take turns.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { PostgresError, SQLSTATE } from '../../src/postgres/sqlstate.js';
import { CapturedNode, createCapturedNode, names, onPublic, SET } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';
import { testPgUrl } from '../support/services.js';

const SERIALIZABLE = { default_transaction_isolation: 'serializable', search_path: 'public' };

describe.each(SERVERS)('serializable transactions on $name', ({ url }) => {
  let node: CapturedNode;
  afterAll(() => node.close());
  beforeAll(async () => {
    node = await createCapturedNode({
      server: url(),
      setup: `create table plain (id int primary key, n int, big text, at timestamptz);
              create table bulk (id int primary key, n int);
              create table stale (id int primary key, gone int, n int);
              insert into plain select g, 0, repeat('x', 5000), now() from generate_series(1, 100) g;
              insert into bulk select g, 0 from generate_series(1, 100) g;
              insert into stale select g, 0, 0 from generate_series(1, 100) g`,
      tables: `- { name: public.plain, before: full, unchanged_wide: include }
- { name: public.bulk, capture: statement }
- { name: public.stale, columns: [id, gone] }`,
      more: 'limits: { row_bytes: 64KiB }',
    });
    await onPublic(node.connection, 'alter table stale rename gone to renamed');
  });

  const write = (table: string) => `update ${table} set n = n + 1 where id = 1;
    insert into ${table} (id, n) values (1000, 1); delete from ${table} where id = 1000`;

  it.each<[string, { before?: string; script: string; op?: string; mark?: string; segment?: number }]>([
    ['plainly', { script: write('plain'), op: 'U' }],
    ['by statement', { script: write('bulk'), op: 'U' }],
    ['by the fallback', { script: write('stale'), mark: 'f' }],
    [
      'with context',
      {
        script: `select set_config('shovel.metadata', '{"a":1}', true); ${write('plain')}; ${write('bulk')}`,
        op: 'M',
      },
    ],
    [
      'with settings of its own',
      {
        script: `set local timezone = 'Asia/Tokyo'; set local datestyle = 'German'; ${write('plain')}`,
        op: 'U',
      },
    ],
    ['too large', { script: `update plain set big = repeat('y', 100000) where id = 2`, mark: 'o' }],
    ['into the second segment', { script: write('plain'), op: 'U', segment: 1 }],
    ['into the third segment', { script: write('bulk'), op: 'U', segment: 2 }],
    ['while the relay wants to be woken', { script: write('plain'), op: 'U', segment: 4 }],
    ['while capture is suspended', { script: write('plain'), segment: 8 }],
    ['truncated', { script: 'truncate bulk', op: 'T' }],
  ])('leave no predicate lock on anything of ours: %s', async (_, { script, op, mark, segment }) => {
    const session = await node.session({ settings: SERIALIZABLE });
    if (segment !== undefined) {
      await node.connection.script(`select setval('${names.schema}.switch_${SET}', ${segment})`);
    }
    await session.script(`begin; ${script}`);
    const locks = await node.connection.query(
      `select coalesce(l.relation::regclass::text, l.locktype) as place from pg_locks l
       where l.mode = 'SIReadLock' and l.pid = $1`,
      [(await session.query('select pg_backend_pid() as pid'))[0]?.pid ?? ''],
    );
    await session.script('commit');
    await node.connection.script(`select setval('${names.schema}.switch_${SET}', 0)`);
    const [newest] = await session.query('select pg_current_xact_id_if_assigned() as none');
    expect(newest?.none).toBeNull();
    expect(
      locks.filter(({ place }) => !/^public\./.test(place ?? '')),
      JSON.stringify(locks),
    ).toEqual([]);
    // The way that is meant was gone.
    if (op !== undefined) expect((await node.log(`l.op = '${op}'`)).length).toBeGreaterThan(0);
    if (mark !== undefined) expect((await node.log(`l.mark = '${mark}'`)).length).toBeGreaterThan(0);
    await session.end();
  });
});

describe.each([
  ['the newest PostgreSQL', 'pg'],
  ['the oldest PostgreSQL', 'pg-no2pc'],
])('one schedule on %s', (_, kind) => {
  const WRITERS = 4;
  let server: EphemeralService;
  let node: CapturedNode;
  let sessions: readonly PostgresConnection[];
  beforeAll(async () => {
    // A server where nobody else is at work: others' transactions, of whatever database, decide when versions of rows
    // are cleaned away, and with that which rows share a page and a predicate lock.
    server = await startEphemeral(kind, { settings: { autovacuum: 'off' } });
    node = await createCapturedNode({
      server: server.address,
      setup: `create table bare (id int primary key, n int);
              insert into bare select g * 2, 0 from generate_series(0, 499) g;
              create table twin (like bare including all);
              insert into twin select * from bare order by id;
              create table captured (like bare including all);
              insert into captured select * from bare order by id;
              create table statements (like bare including all);
              insert into statements select * from bare order by id; analyze`,
      tables: '- { name: public.captured }\n- { name: public.statements, capture: statement }',
    });
    sessions = await Promise.all(
      Array.from({ length: WRITERS }, () =>
        node.session({ settings: { ...SERIALIZABLE, enable_seqscan: 'off', enable_bitmapscan: 'off' } }),
      ),
    );
  });
  afterAll(async () => {
    await node?.close();
    await server?.close();
  });

  /** Numbers from 0 up to `below`, the same for the same seed. */
  function numbers(seed: number): (below: number) => number {
    let state = seed * 2_654_435_761 + 1;
    return (below) => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
  }

  /** Each session writes rows of its own and reads all, one step at a time; what was refused, and where. */
  async function refused(table: string, seed: number): Promise<readonly string[]> {
    const next = numbers(seed);
    const found: string[] = [];
    const open = new Set<number>();
    const step = async (writer: number, at: number | string, sql: string) => {
      try {
        await sessions[writer]?.script(sql);
      } catch (error) {
        if (!(error instanceof PostgresError) || error.sqlstate !== SQLSTATE.serialization) throw error;
        found.push(`${at}: ${sql.replace(table, 'T')}`);
        await sessions[writer]?.script('rollback');
        open.delete(writer);
      }
    };
    for (let at = 0; at < 90; at += 1) {
      const writer = next(WRITERS);
      const [kind, row] = [next(8), next(120)];
      const own = (row - (row % WRITERS) + writer) * 2;
      if (!open.has(writer)) {
        open.add(writer);
        await step(writer, at, 'begin');
      }
      if (kind < 2) await step(writer, at, `select * from ${table} where id = ${row * 2}`);
      else if (kind < 3) {
        await step(writer, at, `select * from ${table} where id between ${row * 2} and ${row * 2 + 6}`);
      } else if (kind < 6) await step(writer, at, `update ${table} set n = n + 1 where id = ${own}`);
      else if (kind < 7) {
        await step(writer, at, `insert into ${table} values (${own + 1}, 0) on conflict do nothing`);
      } else {
        open.delete(writer);
        await step(writer, at, 'commit');
      }
    }
    for (const writer of open) await step(writer, 'end', 'commit');
    return found;
  }

  it('is refused at the same steps', async () => {
    let all = 0;
    for (let seed = 1; seed <= 12; seed += 1) {
      const bare = await refused('bare', seed);
      expect(await refused('twin', seed), `seed ${seed}, without capture again`).toEqual(bare);
      expect(await refused('captured', seed), `seed ${seed}, by row`).toEqual(bare);
      expect(await refused('statements', seed), `seed ${seed}, by statement`).toEqual(bare);
      all += bare.length;
    }
    expect(all).toBeGreaterThan(10);
    expect((await node.log()).length).toBeGreaterThan(100);
  });
});

it('pgbench is not refused transactions by the thousand', async () => {
  const run = promisify(execFile);
  const nodes = [await CapturedNode.create(testPgUrl()), await CapturedNode.create(testPgUrl())] as const;
  const [bare, captured] = nodes;
  for (const { url } of nodes) await run('pgbench', ['-i', '-q', '-s', '50', url]);
  await captured.capture({
    tables: `- { name: public.pgbench_accounts }
- { name: public.pgbench_branches }
- { name: public.pgbench_tellers }
- { name: public.pgbench_history, key: none }`,
  });
  // Of small tables whole pages would be watched, and bare transactions be refused by the thousand.
  const settings = [
    'default_transaction_isolation=serializable',
    'enable_seqscan=off',
    'synchronous_commit=off',
  ];
  const env = { ...process.env, PGOPTIONS: settings.map((one) => `-c ${one}`).join(' ') };
  const round = async (url: string, seed: number) => {
    const options = ['-n', '-c', '4', '-t', '250', '--failures-detailed', `--random-seed=${seed}`];
    const { stdout } = await run('pgbench', [...options, url], { env });
    const failed = /number of serialization failures: (\d+)/.exec(stdout)?.[1];
    expect(stdout).toMatch(/number of deadlock failures: 0/);
    return Number(failed);
  };
  const failed = { bare: 0, captured: 0 };
  for (let seed = 1; seed <= 4; seed += 1) {
    failed.bare += await round(bare.url, seed);
    failed.captured += await round(captured.url, seed);
  }
  const log = await captured.connection.query(`select count(*) from ${names.schema}.log_${SET}`);
  // 4,000 transactions each, 4 mutations in each that was not refused.
  expect(Number(log[0]?.count)).toBe((4_000 - failed.captured) * 4);
  for (const node of nodes) await node.close();
  expect(failed.bare).toBeGreaterThan(0);
  // A guard, and a coarse one: nearly all that fail wrote one row at the same time, and their number swings between
  // rounds by half, with capture and without. What capture reads itself would show far beyond that (with one look-up in
  // the function 62 % failed); that it reads nothing is shown exactly above.
  expect(failed.captured).toBeLessThanOrEqual(2 * failed.bare + 50);
}, 240_000);
