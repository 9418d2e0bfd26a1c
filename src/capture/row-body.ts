/**
 * What a capture function does with one row, OLD and NEW: its images, and the log row.
 *
 * Invariant: the application's write never fails or waits because of it. Whatever names a column, casts, or may fail
 * stands in a block that writes nothing, so that it costs no subtransaction id, and falls back to the whole row; where
 * even that can't be printed the row is logged as unreadable, with its SQLSTATE. The insert stands outside the block:
 * it names only our own columns. Nothing is read but settings and sequences.
 */
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';
import { settingsTest } from './pinned-settings.js';
import {
  directImage,
  directKey,
  extraImage,
  keyChanged,
  oldColumns,
  omitUnchanged,
  pinnedImage,
  pinnedKey,
  type RowVariable,
  sandboxedExtra,
  shapeTest,
} from './row-image.js';
import type { TableDescription } from './table-description.js';

export interface FunctionOptions {
  readonly names: NodeNames;
  readonly set: string;
  readonly version: number;
  /** A row whose text is longer is logged by its key alone and marked `o`. */
  readonly rowBytes: number;
}

const TEXT = 'pg_catalog.text';

export type RowOperation = 'i' | 'u' | 'd';

const changesKey = (table: TableDescription, operation: RowOperation) =>
  operation === 'u' ? keyChanged(table) : undefined;
const omitsColumns = (table: TableDescription, operation: RowOperation) =>
  operation === 'u' && table.omitted.length > 0;

/** The variables of rowImages and rowInsert. */
export function rowDeclarations(table: TableDescription, operation: RowOperation): string {
  const changed = changesKey(table, operation);
  const omits = omitsColumns(table, operation);
  return `  o_ ${TEXT};
  n_ ${TEXT};
  x_ ${TEXT};
  m_ pg_catalog."char";
  w_ pg_catalog.int8;${changed ? `\n  p_ pg_catalog."char" := 'U';` : ''}${omits ? `\n  u_ ${TEXT}[];\n  r_ pg_catalog.record := NEW;\n  t_ pg_catalog.tid := NEW.ctid;` : ''}`;
}

/** Makes o_, n_, x_, m_ and p_ of OLD and NEW, whatever they are. */
export function rowImages(
  table: TableDescription,
  operation: RowOperation,
  options: FunctionOptions,
): string {
  const old: RowVariable | undefined = operation === 'i' ? undefined : 'OLD';
  const next: RowVariable | undefined = operation === 'd' ? undefined : 'NEW';
  const whole = table.captured.before === 'full';
  const rows = [old, next].filter((row) => row !== undefined);
  const changed = changesKey(table, operation);
  const omits = omitsColumns(table, operation);
  const shape = next ? shapeTest(table, 'NEW') : whole ? shapeTest(table, 'OLD') : undefined;
  return `  begin
${omits ? `${omitUnchanged(table)}\n` : ''}${shape ? `${shape}\n` : ''}${images(table, { rows, whole, options })}
${changed ? `    if ${changed} then\n      p_ := 'K';\n    end if;\n` : ''}${extras(table, { rows, whole, omits, names: options.names })}
  exception when others then
    m_ := 'f';${changed ? `\n    p_ := 'U';` : ''}
    begin
${omits ? '      NEW := r_;\n' : ''}${rows.map((row) => `      ${variable(row)} := ${pinnedImage(table, row, { names: options.names, strict: false })};`).join('\n')}
${fallbackExtras(table, { rows, names: options.names })}
    exception when others then
      m_ := 'u';
      x_ := SQLSTATE;
      n_ := null;
      o_ := null;
${keyAlone(table, { row: old ?? 'NEW', options, indent: '      ' })}
    end;
  end;
  if ${['o_', 'n_', 'x_'].map((text) => `coalesce(pg_catalog.octet_length(${text}), 0)`).join(' operator(pg_catalog.+) ')} operator(pg_catalog.>) ${options.rowBytes} then
    m_ := 'o';
    x_ := null;
    n_ := null;
    o_ := null;
${keyAlone(table, { row: old ?? 'NEW', options, indent: '    ' })}
  end if;`;
}

/** `c_` is the number of the context's row; `system`: whether OLD and NEW have system columns. */
export function rowInsert(
  table: TableDescription,
  operation: RowOperation,
  { system = true, ...options }: FunctionOptions & { readonly system?: boolean },
): string {
  const old = system && operation !== 'i';
  const next = system && operation !== 'd';
  return insert(options, {
    op: changesKey(table, operation) ? 'p_' : `'${operation.toUpperCase()}'`,
    leaf: table.captured.partitioned,
    values: {
      mark: 'm_',
      old_ctid: old ? 'OLD.ctid' : 'null',
      old_xmin: old ? 'OLD.xmin' : 'null',
      new_ctid: next ? (omitsColumns(table, operation) ? 't_' : 'NEW.ctid') : 'null',
      old: 'o_',
      new: 'n_',
      extra: 'x_',
    },
  });
}

