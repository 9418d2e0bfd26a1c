/** Rules that several parts of a set file share: exactly one of some keys, no repeats, URLs of the right kind. */
import type { Finding } from './set-file-issues.js';
import { suggest } from './set-file-suggest.js';
import type { Fields, Item } from './set-file-view.js';

/** Exactly one of some keys. */
export function exactlyOne(item: Item<Fields>, keys: readonly string[]): readonly Finding[] {
  const present = keys.filter((key) => item.value[key] !== undefined);
  const list = keys.join(', ');
  if (present.length === 0) {
    return [
      {
        path: item.path,
        at: 'value',
        message: `none of ${list}`,
        hint: `add one of ${list}`,
        missing: true,
      },
    ];
  }
  return present.slice(1).map((key) => ({
    path: [...item.path, key],
    at: 'key',
    message: `both ${present[0] ?? ''} and ${key}`,
    hint: `keep one of ${list}`,
  }));
}

/** Each text of the list that stands in it before. */
export function repeated(list: ReadonlyArray<Item<string>> | undefined, what: string): readonly Finding[] {
  const seen = new Set<string>();
  return (list ?? []).flatMap(({ value, path }): readonly Finding[] => {
    if (!seen.has(value)) {
      seen.add(value);
      return [];
    }
    return [
      { path, at: 'value', message: `${what} ${value} is listed twice`, hint: 'remove one of the two' },
    ];
  });
}

/** For something that is not there: the nearest of what is. */
export function near(name: string, known: readonly string[]): string {
  const best = suggest(name, known);
  return best === undefined ? `known: ${known.join(', ') || 'none'}` : `did you mean ${best}?`;
}

/** A DSN's own grammar is libpq's and read where it is used; here only what is surely no DSN. */
export function dsnFindings(dsn: Item<string>): readonly Finding[] {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(dsn.value)?.[1];
  return scheme === undefined || scheme === 'postgres' || scheme === 'postgresql'
    ? []
    : [
        {
          path: dsn.path,
          at: 'value',
          message: `a DSN does not begin with ${scheme}://`,
          hint: 'write postgres://user@host/database',
        },
      ];
}

/** A URL's scheme must be one of these, unless a variable hides it. Never repeats the URL: it may hold a secret. */
export function schemeFindings(url: Item<string>, schemes: readonly string[]): readonly Finding[] {
  const scheme = /^([a-z][a-z0-9+.-]*):\/\/./i.exec(url.value)?.[1]?.toLowerCase();
  if (url.value.startsWith('${') || (scheme !== undefined && schemes.includes(scheme))) {
    return [];
  }
  const list = schemes.map((known) => `${known}://`).join(', ');
  return [
    {
      path: url.path,
      at: 'value',
      message: `the URL does not begin with ${list}`,
      hint: 'write scheme://host:port',
    },
  ];
}
