import { describe, expect, test } from 'vitest';
import { type Issue, parseSetFile } from '../../../src/model/set-file.js';

const HEAD = 'name: a\ndatabases: { m: { dsn: x } }\n';
const TABLES = 'tables: [{ name: a.t }, { name: b.t }, { name: c.* }]\n';

function issuesOf(text: string): readonly Issue[] {
  return parseSetFile(text, { file: 'f' }).issues ?? [];
}

/** `line:column message | hint`, with the parts that are there. */
function told(text: string): readonly string[] {
  return issuesOf(text).map(
    ({ line, column, message, hint }) => `${line}:${column} ${message} | ${hint ?? ''}`,
  );
}

/** The one issue of a text in which ¦ marks its place. */
function only(marked: string): string {
  const before = marked.slice(0, marked.indexOf('¦')).split('\n');
  const [issue, ...more] = issuesOf(marked.replace('¦', ''));
  expect(more).toEqual([]);
  expect(issue).toMatchObject({ line: before.length, column: (before.at(-1) ?? '').length + 1 });
  return `${issue?.message} | ${issue?.hint ?? ''}`;
}

describe('the whole file', () => {
  test.each([
    ['', 'the file is empty'],
    ['# nothing\n', 'the file is empty'],
    ['[]', 'expected a map, found a list'],
    ['hello', 'expected a map, found a text'],
    [`${HEAD}tables: [{ name: t }]\n---\nname: b\n`, 'the file holds more than one document'],
    [`${HEAD}tables: [{ name: t }]\nwake: poll\nwake: poll\n`, 'this key stands twice in one map'],
    [`${HEAD}tables: [{ name: !table t }]\n`, 'Unresolved tag: !table'],
    [`${HEAD}tables: [{ name: t }]\n1: x\n`, 'a key is no text'],
    [`${HEAD}tables: [{ name: t }]\nwkae: poll\n`, 'unknown key wkae | did you mean wake?'],
    [`${HEAD}tables: [{ name: t }]\nwake:\n`, 'expected one of auto, notify, poll, found nothing'],
    [`${HEAD}`, 'missing key tables'],
    [`${HEAD}tables: []\n`, 'the list is empty'],
    ['name: a\ndatabases: {}\ntables: [{ name: t }]\n', 'the map is empty'],
    ['databases: { m: { dsn: x } }\ntables: [{ name: t }]\n', 'missing key name'],
    ['name: A\ndatabases: { m: { dsn: x } }\ntables: [{ name: t }]\n', 'not a name'],
  ])('%j: %s', (text, start) => {
    expect(told(text)[0]).toContain(start);
  });

  test('the name must be the command’s', () => {
    const { issues } = parseSetFile(`${HEAD}tables: [{ name: t }]\n`, { file: 'f', name: 'b' });
    expect(issues).toEqual([expect.objectContaining({ line: 1, column: 7, path: 'name' })]);
  });

  test('syntax does not hide what else is wrong, nor make keys seem missing', () => {
    const all = told('name: a\ndatabases: { m: { dsn: x\ntables:\n  - nme: t\n');
    expect(all[0]).toMatch(/^3:1 /);
    expect(all.join('\n')).toContain('4:5 unknown key nme | did you mean name?');
    expect(all.join('\n')).not.toContain('missing');
  });

  test('everything is told at once, in the order of the file', () => {
    const all = issuesOf(
      `name: a\ndatabases: { M: { dns: x } }\ntables: [{ name: a.b.c }]\nstreams: { s: { format: x } }\nwake: x\nlimits: { lag: 6 }\n`,
    );
    expect(all.map(({ line, path }) => `${line} ${path}`)).toEqual([
      '2 databases.M',
      '2 databases.M',
      '2 databases.M.dns',
      '3 tables[0].name',
      '4 streams.s',
      '4 streams.s.format',
      '5 wake',
      '6 limits.lag',
    ]);
  });

  test('numbers that would lose digits are refused, others are not', () => {
    const one = (value: string) =>
      told(`${HEAD}${TABLES}streams: { s: { kafka: { brokers: ["a:1"], partitions: ${value} } } }\n`);
    expect(one('12345678901234567890')).toEqual([
      '4:56 the number 12345678901234567890 would lose digits | put it into quotes if it is a text',
    ]);
    expect(one('0.30000000000000000001')[0]).toContain('would lose digits');
    expect(one('1.5')).toEqual(['4:56 expected a whole number, found a number that is not whole | ']);
    expect(one('1e3')).toEqual([]);
    expect(one('0x10')).toEqual([]);
    expect(one('3')).toEqual([]);
  });

  test('aliases can’t blow it up', () => {
    const levels = Array.from(
      { length: 9 },
      (_, n) => `  l${n + 1}: &l${n + 1} [${`*l${n}, `.repeat(9)}]`,
    ).join('\n');
    const text = `${HEAD}${TABLES}limits:\n  l0: &l0 [x]\n${levels}\n`;
    expect(told(text).join('\n')).toContain('too large');
  });
});

