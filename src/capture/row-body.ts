/**
 * What a capture function does with one row, OLD and NEW: its images, and the log row.
 *
 * Invariant: the application's write never fails or waits because of it. Whatever names a column, casts, or may fail
 * stands in a block that writes nothing, so that it costs no subtransaction id, and falls back to the whole row; where
 * even that can't be printed the row is logged as unreadable, with its SQLSTATE. The insert stands outside the block:
 * it names only our own columns. Nothing is read but settings and sequences.
 */
import { type NodeNames, quoteLiteral } from '../postgres/sql-files.js';
import {
  chooseSegment,
  type FunctionOptions,
  insert,
  type LogColumn,
  metadata,
  switchValue,
} from './log-insert.js';
import { settingsTest } from './pinned-settings.js';
import {
  extras,
  extrasFound,
  fallbackExtras,
  imageOf,
  images,
  imageTypes,
  keyAlone,
  variable,
  where,
} from './row-assignments.js';
import {
  clearColumns,
  columnsKnown,
  integerKey,
  keyChanged,
  keyKept,
  omitUnchanged,
  pinnedImage,
  type RowVariable,
  typesKnown,
  unchanged,
} from './row-image.js';
import type { TableDescription } from './table-description.js';

const TEXT = 'pg_catalog.text';

export type RowOperation = 'i' | 'u' | 'd';

const changesKey = (table: TableDescription, operation: RowOperation) =>
  operation === 'u' ? keyChanged(table) : undefined;
/** An update that leaves the key alone logs no old image: its key stands in the new one. */
const oldOnChange = (table: TableDescription, operation: RowOperation) =>
  changesKey(table, operation) !== undefined && table.captured.before !== 'full' && !table.captured.where;
const omitsColumns = (table: TableDescription, operation: RowOperation) =>
  operation === 'u' && table.omitted.length > 0;

interface Rows {
  readonly old: RowVariable | undefined;
  readonly next: RowVariable | undefined;
  readonly all: readonly RowVariable[];
}

function rowsOf(operation: RowOperation): Rows {
  const old = operation === 'i' ? undefined : 'OLD';
  const next = operation === 'd' ? undefined : 'NEW';
  return { old, next, all: [old, next].filter((row) => row !== undefined) };
}

/** The variables of what follows. */
export function rowDeclarations(table: TableDescription, operation: RowOperation): string {
  const omits = omitsColumns(table, operation);
  return `  o_ ${TEXT};
  n_ ${TEXT};
  x_ ${TEXT};
  m_ pg_catalog."char";
  w_ pg_catalog.int8;${changesKey(table, operation) && !oldOnChange(table, operation) ? '\n  d_ pg_catalog.bool;' : ''}${omits ? `\n  u_ ${TEXT}[];\n  r_ pg_catalog.record := NEW;\n  t_ pg_catalog.tid := NEW.ctid;` : ''}`;
}

/**
 * A row as a row trigger logs it. The common case comes first and takes as few expressions, and in them as few functions,
 * as can be, for PL/pgSQL makes each ready anew in every transaction: nothing went wrong, the key stays, JSON tells all,
 * no context, nobody to wake. Whatever is not so starts again and goes the long way.
 */
export function rowBody(table: TableDescription, operation: RowOperation, options: FunctionOptions): string {
  const quick = quickAttempt(table, operation, options);
  const fits = quick
    ? `${quick.size} operator(pg_catalog.<=) ${options.rowBytes}`
    : `m_ is null and ${made(operation)} is not null and ${size()} operator(pg_catalog.<=) ${options.rowBytes}`;
  // What failed would fail again: its columns are named, or its row printed, either way.
  const again = `  if m_ is null and ${made(operation)} is null then
${omitsColumns(table, operation) ? '    NEW := r_;\n    x_ := null;\n' : ''}${rowAttempt(table, operation, { ...options, typesAsked: true })}
  end if;
`;
  return `declare
${rowDeclarations(table, operation)}
  c_ pg_catalog.int8;
  z_ pg_catalog.record;
begin
${quick ? quick.statements : rowAttempt(table, operation, options)}
  w_ := case when ${fits} and nullif(pg_catalog.current_setting('shovel.metadata', true), '') is null
    then ${switchValue(options)} end;
${rowInsert(table, operation, { ...options, common: quick ? 'quick' : 'long' })}
${quick ? again : ''}${rowRest(table, operation, options)}
${metadata(options)}
${chooseSegment(options)}
${rowInsert(table, operation, options)}
  return z_;
end`;
}

