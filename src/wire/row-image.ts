/**
 * From the images of a log row to the objects that are published: columns chosen and in order, what JSON can't tell
 * put back, left-out columns left out. Values are moved as text and never parsed. Decides the form of one image; the
 * message around it is shovel.ts's.
 */
import { members, memberText, spaceLineBreaks } from '../model/json-text.js';

/** What a log row's `extra` says of one image. */
export interface ImageExtra {
  /** Columns whose text replaces their JSON: raw JSON strings by name. */
  readonly text: ReadonlyMap<string, string>;
  /** JSON text of a list of columns that hold a JSON null; undefined where none does. */
  readonly jsonNull: string | undefined;
}

const NO_EXTRA: ImageExtra = { text: new Map(), jsonNull: undefined };

/** `extra` is the whole text of the log row's column. */
export function imageExtra(extra: string | null, image: 'old' | 'new'): ImageExtra {
  const found = extra === null ? undefined : memberText(extra, image);
  if (found === undefined || found === 'null') return NO_EXTRA;
  const text = new Map<string, string>();
  let jsonNull: string | undefined;
  for (const [name, value] of members(found)) {
    if (name === 'json_null') jsonNull = value === '[]' || value === 'null' ? undefined : compactNames(value);
    // Beyond 50 columns the texts come in several objects: text, text1, text2, …
    else if (name.startsWith('text')) for (const [column, raw] of members(value)) text.set(column, raw);
  }
  return { text, jsonNull };
}

/** Columns that an update left out because it did not change them; undefined where none. */
export function unchangedColumns(extra: string | null): ReadonlySet<string> | undefined {
  const update = extra === null ? undefined : memberText(extra, 'update');
  const list = update === undefined ? undefined : memberText(update, 'unchanged');
  return list === undefined || list === 'null' ? undefined : new Set(names(list));
}

export interface ImageOptions {
  /** In this order; those that the row lacks are left out. Null: what the row has. */
  readonly columns: readonly string[] | null;
  readonly extra: ImageExtra;
  readonly omit?: ReadonlySet<string> | undefined;
}

/** A row in the form that row_to_json prints, on one line. */
export function rowImage(json: string, { columns, extra, omit }: ImageOptions): string {
  if (columns === null && extra.text.size === 0 && omit === undefined) return spaceLineBreaks(json);
  const values = new Map<string, string>();
  for (const [name, value] of members(json)) values.set(name, extra.text.get(name) ?? value);
  const parts: string[] = [];
  for (const name of columns ?? values.keys()) {
    const value = values.get(name);
    if (value !== undefined && omit?.has(name) !== true) parts.push(`${JSON.stringify(name)}:${value}`);
  }
  return spaceLineBreaks(`{${parts.join(',')}}`);
}

/** A JSON list of names as PostgreSQL prints it, as JSON.stringify does. */
function compactNames(list: string): string {
  return JSON.stringify(names(list));
}

/** These lists are our own and hold names of columns alone, so parsing them loses nothing. */
function names(list: string): readonly string[] {
  const parsed: unknown = JSON.parse(list);
  return Array.isArray(parsed) ? parsed.map(String) : [];
}
