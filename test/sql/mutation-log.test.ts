/**
 * The view mutation_log in every state that a log can be in, on the newest and the oldest PostgreSQL. What it estimates
 * and who may read it have files of their own.
 */
import { describe, expect, it } from 'vitest';
import { positionName } from '../../src/capture/generated-names.js';
import { LEVEL, MUTATION_LOG_COLUMNS, UNKNOWN, useMutationLog } from '../support/mutation-log.js';
import { SERVERS } from '../support/pg-versions.js';
import { testPgUrl } from '../support/services.js';

describe.each(SERVERS)('mutation_log on $name', ({ url }) => {
  const log = useMutationLog(url);

  it('has the columns of the contract', async () => {
    const rows = await log.admin.query(
      `select attname as name from pg_attribute where attrelid = 'shovel.mutation_log'::regclass and attnum > 0 order by attnum`,
    );
    expect(rows.map((row) => row.name)).toEqual(MUTATION_LOG_COLUMNS);
  });

  it('has no row without a set, and none for a log that no version was decided for', async () => {
    expect(await log.read()).toEqual([]);
    await log.createSet('a');
    await log.admin.script(`delete from shovel.replication_set`);
    expect(await log.read()).toEqual([]);
    await log.dropSet('a');
  });

  it('is level where nothing was ever written', async () => {
    await log.createSet('a');
    const row = await log.readOne();
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
    await log.admin.script(`update shovel.set_head set epoch = 4, relay_seen_at = '2026-01-02 03:04:05+00'`);
    expect(await log.readOne()).toMatchObject({ relay_epoch: '4', relay_seen_at: '2026-01-02 03:04:05+00' });
  });

  it('follows mutations from the log to the stream', async () => {
    await log.createSet('a');
    await log.write(log.admin, { count: 2, age: '2 hours', text: 'x'.repeat(400) });
    await log.write(log.admin, { count: 3, age: '1 hour', text: 'x'.repeat(400) });
    const undrawn = await log.readOne();
    expect(undrawn).toMatchObject({ ticket: '0', pending_mutations: '5', pending_bytes: '2500' });
    expect(Number(undrawn.lag_s)).toBeGreaterThanOrEqual(7200);
    expect(Number(undrawn.lag_s)).toBeLessThan(7300);

    expect(await log.draw()).toBe('1');
    await log.write(log.admin, { count: 4, text: 'x'.repeat(400) });
    const drawn = await log.readOne();
    expect(drawn).toMatchObject({ ticket: '0', pending_mutations: '9', pending_bytes: '4500' });
    expect(Number(drawn.lag_s)).toBeGreaterThanOrEqual(7200);

    await log.position(1, { phase: 'sending' });
    expect(await log.readOne()).toMatchObject({ ticket: '0', pending_mutations: '9' });
    await log.position(1);
    const out = await log.readOne();
    expect(out).toMatchObject({ ticket: '1', pending_mutations: '4', pending_bytes: '2000' });
    expect(Number(out.lag_s)).toBeLessThan(3600);

    expect(await log.draw()).toBe('2');
    await log.position(2, { phase: 'sending' });
    expect(await log.readOne()).toMatchObject({ ticket: '1', pending_mutations: '4' });
    await log.position(2);
    expect(await log.readOne()).toMatchObject({ ...LEVEL, ticket: '2' });
  });

  it('does not count an open transaction, and counts it once it commits though a later one was published', async () => {
    await log.createSet('a');
    const slow = await log.connect();
    await slow.script('begin');
    await log.write(slow, { count: 3, age: '1 hour' });
    expect(await log.readOne()).toMatchObject({ ...LEVEL, ticket: '0' });
    await log.write(log.admin);
    expect(await log.draw()).toBe('1');
    await log.position(1);
    expect(await log.draw()).toBeUndefined();
    expect(await log.readOne()).toMatchObject({ ...LEVEL, ticket: '1' });
    await slow.script('commit');
    const row = await log.readOne();
    expect(row).toMatchObject({ ticket: '1', pending_mutations: '3' });
    expect(Number(row.lag_s)).toBeGreaterThanOrEqual(3600);
    expect(await log.draw()).toBe('2');
    expect(await log.pending()).toBe('3');
    await log.position(2);
    expect(await log.readOne()).toMatchObject({ ...LEVEL, ticket: '2' });
  });

  it('never says 0 for a mutation that stands somewhere in a long stretch of published ones', async () => {
    await log.createSet('a');
    const slow = await log.connect();
    await slow.script('begin');
    await log.write(slow);
    await log.write(log.admin, { count: 30_000 });
    expect(await log.draw()).toBe('1');
    await log.write(slow);
    await log.write(log.admin, { count: 30_000 });
    await log.draw();
    await log.becomesLevel();
    await slow.script('commit');
    expect(Number(await log.pending())).toBeGreaterThanOrEqual(1);
    await log.draw();
    expect(Number(await log.pending())).toBeGreaterThanOrEqual(2);
    await log.becomesLevel();
  });

  it('is level where all was rolled back, and says 1 and no lag where that is too much to look through', async () => {
    await log.createSet('a');
    const other = await log.connect();
    await other.script('begin');
    await log.write(other, { count: 1_000 });
    await other.script('rollback');
    expect(await log.readOne()).toMatchObject(LEVEL);
    await other.script('begin');
    await log.write(other, { count: 40_000 });
    await other.script('rollback');
    expect(await log.readOne()).toMatchObject({ pending_mutations: '1', pending_bytes: '100', lag: null });
    await log.write(log.admin, { count: 2 });
    expect(Number(await log.pending())).toBeGreaterThanOrEqual(1);
    await log.becomesLevel();
  });

  it('knows each stream by its own position, one that was added later too', async () => {
    await log.createSet('a', ['fast', 'slow']);
    for (const count of [1, 10, 100]) {
      await log.write(log.admin, { count });
      await log.draw();
    }
    await log.position(3, { stream: 'fast' });
    await log.position(2, { stream: 'slow', phase: 'sending' });
    await log.activate('a', ['fast', 'slow', 'new']);
    const streams = async () =>
      (await log.read()).map((row) => [row.stream_name, row.ticket, row.pending_mutations]);
    expect(await streams()).toEqual([
      ['fast', '3', '0'],
      ['new', '3', '0'],
      ['slow', '1', '110'],
    ]);
    await log.write(log.admin, { count: 5 });
    expect(await streams()).toEqual([
      ['fast', '3', '5'],
      ['new', '3', '5'],
      ['slow', '1', '115'],
    ]);
    await log.draw();
    await log.position(4, { stream: 'fast' });
    expect(await streams()).toEqual([
      ['fast', '4', '0'],
      ['new', '3', '5'],
      ['slow', '1', '115'],
    ]);
  });

  it('has a ticket without mutations pending until its markers are out', async () => {
    await log.createSet('a');
    await log.admin.script(
      `insert into shovel.ticket_0_a (ticket, snapshot, floor_seq, mutations, set_version, drawn_at)
       values (1, pg_current_snapshot(), 0, 0, 7, clock_timestamp() - interval '5 minutes')`,
    );
    const row = await log.readOne();
    expect(row.pending_mutations).toBe('1');
    expect(Number(row.lag_s)).toBeGreaterThanOrEqual(300);
    await log.position(1);
    expect(await log.readOne()).toMatchObject(LEVEL);
  });

  it('shows all sets, and nulls for those whose log is missing, half there or locked', async () => {
    for (const set of ['a', 'b', 'c', 'd', 'e']) {
      await log.createSet(set);
      await log.write(log.admin, { set, count: 2 });
    }
    expect((await log.read()).map((row) => [row.set_name, row.pending_mutations])).toEqual(
      ['a', 'b', 'c', 'd', 'e'].map((set) => [set, '2']),
    );
    await log.admin.script(`drop view shovel.log_a`);
    await log.admin.script(`drop sequence shovel.${positionName('b', 'events')}`);
    await log.admin.script(`delete from shovel.ticket_0_c`);
    await log.admin.script(`drop view shovel.log_d, shovel.ticket_d;
      drop table shovel.log_0_d, shovel.log_1_d, shovel.log_2_d, shovel.ticket_0_d, shovel.ticket_1_d, shovel.ticket_2_d cascade;
      drop sequence shovel.seq_d`);
    const rows = await log.read();
    expect(rows.map((row) => row.set_name)).toEqual(['a', 'b', 'c', 'd', 'e']);
    for (const row of rows.slice(0, 4)) expect(row).toMatchObject({ set_version: '7', ...UNKNOWN });
    expect(rows[3]).toMatchObject({ log_bytes: null, mutations_per_second: null });
    expect(rows[4]).toMatchObject({ ticket: '0', pending_mutations: '2' });

    const owner = await log.connect();
    await owner.script('begin; lock table shovel.log_0_e in access exclusive mode');
    expect((await log.read())[4]).toMatchObject({ set_version: '7', ...UNKNOWN });
    await owner.script('rollback');
    expect((await log.read())[4]).toMatchObject({ ticket: '0', pending_mutations: '2' });
  });

  it('goes on counting when segments have been truncated', async () => {
    await log.createSet('a');
    await log.write(log.admin, { count: 1_000, text: 'x'.repeat(500) });
    await log.draw();
    await log.admin.script(`select setval('shovel.switch_a', 1)`);
    await log.write(log.admin, { segment: 1, count: 3 });
    await log.draw();
    await log.position(1);
    const before = await log.readOne();
    expect(before.pending_mutations).toBe('3');
    await log.admin.script(`truncate shovel.log_0_a, shovel.ticket_0_a`);
    const after = await log.readOne();
    expect(after).toMatchObject({ ticket: '1', pending_mutations: '3' });
    expect(Number(after.log_bytes)).toBeLessThan(Number(before.log_bytes) - 500_000);
    await log.position(2);
    expect(await log.readOne()).toMatchObject({ ...LEVEL, ticket: '2' });
    await log.write(log.admin, { segment: 2, count: 4 });
    expect(await log.pending()).toBe('4');
  });

  if (url === testPgUrl) {
    it('does not count a prepared transaction, tells its age, and counts it once it is committed', async () => {
      await log.createSet('a');
      const gid = `mutation-log-${log.database}`;
      const session = await log.connect();
      await session.script('begin');
      await log.write(session, { count: 3 });
      await session.script(`prepare transaction '${gid}'`);
      const held = await log.readOne();
      expect(held).toMatchObject(LEVEL);
      expect(Number(held.open_s)).toBeGreaterThan(0);
      await log.write(log.admin);
      await log.draw();
      await log.position(1);
      expect(await log.readOne()).toMatchObject(LEVEL);
      await log.admin.script(`commit prepared '${gid}'`);
      expect(await log.readOne()).toMatchObject({ pending_mutations: '3', oldest_open_transaction: null });
    });
  }
});