const variable = (row: RowVariable) => (row === 'OLD' ? 'o_' : 'n_');

/** The images under the session's settings where they will do, else by the sandbox with all settings pinned. */
function images(
  table: TableDescription,
  { rows, whole, options }: { rows: readonly RowVariable[]; whole: boolean; options: FunctionOptions },
): string {
  const image = (row: RowVariable, pinned: boolean) => {
    const keyOnly = row === 'OLD' && !whole;
    if (pinned) {
      return keyOnly
        ? pinnedKey(table, row, options.names)
        : pinnedImage(table, row, { names: options.names, strict: true });
    }
    return keyOnly ? directKey(table, row) : directImage(table, row);
  };
  const assign = (pinned: boolean, indent: string) =>
    rows.map((row) => `${indent}${variable(row)} := ${image(row, pinned)};`).join('\n');
  if (table.isolated) return assign(true, '    ');
  const test = settingsTest(table.settings);
  if (!test) return assign(false, '    ');
  return `    if ${test} then
${assign(false, '      ')}
    else
${assign(true, '      ')}
    end if;`;
}

function extras(
  table: TableDescription,
  {
    rows,
    whole,
    omits,
    names,
  }: { rows: readonly RowVariable[]; whole: boolean; omits: boolean; names: NodeNames },
): string {
  const found = rows.flatMap((row) => {
    const only = row === 'OLD' && !whole ? oldColumns(table) : (table.captured.columns ?? undefined);
    const extra = extraImage(table, row, { names, only });
    return extra ? [{ member: row.toLowerCase(), ...extra }] : [];
  });
  if (omits) {
    found.push({
      member: 'update',
      test: 'u_ is not null',
      build: "pg_catalog.json_build_object('unchanged', u_)",
    });
  }
  if (found.length === 0) return '';
  const members = found.map(({ member, build }) => `'${member}', ${build}`);
  return `    if ${found.map(({ test }) => test).join(' or ')} then
      x_ := pg_catalog.json_strip_nulls(pg_catalog.json_build_object(${members.join(', ')}))::${TEXT};
    end if;`;
}

/** Of columns that nobody knew when the function was made. */
function fallbackExtras(
  table: TableDescription,
  { rows, names }: { rows: readonly RowVariable[]; names: NodeNames },
): string {
  const only = table.captured.columns ?? undefined;
  const members = rows.map(
    (row) => `'${row.toLowerCase()}', ${sandboxedExtra(table, row, { names, only, unknown: true })}`,
  );
  return `      x_ := pg_catalog.json_strip_nulls(pg_catalog.json_build_object(${members.join(', ')}))::${TEXT};`;
}

/** The key in o_, where it can be printed at all. */
function keyAlone(
  table: TableDescription,
  { row, options, indent }: { row: RowVariable; options: FunctionOptions; indent: string },
): string {
  const pinned = table.isolated || table.settings.length > 0;
  const key = pinned ? pinnedKey(table, row, options.names) : directKey(table, row);
  if (!key) return '';
  return `${indent}begin
${indent}  o_ := ${key};
${indent}exception when others then
${indent}  o_ := null;
${indent}end;`;
}

/** c_ becomes the number of the log row that holds the transaction's context; null where the application set none. */
export function metadata({ names, set }: FunctionOptions): string {
  return `  if pg_catalog.current_setting('shovel.metadata', true) operator(pg_catalog.<>) '' then
    c_ := ${quoteIdentifier(names.schema)}.note_metadata_${set}();
  end if;`;
}

/** Writes into the segment that the switch names; into none while capture is suspended (8 and above). */
export function insert(
  { names, set, version }: FunctionOptions,
  row: {
    op: string;
    leaf: boolean;
    values: Record<'mark' | 'old_ctid' | 'new_ctid' | 'old_xmin' | 'old' | 'new' | 'extra', string>;
  },
): string {
  const schema = quoteIdentifier(names.schema);
  const { mark, old_ctid, new_ctid, old_xmin, old, new: next, extra } = row.values;
  const into = (segment: number) =>
    `    insert into ${schema}.log_${set}_${segment} (rel, ver, op, mark, old_ctid, new_ctid, old_xmin, leaf, meta, old, new, extra)
      values (@rel@, ${version}, ${row.op}, ${mark}, ${old_ctid}, ${new_ctid}, ${old_xmin}, ${row.leaf ? 'TG_RELID' : 'null'}, c_, ${old}, ${next}, ${extra});`;
  return `  w_ := pg_catalog.pg_sequence_last_value('${schema}.switch_${set}'::pg_catalog.regclass);
  if w_ operator(pg_catalog.=) 0 then
${into(0)}
  elsif w_ operator(pg_catalog.=) 1 then
${into(1)}
  elsif w_ operator(pg_catalog.=) 2 then
${into(2)}
  end if;`;
}
