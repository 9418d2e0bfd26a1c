/**
 * A set file's data, looked at leniently: whatever of it makes sense, the rest left out. Lets the rules between
 * values speak even where the schema found mistakes, so that all are reported at once.
 */
import { parseColumnName, parseTableName } from './names.js';
import type { QualifiedName } from './set-configuration.js';
import type { Path } from './set-file-source.js';

export interface Item<Value> {
  readonly path: Path;
  readonly value: Value;
}

export type Fields = Readonly<Record<string, unknown>>;

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The maps inside the map at `key`: databases, streams, targets. */
export function entries(
  fields: Fields,
  key: string,
): ReadonlyArray<Item<Fields> & { readonly name: string }> {
  const map = fields[key];
  if (!isFields(map)) {
    return [];
  }
  return Object.entries(map).flatMap(([name, value]) =>
    isFields(value) ? [{ name, value, path: [key, name] }] : [],
  );
}

/** The maps inside the list at `key`. */
export function items(fields: Fields, key: string): ReadonlyArray<Item<Fields>> {
  const list = fields[key];
  return Array.isArray(list)
    ? list.flatMap((value: unknown, index) => (isFields(value) ? [{ value, path: [key, index] }] : []))
    : [];
}

/** The map at `key` of an item, with its path. */
export function inner(item: Item<Fields>, key: string): Item<Fields> | undefined {
  const value = item.value[key];
  return isFields(value) ? { value, path: [...item.path, key] } : undefined;
}

/** The text at `key` of an item, with its path. */
export function textOf(item: Item<Fields>, key: string): Item<string> | undefined {
  const value = item.value[key];
  return typeof value === 'string' ? { value, path: [...item.path, key] } : undefined;
}

/** The texts of the list at `key` of an item; undefined where there is no list. */
export function texts(item: Item<Fields>, key: string): ReadonlyArray<Item<string>> | undefined {
  const list = item.value[key];
  return Array.isArray(list)
    ? list.flatMap((value: unknown, index) =>
        typeof value === 'string' ? [{ value, path: [...item.path, key, index] }] : [],
      )
    : undefined;
}

/** The columns of the list at `key`, as they are in the table. */
export function columnsOf(item: Item<Fields>, key: string): ReadonlyArray<Item<string>> | undefined {
  return texts(item, key)?.flatMap(({ value, path }) => {
    const parsed = parseColumnName(value);
    return 'problem' in parsed ? [] : [{ value: parsed.name, path }];
  });
}

/** The table that a text names. */
export function tableOf(item: Item<string>): Item<QualifiedName> | undefined {
  const parsed = parseTableName(item.value);
  return 'problem' in parsed ? undefined : { value: parsed.name, path: item.path };
}

/** Whether what `wide` names includes what `narrow` names. */
export function covers(wide: QualifiedName, narrow: QualifiedName): boolean {
  return wide.schema === narrow.schema && (wide.table === '*' || wide.table === narrow.table);
}

/** Whether some table may be meant by both. */
export function overlaps(a: QualifiedName, b: QualifiedName): boolean {
  return covers(a, b) || covers(b, a);
}
