/** Updates that leave a 12 kB column alone: bare, and captured with and without it. */
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { APPLICATION, letApplicationWrite } from './bench-server.js';
import { installSet } from './install-set.js';

const ROWS = 4_000;
const TABLES = ['bare', 'include', 'omit'] as const;

/** Median over the rounds of the time beside the bare table's. */
export async function captureWide(
  connection: PostgresConnection,
  rounds: number,
): Promise<{ readonly include: number; readonly omit: number }> {
  for (const table of TABLES) {
    await connection.script(`create table public.wide_${table} (id int primary key, n int, big text);
      alter table public.wide_${table} alter big set storage external;
      insert into public.wide_${table} select g, 0, repeat(md5(g::text), 400) from generate_series(1, ${ROWS}) g`);
  }
  await letApplicationWrite(connection);
  await installSet(
    connection,
    `  - { name: public.wide_include }\n  - { name: public.wide_omit, unchanged_wide: omit }`,
  );
  const times = new Map<string, number[]>(TABLES.map((table) => [table, []]));
  for (let round = 0; round < rounds * 3; round += 1) {
    for (const table of TABLES) {
      await connection.script(`set role ${APPLICATION}`);
      const begun = performance.now();
      await connection.script(`update public.wide_${table} set n = n + 1`);
      times.get(table)?.push(performance.now() - begun);
      await connection.script('reset role');
    }
    await connection.script('vacuum public.wide_bare, public.wide_include, public.wide_omit');
  }
  const ratio = (table: string) => {
    const ratios = (times.get(table) ?? []).map((time, i) => time / (times.get('bare')?.[i] ?? 1));
    return ratios.toSorted((a, b) => a - b)[Math.floor(ratios.length / 2)] ?? Number.NaN;
  };
  return { include: ratio('include'), omit: ratio('omit') };
}
