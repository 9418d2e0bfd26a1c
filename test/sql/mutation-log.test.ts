/**
 * The view mutation_log in every state that a log can be in, on the newest and the oldest PostgreSQL. Log rows are
 * inserted as capture functions insert them; tickets are drawn, and positions moved, as the relay does it.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { activationStatements } from '../../src/capture/activate.js';
import { positionName } from '../../src/capture/generated-names.js';
import { prepareGround } from '../../src/capture/ground.js';
import { openConnection, type PostgresConnection, type Row } from '../../src/postgres/connect.js';
import { ensureNodeSchema } from '../../src/postgres/migrate.js';
import { fillSql, nodeNames, readSql } from '../../src/postgres/sql-files.js';
import { transaction } from '../../src/postgres/transaction.js';
import { sha256Hex } from '../../src/runtime/hash.js';
import { createTestDatabase, testPgNo2pcUrl, testPgUrl } from '../support/services.js';
import type { TestDatabase } from '../support/test-database.js';
import { until } from '../support/until.js';

const names = nodeNames('default');
const COLUMNS = [
  'set_name',
  'stream_name',
  'set_version',
  'node_id',
  'ticket',
  'pending_mutations',
  'pending_bytes',
  'lag',
  'mutations_per_second',
  'log_bytes',
  'oldest_open_transaction',
  'relay_epoch',
  'relay_seen_at',
];

describe.each([
  { title: 'PostgreSQL, newest', server: testPgUrl },
  { title: 'PostgreSQL, oldest', server: testPgNo2pcUrl },
])('mutation_log on $title', ({ server }) => {
  let database: TestDatabase;
  let admin: PostgresConnection;
  const sessions: PostgresConnection[] = [];

  beforeAll(async () => {
    database = await createTestDatabase({ server: server() });
    admin = await open();
    await ensureNodeSchema(admin, names);
  });
  afterAll(async () => {
    await admin.end();
    await database.drop();
  });
  afterEach(async () => {
    for (const session of sessions.splice(0)) await session.end();
  });
  beforeEach(async () => {
    for (const { set } of await admin.query(`select r.set_name as set from shovel.replication_set r`)) {
      await dropSet(set ?? '');
    }
  });

  function open(): Promise<PostgresConnection> {
    return openConnection({ dsn: database.url, name: 'of the test', applicationName: 'shovel-test' });
  }

  /** Another session, ended after the test. */
  async function connect(): Promise<PostgresConnection> {
    const session = await open();
    sessions.push(session);
    return session;
  }

  /** Log, streams and the decided version, as the creation of a set leaves them. */
  async function createSet(set: string, streams: readonly string[] = ['events']): Promise<void> {
    await prepareGround(admin, {
      names,
      set,
      tables: [],
      lockTimeoutMs: 1000,
      giveUpMs: 20_000,
      waiting: () => undefined,
    });
    await activate(set, streams);
    await admin.script(
      `insert into shovel.replication_set (set_name, database_name, node_id, incarnation, set_version, intent_id,
         content_hash, document, system_identifier, database_oid)
       values ('${set}', 'main', gen_random_uuid(), 1, 7, gen_random_uuid(), '', '', '', 1)`,
    );
  }

  async function activate(set: string, streams: readonly string[]): Promise<void> {
    const statements = activationStatements({
      names,
      set,
      version: 1,
      tables: [],
      rowBytes: 1000,
      streams,
      hash: sha256Hex,
    });
    await transaction(admin, async () => {
      await admin.script(`set local role ${names.owner}`);
      for (const statement of statements) await admin.script(statement);
    });
  }

  async function dropSet(set: string): Promise<void> {
    const streams = await admin.query(
      `select s.position_name as name from shovel.stream s where s.set_name = $1`,
      [set],
    );
    await admin.script(await readSql('sql/set/drop_log.sql', names, set));
    for (const { name } of streams) await admin.script(`drop sequence if exists shovel.${name}`);
    await admin.query(`delete from shovel.replication_set where set_name = $1`, [set]);
  }

  interface Rows {
    readonly set?: string;
    readonly count?: number;
    readonly segment?: number;
    /** How long ago the statement was. */
    readonly age?: string;
    readonly text?: string;
  }

  async function write(session: PostgresConnection, rows: Rows = {}): Promise<void> {
    const { set = 'a', count = 1, segment = 0, age = '0', text = '{"id":1}' } = rows;
    await session.query(
      `insert into shovel.log_${segment}_${set} (at, rel, op, mark, old_ctid, new_ctid, old_xmin, leaf, meta, old, new, extra)
       select statement_timestamp() - $1::interval, 1, 'I', null, null, '(0,1)', null, null, null, null, $2, null
       from generate_series(1, $3)`,
      [age, text, String(count)],
    );
  }

  /** The ticket drawn, as the relay draws it; undefined where nothing was pending. */
  async function draw(set = 'a'): Promise<string | undefined> {
    const [mark] = await admin.query(`select m.floor_seq, m.xid from shovel.mark_${set}() m`);
    const [drawn] = await admin.query(
      `select t.ticket from shovel.draw_${set}(0, -1, null, null, $1, $2) t`,
      [mark?.floor_seq ?? null, mark?.xid ?? null],
    );
    return drawn?.ticket ?? undefined;
  }

  type Phase = 'sending' | 'out';
  async function position(
    ticket: number,
    { phase = 'out', stream = 'events', set = 'a' }: { phase?: Phase; stream?: string; set?: string } = {},
  ): Promise<void> {
    await admin.query(`select setval('shovel.${positionName(set, stream)}', $1)`, [
      String(2 * ticket + (phase === 'out' ? 1 : 0)),
    ]);
  }

  /**
   * Publishes all, and waits for the view to say so. With a long log that may take another ticket: a transaction of
   * any database of the server that was in flight at a draw makes the view look through what came before, when it ends.
   */
  function becomesLevel(): Promise<boolean> {
    return until('the view says that nothing is pending', async () => {
      await write(admin);
      await position(Number(await draw()));
      return (await pending()) === '0';
    });
  }

  function read(session: PostgresConnection = admin): Promise<readonly Row[]> {
    return session.query(
      `select m.*, extract(epoch from m.lag) as lag_s, extract(epoch from m.oldest_open_transaction) as open_s
       from shovel.mutation_log m order by 1, 2`,
    );
  }

  async function readOne(session: PostgresConnection = admin): Promise<Row> {
    const [row, second] = await read(session);
    if (!row || second) throw new Error('not one row');
    return row;
  }

  const pending = async () => (await readOne()).pending_mutations;

  const LEVEL = { pending_mutations: '0', pending_bytes: '0', lag: 'PT0S' };
  const UNKNOWN = { ticket: null, pending_mutations: null, pending_bytes: null, lag: null };

  it('has the columns of the contract', async () => {
    const rows = await admin.query(
      `select attname as name from pg_attribute where attrelid = 'shovel.mutation_log'::regclass and attnum > 0 order by attnum`,
    );
    expect(rows.map((row) => row.name)).toEqual(COLUMNS);
  });

  it('has no row without a set, and none for a log that no version was decided for', async () => {
    expect(await read()).toEqual([]);
    await createSet('a');
    await admin.script(`delete from shovel.replication_set`);
    expect(await read()).toEqual([]);
    await dropSet('a');
  });

  it('is level where nothing was ever written', async () => {
    await createSet('a');
    const row = await readOne();
    expect(row).toMatchObject({
      ...LEVEL,
      set_name: 'a',
      stream_name: 'events',
      set_version: '7',
      ticket: '0',
      mutations_per_second: '0.000',
      oldest_open_transaction: null,
      relay_epoch: '0',
      relay_seen_at: null,
    });
    expect(row.node_id).toMatch(/^[0-9a-f-]{36}$/);
    expect(Number(row.log_bytes)).toBeGreaterThan(0);
    await admin.script(`update shovel.set_head set epoch = 4, relay_seen_at = '2026-01-02 03:04:05+00'`);
    expect(await readOne()).toMatchObject({ relay_epoch: '4', relay_seen_at: '2026-01-02 03:04:05+00' });
  });

  it('follows mutations from the log to the stream', async () => {
    await createSet('a');
    await write(admin, { count: 2, age: '2 hours', text: 'x'.repeat(400) });
    await write(admin, { count: 3, age: '1 hour', text: 'x'.repeat(400) });
    const undrawn = await readOne();
    expect(undrawn).toMatchObject({ ticket: '0', pending_mutations: '5', pending_bytes: '2500' });
    expect(Number(undrawn.lag_s)).toBeGreaterThanOrEqual(7200);
    expect(Number(undrawn.lag_s)).toBeLessThan(7300);

    expect(await draw()).toBe('1');
    await write(admin, { count: 4, text: 'x'.repeat(400) });
    const drawn = await readOne();
    expect(drawn).toMatchObject({ ticket: '0', pending_mutations: '9', pending_bytes: '4500' });
    expect(Number(drawn.lag_s)).toBeGreaterThanOrEqual(7200);

    await position(1, { phase: 'sending' });
    expect(await readOne()).toMatchObject({ ticket: '0', pending_mutations: '9' });
    await position(1);
    const out = await readOne();
    expect(out).toMatchObject({ ticket: '1', pending_mutations: '4', pending_bytes: '2000' });
    expect(Number(out.lag_s)).toBeLessThan(3600);

    expect(await draw()).toBe('2');
    await position(2, { phase: 'sending' });
    expect(await readOne()).toMatchObject({ ticket: '1', pending_mutations: '4' });
    await position(2);
    expect(await readOne()).toMatchObject({ ...LEVEL, ticket: '2' });
  });

  it('does not count an open transaction, and counts it once it commits though a later one was published', async () => {
    await createSet('a');
    const slow = await connect();
    await slow.script('begin');
    await write(slow, { count: 3, age: '1 hour' });
    expect(await readOne()).toMatchObject({ ...LEVEL, ticket: '0' });
    await write(admin);
    expect(await draw()).toBe('1');
    await position(1);
    expect(await draw()).toBeUndefined();
    expect(await readOne()).toMatchObject({ ...LEVEL, ticket: '1' });
    await slow.script('commit');
    const row = await readOne();
    expect(row).toMatchObject({ ticket: '1', pending_mutations: '3' });
    expect(Number(row.lag_s)).toBeGreaterThanOrEqual(3600);
    expect(await draw()).toBe('2');
    expect(await pending()).toBe('3');
    await position(2);
    expect(await readOne()).toMatchObject({ ...LEVEL, ticket: '2' });
  });

  it('never says 0 for a mutation that stands somewhere in a long stretch of published ones', async () => {
    await createSet('a');
    const slow = await connect();
    await slow.script('begin');
    await write(slow);
    await write(admin, { count: 30_000 });
    expect(await draw()).toBe('1');
    await write(slow);
    await write(admin, { count: 30_000 });
    await draw();
    await becomesLevel();
    await slow.script('commit');
    expect(Number(await pending())).toBeGreaterThanOrEqual(1);
    await draw();
    expect(Number(await pending())).toBeGreaterThanOrEqual(2);
    await becomesLevel();
  });

  it('is level where all was rolled back, and says 1 and no lag where that is too much to look through', async () => {
    await createSet('a');
    const other = await connect();
    await other.script('begin');
    await write(other, { count: 1_000 });
    await other.script('rollback');
    expect(await readOne()).toMatchObject(LEVEL);
    await other.script('begin');
    await write(other, { count: 40_000 });
    await other.script('rollback');
    expect(await readOne()).toMatchObject({ pending_mutations: '1', pending_bytes: '100', lag: null });
    await write(admin, { count: 2 });
    expect(Number(await pending())).toBeGreaterThanOrEqual(1);
    await becomesLevel();
  });

  it("does not count the reader's own rows before they are committed", async () => {
    await createSet('a');
    const writer = await connect();
    await writer.script('begin');
    await write(writer, { count: 2 });
    expect(await readOne(writer)).toMatchObject(LEVEL);
    // From now on snapshots reach beyond the writer's transaction, and never name the one that takes them.
    await admin.query('select pg_current_xact_id()');
    expect(await readOne(writer)).toMatchObject(LEVEL);
    await writer.script('commit');
    expect((await readOne(writer)).pending_mutations).toBe('2');
  });

  it('reads as of the snapshot of a transaction that keeps one', async () => {
    await createSet('a');
    const reader = await connect();
    await reader.script('begin isolation level repeatable read read only');
    expect(await readOne(reader)).toMatchObject(LEVEL);
    await write(admin, { count: 3 });
    expect(await readOne(reader)).toMatchObject(LEVEL);
    expect(await pending()).toBe('3');
    await reader.script('commit');
    expect((await readOne(reader)).pending_mutations).toBe('3');
  });

  it('knows each stream by its own position, one that was added later too', async () => {
    await createSet('a', ['fast', 'slow']);
    for (const count of [1, 10, 100]) {
      await write(admin, { count });
      await draw();
    }
    await position(3, { stream: 'fast' });
    await position(2, { stream: 'slow', phase: 'sending' });
    await activate('a', ['fast', 'slow', 'new']);
    const streams = async () =>
      (await read()).map((row) => [row.stream_name, row.ticket, row.pending_mutations]);
    expect(await streams()).toEqual([
      ['fast', '3', '0'],
      ['new', '3', '0'],
      ['slow', '1', '110'],
    ]);
    await write(admin, { count: 5 });
    expect(await streams()).toEqual([
      ['fast', '3', '5'],
      ['new', '3', '5'],
      ['slow', '1', '115'],
    ]);
    await draw();
    await position(4, { stream: 'fast' });
    expect(await streams()).toEqual([
      ['fast', '4', '0'],
      ['new', '3', '5'],
      ['slow', '1', '115'],
    ]);
  });

  it('has a ticket without mutations pending until its markers are out', async () => {
    await createSet('a');
    await admin.script(
      `insert into shovel.ticket_0_a (ticket, snapshot, floor_seq, mutations, set_version, drawn_at)
       values (1, pg_current_snapshot(), 0, 0, 7, clock_timestamp() - interval '5 minutes')`,
    );
    const row = await readOne();
    expect(row.pending_mutations).toBe('1');
    expect(Number(row.lag_s)).toBeGreaterThanOrEqual(300);
    await position(1);
    expect(await readOne()).toMatchObject(LEVEL);
  });

  it('shows all sets, and nulls for those whose log is missing, half there or locked', async () => {
    for (const set of ['a', 'b', 'c', 'd', 'e']) {
      await createSet(set);
      await write(admin, { set, count: 2 });
    }
    expect((await read()).map((row) => [row.set_name, row.pending_mutations])).toEqual(
      ['a', 'b', 'c', 'd', 'e'].map((set) => [set, '2']),
    );
    await admin.script(`drop view shovel.log_a`);
    await admin.script(`drop sequence shovel.${positionName('b', 'events')}`);
    await admin.script(`delete from shovel.ticket_0_c`);
    await admin.script(`drop view shovel.log_d, shovel.ticket_d;
      drop table shovel.log_0_d, shovel.log_1_d, shovel.log_2_d, shovel.ticket_0_d, shovel.ticket_1_d, shovel.ticket_2_d cascade;
      drop sequence shovel.seq_d`);
    const rows = await read();
    expect(rows.map((row) => row.set_name)).toEqual(['a', 'b', 'c', 'd', 'e']);
    for (const row of rows.slice(0, 4)) expect(row).toMatchObject({ set_version: '7', ...UNKNOWN });
    expect(rows[3]).toMatchObject({ log_bytes: null, mutations_per_second: null });
    expect(rows[4]).toMatchObject({ ticket: '0', pending_mutations: '2' });

    const owner = await connect();
    await owner.script('begin; lock table shovel.log_0_e in access exclusive mode');
    expect((await read())[4]).toMatchObject({ set_version: '7', ...UNKNOWN });
    await owner.script('rollback');
    expect((await read())[4]).toMatchObject({ ticket: '0', pending_mutations: '2' });
  });

  it('goes on counting when segments have been truncated', async () => {
    await createSet('a');
    await write(admin, { count: 1_000, text: 'x'.repeat(500) });
    await draw();
    await admin.script(`select setval('shovel.switch_a', 1)`);
    await write(admin, { segment: 1, count: 3 });
    await draw();
    await position(1);
    const before = await readOne();
    expect(before.pending_mutations).toBe('3');
    await admin.script(`truncate shovel.log_0_a, shovel.ticket_0_a`);
    const after = await readOne();
    expect(after).toMatchObject({ ticket: '1', pending_mutations: '3' });
    expect(Number(after.log_bytes)).toBeLessThan(Number(before.log_bytes) - 500_000);
    await position(2);
    expect(await readOne()).toMatchObject({ ...LEVEL, ticket: '2' });
    await write(admin, { segment: 2, count: 4 });
    expect(await pending()).toBe('4');
  });

  it('estimates a long backlog, drawn or not, without reading the log', async () => {
    await createSet('a');
    const total = 200_000;
    await admin.script(`select setval('shovel.seq_a', 5000000000);
      update shovel.ticket_0_a set drawn_at = drawn_at - interval '2 hours'`);
    await write(admin, { count: total, age: '1000 seconds', text: 'x'.repeat(400) });
    const pages = Number((await readOne()).log_bytes) / 8192;
    const backlog = (row: Row) => {
      expect(Number(row.pending_mutations) / total).toBeCloseTo(1, 1);
      expect(Number(row.pending_bytes) / (total * 500)).toBeCloseTo(1, 1);
      expect(Number(row.lag_s)).toBeGreaterThanOrEqual(1000);
      expect(Number(row.mutations_per_second)).toBeGreaterThan(150);
      expect(Number(row.mutations_per_second)).toBeLessThan(201);
    };
    backlog(await readOne());
    expect(await pagesTouched()).toBeLessThan(pages / 4);
    await draw();
    backlog(await readOne());
    expect(await pagesTouched()).toBeLessThan(pages / 4);
    await becomesLevel();
    expect(await pagesTouched()).toBeLessThan(pages / 4);
  });

  async function pagesTouched(): Promise<number> {
    const [plan] = await admin.query(
      `explain (analyze, buffers, format json) select * from shovel.mutation_log`,
    );
    const root: { Plan: Record<string, number> }[] = JSON.parse(plan?.['QUERY PLAN'] ?? '');
    const blocks = root[0]?.Plan;
    return (blocks?.['Shared Hit Blocks'] ?? 0) + (blocks?.['Shared Read Blocks'] ?? 0);
  }

  it('sums few tickets and estimates very many by their numbers', async () => {
    await createSet('a', ['behind', 'near']);
    await write(admin, { count: 4, age: '1 day' });
    await draw();
    await admin.script(`select setval('shovel.seq_a', 200005);
      insert into shovel.ticket_0_a
        select 1 + n, (select snapshot from shovel.ticket_a order by ticket desc limit 1), 4 + 2 * n, 3 + 2 * n, 4 + 2 * n, 2, 7, now(), false
        from generate_series(1, 100000) n`);
    await position(99_901, { stream: 'near' });
    const [behind, near] = await read();
    expect(behind).toMatchObject({ ticket: '0', pending_mutations: '200003' });
    expect(Number(behind?.lag_s)).toBeGreaterThanOrEqual(86_400);
    expect(near).toMatchObject({ ticket: '99901', pending_mutations: '200' });
  });

  it('gives a rate over the last minute', async () => {
    await createSet('a');
    await write(admin, { count: 600 });
    await draw();
    await write(admin, { count: 600 });
    expect((await readOne()).mutations_per_second).toBe('20.000');
    await admin.script(
      `update shovel.ticket_0_a set drawn_at = drawn_at - interval '61 s'; select setval('shovel.${positionName('a', 'events')}', 3)`,
    );
    expect((await readOne()).mutations_per_second).toBe('10.000');
  });

  it('tells the age of the oldest open transaction, not that of the reader', async () => {
    await createSet('a');
    const reader = await connect();
    await reader.script('begin');
    expect((await readOne(reader)).oldest_open_transaction).toBeNull();
    const other = await connect();
    await other.script('begin');
    const [began] = await other.query('select clock_timestamp() - now() as age, pg_sleep(0.02)');
    expect(began?.age).toBeTruthy();
    const age = Number((await readOne()).open_s);
    expect(age).toBeGreaterThanOrEqual(0.02);
    expect(age).toBeLessThan(120);
    await other.script('commit');
    await reader.script('commit');
    expect((await readOne()).oldest_open_transaction).toBeNull();
  });

  it('leaves no lock on the log to a reader who does not end his transaction', async () => {
    await createSet('a');
    await write(admin);
    const reader = await connect();
    await reader.script('begin');
    await readOne(reader);
    await transaction(admin, () =>
      admin.script('lock table shovel.log_0_a, shovel.ticket_0_a in access exclusive mode nowait'),
    );
    await reader.script('commit');
  });

  it('can be read by pg_monitor, who can read and call nothing else, and by nobody without', async () => {
    await createSet('a');
    await write(admin);
    const monitor = `monitor_${randomBytes(4).toString('hex')}`;
    const plain = `plain_${randomBytes(4).toString('hex')}`;
    await admin.script(`create role ${monitor}; create role ${plain}; grant pg_monitor to ${monitor}`);
    try {
      const other = await connect();
      await other.script('begin');
      const session = await connect();
      await session.script(`set session authorization ${monitor}`);
      const row = await readOne(session);
      expect(row).toMatchObject({ pending_mutations: '1' });
      expect(Number(row.open_s)).toBeGreaterThan(0);
      await other.script('rollback');
      const refused = /permission denied/;
      const objects = await admin.query(
        `select c.relname as name, c.relkind as kind from pg_class c where c.relnamespace = 'shovel'::regnamespace
           and c.relkind in ('r', 'v', 'S') and c.relname <> 'mutation_log'`,
      );
      expect(objects.length).toBeGreaterThan(10);
      for (const { name } of objects) {
        await expect(session.query(`select * from shovel.${name}`)).rejects.toThrow(refused);
      }
      for (const call of [
        `mutation_estimate('a', 0, 1, null, 100)`,
        `note_metadata_a()`,
        `peek_a('1:1:', 0)`,
        `mark_a()`,
        `row_text(row(1))`,
      ]) {
        await expect(session.query(`select shovel.${call}`)).rejects.toThrow(refused);
      }
      await expect(session.query('delete from shovel.mutation_log')).rejects.toThrow();

      await session.script(`reset session authorization; set session authorization ${plain}`);
      await expect(readOne(session)).rejects.toThrow(refused);
      await admin.script(`grant usage on schema shovel to ${plain}`);
      await expect(readOne(session)).rejects.toThrow(refused);
      await expect(session.query('select * from shovel.mutation_figures()')).rejects.toThrow(refused);
      await admin.script(`grant select on shovel.mutation_log to ${plain};
        grant execute on function shovel.mutation_figures() to ${plain}`);
      expect((await readOne(session)).pending_mutations).toBe('1');
      await session.script('reset session authorization');
    } finally {
      await admin.script(`drop owned by ${monitor}, ${plain}; drop role ${monitor}, ${plain}`);
    }
  });

  it("can't be led astray by what a reader has in his search path and temporary schema", async () => {
    await createSet('a');
    await write(admin, { count: 2 });
    const session = await connect();
    await session.script(`create temp table pg_class (relname text); create schema trap;
      create function trap.greatest_of(bigint, bigint) returns bigint language sql as 'select 0::bigint';
      create function trap.count(bigint) returns bigint language sql as 'select 0::bigint';
      create function trap.to_regclass(text) returns regclass language sql as 'select null::regclass';
      set search_path = trap, pg_temp, pg_catalog`);
    expect(await readOne(session)).toMatchObject({ ticket: '0', pending_mutations: '2' });
    await session.script('set search_path = pg_catalog; drop schema trap cascade');
  });

  it('can be run again, over another shape too', async () => {
    await createSet('a');
    const path = new URL('../../sql/functions/mutation_log.sql', import.meta.url);
    const sql = fillSql(await readFile(path, 'utf8'), names);
    const install = () =>
      transaction(admin, async () => {
        await admin.script(`set local role ${names.owner}`);
        await admin.script(sql);
      });
    const reader = `reader_${randomBytes(4).toString('hex')}`;
    await admin.script(
      `create role ${reader}; grant select on shovel.mutation_log to ${reader}; create view public.mine as select ticket from shovel.mutation_log`,
    );
    try {
      await install();
      const [kept] = await admin.query(
        `select has_table_privilege($1, 'shovel.mutation_log', 'select') as kept`,
        [reader],
      );
      expect(kept?.kept).toBe('t');
    } finally {
      await admin.script(`drop view public.mine; drop owned by ${reader}; drop role ${reader}`);
    }
    await transaction(admin, async () => {
      await admin.script(`set local role ${names.owner}`);
      await admin.script(`drop view shovel.mutation_log; drop function shovel.mutation_figures();
        create function shovel.mutation_figures() returns table (old_figure int) language sql as 'select 1';
        create view shovel.mutation_log as select f.old_figure, 1 as more from shovel.mutation_figures() f`);
    });
    await install();
    expect(Object.keys(await readOne()).slice(0, COLUMNS.length)).toEqual(COLUMNS);
    const [granted] = await admin.query(
      `select has_table_privilege('pg_monitor', 'shovel.mutation_log', 'select') as view`,
    );
    expect(granted?.view).toBe('t');
  });

  if (server === testPgUrl) {
    it('does not count a prepared transaction, tells its age, and counts it once it is committed', async () => {
      await createSet('a');
      const gid = `mutation-log-${database.name}`;
      const session = await connect();
      await session.script('begin');
      await write(session, { count: 3 });
      await session.script(`prepare transaction '${gid}'`);
      const held = await readOne();
      expect(held).toMatchObject(LEVEL);
      expect(Number(held.open_s)).toBeGreaterThan(0);
      await write(admin);
      await draw();
      await position(1);
      expect(await readOne()).toMatchObject(LEVEL);
      await admin.script(`commit prepared '${gid}'`);
      expect(await readOne()).toMatchObject({ pending_mutations: '3', oldest_open_transaction: null });
    });
  }
});
