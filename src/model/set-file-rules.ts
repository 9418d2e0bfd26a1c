/**
 * What must hold between the values of a set file, as far as it can be known without a database: names, databases,
 * tables. Streams and targets have their own files.
 */
import { formatTableName, isName, NAME_RULE } from './names.js';
import type { QualifiedName } from './set-configuration.js';
import type { Finding } from './set-file-issues.js';
import { dsnFindings, repeated } from './set-file-rules-common.js';
import { streamFindings } from './set-file-rules-streams.js';
import { targetFindings } from './set-file-rules-targets.js';
import {
  columnsOf,
  entries,
  type Fields,
  type Item,
  isFields,
  items,
  tableOf,
  textOf,
  texts,
} from './set-file-view.js';
import { whereColumns } from './where.js';
import { parseWhere } from './where-parse.js';

export function ruleFindings(data: unknown, options: { readonly name?: string }): readonly Finding[] {
  if (!isFields(data)) {
    return [];
  }
  const tables = items(data, 'tables');
  const names = tables.flatMap((item) => tableName(item) ?? []);
  return [
    ...nameFindings(data, options),
    ...['databases', 'streams', 'targets'].flatMap((key) => keyFindings(data, key)),
    ...databaseFindings(data),
    ...duplicateTables(names),
    ...tables.flatMap(tableFindings),
    ...streamFindings(data, names),
    ...targetFindings(data, names),
  ];
}

function tableName(item: Item<Fields>): Item<QualifiedName> | undefined {
  const text = textOf(item, 'name');
  return text === undefined ? undefined : tableOf(text);
}

function nameFindings(data: Fields, options: { readonly name?: string }): readonly Finding[] {
  if (data.name === undefined && options.name === undefined) {
    return [
      {
        path: [],
        at: 'value',
        message: 'missing key name',
        hint: 'name the set in the file or on the command line',
        missing: true,
      },
    ];
  }
  return typeof data.name === 'string' && options.name !== undefined && data.name !== options.name
    ? [
        {
          path: ['name'],
          at: 'value',
          message: `the file is of set ${data.name}, the command names ${options.name}`,
          hint: 'leave one of the two names out, or make them equal',
        },
      ]
    : [];
}

function keyFindings(data: Fields, key: string): readonly Finding[] {
  return Object.keys(isFields(data[key]) ? data[key] : {}).flatMap((name): readonly Finding[] =>
    isName(name) ? [] : [{ path: [key, name], at: 'key', message: 'not a name', hint: `write ${NAME_RULE}` }],
  );
}

function databaseFindings(data: Fields): readonly Finding[] {
  const seen = new Map<string, string>();
  return entries(data, 'databases').flatMap((database): readonly Finding[] => {
    const dsn = textOf(database, 'dsn');
    if (dsn === undefined) {
      return [];
    }
    const before = seen.get(dsn.value);
    seen.set(dsn.value, before ?? database.name);
    if (before !== undefined) {
      return [
        {
          path: dsn.path,
          at: 'value',
          message: `databases ${before} and ${database.name} are the same`,
          hint: 'name each database of a set once',
        },
      ];
    }
    return dsnFindings(dsn);
  });
}

function duplicateTables(names: ReadonlyArray<Item<QualifiedName>>): readonly Finding[] {
  const seen = new Set<string>();
  return names.flatMap(({ value, path }): readonly Finding[] => {
    const name = formatTableName(value);
    if (!seen.has(name)) {
      seen.add(name);
      return [];
    }
    return [{ path, at: 'value', message: `table ${name} is listed twice`, hint: 'remove one of the two' }];
  });
}

function tableFindings(table: Item<Fields>): readonly Finding[] {
  const columns = columnsOf(table, 'columns');
  const exclude = columnsOf(table, 'exclude');
  const key = columnsOf(table, 'key');
  const both: readonly Finding[] =
    columns !== undefined && exclude !== undefined
      ? [
          {
            path: [...table.path, 'exclude'],
            at: 'key',
            message: 'both columns and exclude',
            hint: 'list what is captured, or what is not',
          },
        ]
      : [];
  return [
    ...both,
    ...repeated(columns, 'column'),
    ...repeated(exclude, 'column'),
    ...repeated(key, 'column'),
    ...repeated(texts(table, 'operations'), 'operation'),
    ...(key ?? []).flatMap((column) => notCaptured(column, { columns, exclude, of: 'the key' })),
    ...filterFindings(table, { columns, exclude }),
    ...statementFindings(table),
    ...omitFindings(table),
  ];
}

type Columns = ReadonlyArray<Item<string>> | undefined;

function notCaptured(
  column: Item<string>,
  context: {
    readonly columns: Columns;
    readonly exclude: Columns;
    readonly of: string;
    readonly offset?: number;
  },
): readonly Finding[] {
  const { columns, exclude, of } = context;
  const listed = columns === undefined || columns.some(({ value }) => value === column.value);
  const excluded = exclude?.some(({ value }) => value === column.value) === true;
  if (listed && !excluded) {
    return [];
  }
  return [
    {
      path: column.path,
      at: 'value',
      ...(context.offset === undefined ? {} : { offset: context.offset }),
      message: `column ${column.value} of ${of} is not captured`,
      hint: excluded ? `take ${column.value} out of exclude` : `add ${column.value} to columns`,
    },
  ];
}

function filterFindings(
  table: Item<Fields>,
  captured: { readonly columns: Columns; readonly exclude: Columns },
): readonly Finding[] {
  const where = textOf(table, 'where');
  const parsed = where === undefined ? undefined : parseWhere(where.value);
  if (where === undefined || parsed === undefined || 'problem' in parsed) {
    return [];
  }
  return whereColumns(parsed.where).flatMap((name) =>
    notCaptured(
      { value: name, path: where.path },
      { ...captured, of: 'the filter', offset: Math.max(0, where.value.indexOf(name)) },
    ),
  );
}

/** A row that enters the filter is published as new, so it must come whole. */
function omitFindings(table: Item<Fields>): readonly Finding[] {
  const { unchanged_wide: wide, before } = table.value;
  if (wide !== 'omit' || before === 'full' || textOf(table, 'where') === undefined) {
    return [];
  }
  return [
    {
      path: [...table.path, 'unchanged_wide'],
      at: 'value',
      message: 'unchanged_wide: omit does not go with a filter: a row that enters it must come whole',
      hint: 'use unchanged_wide: include',
    },
  ];
}

/** Statement triggers see old and new rows apart: whole old rows can't be paired with new ones. */
function statementFindings(table: Item<Fields>): readonly Finding[] {
  if (table.value.capture !== 'statement') {
    return [];
  }
  const hint = 'use capture: row';
  const result: Finding[] = [];
  if (table.value.before === 'full') {
    result.push({
      path: [...table.path, 'before'],
      at: 'value',
      message: 'capture: statement has no whole old rows: before: full is not possible',
      hint,
    });
  }
  if (table.value.key === 'none') {
    result.push({
      path: [...table.path, 'key'],
      at: 'value',
      message: 'capture: statement needs a key: key: none is not possible',
      hint,
    });
  }
  return result;
}
