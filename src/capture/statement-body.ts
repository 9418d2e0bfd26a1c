/**
 * What a capture function does for a whole statement (`capture: statement`): one insert into the log from the
 * transition tables.
 *
 * Invariant: as for rows, the application's write never fails because of it. A statement of few rows makes all images in
 * a block that writes nothing, then inserts them; one of more rows inserts in a block of its own, which costs it one
 * subtransaction id. Where either fails, or a row is too large, every row goes the way of row triggers, one by one.
 * Keys: where a statement leaves the set of keys as it was, an update is logged per new row, under its key (of rows that
 * exchanged keys each is then right). Where keys changed, old and new rows are paired by their place in the transition
 * tables, and a changed key is logged with the old one, as row triggers do.
 */
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';
import { chooseSegment, type FunctionOptions, metadata } from './log-insert.js';
import { settingsTest } from './pinned-settings.js';
import { type RowOperation, rowAttempt, rowDeclarations, rowInsert, rowRest } from './row-body.js';
import {
  columnsKnown,
  directImage,
  directKey,
  extraImage,
  oldColumns,
  pinnedImage,
  pinnedKey,
  plainKey,
  type RowVariable,
  sameShape,
  typesKnown,
} from './row-image.js';
import type { TableDescription } from './table-description.js';

/** Rows that are held in memory instead of being inserted in a subtransaction. */
const FEW = 128;

const TEXT = 'pg_catalog.text';
const OPERATIONS = { a: 'i', c: 'u', r: 'd' } as const;
/** No column is called so; an alias that is one would stand for the column. */
const OLD_ROW = '"!shovel_old"';
const NEW_ROW = '"!shovel_new"';
const equals = 'operator(pg_catalog.=)';

export function statementBody(
  table: TableDescription,
  trigger: 'a' | 'c' | 'r',
  options: FunctionOptions,
): string {
  const operation = OPERATIONS[trigger];
  const source = sources(table, operation, options.names);
  const settings = table.isolated ? undefined : settingsTest(table.settings);
  const sized = ['s.o', 's.n', 's.x']
    .map((text) => `coalesce(pg_catalog.octet_length(${text}), 0)`)
    .join(' operator(pg_catalog.+) ');
  const large = `${sized} operator(pg_catalog.>) ${options.rowBytes}`;
  const gather = (rows: string, { types, indent }: Rendering) =>
    `${indent}select pg_catalog.count(*), pg_catalog.array_agg(s.p), pg_catalog.array_agg(s.o), pg_catalog.array_agg(s.n), pg_catalog.array_agg(s.x), pg_catalog.bool_or(${large})
${indent}  into k_, ps_, os_, ns_, xs_, b_ from (${rows} where ${types} limit ${FEW + 1}) s;`;
  const few = `(select s.p, s.o, s.n, s.x from rows from (pg_catalog.unnest(ps_), pg_catalog.unnest(os_), pg_catalog.unnest(ns_), pg_catalog.unnest(xs_)) as s(p, o, n, x))`;
  // A row that is too large divides by zero, so that the rows are looked at one by one.
  const many = (rows: string) =>
    `(select s.p, s.o, s.n, case when ${large} then pg_catalog.int4div(1, pg_catalog.octet_length(s.p::${TEXT}) operator(pg_catalog.-) 1)::${TEXT} else s.x end as x from (${rows} offset 0) s)`;
  const choose = (render: (rows: string, rendering: Rendering) => string, indent: string) =>
    source.paired === undefined
      ? render(source.plain, { types: source.plainTypes, indent })
      : `${indent}if h_ then
${render(source.paired, { types: source.pairedTypes, indent: `${indent}  ` })}
${indent}else
${render(source.plain, { types: source.plainTypes, indent: `${indent}  ` })}
${indent}end if;`;
  return `declare
${rowDeclarations(table, operation)}
  c_ pg_catalog.int8;
  k_ pg_catalog.int8;
  b_ pg_catalog.bool;
  h_ pg_catalog.bool;
  s_ pg_catalog.bool;
  i_ pg_catalog.record;
  ps_ pg_catalog."char"[];
  os_ ${TEXT}[];
  ns_ ${TEXT}[];
  xs_ ${TEXT}[];
begin
  begin
${source.shape ? `    ${source.shape}\n` : ''}    s_ := ${settings ?? 'true'};
${source.keys ? `    h_ := ${source.keys};\n` : ''}${choose(gather, '    ')}
  exception when others then
    k_ := -1;
  end;
  if k_ ${equals} 0 then
    return null;
  end if;
${metadata(options)}
${chooseSegment(options)}
  if k_ operator(pg_catalog.>) 0 and k_ operator(pg_catalog.<=) ${FEW} and not b_ then
${insertAll(few, options, '    ')}
    return null;
  end if;
  if k_ operator(pg_catalog.>) ${FEW} and not b_ then
    begin
${choose((rows, { indent }) => insertAll(many(rows), options, indent), '      ')}
      return null;
    exception when others then
      k_ := -1;
    end;
  end if;
  for i_ in ${source.each} loop
    m_ := null;
    x_ := null;
    o_ := null;
    n_ := null;
${operation === 'i' ? '' : '    OLD := i_.o;\n'}${operation === 'd' ? '' : '    NEW := i_.n;\n'}${rowAttempt(table, operation, options)}
${rowRest(table, operation, options)}
${rowInsert(table, operation, { ...options, system: false })}
  end loop;
  return null;
end`;
}

