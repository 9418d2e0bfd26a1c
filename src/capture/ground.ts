/**
 * Prepares the ground for a version: the set's log, functions that do nothing, and triggers that call them. Runs
 * before anything is decided, in short transactions of one table each, and harms nobody if it is abandoned. What is
 * there already, in the right form, is left alone: no lock is taken on a table whose triggers stand.
 */
import type { PostgresConnection } from '../postgres/connect.js';
import { type NodeNames, quoteIdentifier, readSql } from '../postgres/sql-files.js';
import { stubFunction } from './function-body.js';
import {
  functionName,
  functionNames,
  type TriggerOperation,
  triggerName,
  triggerOperations,
} from './generated-names.js';
import { type Patience, runSteps, type Step } from './lock-patience.js';
import type { TableDescription } from './table-description.js';

export interface GroundOptions extends Patience {
  readonly names: NodeNames;
  readonly set: string;
  readonly tables: readonly TableDescription[];
}

/** @throws RefusedError `table_busy` */
export async function prepareGround(connection: PostgresConnection, options: GroundOptions): Promise<void> {
  await runSteps(connection, await steps(connection, options), options);
}

/** The statements that prepareGround would run now, for --dry-run. */
export async function planGround(
  connection: PostgresConnection,
  options: GroundOptions,
): Promise<readonly string[]> {
  return (await steps(connection, options)).flatMap((step) => step.statements);
}

async function steps(connection: PostgresConnection, options: GroundOptions): Promise<readonly Step[]> {
  const found: Step[] = [];
  if (!(await logExists(connection, options))) {
    found.push({ table: `log of set ${options.set}`, relids: [], statements: await logStatements(options) });
  }
  const functions = await existingFunctions(connection, options);
  const triggers = await existingTriggers(connection, options);
  for (const table of options.tables) {
    const statements = [
      ...stubStatements(table, { functions, options }),
      ...triggerStatements(table, { triggers, options }),
    ];
    if (statements.length === 0) continue;
    found.push({
      table: `${table.captured.schema}.${table.captured.table}`,
      relids: [table.relid, ...table.partitions.map((partition) => partition.relid)],
      statements,
    });
  }
  return found;
}

async function logExists(connection: PostgresConnection, { names, set }: GroundOptions): Promise<boolean> {
  const rows = await connection.query('select pg_catalog.to_regclass($1)::oid as log', [
    `${quoteIdentifier(names.schema)}.log_${set}`,
  ]);
  return rows[0]?.log !== null;
}

async function logStatements({ names, set }: GroundOptions): Promise<readonly string[]> {
  const files = ['create_log', 'window', 'peek', 'nested', 'store_order', 'draw'];
  const sql = await Promise.all(files.map((file) => readSql(`sql/set/${file}.sql`, names, set)));
  const note = await readSql('sql/set/note_metadata.sql', names, set);
  return [
    `set local role ${quoteIdentifier(names.owner)}`,
    ...sql,
    note,
    ...handOver(names, [`note_metadata_${set}()`]),
    'reset role',
  ];
}

/**
 * Functions become the capture role's, which needs CREATE on the schema for just that moment. Nobody else may call
 * them; triggers fire without asking.
 */
function handOver(names: NodeNames, functions: readonly string[]): readonly string[] {
  const schema = quoteIdentifier(names.schema);
  const capture = quoteIdentifier(names.capture);
  return [
    `grant create on schema ${schema} to ${capture}`,
    ...functions.flatMap((one) => [
      `revoke all on function ${schema}.${one} from public`,
      `alter function ${schema}.${one} owner to ${capture}`,
    ]),
    `revoke create on schema ${schema} from ${capture}`,
  ];
}

async function existingFunctions(
  connection: PostgresConnection,
  { names }: GroundOptions,
): Promise<ReadonlySet<string>> {
  const rows = await connection.query(
    `select p.proname from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname = $1 and p.proname like 'capture\\_%'`,
    [names.schema],
  );
  return new Set(rows.map((row) => row.proname ?? ''));
}

