/** Holds what a reader has made of a table's messages against the table, cast back, byte for byte. */
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { quoteIdentifier, quoteLiteral } from '../../src/postgres/sql-files.js';
import type { Reader } from './reader.js';

export interface ComparedTable {
  readonly schema: string;
  readonly table: string;
  /** Columns that the set leaves out. */
  readonly excluded?: readonly string[];
  /** SQL, where the set has a filter. */
  readonly where?: string;
}

/** Every row that only the messages or only the table has, as PostgreSQL's text of all of its columns; `[]` is right. */
export async function compareTable(
  {
    connection,
    reader,
  }: { readonly connection: PostgresConnection; readonly reader: Pick<Reader, 'rowsWithNulls'> },
  { schema, table, excluded = [], where = 'true' }: ComparedTable,
): Promise<readonly string[]> {
  const name = `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;
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
  const rows = reader
    .rowsWithNulls(`${schema}.${table}`)
    .map(({ text, jsonNull }) => ({ row: text, nulls: jsonNull }));
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

/** The table's entry in a set file. */
export function tableEntry({
  schema,
  table,
  options,
  excluded,
}: ComparedTable & { readonly options?: string }): string {
  const quoted = [schema, table].map((part) => `"${part.replaceAll('"', '""')}"`).join('.');
  const parts = [
    `name: '${quoted.replaceAll("'", "''")}'`,
    ...(options ? [options] : []),
    ...(excluded ? [`exclude: [${excluded.join(', ')}]`] : []),
  ];
  return `- { ${parts.join(', ')} }`;
}