describe('databases and tables', () => {
  const table = (fields: string) => `${HEAD}tables:\n  - { name: t, ${fields} }\n`;

  test.each([
    ['columns: [a], ¦exclude: [b]', 'both columns and exclude'],
    ['columns: [a, ¦a]', 'column a is listed twice'],
    ['columns: ¦[]', 'the list is empty'],
    ['columns: [¦""]', 'a name is empty'],
    ['columns: ¦id', 'expected a list, found a text | put it into brackets'],
    ['columns: [a], key: [¦b]', 'column b of the key is not captured | add b to columns'],
    ['exclude: [b], key: [a, ¦b]', 'column b of the key is not captured | take b out of exclude'],
    ['columns: [a], where: "a = 1 and ¦b = 2"', 'column b of the filter is not captured'],
    ['exclude: [a], where: ¦"A = 1"', 'column a of the filter is not captured'],
    ['where: "a = ¦null"', 'nothing equals null'],
    ['where: ¦""', 'the filter is empty'],
    ['key: ¦non', 'expected none or a list, found a text | did you mean none?'],
    ['before: ¦ful', 'expected one of key, full, found ful | did you mean full?'],
    ['operations: [insert, ¦insert]', 'operation insert is listed twice'],
    ['operations: [¦upsert]', 'expected one of insert, update, delete, truncate, found upsert'],
    ['capture: statement, before: ¦full', 'capture: statement has no whole old rows'],
    ['capture: statement, key: ¦none', 'capture: statement needs a key'],
    ['where: id > 1, unchanged_wide: ¦omit', 'unchanged_wide: omit does not go with a filter'],
    ['¦Before: key', 'unknown key Before | did you mean before?'],
  ])('{ %s }: %s', (fields, start) => {
    expect(only(table(fields))).toContain(start);
  });

  test.each([
    ['tables: [{ name: a }, { name: ¦public.A }]', 'table public.a is listed twice'],
    ['tables: [{ name: a.* }, { name: ¦a.* }]', 'table a.* is listed twice'],
    ['tables: [{ name: a.b¦.c }]', 'a name has more than two parts'],
    ['tables: [{ name: "a ¦b" }]', 'unexpected b'],
    ['tables: [¦{}]', 'missing key name'],
    ['tables: [¦t]', 'expected a map, found a text'],
  ])('%s: %s', (tables, start) => {
    expect(only(`${HEAD}${tables}\n`)).toContain(start);
  });

  test('a table may be listed by name and by schema', () => {
    expect(told(`${HEAD}tables: [{ name: a.* }, { name: a.t, key: [x] }]\n`)).toEqual([]);
  });

  test.each([
    ['{ m: { dsn: ¦"mysql://u:secret@h/d" } }', 'a DSN does not begin with mysql://'],
    ['{ m: { dsn: x }, n: { dsn: ¦x } }', 'databases m and n are the same'],
    ['{ m: { dsn: ¦5 } }', 'expected a text, found a number | put it into quotes'],
    ['{ m: { dsn: ¦"${A b}" } }', '${ begins no variable'],
    ['{ m: ¦}', 'expected a map, found nothing'],
  ])('%s: %s', (databases, start) => {
    const issue = only(`name: a\ndatabases: ${databases}\ntables: [{ name: t }]\n`);
    expect(issue).toContain(start);
    expect(issue).not.toContain('secret');
  });
});

