/**
 * Values of every type that a column of a stock server can have and whose input accepts its output: literals that are
 * likely to go wrong, and generators of random ones, all as PostgreSQL's input text.
 */
import fc from 'fast-check';

/** Types of pg_catalog without values here, and why (docs/types.md). */
export const WITHOUT_INPUT: Readonly<Record<string, string>> = {
  gtsvector: 'its input refuses everything',
  pg_node_tree: 'its input refuses everything',
  pg_ndistinct: 'its input refuses everything',
  pg_dependencies: 'its input refuses everything',
  pg_mcv_list: 'its input refuses everything',
  pg_brin_bloom_summary: 'its input refuses everything',
  pg_brin_minmax_multi_summary: 'its input refuses everything',
};

const two = (n: number, width = 2) => String(n).padStart(width, '0');

const dates = fc
  .record({
    year: fc.integer({ min: 1, max: 4000 }),
    month: fc.integer({ min: 1, max: 12 }),
    day: fc.integer({ min: 1, max: 28 }),
    bc: fc.boolean(),
  })
  .map(({ year, month, day, bc }) => ({
    text: `${two(year, 4)}-${two(month)}-${two(day)}`,
    era: bc ? ' BC' : '',
  }));
const times = fc
  .record({
    hour: fc.integer({ min: 0, max: 23 }),
    minute: fc.integer({ min: 0, max: 59 }),
    micros: fc.integer({ min: 0, max: 59_999_999 }),
  })
  .map(
    ({ hour, minute, micros }) =>
      `${two(hour)}:${two(minute)}:${two(Math.floor(micros / 1e6))}.${two(micros % 1_000_000, 6)}`,
  );
const zones = fc
  .integer({ min: -12, max: 13 })
  .map((hour) => `${hour < 0 ? '-' : '+'}${two(Math.abs(hour))}:30`);
const timestamps = fc.tuple(dates, times).map(([date, time]) => `${date.text} ${time}${date.era}`);
const timestampsWithZone = fc
  .tuple(dates, times, zones)
  .map(([date, time, zone]) => `${date.text} ${time}${zone}${date.era}`);
/** No NUL, and no lone surrogates: neither is UTF-8 text. */
const texts = fc.string({ unit: 'grapheme', maxLength: 40 }).map((text) => text.replaceAll('\0', ''));
const integers = (bits: number) =>
  fc.bigInt({ min: -(2n ** BigInt(bits - 1)), max: 2n ** BigInt(bits - 1) - 1n }).map(String);
const unsigned = (bits: number) => fc.bigInt({ min: 0n, max: 2n ** BigInt(bits) - 1n }).map(String);
const decimals = fc
  .tuple(fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n }), fc.integer({ min: 0, max: 30 }))
  .map(([digits, exponent]) => `${digits}e-${exponent}`);
const doubles = fc
  .double({ noNaN: true })
  .filter((n) => !Number.isFinite(n) === false)
  .map(String);
const singles = fc.float({ noNaN: true, noDefaultInfinity: true }).map(String);
const coordinates = fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 }).map(String);
const points = fc.tuple(coordinates, coordinates).map(([x, y]) => `(${x},${y})`);
const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => `\\x${Buffer.from(array).toString('hex')}`);
const jsons = fc.json({ maxDepth: 3 }).filter((json) => !json.includes('\\u0000'));
const range = (bound: fc.Arbitrary<string>, compare: (a: string, b: string) => number) =>
  fc.tuple(bound, bound, fc.constantFrom('[)', '[]', '()', '(]'), fc.boolean()).map(([a, b, kind, open]) => {
    const [low, high] = [a, b].sort(compare);
    return `${kind[0]}"${low}",${open ? '' : `"${high}"`}${kind[1]}`;
  });
const numerically = (a: string, b: string) => (BigInt(a) < BigInt(b) ? -1 : 1);
const multi = (ranges: fc.Arbitrary<string>) =>
  fc.array(ranges, { maxLength: 3 }).map((list) => `{${list.join(',')}}`);
const days = fc.integer({ min: 1, max: 28 }).map((day) => `2026-02-${two(day)}`);
const alphabetically = (a: string, b: string) => (a < b ? -1 : 1);

