/**
 * The SQL expressions that turn OLD and NEW into text inside a capture function. Every function and operator is
 * schema-qualified, for the functions run as their owner under the writer's search_path. What names a column is only
 * ever placed in the write-free block of function-body.ts.
 */
import { type NodeNames, quoteIdentifier, quoteLiteral } from '../postgres/sql-files.js';
import type { ColumnDescription, TableDescription } from './table-description.js';

/** OLD, NEW, or in statement triggers an alias of a transition table's row: any SQL that may stand before `.column`. */
export type RowVariable = string;

const EQUALS = 'operator(pg_catalog.=)';
const TEXT = 'pg_catalog.text';

function textArray(names: readonly string[]): string {
  return `array[${names.map(quoteLiteral).join(', ')}]::${TEXT}[]`;
}

/** A function of the node's schema; those that print run as the sandbox role with every setting pinned. */
function ours(names: NodeNames, call: string): string {
  return `${quoteIdentifier(names.schema)}.${call}`;
}

/** json_build_object takes 100 arguments. */
const MOST_PAIRS = 50;

function buildObject(row: RowVariable, columns: readonly string[]): string {
  if (columns.length <= MOST_PAIRS) {
    const pairs = columns.map((name) => `${quoteLiteral(name)}, ${row}.${quoteIdentifier(name)}`);
    return `pg_catalog.json_build_object(${pairs.join(', ')})::${TEXT}`;
  }
  const list = columns.map((name) => `${row}.${quoteIdentifier(name)} as ${quoteIdentifier(name)}`);
  return `(select pg_catalog.row_to_json(q_)::${TEXT} from (select ${list.join(', ')}) q_)`;
}

/** The row as it is captured, printed under the session's own settings. Undefined where only the sandbox may print it. */
export function directImage(table: TableDescription, row: RowVariable): string | undefined {
  if (table.isolated) return undefined;
  const { columns } = table.captured;
  return columns ? buildObject(row, columns) : `pg_catalog.row_to_json(${row})::${TEXT}`;
}

/** True, or an error where the row is not of these columns. */
export function sameShape(columns: readonly string[], row: RowVariable): string {
  const values = columns.map((name) => `${row}.${quoteIdentifier(name)}`);
  return `pg_catalog.record_image_eq(${row}, ROW(${values.join(', ')}))`;
}

/**
 * False or an error where a whole row is no longer of the columns that the function was made for: of one that came later
 * nothing is known, neither whether its JSON tells its value nor whose casts make it. Undefined where columns are named
 * anyway.
 */
export function shapeTest(table: TableDescription, row: RowVariable): string | undefined {
  const [own, ...others] = table.orders;
  if (table.captured.columns || !own) return undefined;
  if (others.length === 0) return sameShape(own.columns, row);
  const cases = others.map(
    ({ columns, relids }) =>
      `when TG_RELID ${EQUALS} any (array[${relids.join(', ')}]::pg_catalog.oid[]) then ${sameShape(columns, row)}`,
  );
  return `(case ${cases.join(' ')} else ${sameShape(own.columns, row)} end)`;
}

/**
 * SQL that a plan holds as a constant: whether the table still has the columns that the function was made for. Costs
 * nothing where it is evaluated, and is asked again after any DDL on the table (sql/functions/columns_are.sql). Of a
 * partition the root answers: partitions have its columns.
 */
export function columnsKnown(table: TableDescription, names: NodeNames): string {
  return ours(names, `columns_are('${table.relid}'::pg_catalog.regclass, '${table.columnsDigest}')`);
}

/**
 * Fails where a captured column has another type than it had; that is settled when it is parsed, so it costs nothing
 * where it is evaluated. Types that are not built in can't be named by every role and are left out. Undefined where no
 * other is left. `only`: the columns that the image holds, undefined for all.
 */