interface Rendering {
  readonly types: string;
  readonly indent: string;
}

interface Sources {
  /** Columns p (operation), o, n, x. */
  readonly plain: string;
  /** The same where keys have changed. */
  readonly paired: string | undefined;
  /** Whether they have. */
  readonly keys: string | undefined;
  /** Fails where the rows are not of the columns that the function was made for. */
  readonly shape: string | undefined;
  /** True, or an error where the rows' columns have got other types: asked once, of the first rows. */
  readonly plainTypes: string;
  readonly pairedTypes: string;
  /** Rows o and n, one by one. */
  readonly each: string;
}

const PAIRS = `(select pg_catalog.row_number() over () as i, ${OLD_ROW} as r from old_ ${OLD_ROW}) a
      full join (select pg_catalog.row_number() over () as i, ${NEW_ROW} as r from new_ ${NEW_ROW}) b on a.i ${equals} b.i`;

function sources(table: TableDescription, operation: RowOperation, names: NodeNames): Sources {
  const print = printer(table, names);
  const values = (row: { p: string; o: string; n: string; x: string }) =>
    `select ${row.p}::pg_catalog."char" as p, ${row.o}::${TEXT} as o, ${row.n}::${TEXT} as n, ${row.x}::${TEXT} as x`;
  const shape = (row: RowVariable, from: string) => {
    const [order] = table.orders;
    return table.captured.columns || !order
      ? undefined
      : `if not ${columnsKnown(table, names)} then
      select ${sameShape(order.columns, row)} into b_ from ${from} ${row} limit 1;
    end if;`;
  };
  const types = (rows: {
    plain: RowVariable;
    paired?: RowVariable;
    only?: readonly string[] | undefined;
  }) => {
    const known = (row: RowVariable) => typesKnown(table, row, { names, only: rows.only }) ?? 'true';
    return { plainTypes: known(rows.plain), pairedTypes: known(rows.paired ?? rows.plain) };
  };
  if (operation === 'i') {
    return {
      plain: `${values({ p: "'I'", o: 'null', n: print.image(NEW_ROW), x: print.extra({ new: NEW_ROW }) })} from new_ ${NEW_ROW}`,
      paired: undefined,
      keys: undefined,
      shape: shape(NEW_ROW, 'new_'),
      ...types({ plain: NEW_ROW }),
      each: `select ${NEW_ROW} as n from new_ ${NEW_ROW}`,
    };
  }
  if (operation === 'd') {
    return {
      plain: `${values({ p: "'D'", o: print.key(OLD_ROW), n: 'null', x: print.extra({ old: OLD_ROW }) })} from old_ ${OLD_ROW}`,
      paired: undefined,
      keys: undefined,
      shape: undefined,
      ...types({ plain: OLD_ROW, only: oldColumns(table) }),
      each: `select ${OLD_ROW} as o from old_ ${OLD_ROW}`,
    };
  }
  const [old, next] = ['(a.r)', '(b.r)'] as const;
  const keys = (row: RowVariable) =>
    plainKey(table)
      ? (table.captured.key ?? []).map((name) => `${row}.${quoteIdentifier(name)}`).join(', ')
      : print.key(row);
  const keysOf = (row: RowVariable, from: string) =>
    `select ${keys(row)} from ${from} ${row} where ${typesKnown(table, row, { names, only: oldColumns(table) }) ?? 'true'}`;
  const changed = `${print.key(old)} operator(pg_catalog.<>) ${print.key(next)}`;
  return {
    plain: `${values({ p: "'U'", o: 'null', n: print.image(NEW_ROW), x: print.extra({ new: NEW_ROW }) })} from new_ ${NEW_ROW}`,
    paired: `${values({ p: `(case when ${changed} then 'K' else 'U' end)`, o: `(case when ${changed} then ${print.key(old)} end)`, n: print.image(next), x: print.extra({ old, new: next }) })} from ${PAIRS}`,
    keys: `exists (${keysOf(OLD_ROW, 'old_')} except ${keysOf(NEW_ROW, 'new_')})`,
    shape: shape(NEW_ROW, 'new_'),
    ...types({ plain: NEW_ROW, paired: next }),
    each: `select a.r as o, b.r as n from ${PAIRS}`,
  };
}