interface QuickAttempt {
  readonly statements: string;
  readonly size: string;
}

/**
 * One expression per image: null where the key changed, the columns may be others, or JSON does not tell all. The image
 * that `made` names is made last. Undefined where rows mostly need more than that.
 */
function quickAttempt(
  table: TableDescription,
  operation: RowOperation,
  options: FunctionOptions,
): QuickAttempt | undefined {
  const { next, all } = rowsOf(operation);
  const whole = table.captured.before === 'full';
  const omits = omitsColumns(table, operation);
  if (table.columns.some((column) => column.asText)) return undefined;
  const logged = all.filter((row) => row === next || !oldOnChange(table, operation));
  const last = next ?? 'OLD';
  const extra = extrasFound(table, { rows: logged, whole, omits: false, names: options.names });
  // Of columns that may be anybody's no image is made, of the old row neither.
  const known = (row: RowVariable) => [
    table.captured.columns || (row === 'OLD' && !whole) ? undefined : columnsKnown(table, options.names),
    imageTypes(table, row, { whole, options }),
  ];
  const conditions = [
    operation === 'u' && !omits ? keyKept(table) : undefined,
    ...known(last),
    extra.length > 0 ? `not (${extra.map(({ test }) => test).join(' or ')})` : undefined,
  ];
  const settings = settingsTest(table.settings);
  const image = (row: RowVariable) => {
    const pinned = imageOf(table, row, { whole, pinned: true, options });
    if (table.isolated) return pinned;
    // Null where an integer is: a delete goes the long way then, and an update would be logged without its old image.
    const integers = operation === 'd' && !whole ? integerKey(table, row) : undefined;
    const direct = integers ?? imageOf(table, row, { whole, pinned: false, options });
    return settings ? `case when ${settings} then ${direct} else ${pinned} end` : direct;
  };
  const value = (row: RowVariable) => where(row === last ? conditions : known(row), image(row));
  const assign = (indent: string) =>
    logged.map((row) => `${indent}${variable(row)} := ${value(row)};`).join('\n');
  return {
    statements: `  begin
${omits ? omitAll(table, { images: assign('      '), names: options.names }) : assign('    ')}
  exception when others then
    m_ := 'f';
  end;`,
    size: logged.map((row) => `pg_catalog.octet_length(${variable(row)})`).join(' operator(pg_catalog.+) '),
  };
}

/** Where none of the columns that may be left out has changed, which is so in most updates. */
function omitAll(
  table: TableDescription,
  { images, names }: { readonly images: string; readonly names: NodeNames },
): string {
  // Comparing may run an implicit cast, so not before the types are known.
  const conditions = [
    typesKnown(table, 'NEW', { names }),
    keyKept(table),
    unchanged(table, table.omitted),
  ].filter((condition) => condition !== undefined);
  return `    if ${conditions.join(' and ')} then
${clearColumns(table.omitted, '      ')}
${images}
      x_ := ${quoteLiteral(JSON.stringify({ update: { unchanged: table.omitted } }))};
    end if;`;
}

/** What is null where the row was not of the columns that the function was made for. */
const made = (operation: RowOperation) => (operation === 'd' ? 'o_' : 'n_');

const size = () =>
  ['o_', 'n_', 'x_']
    .map((text) => `coalesce(pg_catalog.octet_length(${text}), 0)`)
    .join(' operator(pg_catalog.+) ');

