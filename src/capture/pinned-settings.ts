/**
 * Which settings of the writer's session would change how a type prints, and the test, in SQL, that they are as
 * published values need them. Only types that a table has are tested for; where the test fails, the capture function
 * calls row_text, which pins them all. [measured: a test costs 0.1 µs a row, a pinned setting 1 µs]
 */

export type Setting =
  | 'TimeZone'
  | 'DateStyle'
  | 'IntervalStyle'
  | 'bytea_output'
  | 'extra_float_digits'
  | 'lc_monetary'
  | 'search_path';

const setting = (name: string) => `pg_catalog.current_setting('${name}')`;
const equals = 'operator(pg_catalog.=)';

const TESTS: Readonly<Record<Setting, string>> = {
  TimeZone: `(${setting('TimeZone')} ${equals} 'UTC' or ${setting('TimeZone')} ${equals} 'Etc/UTC')`,
  DateStyle: `pg_catalog.left(${setting('DateStyle')}, 4) ${equals} 'ISO,'`,
  IntervalStyle: `${setting('IntervalStyle')} ${equals} 'iso_8601'`,
  bytea_output: `${setting('bytea_output')} ${equals} 'hex'`,
  extra_float_digits: `(${setting('extra_float_digits')} ${equals} '1' or ${setting('extra_float_digits')} ${equals} '2' or ${setting('extra_float_digits')} ${equals} '3')`,
  lc_monetary: `${setting('lc_monetary')} ${equals} 'C'`,
  // Names print bare only where they are on the path, so no application's path will do; quote_all_identifiers too.
  search_path: `(${setting('search_path')} ${equals} 'pg_catalog' and ${setting('quote_all_identifiers')} ${equals} 'off')`,
};

const ALL = Object.keys(TESTS) as readonly Setting[];

/** Built-in base types whose text depends on a setting (`pg_type.typname`). Others of pg_catalog depend on none. */
const BY_TYPE: Readonly<Record<string, readonly Setting[]>> = {
  timestamptz: ['TimeZone'],
  float4: ['extra_float_digits'],
  float8: ['extra_float_digits'],
  point: ['extra_float_digits'],
  line: ['extra_float_digits'],
  lseg: ['extra_float_digits'],
  box: ['extra_float_digits'],
  path: ['extra_float_digits'],
  polygon: ['extra_float_digits'],
  circle: ['extra_float_digits'],
  interval: ['IntervalStyle'],
  bytea: ['bytea_output'],
  money: ['lc_monetary'],
};

/** Inside ranges dates print as text, not as JSON prints them. */
const IN_RANGES: Readonly<Record<string, readonly Setting[]>> = {
  ...BY_TYPE,
  date: ['DateStyle'],
  timestamp: ['DateStyle'],
  timestamptz: ['DateStyle', 'TimeZone'],
};

/** Types of well-known extensions whose text depends on no setting. Only a superuser can make a base type at all. */
const INDEPENDENT: ReadonlySet<string> = new Set([
  'citext',
  'hstore',
  'ltree',
  'lquery',
  'ltxtquery',
  'geometry',
  'geography',
]);

/** A type that a column is made of: itself, or reached through arrays, domains, composites and ranges. */
export interface PartType {
  /** pg_type.typname */
  readonly name: string;
  /** False for base types that an extension brought. */
  readonly builtin: boolean;
  readonly inRange: boolean;
}

/** Other base types of extensions may depend on anything: all settings. */
export function settingsFor(types: readonly PartType[]): readonly Setting[] {
  const found = new Set<Setting>();
  for (const type of types) {
    const needed = !type.builtin
      ? INDEPENDENT.has(type.name)
        ? []
        : ALL
      : type.name.startsWith('reg')
        ? (['search_path'] as const)
        : ((type.inRange ? IN_RANGES : BY_TYPE)[type.name] ?? []);
    for (const one of needed) found.add(one);
  }
  return ALL.filter((one) => found.has(one));
}

/** SQL that is true where the session's settings will do; undefined where none matters. */
export function settingsTest(settings: readonly Setting[]): string | undefined {
  return settings.length === 0 ? undefined : settings.map((one) => TESTS[one]).join(' and ');
}