/** The images of row-image, under the session's settings where s_ says that they will do. */
function printer(table: TableDescription, names: NodeNames) {
  const either = (direct: string | undefined, pinned: string) =>
    direct === undefined
      ? pinned
      : table.settings.length === 0
        ? direct
        : `(case when s_ then ${direct} else ${pinned} end)`;
  return {
    image: (row: RowVariable) =>
      either(directImage(table, row), pinnedImage(table, row, { names, strict: true })),
    key: (row: RowVariable) => either(directKey(table, row), pinnedKey(table, row, names) ?? 'null'),
    extra: (rows: { readonly old?: RowVariable; readonly new?: RowVariable }) => {
      const found = (['old', 'new'] as const).flatMap((member) => {
        const row = rows[member];
        const only = member === 'old' ? oldColumns(table) : (table.captured.columns ?? undefined);
        const extra = row ? extraImage(table, row, { names, only }) : undefined;
        return extra ? [{ member, ...extra }] : [];
      });
      if (found.length === 0) return 'null';
      const members = found.map(({ member, build }) => `'${member}', ${build}`);
      return `(case when ${found.map(({ test }) => test).join(' or ')} then pg_catalog.json_strip_nulls(pg_catalog.json_build_object(${members.join(', ')})) end)`;
    },
  };
}

/** Into the segment that w_ names; into none while capture is suspended. */
function insertAll(rows: string, { names, set }: FunctionOptions, indent: string): string {
  const into = (segment: number) =>
    `${indent}  insert into ${quoteIdentifier(names.schema)}.more_${segment}_${set} (rel, op, meta, old, image, extra)
${indent}    select @rel@, s.p, c_, s.o, s.n, s.x from ${rows} s;`;
  return `${indent}if w_ ${equals} 0 then
${into(0)}
${indent}elsif w_ ${equals} 1 then
${into(1)}
${indent}elsif w_ ${equals} 2 then
${into(2)}
${indent}end if;`;
}
