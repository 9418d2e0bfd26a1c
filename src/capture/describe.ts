/**
 * Holds a set's tables against a database: which tables are meant, what their keys are, and how each column must be
 * captured. Finds every problem at once and changes nothing.
 */
import type { QualifiedName, SetConfiguration, TableConfiguration } from '../model/set-configuration.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { NodeNames } from '../postgres/sql-files.js';
import {
  type Column,
  type Relation,
  readColumns,
  readPartitions,
  readRelations,
  readStatementObstacles,
  readTableColumns,
  readUniqueIndexes,
  type TableColumns,
  type UniqueIndex,
} from './catalog.js';
import { type FunctionBases, readFunctionBases } from './function-bases.js';
import { settingsFor } from './pinned-settings.js';
import { checkFilters, describeFilter, type RowFilter } from './row-filter.js';
import type { CatalogIssue, ColumnDescription, ColumnOrder, TableDescription } from './table-description.js';

export interface DescribeResult {
  /** In the order of the set file; empty where there are issues. */
  readonly tables: readonly TableDescription[];
  /** The tables without issues of their own, also where there are some. */
  readonly described: readonly TableDescription[];
  readonly issues: readonly CatalogIssue[];
}

export async function describeTables(
  connection: PostgresConnection,
  configuration: SetConfiguration,
  { names }: { names: NodeNames },
): Promise<DescribeResult> {
  const exact = configuration.tables.filter((table) => table.name.table !== '*');
  const schemas = configuration.tables.filter((table) => table.name.table === '*');
  const relations = await readRelations(connection, {
    tables: exact.map((table) => table.name),
    schemas: schemas.map((table) => table.name.schema),
    names,
  });
  const issues: CatalogIssue[] = [];
  const chosen = choose(configuration.tables, relations, { issues, names });
  const relids = chosen.map(({ relation }) => relation.oid);
  const columns = groupBy(await readColumns(connection, relids, names), (column) => column.relid);
  const indexes = groupBy(await readUniqueIndexes(connection, relids), (index) => index.relid);
  const roots = chosen.filter(({ relation }) => relation.kind === 'p').map(({ relation }) => relation.oid);
  const partitions = groupBy(await readPartitions(connection, roots), (partition) => partition.root);
  const tableColumns = await readTableColumns(connection, [
    ...relids,
    ...[...partitions.values()].flat().map((partition) => partition.relid),
  ]);
  const obstacles = await readStatementObstacles(
    connection,
    chosen.filter(({ table }) => table.capture === 'statement').map(({ relation }) => relation.oid),
    names,
  );
  const bases = await readFunctionBases(connection, { names, set: configuration.name });
  const tables: TableDescription[] = [];
  const filters: { table: string; filter: RowFilter }[] = [];
  for (const { relation, table } of chosen) {
    issues.push(...statementIssues(table, obstacles.get(relation.oid) ?? []));
    const described = describeTable(relation, table, {
      configuration,
      bases,
      columns: columns.get(relation.oid) ?? [],
      indexes: indexes.get(relation.oid) ?? [],
      issues,
      filters,
    });
    if (described) {
      const below = partitions.get(relation.oid) ?? [];
      tables.push({
        ...described,
        partitions: below.map(({ relid, schema, table: name }) => ({ relid, schema, table: name })),
        orders: columnOrders(
          relation.oid,
          below.map(({ relid }) => relid),
          tableColumns,
        ),
        // One that went away meanwhile has none: nothing is like it.
        columnsDigest: tableColumns.get(relation.oid)?.digest ?? '',
        toastIds: connection.serverVersion >= 170_000,
      });
    }
  }
  const members = new Set(tables.flatMap((table) => table.partitions.map((partition) => partition.relid)));
  for (const table of tables) {
    if (!members.has(table.relid)) continue;
    issues.push({
      table: display(table.captured),
      code: 'table_captured_twice',
      message: `Table ${display(table.captured)} is a partition of a table that the set captures too.`,
      hint: 'List the partitioned table alone: its partitions are captured with it.',
    });
  }
  issues.push(...(await checkFilters(connection, filters)));
  return { tables: issues.length > 0 ? [] : tables, described: tables, issues };
}

/** Why statement triggers would capture the table wrongly. */
function statementIssues(table: TableConfiguration, obstacles: readonly string[]): readonly CatalogIssue[] {
  if (table.capture !== 'statement') return [];
  const why = [
    ...(table.before === 'full' ? ['asks for before: full'] : []),
    ...(table.key === 'none' ? ['asks for key: none'] : []),
    ...(table.unchangedWide === 'omit' ? ['asks for unchanged_wide: omit'] : []),
    ...(table.where === undefined ? [] : ['has a row filter']),
    ...obstacles,
  ];
  return why.map((reason) => ({
    table: display(table.name),
    code: 'statement_capture_refused',
    message: `Table ${display(table.name)} can't be captured by statement: it ${reason}.`,
    hint: 'Capture it by row.',
  }));
}

