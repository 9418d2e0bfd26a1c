/**
 * Holds a set's capture against what its version needs: triggers that are missing or off, functions that were replaced,
 * tables that changed, were renamed or dropped, or that a pattern would now include. Reads only; what is found comes
 * with what mends it.
 */
import { type CapturedTable, decodeCapturedTable } from '../model/captured-table.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';
import { describeTables } from './describe.js';
import { captureBody } from './function-body.js';
import { functionName, type TriggerOperation, triggerName, triggerOperations } from './generated-names.js';
import { bodyWithoutNumber } from './renumber.js';
import { columnTypes, type TableDescription } from './table-description.js';

export interface CaptureFinding {
  readonly code: string;
  /** `error`: mutations are lost or streams will stop; `warning`: captured, but not as configured or at a price. */
  readonly severity: 'error' | 'warning';
  /** What it is about, e.g. `public.accounts`. */
  readonly object: string;
  readonly message: string;
  /** A command, or SQL, that mends it. */
  readonly fix: string;
}

export interface InspectOptions {
  readonly names: NodeNames;
  readonly set: string;
  readonly version: number;
  readonly configuration: SetConfiguration;
  /** sha256 (hex), as activation had it. */
  readonly hash: (text: string) => string;
}

export async function inspectCapture(
  connection: PostgresConnection,
  options: InspectOptions,
): Promise<readonly CaptureFinding[]> {
  const { described, issues } = await describeTables(connection, options.configuration, {
    names: options.names,
  });
  const captured = await readCaptured(connection, options);
  const now = new Map(described.map((table) => [table.relid, table]));
  const names = new Map(described.map((table) => [display(table.captured), table]));
  const known = new Set(captured.map((one) => one.relid));
  const findings: CaptureFinding[] = issues.map(({ table, code, message, hint }) => ({
    code,
    severity: 'error',
    object: table,
    message,
    fix: hint,
  }));
  for (const one of captured) {
    const gone = movedTable(one, { namesake: names.get(display(one.definition)), options });
    if (gone) findings.push(gone);
    if (one.name === null) continue;
    findings.push(
      ...triggerFindings(one, options),
      ...strayFindings(one),
      ...functionFindings(one, { table: now.get(one.relid), options }),
    );
  }
  for (const table of described) {
    const object = display(table.captured);
    if (known.has(table.relid) || captured.some((one) => display(one.definition) === object)) continue;
    findings.push({
      code: 'table_not_captured',
      severity: 'warning',
      object,
      message: `Table ${object} is not captured, though version ${options.version} of set ${options.set} would include it now.`,
      fix: upgrade(options),
    });
  }
  return findings;
}

interface Trigger {
  readonly relid: number;
  /** `schema.table` of the table that it is on, quoted. */
  readonly on: string;
  readonly name: string;
  /** pg_trigger.tgenabled */
  readonly enabled: string;
  /** Of a partition's row trigger, which came with its table's. */
  readonly cloned: boolean;
}

interface Captured {
  readonly rel: string;
  readonly relid: number;
  readonly definition: CapturedTable;
  /** As it is called now, quoted; null: dropped. */
  readonly name: string | null;
  readonly renamed: boolean;
  /** Itself and every partition below, with the names as they stand in SQL. */
  readonly places: readonly { readonly relid: number; readonly on: string; readonly partition: boolean }[];
  readonly triggers: readonly Trigger[];
  /** Of other tables, that call its functions. */
  readonly strays: readonly Trigger[];
  /** Body by function name. */
  readonly bodies: ReadonlyMap<string, string>;
}

/** Table `c` and every partition below it; pg_partition_tree would lock each until the last one is free. */
const TREE = `with recursive below (relid) as (
  select c.oid
union all
  select i.inhrelid from below b join pg_inherits i on i.inhparent = b.relid and not i.inhdetachpending and c.relkind = 'p'
) select b.relid from below b`;

