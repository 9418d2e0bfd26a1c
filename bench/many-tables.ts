/**
 * What a set over thousands of tables costs to administer: two databases of the same shape, coordinated by ZooKeeper;
 * create, dry run, diff, inspect, an upgrade of one table, a roll back, drop. For each: seconds, statements sent to the
 * databases, multis at the coordinator with the bytes of the largest, beside its limit of 1,000,000. Writes
 * bench/results/many-tables.json.
 *
 *   npm run bench -- many-tables [--tables 1000] [--columns 8] [--long]
 *
 * `--long` gives tables and columns names as long as PostgreSQL allows.
 */
import { writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';
import { startEphemeral } from '../scripts/services/index.js';
import type { AdminContext } from '../src/admin/context.js';
import { createSet } from '../src/admin/create-set.js';
import { dropSet } from '../src/admin/drop-set.js';
import { initCluster } from '../src/admin/init-cluster.js';
import { inspectSet } from '../src/admin/inspect-set.js';
import { diffSet } from '../src/admin/set-history.js';
import { rollbackSet, upgradeSet } from '../src/admin/upgrade-set.js';
import type { Coordinator } from '../src/coordinator/coordinator.js';
import { createZooKeeperCoordinator } from '../src/coordinator/zookeeper/zookeeper-coordinator.js';
import { ShovelError } from '../src/errors.js';
import type { SetConfiguration } from '../src/model/set-configuration.js';
import { openConnection, type PostgresConnection } from '../src/postgres/connect.js';
import { systemClock } from '../src/runtime/clock.js';
import { silentLogger } from '../src/runtime/logger.js';
import { configured } from '../test/support/set-file-text.js';

const { values: flags } = parseArgs({
  options: {
    tables: { type: 'string', default: '1000' },
    columns: { type: 'string', default: '8' },
    long: { type: 'boolean', default: false },
  },
});
const TABLES = Number(flags.tables);
const COLUMNS = Number(flags.columns);
const DATABASES = ['main', 'eu'] as const;
const LIMIT_BYTES = 1_000_000;

/** A name that differs at its end, as those of partitions and shards do. */
const named = (prefix: string, number: number) =>
  flags.long
    ? `${prefix}_${'x'.repeat(56 - prefix.length)}${String(number).padStart(6, '0')}`
    : `${prefix}_${number}`;
const tableNames = Array.from({ length: TABLES }, (_, index) => named('t', index));
const columnNames = Array.from({ length: COLUMNS }, (_, index) => named('c', index));

interface Traffic {
  statements: number;
  sentBytes: number;
  multis: number;
  largestBytes: number;
}

const traffic: Traffic = { statements: 0, sentBytes: 0, multis: 0, largestBytes: 0 };

function counted(connection: PostgresConnection): PostgresConnection {
  const count = (text: string) => {
    traffic.statements += 1;
    traffic.sentBytes += text.length;
  };
  return {
    ...connection,
    query: (text, values) => {
      count(text);
      return connection.query(text, values);
    },
    arrays: (text, values) => {
      count(text);
      return connection.arrays(text, values);
    },
    script: (text) => {
      count(text);
      return connection.script(text);
    },
  };
}

function countMultis(coordinator: Coordinator): void {
  const multi = coordinator.multi.bind(coordinator);
  coordinator.multi = (operations) => {
    const bytes = operations.reduce((sum, one) => sum + ('data' in one ? Buffer.byteLength(one.data) : 0), 0);
    traffic.multis += 1;
    traffic.largestBytes = Math.max(traffic.largestBytes, bytes);
    return multi(operations);
  };
}

function configuration(urls: ReadonlyMap<string, string>, tables: readonly string[]): SetConfiguration {
  const text = [
    'name: many',
    'databases:',
    ...[...urls].map(([name, url]) => `  ${name}: { dsn: "${url}" }`),
    'tables:',
    ...tables.map((table) => `  - { name: ${table} }`),
    'streams: { trail: { file: { path: "/dev/null/{set}" } } }',
  ].join('\n');
  return configured(text);
}

interface Measured extends Traffic {
  readonly seconds: number;
  readonly error?: string;
}

async function measure(work: () => Promise<unknown>): Promise<Measured> {
  Object.assign(traffic, { statements: 0, sentBytes: 0, multis: 0, largestBytes: 0 });
  const begun = performance.now();
  const error = await work().then(
    () => undefined,
    (thrown: unknown) => {
      if (thrown instanceof ShovelError) return `${thrown.code}: ${thrown.message}`;
      throw thrown;
    },
  );
  const seconds = Math.round((performance.now() - begun) / 10) / 100;
  return { seconds, ...traffic, ...(error === undefined ? {} : { error }) };
}

async function main(): Promise<void> {
  const started = new Date().toISOString();
  const load = loadavg()[0] ?? 0;
  const [server, zooKeeper] = await Promise.all([startEphemeral('pg'), startEphemeral('zk')]);
  const coordinator = createZooKeeperCoordinator({
    hosts: zooKeeper.address,
    sessionTimeoutMs: 15_000,
    connectTimeoutMs: 10_000,
    logger: silentLogger(),
  });
  try {
    const urls = await makeDatabases(server.address);
    await coordinator.start();
    const context: AdminContext = {
      cluster: 'bench',
      coordinator,
      openNode: async (database, { dsn }) =>
        counted(await openConnection({ dsn, name: database, applicationName: 'shovel admin' })),
      logger: silentLogger(),
      lockTimeoutMs: 40,
      clock: systemClock,
      say: (line) => process.stderr.write(`${line}\n`),
      signal: new AbortController().signal,
    };
    await initCluster(context);
    countMultis(coordinator);
    const results: Record<string, Measured> = {};
    const run = async (name: string, work: () => Promise<unknown>) => {
      const measured = await measure(work);
      results[name] = measured;
      process.stderr.write(`${name} ${JSON.stringify(measured)}\n`);
      return measured.error === undefined;
    };
    const all = configuration(urls, tableNames);
    const fewer = configuration(urls, tableNames.slice(1));
    const plain = { wait: false, dryRun: false } as const;
    await run('create --dry-run', () =>
      createSet(context, { configuration: fewer, wait: false, dryRun: true }),
    );
    const made = await run('create', () => createSet(context, { configuration: fewer, ...plain }));
    if (made) {
      await run('diff', () => diffSet(context, { configuration: all }));
      await run('inspect', () => inspectSet(context, { name: 'many' }));
      await run('upgrade, unchanged', () => upgradeSet(context, { configuration: fewer, ...plain }));
      await run('upgrade --dry-run', () =>
        upgradeSet(context, { configuration: all, wait: false, dryRun: true }),
      );
      await run('upgrade of one table', () => upgradeSet(context, { configuration: all, ...plain }));
      await run('rollback of one table', () => rollbackSet(context, { name: 'many', version: 1, ...plain }));
      await run('drop', () => dropSet(context, { name: 'many', force: false, dryRun: false }));
    }
    const result = {
      command: `npm run bench -- many-tables --tables ${TABLES} --columns ${COLUMNS}${flags.long ? ' --long' : ''}`,
      started,
      machine: { cpus: cpus().length, model: cpus()[0]?.model, loadBefore: load, loadAfter: loadavg()[0] },
      noisy: load > 1.5,
      databases: DATABASES.length,
      limitBytes: LIMIT_BYTES,
      results,
    };
    const suffix = `${TABLES === 1000 ? '' : `-${TABLES}`}${flags.long ? '-long' : ''}`;
    const file = new URL(`./results/many-tables${suffix}.json`, import.meta.url);
    await writeFile(file, `${JSON.stringify(result, null, 2)}\n`);
  } finally {
    await coordinator.stop();
    await Promise.all([server.close(), zooKeeper.close()]);
  }
}

async function makeDatabases(url: string): Promise<ReadonlyMap<string, string>> {
  const urls = new Map<string, string>();
  const admin = await openConnection({ dsn: url, name: 'of the measurement', applicationName: 'bench' });
  const [template] = DATABASES;
  for (const database of DATABASES) {
    const own = new URL(url);
    own.pathname = `/many_${database}`;
    urls.set(database, own.href);
    if (database !== template) {
      await admin.script(`create database many_${database} template many_${template}`);
      continue;
    }
    await admin.script(`create database many_${database}`);
    const connection = await openConnection({ dsn: own.href, name: database, applicationName: 'bench' });
    const columns = columnNames.map((column) => `${column} text`).join(', ');
    for (let from = 0; from < TABLES; from += 100) {
      const some = tableNames.slice(from, from + 100);
      await connection.script(
        some.map((table) => `create table public.${table} (id bigint primary key, ${columns})`).join(';'),
      );
    }
    await connection.end();
  }
  await admin.end();
  return urls;
}

await main();