/** The table's own order, then each that only some partitions have. */
function columnOrders(
  root: number,
  partitions: readonly number[],
  tables: ReadonlyMap<number, TableColumns>,
): readonly ColumnOrder[] {
  const order = (relid: number) => tables.get(relid)?.names ?? [];
  const own = order(root);
  const others = new Map<string, { columns: readonly string[]; relids: number[] }>();
  for (const relid of partitions) {
    const columns = order(relid);
    const text = JSON.stringify(columns);
    if (text === JSON.stringify(own)) continue;
    const found = others.get(text) ?? { columns, relids: [] };
    found.relids.push(relid);
    others.set(text, found);
  }
  return [{ columns: own, relids: [] }, ...others.values()];
}

function choose(
  wanted: readonly TableConfiguration[],
  relations: readonly Relation[],
  { issues, names }: { issues: CatalogIssue[]; names: NodeNames },
): { relation: Relation; table: TableConfiguration }[] {
  const listed = new Set(wanted.map((table) => key(table.name)));
  const chosen: { relation: Relation; table: TableConfiguration }[] = [];
  for (const table of wanted) {
    const own = table.name.schema === names.schema || /^pg_|^information_schema$/.test(table.name.schema);
    if (own) {
      issues.push(problem(table.name, 'table_not_capturable', 'belongs to PostgreSQL or to shovel itself'));
      continue;
    }
    if (table.name.table === '*') {
      const found = relations.filter((one) => one.schema === table.name.schema && !one.partition);
      const usable = found.filter((one) => (one.kind === 'r' || one.kind === 'p') && one.persistence !== 't');
      if (usable.length === 0) {
        issues.push({
          table: display(table.name),
          code: 'schema_without_tables',
          message: `Schema ${table.name.schema} has no table to capture, or does not exist.`,
          hint: 'Check the schema of this entry under tables.',
        });
      }
      for (const relation of usable) {
        const name = { schema: relation.schema, table: relation.name };
        if (!listed.has(key(name))) chosen.push({ relation, table: { ...table, name } });
      }
      continue;
    }
    const relation = relations.find(
      (one) => one.schema === table.name.schema && one.name === table.name.table,
    );
    if (!relation) {
      issues.push({
        table: display(table.name),
        code: 'table_missing',
        message: `Table ${display(table.name)} does not exist.`,
        hint: 'Check its name and schema; names are folded to lower case unless they are quoted.',
      });
    } else if (relation.kind !== 'r' && relation.kind !== 'p') {
      issues.push(problem(table.name, 'table_not_capturable', `is ${kindName(relation.kind)}`));
    } else if (relation.persistence === 't') {
      issues.push(problem(table.name, 'table_not_capturable', 'is temporary'));
    } else {
      chosen.push({ relation, table });
    }
  }
  return chosen;
}

function kindName(kind: string): string {
  const kinds: Readonly<Record<string, string>> = {
    v: 'a view',
    m: 'a materialized view',
    f: 'a foreign table',
  };
  return kinds[kind] ?? 'not a table';
}

function problem(name: QualifiedName, code: string, why: string): CatalogIssue {
  return {
    table: display(name),
    code,
    message: `Table ${display(name)} can't be captured: it ${why}.`,
    hint: 'Take it out of the set file; ordinary and partitioned tables can be captured.',
  };
}