export function typesKnown(
  table: TableDescription,
  row: RowVariable,
  { names, only }: { readonly names: NodeNames; readonly only?: readonly string[] | undefined },
): string | undefined {
  const ofType = new Map<string, string[]>();
  const tests: string[] = [];
  for (const { name, builtin, array } of table.columns) {
    if (builtin === undefined || (only && !only.includes(name))) continue;
    const value = `${row}.${quoteIdentifier(name)}`;
    // There is no type of arrays whose elements are arrays.
    if (array) tests.push(ours(names, `of_one_type(null::${builtin}, ${value})`));
    else ofType.set(builtin, [...(ofType.get(builtin) ?? []), value]);
  }
  // Looking a function up takes longer than anything else here, so there is one for all columns of a type.
  for (const [type, values] of ofType) {
    tests.push(
      ...chunk(values).map((some) => ours(names, `all_of_one_type(null::${type}, ${some.join(', ')})`)),
    );
  }
  return tests.length === 0 ? undefined : `(true or ${tests.join(' or ')})`;
}

/** The same under pinned settings, by a role that may do nothing. `strict`: a column that is gone is an error. */
export function pinnedImage(
  table: TableDescription,
  row: RowVariable,
  { names, strict }: { names: NodeNames; strict: boolean },
): string {
  const { columns } = table.captured;
  return columns
    ? ours(names, `row_pick(${row}, ${textArray(columns)}, ${strict})`)
    : ours(names, `row_text(${row})`);
}

/** What the old image holds where the whole old row is not wanted: the key, and what the row filter looks at. */
export function oldColumns(table: TableDescription): readonly string[] | undefined {
  const { key, where } = table.captured;
  return key ? [...new Set([...key, ...(where?.columns ?? [])])] : undefined;
}

/** Those columns alone. Undefined where only the sandbox may print them. */
export function directKey(table: TableDescription, row: RowVariable): string | undefined {
  const columns = oldColumns(table);
  return table.isolated || !columns ? undefined : buildObject(row, columns);
}

const INTEGERS: ReadonlySet<string> = new Set(['smallint', 'integer', 'bigint']);

/** The same where all of them are integers, for a fifth of the work; null where one is null. Undefined where they are not. */
export function integerKey(table: TableDescription, row: RowVariable): string | undefined {
  const columns = oldColumns(table) ?? [];
  const type = (name: string) => table.columns.find((column) => column.name === name)?.type ?? '';
  if (table.isolated || columns.length === 0 || !columns.every((name) => INTEGERS.has(type(name))))
    return undefined;
  const concat = 'operator(pg_catalog.||)';
  const members = columns.map((name, i) => {
    const label = quoteLiteral(`${i === 0 ? '{' : ','}${JSON.stringify(name)}:`);
    return `${label} ${concat} ${row}.${quoteIdentifier(name)}`;
  });
  return `${members.join(` ${concat} `)} ${concat} '}'`;
}

/** Their equality is that of their bytes. */
const PLAIN_TYPES: ReadonlySet<string> = new Set(['smallint', 'integer', 'bigint', 'uuid', 'oid', 'date']);

/** Whether the key's columns may be compared by their operators. */
export function plainKey(table: TableDescription): boolean {
  const type = (name: string) => table.columns.find((column) => column.name === name)?.type ?? '';
  return !table.isolated && (table.captured.key ?? []).every((name) => PLAIN_TYPES.has(type(name)));
}

/**
 * True where an update changed the key, to the byte. Types whose equality is that of their bytes are compared by their
 * operator, which costs a third; an operator may run an implicit cast, so not where casts are not trusted.
 */
export function keyChanged(table: TableDescription): string | undefined {
  const changed = compareKeys(table, { operator: '<>', joined: 'or', records: 'record_image_ne' });
  // A key's columns may be null after DDL: what can't be said to be the same has changed.
  return changed && `(${changed}) is not false`;
}

/** The opposite. */
export function keyKept(table: TableDescription): string | undefined {
  return compareKeys(table, { operator: '=', joined: 'and', records: 'record_image_eq' });
}

function compareKeys(
  table: TableDescription,
  { operator, joined, records }: { operator: string; joined: string; records: string },
): string | undefined {
  const { key } = table.captured;
  if (!key) return undefined;
  const value = (row: RowVariable, name: string) => `${row}.${quoteIdentifier(name)}`;
  if (plainKey(table)) {
    return key
      .map((name) => `${value('OLD', name)} operator(pg_catalog.${operator}) ${value('NEW', name)}`)
      .join(` ${joined} `);
  }
  const image = (row: RowVariable) => `ROW(${key.map((name) => value(row, name)).join(', ')})`;
  return `pg_catalog.${records}(${image('OLD')}, ${image('NEW')})`;
}