/** Makes o_, n_, x_ and d_ of OLD and NEW as the function was made to; sets m_ where that fails. Writes nothing. */
export function rowAttempt(
  table: TableDescription,
  operation: RowOperation,
  { typesAsked = false, ...options }: FunctionOptions & { readonly typesAsked?: boolean },
): string {
  const { next, all } = rowsOf(operation);
  const whole = table.captured.before === 'full';
  const changed = changesKey(table, operation);
  const omits = omitsColumns(table, operation);
  const checked = whole && operation !== 'i' ? 'OLD' : next;
  return `  begin
${omits ? `${omitUnchanged(table, options.names)}\n` : ''}${images(table, { rows: all, checked, whole, options, typesAsked, onChange: oldOnChange(table, operation) ? changed : undefined })}
${changed && !oldOnChange(table, operation) ? `    d_ := ${changed};\n` : ''}${extras(table, { rows: all, whole, omits, names: options.names })}
  exception when others then
    m_ := 'f';
  end;`;
}

/** Where that failed, the whole rows; where even those can't be printed, or are too large, the key and a mark. */
export function rowRest(table: TableDescription, operation: RowOperation, options: FunctionOptions): string {
  const { old, all } = rowsOf(operation);
  const key = keyAlone(table, { row: old ?? 'NEW', options, indent: '      ' });
  return `  if m_ is not null or ${made(operation)} is null then
    m_ := 'f';
${changesKey(table, operation) && !oldOnChange(table, operation) ? '    d_ := false;\n' : ''}    begin
${omitsColumns(table, operation) ? '      NEW := r_;\n' : ''}${all.map((row) => `      ${variable(row)} := ${pinnedImage(table, row, { names: options.names, strict: false })};`).join('\n')}
${fallbackExtras(table, { rows: all, names: options.names })}
    exception when others then
      m_ := 'u';
      x_ := SQLSTATE;
      n_ := null;
      o_ := null;
${key}
    end;
  end if;
  if ${size()} operator(pg_catalog.>) ${options.rowBytes} then
    m_ := 'o';
    x_ := null;
    n_ := null;
    o_ := null;
${key}
  end if;`;
}

export interface RowInsertOptions extends FunctionOptions {
  /** Whether OLD and NEW have system columns. Default true. */
  readonly system?: boolean;
  /** Of a row without mark and context, after which the function returns; `quick`: an update that kept its key. */
  readonly common?: 'quick' | 'long';
}

export function rowInsert(
  table: TableDescription,
  operation: RowOperation,
  { system = true, common, ...options }: RowInsertOptions,
): string {
  const { old, next } = rowsOf(operation);
  const unmarked = common === undefined ? ' and m_ is null' : '';
  const keyTest = oldOnChange(table, operation) ? `o_ is not null${unmarked}` : 'd_';
  const char = (letter: string) => `'${letter}'::pg_catalog."char"`;
  const mayChangeKey = changesKey(table, operation) !== undefined && common !== 'quick';
  const unlogged = common === 'quick' && oldOnChange(table, operation);
  const values: Partial<Record<LogColumn, string>> = {
    op: mayChangeKey
      ? `case when ${keyTest} then ${char('K')} else ${char('U')} end`
      : char(operation.toUpperCase()),
    ...(old && system ? { old_ctid: 'OLD.ctid', old_xmin: 'OLD.xmin' } : {}),
    ...(next && system ? { new_ctid: omitsColumns(table, operation) ? 't_' : 'NEW.ctid' } : {}),
    ...(table.captured.partitioned ? { leaf: 'TG_RELID' } : {}),
    ...((old && !unlogged) || !common ? { old: 'o_' } : {}),
    ...(next ? { new: 'n_' } : {}),
    ...(common ? {} : { mark: 'm_', meta: 'c_' }),
    ...(!common || (common === 'long' && hasExtras(table, operation)) || omitsColumns(table, operation)
      ? { extra: 'x_' }
      : {}),
  };
  return insert(options, values, common ? '\n    return z_;' : '');
}

function hasExtras(table: TableDescription, operation: RowOperation): boolean {
  const needed = table.columns.some((column) => column.asText || column.json || column.shape !== 'scalar');
  return needed || omitsColumns(table, operation);
}
