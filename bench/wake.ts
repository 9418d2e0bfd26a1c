/**
 * What waking a relay costs writers and gives readers, on a private server: 16 writers (one-row inserts, TPC-B) without
 * a relay, with one that polls, with one that asks to be notified, and with the bell armed for good, in interleaved
 * rounds; the time from a commit to its publication on a database that is silent otherwise; the CPU of a relay that
 * rests. Writes bench/results/wake.json.
 *
 *   npm run bench -- wake [--rounds 3] [--seconds 4] [--samples 12] [--gap 3000]
 */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createPostgresCoordinator } from '../src/coordinator/postgres/postgres-coordinator.js';
import type { PostgresConnection } from '../src/postgres/connect.js';
import { openListener } from '../src/postgres/listen.js';
import { DatabaseWatch } from '../src/relay/database-watch.js';
import { runRelay } from '../src/relay/relay.js';
import { systemClock } from '../src/runtime/clock.js';
import { silentLogger } from '../src/runtime/logger.js';
import { createFilePublisher } from '../src/streams/file/file-publisher.js';
import { configured } from '../test/support/set-file-text.js';
import { until } from '../test/support/until.js';
import { type BenchServer, PROGRAMS, runProgram, startBenchServer } from './support/bench-server.js';
import { installSet } from './support/install-set.js';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    samples: { type: 'string', default: '12' },
    gap: { type: 'string', default: '3000' },
  },
});
const [ROUNDS, SECONDS, SAMPLES, GAP_MS] = [flags.rounds, flags.seconds, flags.samples, flags.gap].map(
  Number,
) as [number, number, number, number];
const IDLE_MS = 15_000;
const DATABASE = 'bench';
const ENTRIES = `  - { name: public.one }
  - { name: public.pgbench_accounts }
  - { name: public.pgbench_branches }
  - { name: public.pgbench_tellers }
  - { name: public.pgbench_history, key: none }`;
/** `armed`: no relay, and every write takes the switch's longer way. */
const WRITERS = ['none', 'poll', 'notify', 'armed'] as const;
type Wake = 'poll' | 'notify';

interface Relaying {
  /** When a batch was out, by performance.now(). */
  readonly published: number[];
  stop(): Promise<void>;
}