function describeTable(
  relation: Relation,
  table: TableConfiguration,
  catalog: {
    configuration: SetConfiguration;
    bases: FunctionBases;
    columns: readonly Column[];
    indexes: readonly UniqueIndex[];
    issues: CatalogIssue[];
    filters: { table: string; filter: RowFilter }[];
  },
): Omit<TableDescription, 'partitions' | 'orders' | 'columnsDigest' | 'toastIds'> | undefined {
  const { configuration, columns, indexes, issues } = catalog;
  const before = issues.length;
  const existing = new Set(columns.map((column) => column.name));
  const missing = (name: string, where: string) => {
    if (existing.has(name)) return;
    issues.push({
      table: display(table.name),
      code: 'column_missing',
      message: `Table ${display(table.name)} has no column ${name} (named under ${where}).`,
      hint: `Its columns are ${[...existing].join(', ')}.`,
    });
  };
  for (const name of table.columns ?? []) missing(name, 'columns');
  for (const name of table.exclude ?? []) missing(name, 'exclude');
  for (const name of table.key && table.key !== 'none' ? table.key : []) missing(name, 'key');
  for (const name of table.columns ?? []) {
    if (columns.find((column) => column.name === name)?.virtual) {
      issues.push({
        table: display(table.name),
        code: 'column_virtual',
        message: `Column ${name} of ${display(table.name)} is a virtual generated column, which triggers do not see.`,
        hint: 'Leave it out: targets compute it.',
      });
    }
  }
  const listed = columnList(table, columns);
  const keyColumns = chooseKey(table, indexes, issues);
  const uncaptured = (keyColumns ?? []).filter(
    (name) => existing.has(name) && listed && !listed.includes(name),
  );
  if (uncaptured.length > 0) {
    issues.push({
      table: display(table.name),
      code: 'key_not_captured',
      message: `Table ${display(table.name)}: key column ${uncaptured.join(', ')} is not captured.`,
      hint: 'Add it to columns, take it out of exclude, or choose another key.',
    });
  }
  const filter = describeFilter(table, { columns, listed, issues });
  if (filter) catalog.filters.push({ table: display(table.name), filter });
  if (issues.length > before) return undefined;
  const taken = columns.filter((column) => !listed || listed.includes(column.name));
  return {
    relid: relation.oid,
    captured: {
      schema: table.name.schema,
      table: table.name.table,
      key: keyColumns,
      columns: listed,
      before: keyColumns === null ? 'full' : table.before,
      operations: [...table.operations],
      partitioned: relation.kind === 'p',
      base: catalog.bases.of(relation.oid, table.name),
      ...(filter ? { where: filter.captured } : {}),
      ...(table.capture === 'statement' ? { capture: table.capture } : {}),
    },
    columns: taken.filter((column) => !column.virtual).map(describeColumn),
    omitted: omittedColumns(table, taken, [...(keyColumns ?? []), ...(filter?.captured.columns ?? [])]),
    settings: settingsFor(taken.flatMap((column) => column.parts)),
    isolated: !relation.trusted || taken.some((column) => column.parts.some((part) => !part.trusted)),
    replicated: configuration.captureReplicated,
  };
}

/** Undefined lists mean the whole row; then columns that are added later come along by themselves. */
function columnList(table: TableConfiguration, columns: readonly Column[]): string[] | null {
  if (table.columns) return [...table.columns];
  const left = columns.filter((column) => !column.virtual && !table.exclude?.includes(column.name));
  return left.length === columns.length ? null : left.map((column) => column.name);
}

/** Keyless tables and whole old rows always carry every value. */
function omittedColumns(
  table: TableConfiguration,
  taken: readonly Column[],
  needed: readonly string[],
): readonly string[] {
  if (table.unchangedWide !== 'omit' || table.key === 'none' || table.before === 'full') return [];
  return taken.filter((column) => column.wide && !needed.includes(column.name)).map(({ name }) => name);
}

function chooseKey(
  table: TableConfiguration,
  indexes: readonly UniqueIndex[],
  issues: CatalogIssue[],
): string[] | null {
  if (table.key === 'none') return null;
  if (table.key) {
    const chosen = table.key;
    if (!indexes.some((index) => index.columns.every((column) => chosen.includes(column)))) {
      issues.push({
        table: display(table.name),
        code: 'key_not_unique',
        message: `Table ${display(table.name)}: no unique index makes (${chosen.join(', ')}) a key.`,
        hint: 'A key needs a unique index on columns that are not null: not deferrable, not partial, no expressions.',
      });
    }
    return [...chosen];
  }
  const index = indexes[0];
  if (!index) {
    issues.push({
      table: display(table.name),
      code: 'key_missing',
      message: `Table ${display(table.name)} has no primary key and no unique index that could serve as one.`,
      hint: 'Add a primary key, or say `key: none` to publish its rows without a key and with whole old rows.',
    });
    return null;
  }
  return [...index.columns];
}

function describeColumn(column: Column): ColumnDescription {
  const own = column.parts.filter((part) => part.depth === 0);
  const array = own.some((part) => part.array);
  const nested = column.parts.some((part) => part.depth > 0 && (part.json !== null || part.array));
  return {
    name: column.name,
    type: column.type,
    builtin: builtinType(own),
    virtual: column.virtual,
    asText: column.parts.some((part) => part.cast),
    json: own.find((part) => part.json !== null)?.json ?? null,
    shape: nested ? 'nested' : array ? 'array' : 'scalar',
    array,
  };
}

/** Of a domain, which is its own type, the base type is among them too. */
function builtinType(own: Column['parts']): string | undefined {
  const [type] = own;
  return own.length === 1 && type?.sqlType.startsWith('pg_catalog.') ? type.sqlType : undefined;
}

function groupBy<T>(items: readonly T[], by: (item: T) => number): ReadonlyMap<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const group = groups.get(by(item));
    if (group) group.push(item);
    else groups.set(by(item), [item]);
  }
  return groups;
}

const key = (name: QualifiedName) => JSON.stringify([name.schema, name.table]);
const display = (name: { readonly schema: string; readonly table: string }) => `${name.schema}.${name.table}`;
