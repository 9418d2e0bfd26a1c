/**
 * Takes capture away from tables that a set has no longer: triggers one table per transaction, those of a partition tree
 * one by one, then their functions, and with the last table the log itself. Comes after the decision, so a table that is
 * busy now can be done later.
 */
import type { CapturedTable } from '../model/captured-table.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { type NodeNames, quoteIdentifier, readSql } from '../postgres/sql-files.js';
import { readPartitions } from './catalog.js';
import { functionNames, functionPattern } from './generated-names.js';
import { lockTree, type Patience, runSteps, type Step } from './lock-patience.js';

export interface RemovalOptions extends Patience {
  readonly names: NodeNames;
  readonly set: string;
  /** Tables that stay captured; with none the set's log goes too. */
  readonly keep: readonly KeptTable[];
}

export interface KeptTable {
  readonly relid: number;
  readonly captured: CapturedTable;
}

/** @throws RefusedError `table_busy` */
export async function removeCapture(connection: PostgresConnection, options: RemovalOptions): Promise<void> {
  await runSteps(connection, await steps(connection, options), options);
}

export async function planRemoval(
  connection: PostgresConnection,
  options: RemovalOptions,
): Promise<readonly string[]> {
  return (await steps(connection, options)).flatMap((step) => step.statements);
}

async function steps(connection: PostgresConnection, options: RemovalOptions): Promise<readonly Step[]> {
  const { names, set } = options;
  const rows = await connection.query(
    `select t.tgrelid, n.nspname, c.relname, c.relkind, t.tgname, p.proname,
       t.tgtype & 1 = 1 as cloned from pg_catalog.pg_trigger t
     join pg_catalog.pg_class c on c.oid = t.tgrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     join pg_catalog.pg_proc p on p.oid = t.tgfoid
     where t.tgparentid = 0 and t.tgfoid = any (array(
       select f.oid from pg_catalog.pg_proc f join pg_catalog.pg_namespace s on s.oid = f.pronamespace
       where s.nspname = $1 and f.proname ~ $2))
     order by t.tgrelid, t.tgname`,
    [names.schema, functionPattern(set)],
  );
  const roots = new Set([
    ...rows.filter((row) => row.relkind === 'p').map((row) => Number(row.tgrelid)),
    ...options.keep.filter(({ captured }) => captured.partitioned).map(({ relid }) => relid),
  ]);
  const partitionsOf = new Map<number, { relid: number; schema: string; table: string }[]>();
  for (const partition of await readPartitions(connection, [...roots])) {
    partitionsOf.set(partition.root, [...(partitionsOf.get(partition.root) ?? []), partition]);
  }
  const kept = keptTriggers(
    rows.map((row) => ({ relid: Number(row.tgrelid), calls: row.proname ?? '' })),
    {
      keep: options.keep,
      below: (relid) => (partitionsOf.get(relid) ?? []).map((partition) => partition.relid),
    },
  );
  const found = new Map<string, { table: string; relids: number[]; statements: string[] }>();
  for (const row of rows) {
    if (kept(Number(row.tgrelid), row.proname ?? '')) continue;
    const relid = Number(row.tgrelid);
    const on = `${quoteIdentifier(row.nspname ?? '')}.${quoteIdentifier(row.relname ?? '')}`;
    // The root's row triggers have clones, which go with them; its own on TRUNCATE concerns it alone.
    const partitions = row.cloned === 't' ? (partitionsOf.get(relid) ?? []) : [];
    const one = row.relkind === 'p' ? `${relid} ${row.tgname}` : String(relid);
    const step = found.get(one) ?? {
      table: `${row.nspname}.${row.relname}`,
      relids: [relid, ...partitions.map((partition) => partition.relid)],
      statements: [...lockTree(on, partitions.map(quoted), 'access exclusive')],
    };
    step.statements.push(`drop trigger if exists ${quoteIdentifier(row.tgname ?? '')} on ${on}`);
    found.set(one, step);
  }
  const last = await lastStep(connection, options);
  return last.statements.length === 0 ? [...found.values()] : [...found.values(), last];
}

/**
 * Whether a trigger belongs to a table that stays. One that calls such a table's function from another table logs that
 * one's rows as the first one's: a partition that was detached, a table that was copied with its triggers. Where none
 * stands on the table itself it has another oid than when it was captured (it was restored), and all are left alone.
 */
function keptTriggers(
  triggers: readonly { readonly relid: number; readonly calls: string }[],
  {
    keep,
    below,
  }: { readonly keep: readonly KeptTable[]; readonly below: (relid: number) => readonly number[] },
): (relid: number, calls: string) => boolean {
  const places = new Map<string, ReadonlySet<number> | undefined>();
  for (const { relid, captured } of keep) {
    const tree = new Set([relid, ...below(relid)]);
    for (const name of functionNames(captured)) {
      const stands = triggers.some((one) => one.calls === name && one.relid === relid);
      places.set(name, stands ? tree : undefined);
    }
  }
  return (relid, calls) => places.has(calls) && (places.get(calls)?.has(relid) ?? true);
}

const quoted = ({ schema, table }: { readonly schema: string; readonly table: string }) =>
  `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;

async function lastStep(connection: PostgresConnection, options: RemovalOptions): Promise<Step> {
  const { names, set } = options;
  const kept = new Set(options.keep.flatMap(({ captured }) => functionNames(captured)));
  const schema = quoteIdentifier(names.schema);
  const rows = await connection.query(
    `select p.proname from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
     where n.nspname = $1 and p.proname ~ $2 order by p.proname`,
    [names.schema, functionPattern(set)],
  );
  const functions = rows
    .map((row) => row.proname ?? '')
    .filter((name) => !kept.has(name))
    .map((name) => `drop function if exists ${schema}.${quoteIdentifier(name)}()`);
  const whole = options.keep.length === 0;
  const statements = whole
    ? [
        ...functions,
        ...(await lockLog(connection, options)),
        await positions(connection, options),
        await readSql('sql/set/drop_log.sql', names, set),
      ]
    : functions;
  return {
    table: `log of set ${set}`,
    relids: [],
    statements:
      statements.length === 0
        ? []
        : [`set local role ${quoteIdentifier(names.owner)}`, ...statements, 'reset role'],
  };
}

/** All of it or none, so that whoever reads the log for monitoring does not wait for us while we wait for another. */
async function lockLog(
  connection: PostgresConnection,
  { names, set }: RemovalOptions,
): Promise<readonly string[]> {
  const rows = await connection.query(
    `select pg_catalog.format('%I.%I', n.nspname, c.relname) as name
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relkind in ('r', 'v') and c.relname ~ $2 order by c.relkind desc, c.oid`,
    [names.schema, `^(log|more|ticket|order|segment)(_[0-9])?_${set}$`],
  );
  if (rows.length === 0) return [];
  return [`lock table ${rows.map((row) => row.name).join(', ')} in access exclusive mode nowait`];
}

async function positions(connection: PostgresConnection, { names, set }: RemovalOptions): Promise<string> {
  const schema = quoteIdentifier(names.schema);
  const rows = await connection.query(
    `select c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relkind = 'S' and c.relname ~ $2 order by 1`,
    [names.schema, `^position_${set}_[0-9a-f]{8}$`],
  );
  return rows.map((row) => `drop sequence if exists ${schema}.${row.relname};`).join('\n');
}