export function pinnedKey(table: TableDescription, row: RowVariable, names: NodeNames): string | undefined {
  const columns = oldColumns(table);
  return columns ? ours(names, `row_pick(${row}, ${textArray(columns)}, true)`) : undefined;
}

/** Their equality is that of their bytes, texts' under collation C; a record of them would copy each value once more. */
const BYTES_TYPES = /^(text|character varying(\(\d+\))?|bytea)$/;

/**
 * True where an update left these columns as they were, to the byte: also of types without an equality. Null where one is
 * known to have changed. Since PostgreSQL 17 a value that is kept out of line tells where: an update that does not name
 * it takes that over, so that neither version needs to be fetched.
 */
export function unchanged(table: TableDescription, names: readonly string[]): string {
  const value = (row: RowVariable, name: string) => `${row}.${quoteIdentifier(name)}`;
  const type = (name: string) => table.columns.find((column) => column.name === name)?.type ?? '';
  const isPlain = (name: string) => !table.isolated && BYTES_TYPES.test(type(name));
  const image = (row: RowVariable, some: readonly string[]) =>
    `ROW(${some.map((name) => value(row, name)).join(', ')})`;
  const compare = (some: readonly string[]) => {
    const [name] = some;
    if (name === undefined || !isPlain(name))
      return `pg_catalog.record_image_eq(${image('OLD', some)}, ${image('NEW', some)})`;
    const [old, next] = [value('OLD', name), value('NEW', name)];
    const collation = type(name) === 'bytea' ? '' : ' collate pg_catalog."C"';
    return `coalesce(${old} ${EQUALS} ${next}${collation}, pg_catalog.num_nulls(${old}, ${next}) ${EQUALS} 2)`;
  };
  if (table.toastIds) {
    const place = (row: RowVariable, name: string) =>
      `pg_catalog.pg_column_toast_chunk_id(${value(row, name)})`;
    return names
      .map((name) => `(${place('OLD', name)} ${EQUALS} ${place('NEW', name)} or ${compare([name])})`)
      .join(' and ');
  }
  const others = names.filter((name) => !isPlain(name));
  return [
    ...names.filter(isPlain).map((name) => compare([name])),
    ...(others.length > 0 ? [compare(others)] : []),
  ].join(' and ');
}

/** Takes columns out of NEW, which is ours alone in an AFTER trigger. */
export function clearColumns(names: readonly string[], indent: string): string {
  return names.map((name) => `${indent}NEW.${quoteIdentifier(name)} := null;`).join('\n');
}

/**
 * Statements that take unchanged wide columns out of NEW and name them in u_. Mostly none has changed, so all are
 * compared at once first. A row that got another key is left whole: where messages go by key it is a new one, and nobody
 * has what would be left out.
 */
export function omitUnchanged(table: TableDescription, names: NodeNames): string {
  if (table.omitted.length === 0) return '';
  const each = table.omitted.map(
    (column) => `      if ${unchanged(table, [column])} then
${clearColumns([column], '        ')}
        u_ := pg_catalog.array_append(u_, ${quoteLiteral(column)}::${TEXT});
      end if;`,
  );
  const types = typesKnown(table, 'NEW', { names });
  return `    if ${types ? `${types} and ` : ''}${keyChanged(table) ?? 'false'} then
      null;
    elsif ${unchanged(table, table.omitted)} then
${clearColumns(table.omitted, '      ')}
      u_ := ${textArray(table.omitted)};
${table.omitted.length > 1 ? `    else\n${each.join('\n')}\n` : ''}    end if;`;
}

/** Whether a row needs more than its JSON, and the JSON of what it needs. */
export interface ExtraImage {
  readonly test: string;
  readonly build: string;
}

/**
 * What JSON can't tell: `{"text":{"a":"[0:1]={1,2}"},"json_null":["j"]}`. Text is made by format(), which calls output
 * functions alone and never a cast; where the session's settings or the types' owners matter, row_extra makes it.
 * `only`: the columns that the image holds, undefined for all.
 */
