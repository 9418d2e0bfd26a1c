/**
 * Row filters (`where`): which columns they may name, and the SQL by which the relay's reading query decides whether a
 * logged row passes. PostgreSQL compares, on values cast to the column's own type, never the application's transaction.
 * How a crossing is published is left to the relay: a row that leaves is a delete, one that enters an insert.
 */
import type { CapturedTable } from '../model/captured-table.js';
import type { TableConfiguration } from '../model/set-configuration.js';
import { type Where, whereColumns } from '../model/where.js';
import { parseWhere } from '../model/where-parse.js';
import { renderWhere, type WhereColumn } from '../model/where-render.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { quoteIdentifier, quoteLiteral } from '../postgres/sql-files.js';
import type { Column } from './catalog.js';
import type { CatalogIssue } from './table-description.js';

export interface RowFilter {
  readonly captured: NonNullable<CapturedTable['where']>;
  /** SQL that fails where a constant does not suit its column's type. */
  readonly trial: string;
}

/** Undefined where the table has no filter, or one with issues. */
export function describeFilter(
  table: TableConfiguration,
  {
    columns,
    listed,
    issues,
  }: { columns: readonly Column[]; listed: readonly string[] | null; issues: CatalogIssue[] },
): RowFilter | undefined {
  if (table.where === undefined) return undefined;
  const name = `${table.name.schema}.${table.name.table}`;
  const parsed = parseWhere(table.where);
  if (!('where' in parsed)) {
    issues.push({
      table: name,
      code: 'where_invalid',
      message: `Table ${name}: ${parsed.problem}.`,
      hint: parsed.hint,
    });
    return undefined;
  }
  const { where } = parsed;
  const before = issues.length;
  const types = new Map<string, Comparable>();
  for (const column of whereColumns(where)) {
    const found = columns.find((one) => one.name === column);
    const comparable = found && comparableType(found);
    if (comparable && (!listed || listed.includes(column)) && !found.virtual) {
      types.set(column, comparable);
      continue;
    }
    issues.push({
      table: name,
      code: 'where_column',
      message: `Table ${name}: where can't compare column ${column}, which ${whyNot(found, comparable !== undefined)}.`,
      hint: 'Filter by captured columns of single values: numbers, text, dates, booleans, enums.',
    });
  }
  if (issues.length > before) return undefined;
  const reading = (side: 'old' | 'new') => passes(where, { side, types });
  const trial = renderWhere(where, (column) => {
    const type = typeOf(types, column);
    return { ...type, sql: `null::${type.type}` };
  });
  return { captured: { columns: [...types.keys()], old: reading('old'), new: reading('new') }, trial };
}

type Comparable = Omit<WhereColumn, 'sql'>;

function whyNot(column: Column | undefined, comparable: boolean): string {
  if (!column) return 'the table does not have';
  if (column.virtual) return 'is a virtual generated column, which triggers do not see';
  return comparable ? 'is not captured' : `is of type ${column.type}`;
}

/** A domain's constraints are code of the application's: its base type compares. */
function comparableType(column: Column): Comparable | undefined {
  if (column.parts.some((part) => part.depth > 0 || part.cast)) return undefined;
  const base = column.parts.find((part) => !part.domain);
  if (!base || base.array || base.operatorSchema === null) return undefined;
  return { type: base.sqlType, operatorSchema: base.operatorSchema, enumeration: base.enumeration };
}

function typeOf(types: ReadonlyMap<string, Comparable>, column: string): Comparable {
  return types.get(column) ?? { type: 'pg_catalog.text', operatorSchema: 'pg_catalog' };
}

/**
 * Over a log row `l`: true, false, or null where a column is gone from the row. Values are read by the input functions of
 * their types, as json_to_record does: a cast would run what the type's owner has made to cast text to it, with the
 * relay's rights (0097). Reading a member unescapes every string of the row, and none may hold \\u0000, so another
 * escape stands for it.
 */
function passes(
  where: Where,
  { side, types }: { side: 'old' | 'new'; types: ReadonlyMap<string, Comparable> },
): string {
  const row = `pg_catalog.replace(l.${side}, E'\\\\u0000', E'\\\\ue000')::pg_catalog.json`;
  const test = renderWhere(where, (column) => {
    const type = typeOf(types, column);
    const name = quoteIdentifier(column);
    return {
      ...type,
      sql: `select r_.${name} from pg_catalog.json_to_record(${row}) as r_(${name} ${type.type})`,
    };
  });
  const gone = [...types.keys()].map(
    (column) => `(${row} operator(pg_catalog.->) ${quoteLiteral(column)}) is null`,
  );
  return `case when ${gone.join(' or ')} then null else coalesce(${test}, false) end`;
}

/** Whether the constants suit their columns, which PostgreSQL knows. Leaves an open transaction as it is. */
export async function checkFilters(
  connection: PostgresConnection,
  filters: readonly { readonly table: string; readonly filter: RowFilter }[],
): Promise<readonly CatalogIssue[]> {
  const issues: CatalogIssue[] = [];
  for (const { table, filter } of filters) {
    await connection.script(`do $check$
begin
  perform pg_catalog.set_config('shovel.where_problem', '', false);
  perform ${filter.trial};
exception when others then
  perform pg_catalog.set_config('shovel.where_problem', sqlerrm, false);
end
$check$`);
    const rows = await connection.query(
      `select pg_catalog.current_setting('shovel.where_problem') as problem`,
    );
    const problem = rows[0]?.problem ?? '';
    if (problem === '') continue;
    issues.push({
      table,
      code: 'where_invalid',
      message: `Table ${table}: where does not suit its columns: ${problem}.`,
      hint: 'Write constants as PostgreSQL reads them for the type of their column.',
    });
  }
  return issues;
}
