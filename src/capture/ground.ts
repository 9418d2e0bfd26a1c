/**
 * Prepares the ground for a version: the set's log, functions that do nothing, and triggers that call them. Runs
 * before anything is decided, in short transactions, and harms nobody if it is abandoned. What is there already, in the
 * right form, is left alone: no lock is taken on a table whose triggers stand. A transaction locks one table; of a
 * partition tree it makes one trigger.
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
import { lockTree, type Patience, runSteps, type Step } from './lock-patience.js';
import { handOver, setFunctionStatements } from './set-functions.js';
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
  const triggers = await existingTriggers(connection, functions);
  found.push(...stubSteps(new Set(functions.values()), options));
  for (const table of options.tables) found.push(...triggerSteps(table, { triggers, options }));
  return found;
}

async function logExists(connection: PostgresConnection, { names, set }: GroundOptions): Promise<boolean> {
  const rows = await connection.query('select pg_catalog.to_regclass($1)::oid as log', [
    `${quoteIdentifier(names.schema)}.log_${set}`,
  ]);
  return rows[0]?.log !== null;
}

async function logStatements({ names, set }: GroundOptions): Promise<readonly string[]> {
  return [
    `set local role ${quoteIdentifier(names.owner)}`,
    await readSql('sql/set/create_log.sql', names, set),
    ...(await setFunctionStatements(names, set)),
    'reset role',
  ];
}

/** Names of capture functions, of every set, by oid. */
async function existingFunctions(
  connection: PostgresConnection,
  { names }: GroundOptions,
): Promise<ReadonlyMap<string, string>> {
  const rows = await connection.query(
    `select p.oid, p.proname from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname = $1 and p.proname like 'capture\\_%'`,
    [names.schema],
  );
  return new Map(rows.map((row) => [row.oid ?? '', row.proname ?? '']));
}

/** Apart from the triggers, so that no table is held while they are made. */
function stubSteps(functions: ReadonlySet<string>, { names, set, tables }: GroundOptions): readonly Step[] {
  const missing = tables
    .flatMap((table) => functionNames(table.captured))
    .filter((name) => !functions.has(name));
  const found: Step[] = [];
  for (let i = 0; i < missing.length; i += STUBS_AT_ONCE) {
    const some = missing.slice(i, i + STUBS_AT_ONCE);
    const statements = [
      `set local role ${quoteIdentifier(names.owner)}`,
      ...some.map((name) => stubFunction(name, names)),
      ...handOver(
        names,
        some.map((name) => `${quoteIdentifier(name)}()`),
      ),
      'reset role',
    ];
    found.push({ table: `functions of set ${set}`, relids: [], statements });
  }
  return found;
}

/** Few enough for the server's table of locks, many enough to be quick with a thousand tables. */
const STUBS_AT_ONCE = 100;

interface ExistingTrigger {
  readonly functionName: string;
  /** pg_trigger.tgenabled: O origin, A always, D disabled, R replica. */
  readonly enabled: string;
}

const triggerKey = (relid: number, name: string) => `${relid} ${name}`;

/** Triggers and functions are joined here: the server, by its statistics of before the set, goes through all pairs. */
async function existingTriggers(
  connection: PostgresConnection,
  functions: ReadonlyMap<string, string>,
): Promise<ReadonlyMap<string, ExistingTrigger>> {
  if (functions.size === 0) return new Map();
  const rows = await connection.query(
    `select t.tgrelid, t.tgname, t.tgenabled, t.tgfoid from pg_catalog.pg_trigger t where not t.tgisinternal`,
  );
  return new Map(
    rows.flatMap((row) => {
      const functionName = functions.get(row.tgfoid ?? '');
      return functionName === undefined
        ? []
        : [
            [
              triggerKey(Number(row.tgrelid), row.tgname ?? ''),
              { functionName, enabled: row.tgenabled ?? '' },
            ],
          ];
    }),
  );
}

interface Place {
  readonly relid: number;
  readonly schema: string;
  readonly table: string;
}

const on = ({ schema, table }: Place) => `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;

/**
 * All triggers of an ordinary table at once. Those of a partition tree one by one: a row trigger is cloned to each
 * partition, and writers wait while that is done; triggers on TRUNCATE are not cloned, and need one partition each.
 */
function triggerSteps(
  table: TableDescription,
  { triggers, options }: { triggers: ReadonlyMap<string, ExistingTrigger>; options: GroundOptions },
): readonly Step[] {
  const root = { relid: table.relid, schema: table.captured.schema, table: table.captured.table };
  const missing = (operation: TriggerOperation, place: Place) =>
    triggerStatements(operation, { place, table, triggers, options });
  const step = (places: readonly Place[], statements: readonly string[]): readonly Step[] => {
    const [first, ...others] = places;
    if (first === undefined || statements.length === 0) return [];
    return [
      {
        table: `${first.schema}.${first.table}`,
        relids: places.map((place) => place.relid),
        statements: [...lockTree(on(first), others.map(on), 'share row exclusive'), ...statements],
      },
    ];
  };
  const operations = triggerOperations(table.captured);
  if (!table.captured.partitioned) {
    return step(
      [root],
      operations.flatMap((operation) => missing(operation, root)),
    );
  }
  return operations.flatMap((operation) =>
    operation === 't'
      ? [root, ...table.partitions].flatMap((place) => step([place], missing(operation, place)))
      : step([root, ...table.partitions], missing(operation, root)),
  );
}

function triggerStatements(
  operation: TriggerOperation,
  {
    place,
    table,
    triggers,
    options,
  }: {
    place: Place;
    table: TableDescription;
    triggers: ReadonlyMap<string, ExistingTrigger>;
    options: GroundOptions;
  },
): readonly string[] {
  const { names, set } = options;
  const trigger = triggerName({ schema: names.schema, set, base: table.captured.base }, operation);
  const calls = functionName(table.captured.base, operation);
  const enabled = table.replicated ? 'A' : 'O';
  const there = triggers.get(triggerKey(place.relid, trigger));
  const name = quoteIdentifier(trigger);
  const stands = there?.functionName === calls;
  return [
    ...(stands
      ? []
      : [
          `create or replace trigger ${name} after ${EVENT[operation]} on ${on(place)} ${LEVEL[operation]} execute function ${quoteIdentifier(names.schema)}.${quoteIdentifier(calls)}()`,
        ]),
    ...((stands ? there.enabled : 'O') === enabled
      ? []
      : [`alter table ${on(place)} enable ${enabled === 'A' ? 'always ' : ''}trigger ${name}`]),
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
