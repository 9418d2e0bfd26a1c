/**
 * One JSON text for one value: members sorted by name (UTF-16 order), no space, undefined members left out. What is
 * hashed and stored is made here, so that the same meaning has the same hash on every machine and release.
 */

/** What canonical JSON can say: numbers must be safe integers, because nothing else prints the same everywhere. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue | undefined };

/**
 * @throws RangeError for a number that is not a safe integer: a bug of the caller, since values are checked before.
 */
export function canonicalJson(value: JsonValue): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') {
    return JSON.stringify(value);
  }
  if (typeof value === 'number') {
    if (!Number.isSafeInteger(value)) {
      throw new RangeError('canonical JSON holds safe integers only');
    }
    return String(value === 0 ? 0 : value);
  }
  if (isList(value)) {
    return `[${value.map(canonicalJson).join(',')}]`;
  }
  return objectText(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** An object whose order of members is part of its meaning: they stand in the order given. */
export function orderedJson(members: ReadonlyArray<readonly [name: string, value: JsonValue]>): string {
  return objectText(members);
}

function objectText(members: ReadonlyArray<readonly [name: string, value: JsonValue | undefined]>): string {
  const texts: string[] = [];
  for (const [name, value] of members) {
    if (value !== undefined) {
      texts.push(`${JSON.stringify(name)}:${canonicalJson(value)}`);
    }
  }
  return `{${texts.join(',')}}`;
}

function isList(value: object): value is readonly JsonValue[] {
  return Array.isArray(value);
}
