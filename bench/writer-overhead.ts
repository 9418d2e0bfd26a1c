/**
 * What capture costs the writer, beside the bare table, PgQ's and Slony's C triggers and a logical slot that
 * pg_recvlogical consumes, in interleaved rounds on one server. Every figure is the median of per-round comparisons with
 * the bare run of the same round; CPU is that of the backends. Writers have a role of their own, as applications do: what
 * a trigger pays for running as another role, and for its rights being looked up, is in all figures. Writes
 * bench/results/writer-overhead.json.
 *
 *   npm run bench -- writer-overhead [--rounds 3] [--seconds 4] [--rows 200000]
 */
import { rm, writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import type { PostgresConnection } from '../src/postgres/connect.js';
import { until } from '../test/support/until.js';
import {
  APPLICATION,
  type BenchServer,
  letApplicationWrite,
  ownCpu,
  PROGRAMS,
  runProgram,
  startBenchServer,
} from './support/bench-server.js';
import { type Installed, installVariant, VARIANTS, type Variant } from './support/capture-variants.js';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    rows: { type: 'string', default: '200000' },
    scale: { type: 'string', default: '10' },
  },
});
const ROUNDS = Number(flags.rounds);
const SECONDS = Number(flags.seconds);
const ROWS = Number(flags.rows);

interface Transactions {
  readonly tps: number;
  readonly cpuUs: number;
  readonly walBytes: number;
}
interface Bulk {
  readonly wallUs: number;
  readonly cpuUs: number;
  readonly walBytes: number;
}

const BULK = ['insert', 'update', 'delete', 'copy'] as const;
const STATEMENTS: Readonly<Record<(typeof BULK)[number], string>> = {
  insert: `insert into bulk select g, 'name ' || g, g % 1000, g * 1.5, timestamp '2026-01-01' + g * interval '1 second', g % 2 = 0, md5(g::text), g from generate_series(1, ${ROWS}) g`,
  update: 'update bulk set c = c + 1',
  delete: 'delete from bulk',
  copy: `copy bulk from '@file@'`,
};

async function main(): Promise<void> {
  const server = await startBenchServer({
    shared_buffers: '1GB',
    max_wal_size: '16GB',
    checkpoint_timeout: '1h',
    autovacuum: 'off',
    jit: 'off',
    wal_level: 'logical',
    // Images of whole pages after a checkpoint would drown what capture itself writes.
    full_page_writes: 'off',
    max_connections: '60',
  });
  try {
    const started = new Date().toISOString();
    const load = loadavg()[0] ?? 0;
    await prepareDatabases(server);
    const tpcb = {
      off: await measureTransactions(server, 'off'),
      on: await measureTransactions(server, 'on'),
    };
    const bulk = await measureBulk(server);
    const wide = await measureWide(server);
    const result = {
      command: `npm run bench -- writer-overhead --rounds ${ROUNDS} --seconds ${SECONDS} --rows ${ROWS} --scale ${flags.scale}`,
      started,
      machine: { cpus: cpus().length, model: cpus()[0]?.model, loadBefore: load, loadAfter: loadavg()[0] },
      noisy: load > 1.5,
      postgres: (await runProgram(`${PROGRAMS}/bin/postgres`, ['--version'])).trim(),
      tpcb,
      bulk,
      wide,
      goals: goals(tpcb, { bulk, wide }),
    };
    const file = new URL('./results/writer-overhead.json', import.meta.url);
    await writeFile(file, `${JSON.stringify(result, null, 2)}\n`);
    process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  } finally {
    await server.stop();
  }
}

const databaseOf = (variant: Variant) => `bench_${variant}`;