describe('streams', () => {
  const stream = (fields: string) => `${HEAD}${TABLES}streams:\n  s: { ${fields} }\n`;
  const kafka = (fields: string) => `kafka: { brokers: ["h:1"], ${fields} }`;

  test.each([
    ['¦file: { path: x }, stomp: { url: "stomp://h:1", destination: q }', 'both stomp and file'],
    ['file: { path: x }, tables: [¦a.x]', 'table a.x is not in the set | did you mean a.t?'],
    ['file: { path: x }, tables: [a.t, ¦A.T]', 'table a.t is listed twice'],
    [
      'file: { path: x }, format: ¦debezum',
      'expected shovel or debezium or golconde or a map, found debezum | did you mean debezium?',
    ],
    ['file: { path: x }, from: ¦now', 'expected start, found now'],
    ['file: { path: "{set}/¦{tabel}" }', 'unknown placeholder {tabel}'],
    ['file: { path: ¦"{schema}" }', '{schema} without {table}'],
    ['file: { path: ¦"{table}" }', 'a.t and b.t would have the same path t | add {schema}'],
    ['kafka: { brokers: [¦h] }', 'a broker is host:port'],
    ['kafka: { brokers: [¦"a:1,b:1"] }', 'a broker is host:port'],
    ['kafka: { brokers: ¦[] }', 'the list is empty'],
    ['kafka: ¦{}', 'missing key brokers'],
    [kafka('topic: "a¦ b"'), 'Kafka takes letters'],
    [kafka('topic: ¦"{table}"'), 'a.t and b.t would have the same topic t'],
    [kafka('topic: ¦".."'), 'the topic of'],
    [kafka(`topic: ¦"${'x'.repeat(250)}"`), 'the topic of'],
    [kafka('partitions: ¦0'), 'a topic has at least one partition'],
    [kafka('compression: ¦snappy'), 'expected one of none, gzip, found snappy'],
    [kafka('ssl: { ¦cca: x }'), 'unknown key cca | did you mean ca?'],
    [kafka('ssl: ¦yes'), 'expected true or false or a map, found a text'],
    [kafka('sasl: ¦{ mechanism: plain, username: u }'), 'missing key password'],
    [`${kafka('topic: ¦x')}, format: debezium`, 'format debezium needs {table} in the topic'],
    [
      `${kafka('topic: "{schema}-{table}"')}, transactions: false, format: { debezium: { provide.transaction.metadata: ¦true } }`,
      'provide.transaction.metadata needs transactions: true',
    ],
    [
      `${kafka('topic: "{schema}-{table}"')}, format: { debezium: { ¦decimal.handling.mod: x } }`,
      'did you mean decimal.handling.mode?',
    ],
    [
      `${kafka('topic: "{schema}-{table}"')}, format: { debezium: { skipped.operations: ¦"x" } }`,
      'not a list of operations',
    ],
    ['stomp: { url: ¦"http://u:secret@h", destination: q }', 'the URL does not begin with stomp://'],
    ['stomp: ¦{ url: "stomp://h:1" }', 'missing key destination'],
  ])('{ %s }: %s', (fields, start) => {
    const issue = only(stream(fields));
    expect(issue).toContain(start);
    expect(issue).not.toContain('secret');
  });

  test('a stream goes somewhere', () => {
    expect(only(stream('format: shovel').replace('  s: {', '  s: ¦{'))).toContain(
      'none of kafka, stomp, file',
    );
  });

  test.each([
    ['file: { path: "-" }'],
    ['file: { path: "${DIR}/{set}.jsonl" }, tables: [c.x]'],
    ['file: { path: "{schema}/{table}" }'],
    ['file: { path: "{table}" }, tables: [a.t]'],
    ['file: { path: "{table}" }, tables: [c.*]'],
    [kafka('topic: "${T}.{schema}.{table}"')],
    ['stomp: { url: "${URL}", destination: q }'],
    [`${kafka('ssl: true')}, format: debezium`],
  ])('{ %s } is right', (fields) => {
    expect(told(stream(fields))).toEqual([]);
  });

  test('Kafka takes dots and underscores for the same', () => {
    const text = (topic: string) =>
      `${HEAD}tables: [{ name: a.b_c }, { name: a_b.c }]\nstreams: { s: { kafka: { brokers: ["h:1"], topic: ${topic} } } }\n`;
    expect(only(text('¦"{schema}.{table}"'))).toContain('a.b_c and a_b.c would have the same topic a_b.c');
    expect(told(text('"{schema}-{table}"'))).toEqual([]);
  });

  test('two streams need two destinations', () => {
    const two = (a: string, b: string) => told(`${HEAD}${TABLES}streams:\n  a: ${a}\n  b: ${b}\n`);
    expect(two('{ file: { path: x } }', '{ file: { path: x } }')).toEqual([
      '6:22 streams a and b would have the same destination | give each stream a destination of its own',
    ]);
    expect(two('{ kafka: { brokers: ["h:1"] } }', '{ kafka: { brokers: ["h:1"] } }')).toHaveLength(1);
    expect(two('{ kafka: { brokers: ["h:1"] } }', '{ kafka: { brokers: ["h:2"] } }')).toEqual([]);
    expect(
      two('{ file: { path: "{table}" }, tables: [a.t] }', '{ file: { path: "{table}" }, tables: [c.*] }'),
    ).toEqual([]);
  });

  test('a bad name hides nothing below it', () => {
    const all = told(`${HEAD}${TABLES}streams:\n  S-1: { fil: { path: x } }\n`);
    expect(all).toEqual([
      expect.stringContaining('5:3 not a name'),
      expect.stringContaining('5:8 none of kafka, stomp, file'),
      expect.stringContaining('5:10 unknown key fil | did you mean file?'),
    ]);
  });
});

