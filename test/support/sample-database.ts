/**
 * A database as people have them, under a random workload, captured and relayed by the real parts into a file. What
 * the file's batches make of the tables is held against what is true of every state that the source was in, after each
 * batch; and against the tables themselves, byte for byte and cast back, whenever the workload pauses.
 */
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { memberText } from '../../src/model/json-text.js';
import { openConnection } from '../../src/postgres/connect.js';
import { onPublic } from './captured-node.js';
import { type ComparedTable, compareTable, tableEntry } from './compare-table.js';
import { type Action, RandomWorkload } from './random-workload.js';
import { Reader, type ReaderOptions } from './reader.js';
import { RelayedNode } from './relayed-node.js';

export interface SampleTable extends Pick<ComparedTable, 'excluded' | 'where'> {
  /** Of the message's key; null: keyless. */
  readonly key: readonly string[] | null;
  /** Other keys of its entry in the set file, YAML in flow style. */
  readonly options?: string;
}

export interface ForeignKey {
  readonly from: string;
  readonly columns: readonly string[];
  readonly to: string;
  readonly key: readonly string[];
}

/** The rows of a table, JSON text each. */
export type State = (table: string) => readonly string[];

export interface SampleDatabase {
  readonly name: string;
  /** Next to the file that says so. */
  readonly schema: URL;
  /** More of the schema where the server knows it, by server_version_num. */
  readonly since?: Readonly<Record<number, string>>;
  /** What is written first once everything is captured. */
  readonly rows: string;
  /** By `schema.table`. */
  readonly tables: Readonly<Record<string, SampleTable>>;
  readonly actions: readonly Action[];
  readonly foreignKeys: readonly ForeignKey[];
  /** What is wrong with a state, beside foreign keys; `[]` where nothing is. */
  readonly invariants?: (state: State) => readonly string[];
  readonly inPartition?: ReaderOptions['inPartition'];
}

export interface SampleRun {
  readonly committed: ReadonlyMap<string, number>;
  readonly outcomes: Readonly<Record<string, number>>;
  /** How many mutations of each kind were published: `c`, `u`, `d`, `t`. */
  readonly operations: Readonly<Record<string, number>>;
  readonly tables: ReadonlySet<string>;
  readonly tickets: bigint;
}

/** SHOVEL_TEST_SEED runs one seed again; SHOVEL_TEST_ROUNDS makes the run longer. */
const ROUNDS = Number(process.env.SHOVEL_TEST_ROUNDS ?? 3);
const TRANSACTIONS = 25;
const SESSIONS = 4;

/** @throws at the first state or table that is wrong, with the seed. */
export async function runSampleDatabase(database: SampleDatabase, server: string): Promise<SampleRun> {
  const seed = Number(process.env.SHOVEL_TEST_SEED ?? randomInt(2 ** 31));
  try {
    return await run(database, { server, seed });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`${why}\n${database.name} failed with SHOVEL_TEST_SEED=${seed}`, { cause: error });
  }
}

async function run(
  database: SampleDatabase,
  { server, seed }: { server: string; seed: number },
): Promise<SampleRun> {
  const relayed = await RelayedNode.create({
    server,
    setup: await setupOf(database, server),
    tables: Object.entries(database.tables).map(setFileEntry).join('\n'),
  });
  let failed = true;
  try {
    const seen = await relayWorkload(database, { relayed, seed });
    failed = false;
    return seen;
  } finally {
    if (failed) {
      process.stderr.write(`${database.name}: look at ${relayed.node.url} and at ${relayed.folder}\n`);
    }
    await relayed.close({ keep: failed });
  }
}

async function relayWorkload(
  database: SampleDatabase,
  { relayed, seed }: { relayed: RelayedNode; seed: number },
): Promise<SampleRun> {
  const keys = Object.fromEntries(Object.entries(database.tables).map(([name, { key }]) => [name, key]));
  const reader = new Reader({
    keys,
    ...(database.inPartition ? { inPartition: database.inPartition } : {}),
  });
  const [answer] = await relayed.node.connection.query('show max_prepared_transactions');
  const workload = await RandomWorkload.open({
    seed,
    actions: database.actions,
    session: (settings) => relayed.node.session({ settings }),
    sessions: SESSIONS,
    prepared: answer?.max_prepared_transactions === '0' ? undefined : relayed.nodeId,
  });
  await onPublic(relayed.node.connection, database.rows);
  const relay = relayed.start();
  let read = 0;
  for (let round = 1; round <= ROUNDS; round += 1) {
    await workload.run(TRANSACTIONS);
    if (round === ROUNDS) await workload.completeActions();
    const lines = await relayed.published(relay);
    for (const line of lines.slice(read)) {
      reader.take(line);
      if (!reader.within) checkState(database, reader);
    }
    read = lines.length;
    for (const table of Object.keys(database.tables)) {
      const differences = await compareTable(
        { connection: relayed.node.connection, reader },
        { schema: schemaOf(table), table: tableOf(table), ...database.tables[table] },
      );
      if (differences.length > 0) {
        throw new Error(`after round ${round} ${table} differs:\n${differences.slice(0, 10).join('\n')}`);
      }
    }
  }
  const summary = await relay.stop();
  if (summary.error !== undefined) throw summary.error;
  const operations: Record<string, number> = { c: 0, u: 0, d: 0, t: 0 };
  for (const { op } of reader.mutations) operations[op] = (operations[op] ?? 0) + 1;
  return {
    committed: workload.committed,
    outcomes: workload.outcomes,
    operations,
    tables: new Set(reader.mutations.map((mutation) => mutation.table)),
    tickets: reader.ticket ?? 0n,
  };
}

async function setupOf(database: SampleDatabase, server: string): Promise<string> {
  const connection = await openConnection({
    dsn: server,
    name: 'of the test',
    applicationName: 'shovel-test',
  });
  const version = connection.serverVersion;
  await connection.end();
  const more = Object.entries(database.since ?? {}).filter(([since]) => Number(since) <= version);
  return [await readFile(database.schema, 'utf8'), ...more.map(([, sql]) => sql)].join(';\n');
}

/** Schemas have no dot in their names here. */
const schemaOf = (name: string) => name.slice(0, name.indexOf('.'));
const tableOf = (name: string) => name.slice(name.indexOf('.') + 1);

function setFileEntry([name, table]: readonly [string, SampleTable]): string {
  return tableEntry({ schema: schemaOf(name), table: tableOf(name), ...table });
}

function checkState(database: SampleDatabase, reader: Reader): void {
  const state: State = (table) => reader.rowsWithNulls(table).map(({ text }) => text);
  const problems = [
    ...database.foreignKeys.flatMap((key) => orphans(state, key)),
    ...(database.invariants?.(state) ?? []),
  ];
  if (problems.length > 0) {
    throw new Error(`the source was never as it is after ticket ${reader.ticket}:\n${problems.join('\n')}`);
  }
}

function orphans(state: State, { from, columns, to, key }: ForeignKey): readonly string[] {
  const parents = new Set(state(to).map((row) => key.map((column) => memberText(row, column)).join(' ')));
  return state(from).flatMap((row) => {
    const values = columns.map((column) => memberText(row, column));
    if (values.includes('null') || parents.has(values.join(' '))) return [];
    return [`${from} (${columns.join(', ')}) = (${values.join(', ')}) is not in ${to}`];
  });
}