async function main(): Promise<void> {
  const server = await startBenchServer({
    shared_buffers: '512MB',
    max_wal_size: '8GB',
    checkpoint_timeout: '1h',
    autovacuum: 'off',
    jit: 'off',
    max_prepared_transactions: '0',
    max_connections: '60',
  });
  const folder = await mkdtemp(join(tmpdir(), 'shovel-bench-wake-'));
  try {
    const load = loadavg()[0] ?? 0;
    const { connection, relay } = await prepare(server, folder);
    const throughput = {
      insert: await measureWriters('insert', { server, connection, relay, folder }),
      tpcb: await measureWriters('tpcb', { server, connection, relay, folder }),
    };
    const latency = {
      poll: await measureLatency(connection, () => relay('poll')),
      notify: await measureLatency(connection, () => relay('notify')),
    };
    const idle = {
      poll: await measureIdle(() => relay('poll')),
      notify: await measureIdle(() => relay('notify')),
    };
    const result = {
      command: `npm run bench -- wake --rounds ${ROUNDS} --seconds ${SECONDS} --samples ${SAMPLES} --gap ${GAP_MS}`,
      started: new Date().toISOString(),
      machine: { cpus: cpus().length, model: cpus()[0]?.model, loadBefore: load, loadAfter: loadavg()[0] },
      noisy: load > 1.5,
      postgres: (await runProgram(`${PROGRAMS}/bin/postgres`, ['--version'])).trim(),
      throughput,
      latencyMs: latency,
      idleCpuOfACore: idle,
      goals: {
        insert: { goal: 0.9, notifyToPoll: throughput.insert.notifyToPoll },
        tpcb: { goal: 0.9, notifyToPoll: throughput.tpcb.notifyToPoll },
      },
    };
    await writeFile(
      new URL('./results/wake.json', import.meta.url),
      `${JSON.stringify(result, undefined, 2)}\n`,
    );
    process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`);
    await connection.end();
  } finally {
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

async function prepare(server: BenchServer, folder: string) {
  const postgres = await server.connect('postgres');
  for (const name of [DATABASE, 'coordinator']) await postgres.script(`create database ${name}`);
  await postgres.end();
  await runProgram(`${PROGRAMS}/bin/pgbench`, ['-i', '-q', '-s', '20', '-d', server.url(DATABASE)]);
  const connection = await server.connect(DATABASE);
  await connection.script('create table public.one (id bigserial primary key, note text)');
  await installSet(connection, ENTRIES);
  const nodeId = randomUUID();
  await connection.query(
    `insert into shovel.replication_set (set_name, database_name, node_id, incarnation, set_version, intent_id,
       content_hash, document, system_identifier, database_oid)
     select 'bench', 'main', $1::uuid, 1, 1, gen_random_uuid(), '', '', (select system_identifier from pg_control_system()),
       (select oid from pg_database where datname = current_database())`,
    [nodeId],
  );
  await connection.script(`create sequence shovel.position_bench minvalue 0 start 0; select setval('shovel.position_bench', 0);
    insert into shovel.stream values ('bench', 'trail', 1, 1, 'position_bench')`);
  const coordinator = createPostgresCoordinator({
    dsn: server.url('coordinator'),
    leaseTimeMs: 10_000,
    connectTimeoutMs: 5000,
    operationTimeoutMs: 5000,
    logger: silentLogger(),
  });
  await coordinator.start();
  for (const path of ['/shovel', '/shovel/default', '/shovel/default/leases']) {
    await coordinator.multi([{ kind: 'create', path, data: '' }]);
  }
  await coordinator.stop();
  return { connection, relay: (wake: Wake) => startRelay(server, { wake, nodeId, folder }) };
}

/** A relay with a file stream in this process. */
async function startRelay(
  server: BenchServer,
  { wake, nodeId, folder }: { wake: Wake; nodeId: string; folder: string },
): Promise<Relaying> {
  const configuration = configured(`name: bench
databases: { main: { dsn: "postgres://localhost/bench" } }
tables:
${ENTRIES}
streams: { trail: { file: { path: "${folder}/trail" } } }
wake: ${wake}`);
  const coordinator = createPostgresCoordinator({
    dsn: server.url('coordinator'),
    leaseTimeMs: 10_000,
    connectTimeoutMs: 5000,
    operationTimeoutMs: 5000,
    logger: silentLogger(),
  });
  await coordinator.start();
  const watch = new DatabaseWatch({
    clock: systemClock,
    logger: silentLogger(),
    openBell: (heard) =>
      openListener({
        dsn: server.url(DATABASE),
        name: 'database main',
        applicationName: 'bench',
        channel: 'shovel_wake',
        ...heard,
      }),
  });
  const stopping = new AbortController();
  const published: number[] = [];
  let running = false;
  const ended = runRelay({
    cluster: 'default',
    set: {
      name: 'bench',
      version: 1,
      configuration,
      nodes: [{ database: 'main', nodeId, incarnation: 1, number: 0 }],
    },
    database: 'main',
    coordinator,
    openNode: () => server.connect(DATABASE),
    createPublisher: async (stream) =>
      createFilePublisher({ path: join(folder, stream), stream, logger: silentLogger() }),
    watch: () => watch,
    once: false,
    owner: 'bench',
    clock: systemClock,
    logger: silentLogger(),
    signal: stopping.signal,
    stats: ({ state }) => {
      if (state !== 'running') return;
      running = true;
      published.push(performance.now());
    },
  });
  await Promise.race([until('it relays', () => running), ended]);
  return {
    published,
    stop: async () => {
      stopping.abort();
      await ended;
      await watch.close();
      await coordinator.stop();
    },
  };
}

async function measureWriters(
  workload: 'insert' | 'tpcb',
  {
    server,
    connection,
    relay,
    folder,
  }: {
    server: BenchServer;
    connection: PostgresConnection;
    relay: (wake: Wake) => Promise<Relaying>;
    folder: string;
  },
) {
  const script = join(folder, 'insert.sql');
  await writeFile(script, `insert into one (note) values ('a note of some length');\n`);
  const tps = new Map<string, number[]>(WRITERS.map((writer) => [writer, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const writer of round % 2 === 0 ? WRITERS : WRITERS.toReversed()) {
      await connection.script(
        `truncate one; truncate pgbench_history; checkpoint;
        select setval('shovel.switch_bench', ${writer === 'armed' ? '(last_value & 3) | 4' : 'last_value & 3'}) from shovel.switch_bench`.replaceAll(
          /truncate (\w+)/g,
          'truncate public.$1',
        ),
      );
      const relaying = writer === 'poll' || writer === 'notify' ? await relay(writer) : undefined;
      // At rest, as it is found by the first of the writers.
      if (relaying !== undefined) await systemClock.sleep(1500);
      const said = await runProgram(`${PROGRAMS}/bin/pgbench`, [
        ...['-n', '-c', '16', '-j', '2', '-T', String(SECONDS)],
        ...(workload === 'insert' ? ['-f', script] : ['-b', 'tpcb-like']),
        ...['-d', server.url(DATABASE)],
      ]);
      tps.get(writer)?.push(Number(/tps = ([0-9.]+)/.exec(said)?.[1]));
      await relaying?.stop();
    }
  }
  const ratio = (a: string, b: string) =>
    rounded(median((tps.get(a) ?? []).map((value, k) => value / (tps.get(b)?.[k] ?? Number.NaN))));
  return {
    tps: Object.fromEntries([...tps].map(([writer, values]) => [writer, Math.round(median(values))])),
    rounds: Object.fromEntries([...tps].map(([writer, values]) => [writer, values.map(Math.round)])),
    notifyToPoll: ratio('notify', 'poll'),
    notifyToNone: ratio('notify', 'none'),
    pollToNone: ratio('poll', 'none'),
    armedToNone: ratio('armed', 'none'),
  };
}

async function measureLatency(connection: PostgresConnection, start: () => Promise<Relaying>) {
  const relaying = await start();
  const times: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample += 1) {
    // Uneven, so that no clock keeps step with another.
    await systemClock.sleep(GAP_MS + Math.random() * 1000);
    const before = relaying.published.length;
    await connection.query(`insert into public.one (note) values ('one')`);
    const committed = performance.now();
    await until('it is published', () => relaying.published.length > before, { everyMs: 1 });
    times.push(Math.max(0, (relaying.published[before] ?? 0) - committed));
  }
  await relaying.stop();
  times.sort((a, b) => a - b);
  // Of a hundred samples or more the 99th percentile is another value than the greatest.
  const p99 = times[Math.ceil(times.length * 0.99) - 1] ?? 0;
  return {
    p50: rounded(median(times)),
    p99: rounded(p99),
    max: rounded(times.at(-1) ?? 0),
    samples: times.length,
  };
}

/** Of this process: what the relay and its coordinator's lease take together. */
async function measureIdle(start: () => Promise<Relaying>) {
  const relaying = await start();
  await systemClock.sleep(12_000);
  const before = process.cpuUsage();
  const startedMs = performance.now();
  await systemClock.sleep(IDLE_MS);
  const { user, system } = process.cpuUsage(before);
  const share = (user + system) / 1000 / (performance.now() - startedMs);
  await relaying.stop();
  return Math.round(share * 10_000) / 10_000;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2;
}

function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

await main();
