/** The log stays small: segments take turns, and what every stream has published is given back to the disk. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { onPublic, SET } from '../support/captured-node.js';
import { QUICK, RelayedNode, type RunningRelay } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

/** An empty segment may keep a page or two. */
const BASELINE_BYTES = 3 * 200_000;

describe('the log', () => {
  let relayed: RelayedNode;
  beforeEach(async ({ task }) => {
    relayed = await RelayedNode.create({
      server: testPgUrl(),
      setup: `create table item (id int primary key, note text);
              insert into item select n, '' from generate_series(1, 200) n`,
      tables: `- { name: public.item${task.name.includes('old rows') ? ', before: full' : ''} }`,
      streams: task.name.includes('slow') ? ['trail', 'slow'] : ['trail'],
    });
  });
  afterEach(() => relayed.close());

  const run = (script: string) => onPublic(relayed.node.connection, script);
  const load = async (rounds: number) => {
    for (let i = 0; i < rounds; i += 1) {
      await run(`update item set note = '${i} ' || repeat(md5(id::text), 20)`);
    }
  };

  async function logBytes(): Promise<number> {
    const rows = await relayed.node.connection.query(
      `select sum(pg_table_size(format('shovel.%s_%s_%s', kind, k, '${SET}')::regclass)) as bytes
       from generate_series(0, 2) k, unnest(array['log', 'more']) kind`,
    );
    return Number(rows[0]?.bytes);
  }

  async function value(sql: string): Promise<string> {
    const [row] = await relayed.node.connection.arrays(sql);
    return row?.[0] ?? '';
  }

  async function backToBaseline(relay: RunningRelay): Promise<void> {
    await until('the log is small again', async () => (await logBytes()) < BASELINE_BYTES);
    await relayed.published(relay);
  }

  it.each([
    'goes back to its size after a load, and every row was published',
    'does so where it holds whole old rows',
  ])('%s', async () => {
    await run('delete from item');
    await run(`insert into item select n, '' from generate_series(1, 200) n`);
    const relay = relayed.start();
    let largest = 0;
    for (let i = 0; i < 12; i += 1) {
      await load(2);
      largest = Math.max(largest, await logBytes());
    }
    await relayed.published(relay);
    await backToBaseline(relay);
    expect(largest).toBeGreaterThan(200_000);
    // The newest ticket is kept, and the next one follows it.
    const newest = BigInt(await value(`select max(ticket) from shovel.ticket_${SET}`));
    expect(newest).toBeGreaterThan(2n);
    await load(1);
    await relayed.published(relay);
    await relay.stop();
    const seen = new Set((await relayed.lines()).filter((line) => line.startsWith('{"op":"e"')));
    expect(BigInt(await value(`select max(ticket) from shovel.ticket_${SET}`))).toBe(BigInt(seen.size));
    expect(await rebuilt()).toEqual(await relayed.tableRows('public.item'));
  });

  it('turns early where little is allowed: a log that is published is not what passes the limit', async () => {
    const { trim: _, ...tuning } = QUICK;
    const limits = { logBytes: 4_000_000, lagMs: 3_600_000, rowBytes: 1_000_000, policy: 'suspend' } as const;
    await load(20);
    expect(await logBytes()).toBeGreaterThan(BASELINE_BYTES);
    const relay = relayed.start({ once: true, tuning, change: { limits } });
    expect(await relay.ended).toMatchObject({ ended: 'published', error: undefined });
    expect(await logBytes()).toBeLessThan(BASELINE_BYTES);
  });

  /** The table from the file; its first rows were deleted in the log's first transaction. */
  async function rebuilt(): Promise<readonly string[]> {
    const lines = await relayed.lines();
    const rows = new Map<string, string>();
    for (const line of lines) {
      const after = /"after":(\{.*?\}),"op":"[cu]"/.exec(line)?.[1];
      if (after !== undefined) rows.set(/"id":(\d+)/.exec(after)?.[1] ?? '', after);
    }
    return [...rows.values()].sort();
  }

  it('is kept while a slow stream needs it', async () => {
    let blocked = true;
    const relay = relayed.start({
      streams: { trail: relayed.fileStream('trail'), slow: relayed.fileStream('slow') },
      createPublisher: async (stream) => {
        const publisher = relayed.filePublisher(stream);
        if (stream !== 'slow') return publisher;
        return {
          display: publisher.display,
          limits: publisher.limits,
          start: () => publisher.start(),
          stop: () => publisher.stop(),
          publish: async (messages, position) => {
            await until('it is let go', () => !blocked, { timeoutMs: 60_000 });
            await publisher.publish(messages, position);
          },
        };
      },
    });
    for (let i = 0; i < 6; i += 1) {
      await load(2);
      await relayed.published(relay);
    }
    expect(await logBytes()).toBeGreaterThan(1_000_000);
    expect(await value(`select min(ticket) from shovel.ticket_${SET}`)).toBe('0');
    blocked = false;
    await relayed.published(relay, 'slow');
    await backToBaseline(relay);
    expect(await relayed.lines('slow')).toEqual(await relayed.lines('trail'));
    await relay.stop();
  });

  it('is not held by a transaction that has nothing to do with it', async () => {
    const other = await relayed.node.session();
    await other.script(
      'create table public.elsewhere (a int); begin; insert into public.elsewhere values (1)',
    );
    const relay = relayed.start();
    for (let i = 0; i < 6; i += 1) {
      await load(2);
      await relayed.published(relay);
    }
    await backToBaseline(relay);
    await other.script('commit');
    await relay.stop();
  });

  it('keeps the rows of a transaction that is still open', async () => {
    const open = await relayed.node.session();
    await open.script(`begin; insert into public.item values (1000, 'late')`);
    const relay = relayed.start();
    for (let i = 0; i < 6; i += 1) {
      await load(2);
      await relayed.published(relay);
    }
    await until(
      'it was rotated',
      async () => (await value(`select last_value & 3 from shovel.switch_${SET}`)) !== '0',
    );
    await open.script('commit');
    await relayed.published(relay);
    expect((await relayed.lines()).filter((line) => line.includes('"late"'))).toHaveLength(1);
    await backToBaseline(relay);
    await relay.stop();
  });

  it('leaves a segment that someone reads for later, and keeps the other bits of the switch', async () => {
    await load(4);
    await relayed.node.connection.script(`select setval('shovel.switch_${SET}', 8)`);
    const dump = await relayed.node.session();
    await dump.script(`begin; lock table shovel.log_0_${SET} in access share mode`);
    const relay = relayed.start();
    await until(
      'it was rotated',
      async () => (await value(`select last_value from shovel.switch_${SET}`)) !== '8',
    );
    expect(await value(`select last_value from shovel.switch_${SET}`)).toBe('9');
    expect(Number(await value(`select pg_table_size('shovel.log_0_${SET}')`))).toBeGreaterThan(200_000);
    await relayed.published(relay);
    await dump.script('commit');
    await backToBaseline(relay);
    await relay.stop();
  });

  it('is trimmed by runs of once, too', async () => {
    for (let i = 0; i < 8; i += 1) {
      await load(3);
      expect((await relayed.once()).error).toBeUndefined();
    }
    expect(await logBytes()).toBeLessThan(BASELINE_BYTES);
    expect(await rebuilt()).toEqual(await relayed.tableRows('public.item'));
  });
});