export function extraImage(
  table: TableDescription,
  row: RowVariable,
  { names, only }: { names: NodeNames; only: readonly string[] | undefined },
): ExtraImage | undefined {
  const columns = table.columns.filter((column) => !only || only.includes(column.name));
  const texts = columns.flatMap((column) => textCondition(column, row));
  const nulls = columns.flatMap((column) => jsonNullCondition(column, row));
  if (texts.length === 0 && nulls.length === 0) return undefined;
  const test = [...texts, ...nulls].map(({ test: one }) => `coalesce(${one}, false)`).join(' or ');
  if (table.isolated || table.settings.length > 0)
    return { test, build: sandboxedExtra(table, row, { names, only, unknown: false }) };
  const members = texts.map(
    ({ column, test: one }) =>
      `${quoteLiteral(column)}, case when ${one} then pg_catalog.format('%s', ${row}.${quoteIdentifier(column)}) end`,
  );
  const named = nulls.map(({ column, test: one }) => `case when ${one} then ${quoteLiteral(column)} end`);
  const parts = [
    ...chunk(members).map(
      (some, i) =>
        `'text${i === 0 ? '' : i}', pg_catalog.json_strip_nulls(pg_catalog.json_build_object(${some.join(', ')}))`,
    ),
    ...(named.length > 0
      ? [
          `'json_null', pg_catalog.array_to_json(pg_catalog.array_remove(array[${named.join(', ')}]::${TEXT}[], null))`,
        ]
      : []),
  ];
  return { test, build: `pg_catalog.json_build_object(${parts.join(', ')})` };
}

/**
 * The same by the sandbox role under pinned settings; null where nothing is needed. `unknown`: the row may be of other
 * columns than the function was made for.
 */
export function sandboxedExtra(
  table: TableDescription,
  row: RowVariable,
  { names, only, unknown }: { names: NodeNames; only: readonly string[] | undefined; unknown: boolean },
): string {
  const named = (test: (column: ColumnDescription) => boolean) =>
    textArray(table.columns.filter(test).map((column) => column.name));
  const nested = unknown ? 'null' : named((column) => column.shape === 'nested');
  const columns = only ? textArray(only) : 'null';
  return ours(names, `row_extra(${row}, ${columns}, ${named((column) => column.asText)}, ${nested})`);
}

function chunk<T>(items: readonly T[]): T[][] {
  const chunks: T[][] = [];
  for (let at = 0; at < items.length; at += MOST_PAIRS) chunks.push(items.slice(at, at + MOST_PAIRS));
  return chunks;
}

interface Condition {
  readonly column: string;
  readonly test: string;
}

function textCondition(column: ColumnDescription, row: RowVariable): Condition[] {
  const value = `${row}.${quoteIdentifier(column.name)}`;
  const present = `pg_catalog.num_nonnulls(${value}) ${EQUALS} 1`;
  if (column.asText) return [{ column: column.name, test: present }];
  if (column.shape === 'array') {
    const first = `pg_catalog.array_lower(${value}, 1) operator(pg_catalog.<>) 1`;
    const others = `pg_catalog.array_ndims(${value}) operator(pg_catalog.>) 1 and pg_catalog.array_dims(${value}) operator(pg_catalog.~) ${quoteLiteral('\\[(?!1:)')}`;
    return [{ column: column.name, test: `(${first} or ${others})` }];
  }
  if (column.shape === 'nested') {
    const printed = `pg_catalog.format('%s', ${value})`;
    // Of an array whose elements are JSON arrays the JSON could be one of more dimensions.
    const suspicious = [column.array ? `'['` : `']={'`, `'null'`].map(
      (mark) => `pg_catalog.strpos(${printed}, ${mark}) operator(pg_catalog.>) 0`,
    );
    return [{ column: column.name, test: `(${present} and (${suspicious.join(' or ')}))` }];
  }
  return [];
}

function jsonNullCondition(column: ColumnDescription, row: RowVariable): Condition[] {
  if (!column.json || column.asText) return [];
  const kind = `pg_catalog.${column.json}_typeof(${row}.${quoteIdentifier(column.name)})`;
  return [{ column: column.name, test: `${kind} ${EQUALS} 'null'` }];
}
