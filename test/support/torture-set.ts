/** The set that the torture test is about, how its relays are tuned, and troubles that come from within its databases. */
import type { EphemeralService } from '../../scripts/services/index.js';
import type { SetConfiguration } from '../../src/model/set-configuration.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import type { AdminCluster, Administrator } from './admin-cluster.js';
import type { Random } from './random-workload.js';
import { configured } from './set-file-text.js';
import { KEYED } from './torture-check.js';
import { chooseTables, tableEntries } from './torture-database.js';

interface TortureServers {
  /** By the name of the database in the set. */
  readonly postgres: Readonly<Record<string, EphemeralService>>;
  readonly kafka: EphemeralService;
}

export interface TortureOptions {
  readonly servers: TortureServers;
  readonly seed: number;
  /** How many troubles. */
  readonly rounds: number;
  /** Whether a database is suspended in the end, and taken on again. */
  readonly suspend: boolean;
}

export interface TortureResult {
  /** What is wrong; `[]` where nothing is. */
  readonly problems: readonly string[];
  /** What was done, in order. */
  readonly said: readonly string[];
  readonly published: number;
  readonly tickets: number;
}

export const SET = 'example';
/** Everything small, so that all of it happens often. */
export const TUNING = {
  pace: { shortestMs: 5, longestMs: 50 },
  trimEveryMs: 20,
  trim: { rotateBytes: 60_000, rotateAgeMs: 200, idleBytes: 8192, pinnedMs: 300 },
  chunks: { rows: 50, bytes: 30_000 },
};
export const PART_LIMITS = { messages: 150, bytes: 200_000 };

export interface TortureSetOptions {
  /** By name of the database. */
  readonly urls: Readonly<Record<string, string>>;
  readonly brokers: string;
  /** What its topics begin with. */
  readonly topic: string;
  readonly folder: string;
  readonly seed: number;
  /** Another line of the set file. */
  readonly more: string;
}

/** Chosen anew each time, so that it is mostly another version. */
export function tortureSet(
  random: Random,
  { urls, brokers, topic, folder, seed, more }: TortureSetOptions,
): SetConfiguration {
  const text = [
    `name: ${SET}`,
    'databases:',
    ...Object.entries(urls).map(([database, url]) => `  ${database}: { dsn: "${url}" }`),
    'tables:',
    ...tableEntries(chooseTables(random, { seed })).map((entry) => `  - { ${entry} }`),
    'streams:',
    `  events: { kafka: { brokers: ["${brokers}"], topic: "${topic}.{node}" } }`,
    `  trail: { file: { path: "${folder}/{node}.jsonl" } }`,
    `  whole: { file: { path: "${folder}/{node}.whole.jsonl" }, transactions: true }`,
    '  keyed:',
    `    kafka: { brokers: ["${brokers}"], topic: "${topic}.{node}.{table}", partitions: 2 }`,
    `    tables: [${KEYED.map((table) => `public.${table}`).join(', ')}]`,
    `wake: ${random.pick(['notify', 'poll'])}`,
    more,
  ].join('\n');
  return configured(text);
}

/** What an administrator may be told: tables in use, DDL at the same time, a server that is just away. */
export const IN_THE_WAY: ReadonlySet<string> = new Set([
  'table_busy',
  'database_unreachable',
  'set_busy',
  'change_lost',
  'ground_lost',
]);

/** An administrator who comes by so many points, dies at the next, and does nothing more. */
export async function whileDying(
  cluster: AdminCluster,
  options: {
    readonly steps: number;
    readonly said: (point: string) => void;
    readonly work: (dying: Administrator) => Promise<void>;
  },
): Promise<void> {
  const died = new Error('died');
  const opened: PostgresConnection[] = [];
  let left = options.steps;
  const dying = await cluster.administrator({
    giveUpMs: 60_000,
    openNode: async (database, { dsn }) => {
      const connection = await openConnection({ dsn, name: database, applicationName: 'shovel admin' });
      opened.push(connection);
      return connection;
    },
    failpoint: async (name) => {
      left -= 1;
      if (left > 0) return;
      if (left === 0) options.said(name);
      throw died;
    },
  });
  try {
    await options.work(dying);
  } catch (error) {
    if (error !== died) throw error;
  } finally {
    await Promise.all(opened.map((connection) => connection.end()));
    await dying.stop();
  }
}

/** Ends every session of shovel in a database. */
export async function terminateShovel(url: string): Promise<void> {
  await withConnection(url, (connection) =>
    connection.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name like 'shovel%' and pid <> pg_backend_pid()`,
    ),
  );
}

/** Holds a snapshot, and every table as pg_dump does, the log's included. */
export async function whileDumped(url: string, act: () => Promise<void>): Promise<void> {
  await withConnection(url, async (connection) => {
    await connection.script(`begin isolation level repeatable read; do $$ declare held record; begin
      for held in select c.oid::regclass as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and (n.nspname = 'public' or n.nspname like 'shovel%')
      loop execute format('lock table %s in access share mode', held.name); end loop; end $$`);
    await act();
  });
}

export async function withConnection<T>(
  url: string,
  use: (connection: PostgresConnection) => Promise<T>,
): Promise<T> {
  const connection = await openConnection({ dsn: url, name: 'of the test', applicationName: 'torture' });
  try {
    return await use(connection);
  } finally {
    await connection.end();
  }
}