function stubStatements(
  table: TableDescription,
  { functions, options }: { functions: ReadonlySet<string>; options: GroundOptions },
): readonly string[] {
  const missing = functionNames(table.captured).filter((name) => !functions.has(name));
  if (missing.length === 0) return [];
  return [
    `set local role ${quoteIdentifier(options.names.owner)}`,
    ...missing.map((name) => stubFunction(name, options.names)),
    ...handOver(
      options.names,
      missing.map((name) => `${quoteIdentifier(name)}()`),
    ),
    'reset role',
  ];
}

interface ExistingTrigger {
  readonly functionName: string;
  /** pg_trigger.tgenabled: O origin, A always, D disabled, R replica. */
  readonly enabled: string;
}

const triggerKey = (relid: number, name: string) => `${relid} ${name}`;

async function existingTriggers(
  connection: PostgresConnection,
  { names }: GroundOptions,
): Promise<ReadonlyMap<string, ExistingTrigger>> {
  const rows = await connection.query(
    `select t.tgrelid, t.tgname, t.tgenabled, p.proname from pg_catalog.pg_trigger t
     join pg_catalog.pg_proc p on p.oid = t.tgfoid join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname = $1 and not t.tgisinternal`,
    [names.schema],
  );
  return new Map(
    rows.map((row) => [
      triggerKey(Number(row.tgrelid), row.tgname ?? ''),
      { functionName: row.proname ?? '', enabled: row.tgenabled ?? '' },
    ]),
  );
}

/** A table's locks are taken first, in oid order over its partitions, each tried for no longer than lock_timeout. */
function triggerStatements(
  table: TableDescription,
  { triggers, options }: { triggers: ReadonlyMap<string, ExistingTrigger>; options: GroundOptions },
): readonly string[] {
  const root = { relid: table.relid, schema: table.captured.schema, table: table.captured.table };
  const enabled = table.replicated ? 'A' : 'O';
  const statements: string[] = [];
  for (const operation of triggerOperations(table.captured)) {
    const trigger = triggerName(
      { schema: options.names.schema, set: options.set, base: table.captured.base },
      operation,
    );
    const calls = functionName(table.captured.base, operation);
    // Row triggers of a partitioned table are cloned to its partitions; those on TRUNCATE are not.
    const places = operation === 't' ? [root, ...table.partitions] : [root];
    for (const place of places) {
      const there = triggers.get(triggerKey(place.relid, trigger));
      const on = `${quoteIdentifier(place.schema)}.${quoteIdentifier(place.table)}`;
      const name = quoteIdentifier(trigger);
      if (there?.functionName !== calls) {
        statements.push(
          `create or replace trigger ${name} after ${EVENT[operation]} on ${on} ${LEVEL[operation]} execute function ${quoteIdentifier(options.names.schema)}.${quoteIdentifier(calls)}()`,
        );
      }
      if (there?.functionName !== calls ? enabled !== 'O' : there.enabled !== enabled) {
        statements.push(`alter table ${on} enable ${enabled === 'A' ? 'always ' : ''}trigger ${name}`);
      }
    }
  }
  if (statements.length === 0) return [];
  const locked = [root, ...table.partitions].toSorted((a, b) => a.relid - b.relid);
  const list = locked.map((one) => `${quoteIdentifier(one.schema)}.${quoteIdentifier(one.table)}`);
  const only = locked.length > 1 ? ' nowait' : '';
  return [
    `lock table ${list.map((one) => `only ${one}`).join(', ')} in share row exclusive mode${only}`,
    ...statements,
  ];
}

const EVENT: Readonly<Record<TriggerOperation, string>> = {
  i: 'insert',
  a: 'insert',
  u: 'update',
  c: 'update',
  d: 'delete',
  r: 'delete',
  t: 'truncate',
};

const LEVEL: Readonly<Record<TriggerOperation, string>> = {
  i: 'for each row',
  u: 'for each row',
  d: 'for each row',
  t: 'for each statement',
  a: 'referencing new table as new_ for each statement',
  c: 'referencing old table as old_ new table as new_ for each statement',
  r: 'referencing old table as old_ for each statement',
};
