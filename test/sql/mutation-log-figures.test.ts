/** What the view mutation_log counts, estimates and says of time, and what that costs on a long log. */
import { describe, expect, it } from 'vitest';
import { positionName } from '../../src/capture/generated-names.js';
import type { Row } from '../../src/postgres/connect.js';
import { useMutationLog } from '../support/mutation-log.js';
import { SERVERS } from '../support/pg-versions.js';

describe.each(SERVERS)('mutation_log on $name', ({ url }) => {
  const log = useMutationLog(url);

  it('estimates a long backlog, drawn or not, without reading the log', async () => {
    await log.createSet('a');
    const total = 200_000;
    await log.admin.script(`select setval('shovel.seq_a', 5000000000);
      update shovel.ticket_0_a set drawn_at = drawn_at - interval '2 hours'`);
    await log.write(log.admin, { count: total, age: '1000 seconds', text: 'x'.repeat(400) });
    const pages = Number((await log.readOne()).log_bytes) / 8192;
    const backlog = (row: Row) => {
      expect(Number(row.pending_mutations) / total).toBeCloseTo(1, 1);
      expect(Number(row.pending_bytes) / (total * 500)).toBeCloseTo(1, 1);
      expect(Number(row.lag_s)).toBeGreaterThanOrEqual(1000);
      expect(Number(row.mutations_per_second)).toBeGreaterThan(150);
      expect(Number(row.mutations_per_second)).toBeLessThan(201);
    };
    backlog(await log.readOne());
    expect(await pagesTouched()).toBeLessThan(pages / 3);
    await log.draw();
    backlog(await log.readOne());
    expect(await pagesTouched()).toBeLessThan(pages / 3);
    await log.becomesLevel();
    expect(await pagesTouched()).toBeLessThan(pages / 3);
  });

  it('sums few tickets and estimates very many by their numbers', async () => {
    await log.createSet('a', ['behind', 'near']);
    await log.write(log.admin, { count: 4, age: '1 day' });
    await log.draw();
    await log.admin.script(`select setval('shovel.seq_a', 200005);
      insert into shovel.ticket_0_a
        select 1 + n, (select snapshot from shovel.ticket_a order by ticket desc limit 1), 4 + 2 * n, 3 + 2 * n, 4 + 2 * n, 2, 7, now(), false
        from generate_series(1, 100000) n`);
    await log.position(99_901, { stream: 'near' });
    const [behind, near] = await log.read();
    expect(behind).toMatchObject({ ticket: '0', pending_mutations: '200003' });
    expect(Number(behind?.lag_s)).toBeGreaterThanOrEqual(86_400);
    expect(near).toMatchObject({ ticket: '99901', pending_mutations: '200' });
  });

  it('gives a rate over the last minute', async () => {
    await log.createSet('a');
    await log.write(log.admin, { count: 600 });
    await log.draw();
    await log.write(log.admin, { count: 600 });
    expect((await log.readOne()).mutations_per_second).toBe('20.000');
    await log.admin.script(
      `update shovel.ticket_0_a set drawn_at = drawn_at - interval '61 s'; select setval('shovel.${positionName('a', 'events')}', 3)`,
    );
    expect((await log.readOne()).mutations_per_second).toBe('10.000');
  });

  it('tells the age of the oldest open transaction, not that of the reader', async () => {
    await log.createSet('a');
    const reader = await log.connect();
    await reader.script('begin');
    expect((await log.readOne(reader)).oldest_open_transaction).toBeNull();
    const other = await log.connect();
    await other.script('begin');
    const [began] = await other.query('select clock_timestamp() - now() as age, pg_sleep(0.02)');
    expect(began?.age).toBeTruthy();
    const age = Number((await log.readOne()).open_s);
    expect(age).toBeGreaterThanOrEqual(0.02);
    expect(age).toBeLessThan(120);
    await other.script('commit');
    await reader.script('commit');
    expect((await log.readOne()).oldest_open_transaction).toBeNull();
  });

  async function pagesTouched(): Promise<number> {
    const [plan] = await log.admin.query(
      `explain (analyze, buffers, format json) select * from shovel.mutation_log`,
    );
    const root: { Plan: Record<string, number> }[] = JSON.parse(plan?.['QUERY PLAN'] ?? '');
    const blocks = root[0]?.Plan;
    return (blocks?.['Shared Hit Blocks'] ?? 0) + (blocks?.['Shared Read Blocks'] ?? 0);
  }
});