async function readCaptured(
  connection: PostgresConnection,
  { names, set, version }: InspectOptions,
): Promise<readonly Captured[]> {
  const schema = quoteIdentifier(names.schema);
  const rows = await connection.query(
    `select t.rel, t.relid, t.definition, case when c.oid is not null then format('%I.%I', n.nspname, c.relname) end as name,
       ((n.nspname, c.relname) is distinct from (t.schema_name::name, t.table_name::name))::text as renamed,
       (select json_agg(json_build_object('relid', p.oid::int8, 'on', format('%I.%I', pn.nspname, p.relname), 'partition', p.oid <> c.oid) order by p.oid)
        from (${TREE}) b join pg_class p on p.oid = b.relid join pg_namespace pn on pn.oid = p.relnamespace) as places
     from ${schema}.captured_table t left join pg_class c on c.oid = t.relid left join pg_namespace n on n.oid = c.relnamespace
     where t.set_name = $1 and t.set_version = $2 order by t.schema_name, t.table_name`,
    [set, String(version)],
  );
  const functions = await readFunctions(connection, schema);
  return rows.map((row) => {
    const definition = decodeCapturedTable(row.definition ?? '');
    const places = JSON.parse(row.places ?? '[]') as Captured['places'];
    const relids = new Set(places.map((place) => place.relid));
    const own = functions.get(definition.base) ?? [];
    const triggers = own.flatMap((one) => one.triggers);
    // A restored table has another oid than when it was captured.
    const stands = triggers.some((trigger) => trigger.relid === Number(row.relid));
    return {
      rel: row.rel ?? '',
      relid: Number(row.relid),
      definition,
      name: row.name ?? null,
      renamed: row.renamed === 'true',
      places,
      triggers: triggers.filter((trigger) => relids.has(trigger.relid)),
      strays: triggers.filter(({ relid, cloned }) => stands && !cloned && !relids.has(relid)),
      bodies: new Map(own.map(({ name, body }) => [name, body])),
    };
  });
}

interface ExistingFunction {
  readonly name: string;
  readonly body: string;
  readonly triggers: readonly Trigger[];
}

/**
 * All functions of the schema with what fires them, by what the names of one table's begin with. Joined here: the
 * catalog's statistics are of before the set was made, and over 1,000 tables every join went through all pairs.
 */
async function readFunctions(
  connection: PostgresConnection,
  schema: string,
): Promise<ReadonlyMap<string, readonly ExistingFunction[]>> {
  const triggers = new Map<string, Trigger[]>();
  const fired = await connection.query(
    `select g.tgfoid, g.tgrelid, g.tgrelid::regclass::text as place, g.tgname, g.tgenabled, (g.tgparentid <> 0)::text as cloned
     from pg_trigger g`,
  );
  for (const { tgfoid, tgrelid, place, tgname, tgenabled, cloned } of fired) {
    const found = triggers.get(tgfoid ?? '') ?? [];
    found.push({
      relid: Number(tgrelid),
      on: place ?? '',
      name: tgname ?? '',
      enabled: tgenabled ?? '',
      cloned: cloned === 'true',
    });
    triggers.set(tgfoid ?? '', found);
  }
  const functions = new Map<string, ExistingFunction[]>();
  const rows = await connection.query(
    `select f.oid, f.proname, f.prosrc from pg_proc f where f.pronamespace = $1::regnamespace`,
    [schema],
  );
  for (const { oid, proname, prosrc } of rows) {
    const name = proname ?? '';
    const base = name.slice(0, -2);
    const found = functions.get(base) ?? [];
    found.push({ name, body: prosrc ?? '', triggers: triggers.get(oid ?? '') ?? [] });
    functions.set(base, found);
  }
  return functions;
}

function movedTable(
  { definition, name, renamed, relid }: Captured,
  { namesake, options }: { namesake: TableDescription | undefined; options: InspectOptions },
): CaptureFinding | undefined {
  const object = display(definition);
  if (namesake && namesake.relid !== relid) {
    return {
      code: 'table_replaced',
      severity: 'error',
      object,
      message: `Table ${object} is another table than the one that is captured: its rows are not captured.`,
      fix: upgrade(options),
    };
  }
  if (name === null) {
    return {
      code: 'table_dropped',
      severity: 'error',
      object,
      message: `Table ${object} was dropped.`,
      fix: `Take it out of the set file, then: ${upgrade(options)}`,
    };
  }
  if (!renamed) return undefined;
  return {
    code: 'table_renamed',
    severity: 'warning',
    object,
    message: `Table ${object} is called ${name} now and is still published under its old name.`,
    fix: `Name ${name} in the set file, then: ${upgrade(options)}`,
  };
}

function triggerFindings(one: Captured, options: InspectOptions): readonly CaptureFinding[] {
  const { definition } = one;
  const wanted = options.configuration.captureReplicated ? 'A' : 'O';
  const clause = wanted === 'A' ? 'enable always trigger' : 'enable trigger';
  const findings: CaptureFinding[] = [];
  for (const operation of triggerOperations(definition)) {
    const name = triggerName(
      { schema: options.names.schema, set: options.set, base: definition.base },
      operation,
    );
    for (const place of one.places) {
      const trigger = one.triggers.find((other) => other.relid === place.relid && other.name === name);
      if (!trigger) {
        const truncate = place.partition && operation === 't';
        findings.push({
          code: truncate ? 'partition_without_truncate_trigger' : 'trigger_missing',
          severity: 'error',
          object: place.on,
          message: `Table ${place.on} lacks the trigger ${name}: ${WHAT[operation]} are not captured${truncate ? ' when it is truncated alone' : ''}.`,
          fix: upgrade(options),
        });
      } else if (trigger.enabled !== wanted) {
        const off = trigger.enabled === 'D' || trigger.enabled === 'R' || wanted === 'A';
        findings.push({
          code: trigger.enabled === 'D' ? 'trigger_disabled' : 'trigger_mode',
          severity: off ? 'error' : 'warning',
          object: place.on,
          message: `Trigger ${name} of ${place.on} is ${MODE[trigger.enabled] ?? trigger.enabled} instead of ${MODE[wanted]}.`,
          fix: `alter table ${place.on} ${clause} ${quoteIdentifier(name)}; what was written meanwhile needs a snapshot`,
        });
      }
    }
  }
  return findings;
}

