/**
 * Suspending capture: whatever writers do meanwhile, the tickets up to the last hold whole transactions and everything
 * that had committed before it began; nothing is drawn after it, no writer waits, and a crash anywhere is mended.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkLimits, judge, readSuspension, suspendCapture } from '../../src/capture/limits.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { takeOver } from '../../src/relay/head.js';
import { logNames } from '../../src/relay/relay-set.js';
import { names, onPublic, SET } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';
import { RelayedNode } from '../support/relayed-node.js';

const log = logNames('default', SET);
const node = { names, set: SET };
const LIMITS = {
  logBytes: 10_000_000_000,
  lagMs: 3_600_000,
  rowBytes: 1_000_000,
  policy: 'suspend',
} as const;

describe.each(SERVERS)('suspending capture on $name', ({ url }) => {
  let relayed: RelayedNode;
  let connection: PostgresConnection;
  let epoch: bigint;
  beforeAll(async () => {
    relayed = await RelayedNode.create({
      server: url(),
      setup: 'create table item (id serial primary key, tag text)',
      tables: '- { name: public.item }',
    });
    connection = relayed.node.connection;
  });
  afterAll(() => relayed.close());

  /** Capture as if it had never been suspended. */
  const afresh = async () => {
    await connection.script(`update shovel.set_head set suspended_incarnation = null, over_since = null`);
    await connection.script(
      `select setval('shovel.switch_${SET}', last_value & 3) from shovel.switch_${SET}`,
    );
    await onPublic(connection, 'truncate item');
    epoch = await takeOver(connection, { log, owner: 'test' });
    await draw();
  };
  const draw = () =>
    connection.query(`select t.ticket from shovel.draw_${SET}($1, -1, null, null, 0, null) t`, [
      String(epoch),
    ]);
  /** Rows per tag in the batches after `from`. */
  const published = async (from: bigint) => {
    const rows = await connection.query(
      `select t.ticket, (l.new::json ->> 'tag') as tag, count(*) as n
       from shovel.ticket_${SET} t join shovel.ticket_${SET} b on b.ticket = t.ticket - 1
       join shovel.log_${SET} l on l.op = 'I' and pg_visible_in_snapshot(l.xid, t.snapshot)
         and not pg_visible_in_snapshot(l.xid, b.snapshot)
       where t.ticket > $1 group by 1, 2`,
      [from.toString()],
    );
    return new Map(rows.map((row) => [row.tag ?? '', Number(row.n)]));
  };
  const newest = async () => {
    const rows = await connection.query(`select max(ticket) as ticket from shovel.ticket_${SET}`);
    return BigInt(rows[0]?.ticket ?? '0');
  };
  const turned = async () =>
    (await connection.query(`select last_value & 8 as bit from shovel.switch_${SET}`))[0]?.bit === '8';

  it('draws a last ticket of all that had committed, and nothing of who was on the way', async () => {
    await afresh();
    const from = await newest();
    const write = (session: PostgresConnection, tag: string) =>
      session.query('insert into public.item (tag) values ($1)', [tag]);
    const [before, during, idle] = [
      await relayed.node.session(),
      await relayed.node.session(),
      await relayed.node.session(),
    ];
    await write(before, 'before');
    await during.script('begin');
    await write(during, 'during');
    await idle.script('begin; select 1');
    const suspension = await suspendCapture(connection, { ...node, epoch, reason: 'of a test' });
    expect(suspension).toMatchObject({
      reason: 'of a test',
      ticket: from + 1n,
      resuming: false,
      capturing: false,
    });
    await write(during, 'during');
    await during.script('commit');
    await write(idle, 'idle');
    await idle.script('commit');
    await write(before, 'after');
    expect(await published(from)).toEqual(new Map([['before', 1]]));
    await expect(draw()).rejects.toMatchObject({ code: 'capture_suspended', exitCode: 25 });
    // Again is no change.
    expect(await suspendCapture(connection, { ...node, reason: 'another' })).toEqual(suspension);
    expect(await connection.query('select distinct tag from public.item')).toHaveLength(4);
  });

  it('tears no transaction apart, whatever the order of writes, commits and its own two steps', async () => {
    const sessions = await Promise.all([0, 1, 2].map(() => relayed.node.session()));
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ who: fc.nat(2), what: fc.constantFrom('write', 'commit') }) },
      { weight: 1, arbitrary: fc.constant({ who: -1, what: 'draw' }) },
    );
    const script = fc.tuple(
      fc.array(step, { maxLength: 14 }),
      fc.array(step, { maxLength: 8 }),
      fc.array(step, { maxLength: 8 }),
    );
    await fc.assert(
      fc.asyncProperty(script, async ([first, second, third]) => {
        await afresh();
        const from = await newest();
        let number = 0;
        const open = new Map<number, { tag: string; rows: number }>();
        const committed = new Map<string, number>();
        const run = async (steps: readonly { who: number; what: string }[]) => {
          for (const { who, what } of steps) {
            const session = sessions[who];
            if (session === undefined) {
              await draw().catch((error: unknown) =>
                expect(error).toMatchObject({ code: 'capture_suspended' }),
              );
              continue;
            }
            const mine = open.get(who);
            if (what === 'commit') {
              if (mine === undefined) continue;
              await session.script('commit');
              committed.set(mine.tag, mine.rows);
              open.delete(who);
              continue;
            }
            number += 1;
            const own = mine ?? { tag: `t${number}`, rows: 0 };
            if (mine === undefined) await session.script('begin');
            await session.query('insert into public.item (tag) values ($1)', [own.tag]);
            open.set(who, { ...own, rows: own.rows + 1 });
          }
        };
        const call = `select s.ticket, s.capturing from shovel.suspend_${SET}($1, 'of a test') s`;
        await run(first);
        const due = new Map(committed);
        const [recorded] = await connection.query(call, [String(epoch)]);
        expect(recorded?.capturing).toBe('t');
        await run(second);
        expect((await connection.query(call, [String(epoch)]))[0]?.capturing).toBe('f');
        await run(third);
        for (const who of [...open.keys()]) await run([{ who, what: 'commit' }]);
        expect(await published(from)).toEqual(due);
        expect(await newest()).toBe(BigInt(recorded?.ticket ?? '-1'));
      }),
      { numRuns: 40 },
    );
  });

  it('makes no writer wait, and waits for none', async () => {
    await afresh();
    const writer = await relayed.node.session({ settings: { lock_timeout: '1ms' } });
    await writer.script(
      `begin; insert into public.item (tag) values ('open'); lock table public.item in share row exclusive mode`,
    );
    await connection.script(`set lock_timeout = '1ms'`);
    try {
      // Not even while the recording transaction is under way.
      await connection.script(`begin; select shovel.suspend_${SET}(${epoch}, 'of a test')`);
      await writer.script(`insert into public.item (tag) values ('still')`);
      await connection.script('commit');
      await connection.script(`begin; select shovel.suspend_${SET}(${epoch}, 'of a test')`);
      await writer.script(`insert into public.item (tag) values ('still')`);
      await connection.script('commit');
    } finally {
      await connection.script('reset lock_timeout');
    }
    await writer.script('commit');
    expect(await turned()).toBe(true);
  });

  it('is mended by the next look where the process died before it turned the switch', async () => {
    await afresh();
    await connection.query(`select shovel.suspend_${SET}($1, 'of a test')`, [String(epoch)]);
    expect(await readSuspension(connection, node)).toMatchObject({ capturing: true });
    expect(await turned()).toBe(false);
    const { suspension } = await checkLimits(connection, { ...node, limits: LIMITS });
    expect(suspension).toMatchObject({ reason: 'of a test', capturing: false });
    expect(await turned()).toBe(true);
  });

  it('goes on as if nothing had been where it is rolled back, and refuses to turn the switch by what may be rolled back', async () => {
    await afresh();
    await connection.script(`begin; select shovel.suspend_${SET}(${epoch}, 'of a test'); rollback`);
    expect(await readSuspension(connection, node)).toBeUndefined();
    await connection.script(`begin; select shovel.suspend_${SET}(${epoch}, 'of a test')`);
    await expect(connection.script(`select shovel.suspend_${SET}(${epoch}, 'of a test')`)).rejects.toThrow();
    await connection.script('rollback');
    expect(await turned()).toBe(false);
    await onPublic(connection, `insert into item (tag) values ('goes on')`);
    expect(await draw()).toHaveLength(1);
  });

  it('is not for a relay that was replaced', async () => {
    await afresh();
    await expect(
      suspendCapture(connection, { ...node, epoch: epoch - 1n, reason: '' }),
    ).rejects.toMatchObject({
      exitCode: 26,
    });
    expect(await readSuspension(connection, node)).toBeUndefined();
  });

  it('comes at the second look over a limit, by policy, and is recorded', async () => {
    await afresh();
    await onPublic(connection, `insert into item (tag) select 'x' from generate_series(1, 100)`);
    const tight = { ...LIMITS, logBytes: 8192 };
    const look = (policy: 'warn' | 'suspend', patienceMs: number) =>
      checkLimits(connection, { ...node, limits: { ...tight, policy }, epoch, patienceMs });
    const head = async () =>
      (
        await connection.query(
          'select over_limits, over_since is null as never, log_bytes from shovel.set_head',
        )
      )[0];
    expect((await look('suspend', 3_600_000)).suspension).toBeUndefined();
    expect(await head()).toMatchObject({ over_limits: '{log_bytes}', never: 'f' });
    expect((await look('warn', 0)).suspension).toBeUndefined();
    const { reading, suspension } = await look('suspend', 0);
    expect(reading.over).toEqual(['log_bytes']);
    expect(suspension?.reason).toMatch(/^its log has [0-9.]+ kB \(limits\.log_bytes is 8192B|8KiB\)$/);
    await afresh();
    const wide = await checkLimits(connection, { ...node, limits: LIMITS, epoch, patienceMs: 0 });
    expect(wide).toMatchObject({ reading: { over: [], near: [] }, suspension: undefined });
    expect(await head()).toMatchObject({
      over_limits: null,
      never: 't',
      log_bytes: wide.reading.logBytes.toString(),
    });
  });
});

describe('limits', () => {
  const limits = { logBytes: 1000, lagMs: 10_000, rowBytes: 1, policy: 'warn' } as const;

  it.each([
    [{ logBytes: 799n, lagMs: undefined }, [], [], ''],
    [{ logBytes: 800n, lagMs: 0 }, [], ['log_bytes'], 'its log has 0.8 kB (limits.log_bytes is 1kB)'],
    [{ logBytes: 1000n, lagMs: 10_000 }, [], ['log_bytes', 'lag'], expect.stringContaining(', and ')],
    [{ logBytes: 0n, lagMs: 70_500 }, ['lag'], [], 'a mutation has waited for 70 s (limits.lag is 10s)'],
    [
      { logBytes: 2_345_678_901n, lagMs: 9000 },
      ['log_bytes'],
      ['lag'],
      'its log has 2.3 GB (limits.log_bytes is 1kB)',
    ],
  ])('are held against what was found: case %#', (found, over, near, words) => {
    expect(judge(found, limits)).toEqual({ ...found, over, near, words });
  });
});