const int4ranges = range(fc.integer({ min: -1e6, max: 1e6 }).map(String), numerically);
const int8ranges = range(
  fc.integer({ min: -1e6, max: 1e6 }).map((n) => `${n}000000000`),
  numerically,
);
const dateranges = range(days, alphabetically);
const tsranges = range(
  days.map((day) => `${day} 01:02:03.4`),
  alphabetically,
);
const tstzranges = range(
  days.map((day) => `${day} 01:02:03.4+05`),
  alphabetically,
);

export interface TypeSamples {
  /** As in a column definition. */
  readonly type: string;
  readonly values: readonly string[];
  readonly random?: fc.Arbitrary<string>;
}

/** By pg_type.typname. */
export const SAMPLES: Readonly<Record<string, TypeSamples>> = {
  bool: { type: 'bool', values: ['t', 'f'] },
  int2: { type: 'int2', values: ['0', '-32768', '32767'], random: integers(16) },
  int4: { type: 'int4', values: ['-2147483648', '2147483647'], random: integers(32) },
  int8: {
    type: 'int8',
    values: ['-9223372036854775808', '9223372036854775807', '9007199254740993'],
    random: integers(64),
  },
  numeric: {
    type: 'numeric',
    values: ['NaN', '0.00', '1e-50', '123456789012345678901234567890.10', 'Infinity', '-Infinity'],
    random: decimals,
  },
  float4: {
    type: 'float4',
    values: ['NaN', 'Infinity', '-Infinity', '-0', '1e-45', '3.4028235e38', '0.1'],
    random: singles,
  },
  float8: {
    type: 'float8',
    values: ['NaN', 'Infinity', '-Infinity', '-0', '5e-324', '1.7976931348623157e308', '0.30000000000000004'],
    random: doubles,
  },
  money: {
    type: 'money',
    values: ['-92233720368547758.08', '92233720368547758.07', '0.01'],
    random: integers(40).map((n) => `${n}.99`),
  },
  text: {
    type: 'text',
    values: ['', ' ', 'null', 'NULL', '"', '\\', "'", '{}', 'a\nb\r\tc', '\u{1f600}', '\u0001\u001f\u007f'],
    random: texts,
  },
  varchar: {
    type: 'varchar(200)',
    values: ['', 'ä'],
    random: texts,
  },
  bpchar: { type: 'char(5)', values: ['', 'a ', 'abcde'], random: fc.stringMatching(/^[a-z ]{0,5}$/) },
  name: { type: 'name', values: ['', 'x'.repeat(63), 'Ä"'], random: fc.stringMatching(/^[a-z"' ]{0,60}$/) },
  char: { type: '"char"', values: ['', 'a', '\\377', '\\001', '"', '\\\\'] },
  bytea: { type: 'bytea', values: ['', '\\x00', '\\xdeadbeef', '\\x5c'], random: bytes },
  date: {
    type: 'date',
    values: ['infinity', '-infinity', '4713-01-01 BC', '5874897-12-31', '0001-01-01'],
    random: dates.map((date) => date.text + date.era),
  },
  time: { type: 'time', values: ['00:00', '24:00', '23:59:59.999999'], random: times },
  timetz: {
    type: 'timetz',
    values: ['00:00+15:59:59', '24:00-12', '23:59:59.999999-00:00:01'],
    random: fc.tuple(times, zones).map((pair) => pair.join('')),
  },
  timestamp: {
    type: 'timestamp',
    values: ['infinity', '-infinity', '4713-01-01 00:00:00 BC', '294276-12-31 23:59:59.999999'],
    random: timestamps,
  },
  timestamptz: {
    type: 'timestamptz',
    values: [
      'infinity',
      '-infinity',
      '4713-02-01 00:00:00+00 BC',
      '294276-12-30 23:59:59.999999+00',
      '1883-11-18 12:03:57-07:00',
    ],
    random: timestampsWithZone,
  },
  interval: {
    type: 'interval',
    values: [
      '0',
      '-1 year',
      '1 mon -1 day',
      '-1 mon +1 day -00:00:00.000001',
      '178000000 years',
      '1 day -1 hour',
      '-0.5 days',
    ],
    random: fc
      .tuple(
        fc.integer({ min: -5000, max: 5000 }),
        fc.integer({ min: -5000, max: 5000 }),
        fc.integer({ min: -2e9, max: 2e9 }),
      )
      .map(([months, days_, micros]) => `${months} mons ${days_} days ${micros} microseconds`),
  },
  uuid: { type: 'uuid', values: ['00000000-0000-0000-0000-000000000000'], random: fc.uuid() },
  bit: { type: 'bit(7)', values: ['0000000', '1010101'] },
  varbit: { type: 'varbit', values: ['', '1', '0'.repeat(70)], random: fc.stringMatching(/^[01]{0,20}$/) },
  inet: { type: 'inet', values: ['::', '1.2.3.4/8', '::ffff:1.2.3.4', 'fe80::1/64'], random: fc.ipV4() },
  cidr: { type: 'cidr', values: ['10/8', '::/0', '1.2.3.4'], random: fc.ipV6() },
  macaddr: { type: 'macaddr', values: ['00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff'] },
  macaddr8: { type: 'macaddr8', values: ['08:00:2b:01:02:03:04:05'] },
  point: { type: 'point', values: ['(NaN,Infinity)', '(0,-0)'], random: points },
  line: { type: 'line', values: ['{1,2,3}', '{0.1,-1,1e-300}'] },
  lseg: {
    type: 'lseg',
    values: ['[(0,0),(1,1)]'],
    random: fc.tuple(points, points).map((pair) => `[${pair.join(',')}]`),
  },
  box: {
    type: 'box',
    values: ['(1,1),(0,0)'],
    random: fc.tuple(points, points).map((pair) => pair.join(',')),
  },
  path: {
    type: 'path',
    values: ['[(0,0)]', '((0,0),(1,1))'],
    random: fc.array(points, { minLength: 1, maxLength: 4 }).map((list) => `[${list.join(',')}]`),
  },
  polygon: {
    type: 'polygon',
    values: ['((0,0))'],
    random: fc.array(points, { minLength: 1, maxLength: 4 }).map((list) => `(${list.join(',')})`),
  },
  circle: {
    type: 'circle',
    values: ['<(0,0),0>'],
    random: fc
      .tuple(points, fc.integer({ min: 0, max: 99 }))
      .map(([point, radius]) => `<${point},${radius}>`),
  },
  json: {
    type: 'json',
    values: [
      'null',
      ' null ',
      '{}',
      '[]',
      '"null"',
      '{"a":1,"a":2}',
      '1.10',
      '1e5',
      '"\\u0000"',
      '{"a" : [1, null]\n}',
      '"\\ud83d\\ude00"',
    ],
    random: jsons,
  },
  jsonb: {
    type: 'jsonb',
    values: ['null', '{}', '[]', '"null"', '1.10', '12345678901234567890.0123456789', '[null, {"a": null}]'],
    random: jsons,
  },
  jsonpath: { type: 'jsonpath', values: ['$.a[*] ? (@.b == "x")', 'strict $'] },
  xml: { type: 'xml', values: ['<a b="c">d</a>', 'text', '<a>&lt;</a>'] },
  tsvector: { type: 'tsvector', values: ['', "'a':1A 'b c':2,3", "'it''s'"] },
  tsquery: { type: 'tsquery', values: ["'a' & !'b' | 'c':AB*", "'x' <2> 'y'"] },
  pg_lsn: { type: 'pg_lsn', values: ['0/0', 'FFFFFFFF/FFFFFFFF', '16/B374D848'] },
  pg_snapshot: { type: 'pg_snapshot', values: ['10:20:10,14,15', '1:1:'] },
  txid_snapshot: { type: 'txid_snapshot', values: ['10:20:10,14,15'] },
  refcursor: { type: 'refcursor', values: ['c"1'] },
  oid: { type: 'oid', values: ['0', '4294967295'], random: unsigned(32) },
  xid: { type: 'xid', values: ['0', '4294967295'] },
  xid8: { type: 'xid8', values: ['0', '18446744073709551615'], random: unsigned(64) },
  cid: { type: 'cid', values: ['4294967295'] },
  tid: { type: 'tid', values: ['(0,1)', '(4294967295,65535)'] },
  int2vector: { type: 'int2vector', values: ['1 2 3', ''] },
  oidvector: { type: 'oidvector', values: ['1 2 4294967295', ''] },
  aclitem: { type: 'aclitem', values: ['=r/postgres'] },
  regclass: { type: 'regclass', values: ['pg_class', '-', 'public."Mixed; Case"', '4294967295'] },
  regtype: { type: 'regtype', values: ['int4', 'public.mood', 'timestamptz[]', '4294967295'] },
  regproc: { type: 'regproc', values: ['now', '4294967295'] },
  regprocedure: { type: 'regprocedure', values: ['abs(int4)', 'public.mine(public.mood)'] },
  regoper: { type: 'regoper', values: ['||/', '4294967295'] },
  regoperator: { type: 'regoperator', values: ['+(int4,int4)'] },
  regrole: { type: 'regrole', values: ['postgres', '4294967295'] },
  regnamespace: { type: 'regnamespace', values: ['public', 'pg_catalog'] },
  regconfig: { type: 'regconfig', values: ['english'] },
  regdictionary: { type: 'regdictionary', values: ['simple'] },
  regcollation: { type: 'regcollation', values: ['"C"'] },
  int4range: { type: 'int4range', values: ['empty', '(,)', '[1,2)'], random: int4ranges },
  int8range: { type: 'int8range', values: ['empty'], random: int8ranges },
  numrange: { type: 'numrange', values: ['empty', '[1.10,1.1000]', '[NaN,NaN]'], random: int8ranges },
  daterange: { type: 'daterange', values: ['[-infinity,infinity)', '(,2026-01-01)'], random: dateranges },
  tsrange: { type: 'tsrange', values: ['[-infinity,infinity)'], random: tsranges },
  tstzrange: { type: 'tstzrange', values: ['empty', '(,"2026-01-01 00:00:00+00")'], random: tstzranges },
  int4multirange: { type: 'int4multirange', values: ['{}'], random: multi(int4ranges) },
  int8multirange: { type: 'int8multirange', values: ['{}'], random: multi(int8ranges) },
  nummultirange: { type: 'nummultirange', values: ['{[1.0,2.00]}'], random: multi(int8ranges) },
  datemultirange: { type: 'datemultirange', values: ['{(,)}'], random: multi(dateranges) },
  tsmultirange: { type: 'tsmultirange', values: ['{}'], random: multi(tsranges) },
  tstzmultirange: { type: 'tstzmultirange', values: ['{}'], random: multi(tstzranges) },
};

/** Types that applications and extensions make; `setup` of the test has their definitions. */
export const MADE: Readonly<Record<string, TypeSamples>> = {
  mood: { type: 'mood', values: ['sad', 'über "glad"', ''.padEnd(63, 'x')] },
  posint: { type: 'posint', values: ['1'], random: fc.integer({ min: 1, max: 1e9 }).map(String) },
  moments: { type: 'moments', values: ['{"2026-01-01 00:00:00+00"}', '[0:0]={"2026-01-01 00:00:00+05"}'] },
  jdomain: { type: 'jdomain', values: ['null', '{"a":1}'] },
  pair: { type: 'pair', values: ['(,)', '(1,"a,b")', '(-5,"")', '(7,"null")'] },
  deep: {
    type: 'deep',
    values: [
      '(1,"{1,NULL}","(2,x)",null,"{}")',
      '(,"[2:3]={1,2}",,"{""a"": null}","{""2026-01-01 00:00:00+09""}")',
    ],
  },
  floats: { type: 'floats', values: ['[0.1,0.30000000000000004)', 'empty'] },
  citext: { type: 'citext', values: ['MiXeD', ''], random: texts },
  hstore: { type: 'hstore', values: ['', 'a=>1, b=>NULL', '"x y"=>"q\\"r"'] },
  ltree: { type: 'ltree', values: ['', 'a.b.c'] },
  lquery: { type: 'lquery', values: ['a.*{1,2}.!b'] },
};
