/**
 * Statements of a capture function that assign what one row is logged with: its images, what JSON can't tell of it, and
 * its key alone. Whoever places them sees to it that they stand in a block that writes nothing (row-body.ts).
 */
import type { NodeNames } from '../postgres/sql-files.js';
import type { FunctionOptions } from './log-insert.js';
import { settingsTest } from './pinned-settings.js';
import {
  directImage,
  directKey,
  extraImage,
  oldColumns,
  pinnedImage,
  pinnedKey,
  type RowVariable,
  sandboxedExtra,
  shapeTest,
  typesKnown,
} from './row-image.js';
import type { TableDescription } from './table-description.js';

const TEXT = 'pg_catalog.text';

export const variable = (row: RowVariable) => (row === 'OLD' ? 'o_' : 'n_');

/** The images under the session's settings where they will do, else by the sandbox with all settings pinned. */
export function images(
  table: TableDescription,
  {
    rows,
    checked,
    whole,
    options,
    typesAsked,
    onChange,
  }: {
    rows: readonly RowVariable[];
    checked: RowVariable | undefined;
    whole: boolean;
    options: FunctionOptions;
    typesAsked: boolean;
    onChange: string | undefined;
  },
): string {
  const image = (row: RowVariable, pinned: boolean) => imageOf(table, row, { whole, pinned, options });
  const assign = (pinned: boolean, indent: string) =>
    rows
      .map((row) => {
        const shape = checked && shapeTest(table, checked);
        const alike = shape && row !== 'OLD' ? 'o_ is not null' : undefined;
        const conditions = [
          row === checked ? shape : row === 'OLD' ? onChange : whole ? alike : undefined,
          typesAsked ? undefined : imageTypes(table, row, { whole, options }),
        ];
        return `${indent}${variable(row)} := ${where(conditions, image(row, pinned))};`;
      })
      .join('\n');
  if (table.isolated) return assign(true, '    ');
  const test = settingsTest(table.settings);
  if (!test) return assign(false, '    ');
  return `    if ${test} then
${assign(false, '      ')}
    else
${assign(true, '      ')}
    end if;`;
}

/** An image, or null where one of the conditions is not so. */
export function where(conditions: readonly (string | undefined)[], image: string | undefined): string {
  const tests = conditions.filter((condition) => condition !== undefined);
  return tests.length === 0 ? `${image}` : `case when ${tests.join(' and ')} then ${image} end`;
}

/** Nobody knows what prints a value of another type, and with whose rights. */
export function imageTypes(
  table: TableDescription,
  row: RowVariable,
  { whole, options: { names } }: { readonly whole: boolean; readonly options: FunctionOptions },
): string | undefined {
  return typesKnown(table, row, { names, only: row === 'OLD' && !whole ? oldColumns(table) : undefined });
}

interface ImageOptions {
  /** Whether the old image is the whole row. */
  readonly whole: boolean;
  /** Under pinned settings, by the sandbox. */
  readonly pinned: boolean;
  readonly options: FunctionOptions;
}

export function imageOf(table: TableDescription, row: RowVariable, { whole, pinned, options }: ImageOptions) {
  const keyOnly = row === 'OLD' && !whole;
  if (!pinned) return keyOnly ? directKey(table, row) : directImage(table, row);
  return keyOnly
    ? pinnedKey(table, row, options.names)
    : pinnedImage(table, row, { names: options.names, strict: true });
}

interface ExtraRows {
  readonly rows: readonly RowVariable[];
  readonly whole: boolean;
  readonly omits: boolean;
  readonly names: NodeNames;
}

export function extrasFound(table: TableDescription, { rows, whole, omits, names }: ExtraRows) {
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
  return found;
}

export function extras(table: TableDescription, rows: ExtraRows): string {
  const found = extrasFound(table, rows);
  if (found.length === 0) return '';
  const members = found.map(({ member, build }) => `'${member}', ${build}`);
  return `    if ${found.map(({ test }) => test).join(' or ')} then
      x_ := pg_catalog.json_strip_nulls(pg_catalog.json_build_object(${members.join(', ')}))::${TEXT};
    end if;`;
}

/** Of columns that nobody knew when the function was made. */
export function fallbackExtras(
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
export function keyAlone(
  table: TableDescription,
  { row, options, indent }: { row: RowVariable; options: FunctionOptions; indent: string },
): string {
  const pinned = table.isolated || table.settings.length > 0;
  const key = pinned ? pinnedKey(table, row, options.names) : directKey(table, row);
  if (!key) return '';
  const types = typesKnown(table, row, { names: options.names, only: oldColumns(table) });
  return `${indent}begin
${indent}  o_ := ${where([types], key)};
${indent}exception when others then
${indent}  o_ := null;
${indent}end;`;
}
