/**
 * What differs between two configurations of a set, entry by entry, for people. A value that may hold a secret is
 * never shown: only that it changed.
 */
import { canonicalJson, type JsonValue } from './canonical-json.js';
import type { SetConfiguration } from './set-configuration.js';
import { configurationDocument } from './set-file-stored.js';

export interface ConfigurationChange {
  readonly kind: 'added' | 'removed' | 'changed';
  /** Keys of the set file; a table stands under its name: `tables.public.accounts.columns`. */
  readonly path: readonly string[];
  /** JSON text; undefined where it was not there, or must not be shown. */
  readonly before?: string;
  readonly after?: string;
}

const SECRET: ReadonlySet<string> = new Set([
  'dsn',
  'url',
  'password',
  'passcode',
  'passphrase',
  'username',
  'login',
  'key',
  'cert',
  'ca',
]);

/** In the order of the set file's keys, then by name. */
export function diffConfigurations(
  before: SetConfiguration,
  after: SetConfiguration,
): readonly ConfigurationChange[] {
  return diff(named(configurationDocument(before)), named(configurationDocument(after)), []);
}

type Members = Readonly<Record<string, JsonValue | undefined>>;

/** Tables are a list in the file; here each stands under its name, so that order does not matter. */
function named(document: Members): Members {
  const tables = Array.isArray(document.tables) ? document.tables : [];
  const byName: Record<string, JsonValue> = {};
  for (const table of tables) {
    if (!isMembers(table)) continue;
    const { name, ...rest } = table;
    byName[typeof name === 'string' ? name : ''] = rest;
  }
  return { ...document, tables: byName };
}

function diff(before: Members, after: Members, path: readonly string[]): readonly ConfigurationChange[] {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return keys.flatMap((key) => {
    const [old, next] = [before[key], after[key]];
    const here = [...path, key];
    if (isMembers(old) && isMembers(next)) return diff(old, next, here);
    const [oldText, nextText] = [textOf(old), textOf(next)];
    if (oldText === nextText) return [];
    const kind = oldText === undefined ? 'added' : nextText === undefined ? 'removed' : 'changed';
    return [
      {
        kind,
        path: here,
        ...shown('before', { value: old, path: here }),
        ...shown('after', { value: next, path: here }),
      },
    ];
  });
}

function shown(
  side: 'before' | 'after',
  { value, path }: { value: JsonValue | undefined; path: readonly string[] },
): { before?: string; after?: string } {
  const text = textOf(value === undefined ? undefined : withoutSecrets(value, path.at(-1) ?? '', path));
  if (text === undefined) return {};
  return side === 'before' ? { before: text } : { after: text };
}

/** A table's `key` and a Redis target's are no secrets, a TLS key is. */
function isSecret(key: string, path: readonly string[]): boolean {
  if (key === 'key') return path[0] === 'streams';
  return SECRET.has(key);
}

function withoutSecrets(value: JsonValue, key: string, path: readonly string[]): JsonValue | undefined {
  if (isSecret(key, path)) return undefined;
  if (!isMembers(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      inner === undefined ? undefined : withoutSecrets(inner, name, [...path, name]),
    ]),
  );
}

function textOf(value: JsonValue | undefined): string | undefined {
  return value === undefined ? undefined : canonicalJson(value);
}

function isMembers(value: JsonValue | undefined): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