async function prepareDatabases(server: BenchServer): Promise<void> {
  const admin = await server.connect('postgres');
  await admin.script('create database bench_base');
  await runProgram(`${PROGRAMS}/bin/pgbench`, ['-i', '-q', '-s', flags.scale, server.url('bench_base')]);
  const base = await server.connect('bench_base');
  await base.script(
    `create table public.bulk (id int primary key, a text, b int, c numeric, d timestamp, e bool, f text, g bigint)`,
  );
  await letApplicationWrite(base);
  await base.end();
  for (const variant of VARIANTS) {
    await admin.script(`create database ${databaseOf(variant)} template bench_base`);
    if (variant === 'logical') continue;
    const connection = await server.connect(databaseOf(variant));
    await installVariant(variant, { server, database: databaseOf(variant), connection });
    await connection.end();
  }
  await admin.end();
}

/** Runs `work` for each variant in each round; a slot is there only while its variant runs. */
async function interleave<T>(
  server: BenchServer,
  work: (variant: Variant, connection: PostgresConnection) => Promise<T>,
): Promise<ReadonlyMap<Variant, readonly T[]>> {
  const results = new Map<Variant, T[]>(VARIANTS.map((variant) => [variant, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const variant of VARIANTS) {
      const connection = await server.connect(databaseOf(variant));
      await connection.script('set search_path = public');
      let installed: Installed | undefined;
      if (variant === 'logical') {
        installed = await installVariant(variant, { server, database: databaseOf(variant), connection });
        await connection.script('set search_path = public');
      }
      results.get(variant)?.push(await work(variant, connection));
      await installed?.stop();
      await connection.end();
      process.stderr.write(
        `round ${round + 1}: ${variant} ${JSON.stringify(results.get(variant)?.at(-1))}\n`,
      );
    }
  }
  return results;
}

async function walPosition(connection: PostgresConnection): Promise<bigint> {
  const rows = await connection.query(`select (pg_current_wal_insert_lsn() - '0/0')::bigint as at`);
  return BigInt(rows[0]?.at ?? 0);
}

async function measureTransactions(server: BenchServer, commit: 'on' | 'off') {
  const results = await interleave<Transactions>(server, async (variant, connection) => {
    const [cpu, wal, children] = [server.endedCpu(), await walPosition(connection), server.children()];
    const url = `${server.url(databaseOf(variant))}?application_name=pgbench&options=-csynchronous_commit%3D${commit}%20-crole%3D${APPLICATION}`;
    const out = await runProgram(`${PROGRAMS}/bin/pgbench`, [
      '-n',
      '-M',
      'prepared',
      '-c',
      '2',
      '-T',
      String(SECONDS),
      url,
    ]);
    await until('the backends have ended', () => server.children() <= children);
    const count = Number(/transactions actually processed: (\d+)/.exec(out)?.[1]);
    return {
      tps: Number(/tps = ([\d.]+)/.exec(out)?.[1]),
      cpuUs: ((server.endedCpu() - cpu) * 1e6) / count,
      walBytes: Number((await walPosition(connection)) - wal) / count,
    };
  });
  return summarize(results, { tps: 'ratio', cpuUs: 'difference', walBytes: 'difference' });
}

async function measureBulk(server: BenchServer) {
  const results = await interleave<Record<(typeof BULK)[number], Bulk>>(server, async (_, connection) => {
    const pid = Number((await connection.query('select pg_backend_pid() as pid'))[0]?.pid);
    const file = `/tmp/shovel-bench-${process.pid}.copy`;
    await connection.script('truncate bulk');
    const found = {} as Record<(typeof BULK)[number], Bulk>;
    for (const kind of BULK) {
      if (kind === 'copy') {
        await connection.script(`copy (${STATEMENTS.insert.replace('insert into bulk ', '')}) to '${file}'`);
      }
      const [cpu, wal, begun] = [ownCpu(pid), await walPosition(connection), performance.now()];
      await connection.script(
        `set role ${APPLICATION}; ${STATEMENTS[kind].replace('@file@', file)}; reset role`,
      );
      found[kind] = {
        wallUs: ((performance.now() - begun) * 1000) / ROWS,
        cpuUs: ((ownCpu(pid) - cpu) * 1e6) / ROWS,
        walBytes: Number((await walPosition(connection)) - wal) / ROWS,
      };
      if (kind === 'delete') await connection.script('vacuum bulk');
    }
    await rm(file, { force: true });
    return found;
  });
  return Object.fromEntries(
    BULK.map((kind) => [
      kind,
      summarize(
        new Map([...results].map(([variant, rounds]) => [variant, rounds.map((round) => round[kind])])),
        {
          wallUs: 'difference',
          cpuUs: 'difference',
          walBytes: 'difference',
        },
      ),
    ]),
  );
}

/** An update that leaves a 12 kB column alone: how often the bare one's time. */
async function measureWide(server: BenchServer) {
  const admin = await server.connect('postgres');
  await admin.script('create database bench_wide');
  await admin.end();
  const connection = await server.connect('bench_wide');
  const { captureWide } = await import('./support/wide-tables.js');
  const found = await captureWide(connection, ROUNDS);
  await connection.end();
  return found;
}

type Kind = 'ratio' | 'difference';

/** Medians of what each variant was beside the bare run of its round, and the bare run's own median. */
function summarize<T extends object>(
  results: ReadonlyMap<Variant, readonly T[]>,
  kinds: Readonly<Record<keyof T & string, Kind>>,
) {
  const bare = results.get('bare') ?? [];
  const value = (round: T | undefined, name: string) => Number(round && Reflect.get(round, name));
  return Object.fromEntries(
    [...results].map(([variant, rounds]) => [
      variant,
      Object.fromEntries(
        Object.entries<Kind>(kinds).map(([name, kind]) => {
          const compared = rounds.map((round, i) => {
            if (variant === 'bare') return value(round, name);
            const [one, other] = [value(round, name), value(bare[i], name)];
            return kind === 'ratio' ? one / other : one - other;
          });
          return [name, { median: median(compared), min: Math.min(...compared), max: Math.max(...compared) }];
        }),
      ),
    ]),
  );
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? 0)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

type Summary = ReturnType<typeof summarize>;

/** What the design asks for, and what was measured. */
function goals(
  tpcb: { readonly off: Summary; readonly on: Summary },
  { bulk, wide }: { bulk: Readonly<Record<string, Summary>>; wide: { readonly omit: number } },
) {
  const at = (summary: Summary | undefined, variant: Variant, name: string) =>
    summary?.[variant]?.[name]?.median ?? Number.NaN;
  const row = (name: string, summary: Summary | undefined, other: Variant) =>
    at(summary, 'shovel_row', name) / at(summary, other, name);
  const most = (goal: number, measured: number) => ({
    goal: `at most ${goal}`,
    measured,
    reached: measured <= goal,
  });
  const least = (goal: number, measured: number) => ({
    goal: `at least ${goal}`,
    measured,
    reached: measured >= goal,
  });
  return {
    'TPC-B, extra CPU, of PgQ': most(0.5, row('cpuUs', tpcb.off, 'pgq')),
    'TPC-B, extra WAL, of PgQ': most(0.75, row('walBytes', tpcb.off, 'pgq')),
    'TPC-B, throughput, of PgQ, synchronous_commit=off': least(1.25, row('tps', tpcb.off, 'pgq')),
    'TPC-B, throughput, of PgQ, synchronous_commit=on': least(1.1, row('tps', tpcb.on, 'pgq')),
    ...Object.fromEntries(
      BULK.map((kind) => [`bulk ${kind}, extra CPU, of Slony`, most(1, row('cpuUs', bulk[kind], 'slony'))]),
    ),
    'bulk insert by statement, extra CPU, of PgQ': most(
      0.3,
      at(bulk.insert, 'shovel_statement', 'cpuUs') / at(bulk.insert, 'pgq', 'cpuUs'),
    ),
    'unchanged 12 kB column, unchanged_wide: omit, times bare': most(8, wide.omit),
  };
}

await main();