/** A partition that was detached keeps its trigger on TRUNCATE; a copied table may have brought all. */
function strayFindings({ definition, strays }: Captured): readonly CaptureFinding[] {
  return strays.map(({ on, name }) => ({
    code: 'trigger_elsewhere',
    severity: 'error',
    object: on,
    message: `Trigger ${name} of ${on} captures what is done to it as if it were ${display(definition)}.`,
    fix: `drop trigger ${quoteIdentifier(name)} on ${on}`,
  }));
}

const WHAT: Readonly<Record<TriggerOperation, string>> = {
  i: 'inserts',
  a: 'inserts',
  u: 'updates',
  c: 'updates',
  d: 'deletes',
  r: 'deletes',
  t: 'truncates',
};

const MODE: Readonly<Record<string, string>> = {
  O: 'enabled',
  A: 'enabled always',
  D: 'disabled',
  R: 'enabled for replicas alone',
};

function functionFindings(
  one: Captured,
  { table, options }: { table: TableDescription | undefined; options: InspectOptions },
): readonly CaptureFinding[] {
  const { definition, rel } = one;
  const object = display(definition);
  const findings: CaptureFinding[] = [];
  let outdated =
    table !== undefined && (retyped(definition, table).length > 0 || refiltered(definition, table));
  for (const operation of triggerOperations(definition)) {
    const name = functionName(definition.base, operation);
    const actual = one.bodies.get(name);
    const body = actual === undefined ? undefined : bodyWithoutNumber(actual, rel);
    if (body === undefined || options.hash(body) !== definition.made?.bodies[operation]) {
      findings.push({
        code: body === undefined ? 'function_missing' : 'function_replaced',
        severity: 'error',
        object: `${options.names.schema}.${name}`,
        message: `Function ${options.names.schema}.${name}, which captures ${WHAT[operation]} of ${object}, ${body === undefined ? 'is missing' : `is not the one that version ${options.version} made`}.`,
        fix: upgrade(options),
      });
    } else if (
      table &&
      body !== captureBody(table, operation, { ...options, rowBytes: options.configuration.limits.rowBytes })
    ) {
      outdated = true;
    }
  }
  if (table && outdated) {
    findings.push({
      code: 'table_changed',
      severity: 'warning',
      object,
      message: `Table ${object} has changed since capture was made for it${columnChanges(definition, table)}: its rows are captured by the slower way for unknown columns, or some of its columns not at all.`,
      fix: upgrade(options),
    });
  }
  return findings;
}

function retyped({ made }: CapturedTable, table: TableDescription): readonly string[] {
  return Object.entries(columnTypes(table))
    .filter(([name, type]) => made?.types[name] !== undefined && made.types[name] !== type)
    .map(([name]) => name);
}

/** The filter's SQL would be another now: its column has another type, or another release made it. */
function refiltered({ where }: CapturedTable, { captured }: TableDescription): boolean {
  return where?.old !== captured.where?.old || where?.new !== captured.where?.new;
}

/** ` (new: a, b; gone: c; retyped: d)`; empty where casts, owners or partitions changed instead. */
function columnChanges(definition: CapturedTable, table: TableDescription): string {
  const before = definition.made?.columns ?? [];
  const after = table.orders[0]?.columns ?? [];
  const added = after.filter((name) => !before.includes(name));
  const gone = before.filter((name) => !after.includes(name));
  const changed = retyped(definition, table);
  const parts = [
    ...(added.length > 0 ? [`new: ${added.join(', ')}`] : []),
    ...(gone.length > 0 ? [`gone: ${gone.join(', ')}`] : []),
    ...(changed.length > 0 ? [`retyped: ${changed.join(', ')}`] : []),
  ];
  return parts.length === 0 ? '' : ` (${parts.join('; ')})`;
}

const upgrade = ({ set }: InspectOptions) => `shovel set upgrade ${set} FILE`;
const display = (table: { readonly schema: string; readonly table: string }) =>
  `${table.schema}.${table.table}`;
