/**
 * A database as people have them, under a random workload, captured and relayed by the real parts into a file. What
 * the file's batches make of the tables is held against what is true of every state that the source was in, after each
 * batch; and against the tables themselves, byte for byte and cast back, whenever the workload pauses.
 */
import { randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { memberText } from '../../src/model/json-text.js';
import { openConnection } from '../../src/postgres/connect.js';
import { quoteIdentifier, quoteLiteral } from '../../src/postgres/sql-files.js';
import { onPublic } from './captured-node.js';
import { type Action, RandomWorkload } from './random-workload.js';
import { Reader, type ReaderOptions } from './reader.js';
import { RelayedNode } from './relayed-node.js';

export interface SampleTable {
  /** Of the message's key; null: keyless. */
  readonly key: readonly string[] | null;
  /** Other keys of its entry in the set file, YAML in flow style. */
  readonly options?: string;
  /** Columns that the set leaves out. */
  readonly excluded?: readonly string[];
  /** SQL, where the set has a filter. */
  readonly where?: string;
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
      const differences = await compareTable({ relayed, reader, table, ...database.tables[table] });
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
const quoteAlways = (name: string) => `"${name.replaceAll('"', '""')}"`;

function setFileEntry([name, { options, excluded }]: readonly [string, SampleTable]): string {
  const parts = [
    `name: ${quoteLiteral(`${quoteAlways(schemaOf(name))}.${quoteAlways(tableOf(name))}`)}`,
    ...(options ? [options] : []),
    ...(excluded ? [`exclude: [${excluded.join(', ')}]`] : []),
  ];
  return `- { ${parts.join(', ')} }`;
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

/** Every row that only the messages or only the table has, as PostgreSQL's text of all of its columns. */
async function compareTable({
  relayed,
  reader,
  table,
  excluded = [],
  where = 'true',
}: { relayed: RelayedNode; reader: Reader; table: string } & Partial<SampleTable>): Promise<
  readonly string[]
> {
  const { connection } = relayed.node;
  const name = `${quoteIdentifier(schemaOf(table))}.${quoteIdentifier(tableOf(table))}`;
  const columns = await connection.query(
    `select a.attname as name, a.atttypid::regtype::text as type, c.relkind as kind
     from pg_attribute a join pg_class c on c.oid = a.attrelid
     where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v'
       and not (a.attname = any (array(select json_array_elements_text($2::json)))) order by a.attnum`,
    [name, JSON.stringify(excluded)],
  );
  const values = (nulls: boolean) =>
    columns
      .map((column) => {
        const value = `r.${quoteIdentifier(column.name ?? '')}`;
        if (!nulls || !/^jsonb?$/.test(column.type ?? '')) return value;
        return `case when (item_.doc_ -> 'nulls')::jsonb ? ${quoteLiteral(column.name ?? '')} then 'null'::${column.type} else ${value} end`;
      })
      .join(', ');
  const rows = reader.rowsWithNulls(table).map(({ text, jsonNull }) => ({ row: text, nulls: jsonNull }));
  const only = columns[0]?.kind === 'p' ? '' : 'only';
  const differences = await connection.arrays(
    `with replayed(line) as (
       select row(${values(true)})::text from json_array_elements($1::json) item_(doc_),
         json_populate_record(null::${name}, (item_.doc_ ->> 'row')::json) r),
     real(line) as (select row(${values(false)})::text from ${only} ${name} r where ${where})
     select 'only published: ' || d.line from (select line from replayed except all select line from real) d
     union all
     select 'only in the table: ' || d.line from (select line from real except all select line from replayed) d`,
    [JSON.stringify(rows)],
  );
  return differences.map(([line]) => line ?? '');
}