describe('targets', () => {
  const target = (fields: string) =>
    `${HEAD}${TABLES}streams: { s: { file: { path: x } }, out: { file: { path: "-" } }, one: { file: { path: y }, tables: [a.t] } }\ntargets:\n  w: { ${fields} }\n`;
  const postgres = (fields: string) => `stream: s, postgres: { dsn: x }, ${fields}`;

  test.each([
    ['stream: ¦ss, postgres: { dsn: x }', 'there is no stream ss | did you mean s?'],
    ['stream: ¦out, postgres: { dsn: x }', 'stream out goes to stdout'],
    ['stream: s, postgres: { dsn: ¦"redis://x" }', 'a DSN does not begin with redis://'],
    [
      'stream: s, postgres: { dsn: x }, ¦redis: { url: "redis://h", key: "{table}{schema}{id}" }',
      'both postgres and redis',
    ],
    [postgres('tables: { ¦a.x: {} }'), 'table a.x is not in the stream | did you mean a.t?'],
    [postgres('tables: { ¦a.*: {} }'), 'one table is meant here'],
    [postgres('tables: { a.t: { to: ¦x.* } }'), 'one table is meant here'],
    [postgres('tables: { ¦a.t.c: {} }'), 'more than two parts'],
    [postgres('tables: { a.t: {}, ¦"A.t": {} }'), 'table a.t is listed twice'],
    [postgres('tables: ¦{ a.t: { to: b.t } }'), 'b.t and a.t would both be written to b.t'],
    [postgres('tables: { a.t: { columns: { x: z, y: ¦z } } }'), 'columns x and y would both be written to z'],
    [postgres('truncate: ¦no'), 'expected one of delete, native, found no'],
    ['stream: s, handler: { module: x }, ¦truncate: delete', 'truncate is of no use with handler'],
    ['stream: s, handler: { module: x }, ¦atomic: g', 'a handler without postgres'],
    ['stream: one, redis: { url: "redis://h", key: "{id}" }, ¦atomic: g', 'atomic is of no use with redis'],
    ['stream: one, redis: { url: ¦"http://h", key: "{id}" }', 'the URL does not begin with redis://'],
    [
      'stream: s, redis: { url: "redis://h", key: ¦"{table}" }',
      'all rows of a table would have the same key',
    ],
    [
      'stream: s, redis: { url: "redis://h", key: ¦"{id}" }',
      'rows of several tables could have the same key',
    ],
    [
      'stream: s, redis: { url: "redis://h", key: ¦"{table}:{id}" }',
      'rows of a.t and b.t could have the same key',
    ],
    ['stream: one, redis: { url: "redis://h", key: "{id}", ttl: ¦0 }', 'a time to live is above 0'],
    ['stream: one, redis: { url: "redis://h", key: "{id}", ttl: ¦1x }', 'not a duration: 1x'],
  ])('{ %s }: %s', (fields, start) => {
    expect(only(target(fields))).toContain(start);
  });

  test.each([
    [postgres('tables: { a.t: { to: b.t }, b.t: { to: a.t } }')],
    ['stream: one, redis: { url: "${R}", key: "{id}" }'],
    ['stream: s, redis: { url: "redis://h", key: "{schema}:{table}:{id}" }'],
    ['stream: s, handler: { module: x, postgres: { dsn: y } }, atomic: g'],
  ])('{ %s } is right', (fields) => {
    expect(told(target(fields))).toEqual([]);
  });

  test('a target is of some kind and reads some stream', () => {
    expect(only(target('stream: s').replace('  w: {', '  w: ¦{'))).toContain(
      'none of postgres, redis, handler',
    );
    expect(only(target('postgres: { dsn: x }').replace('  w: {', '  w: ¦{'))).toContain('missing key stream');
  });

  test('a group reads one stream', () => {
    const text = `${target('stream: s, postgres: { dsn: x }, atomic: g')}  v: { stream: one, postgres: { dsn: y }, atomic: ¦g }\n`;
    expect(only(text)).toContain('targets w and v of group g read different streams');
  });
});
