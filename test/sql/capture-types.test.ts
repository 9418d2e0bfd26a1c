/**
 * Any value, exactly: what is logged, cast back, is the value, for every type of a stock server, arrays of it with any
 * bounds, and what applications make of them, under any settings of the writer.
 */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memberText } from '../../src/model/json-text.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { quoteIdentifier, quoteLiteral } from '../../src/postgres/sql-files.js';
import { CapturedNode, type LogRow, onPublic } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';
import { MADE, SAMPLES, type TypeSamples, WITHOUT_INPUT } from '../support/type-samples.js';

const SETUP = `
create extension citext; create extension hstore; create extension ltree;
create type mood as enum ('sad', 'über "glad"', '${'x'.repeat(63)}');
create domain posint as int check (value > 0);
create domain moments as timestamptz[];
create domain jdomain as json;
create type pair as (a int, b text);
create type deep as (x float8, list int[], p pair, j jsonb, at timestamptz[]);
create type floats as range (subtype = float8);
create table "Mixed; Case" (id int);
create function mine(mood) returns int language sql as 'select 1';
`;

interface Column {
  readonly name: string;
  readonly sample: TypeSamples;
  readonly array: boolean;
}

const SETTINGS = fc.record({
  TimeZone: fc.constantFrom('UTC', 'Asia/Tokyo', 'America/St_Johns', '+05:45'),
  DateStyle: fc.constantFrom('ISO, MDY', 'SQL, DMY', 'German', 'Postgres, YMD'),
  IntervalStyle: fc.constantFrom('iso_8601', 'postgres', 'postgres_verbose', 'sql_standard'),
  bytea_output: fc.constantFrom('hex', 'escape'),
  extra_float_digits: fc.constantFrom('1', '3', '0', '-15'),
  search_path: fc.constantFrom('pg_catalog', 'public', '"$user", public'),
  quote_all_identifiers: fc.constantFrom('on', 'off'),
  xmloption: fc.constant('content'),
  standard_conforming_strings: fc.constantFrom('on', 'off'),
  escape_string_warning: fc.constant('off'),
});

describe.each(SERVERS)('on $name', ({ url }) => {
  let node: CapturedNode;
  let writer: PostgresConnection;
  let columns: readonly Column[];

  beforeAll(async () => {
    node = await CapturedNode.create(url());
    await onPublic(node.connection, SETUP);
    columns = [...Object.entries(SAMPLES), ...Object.entries(MADE)].flatMap(([name, sample]) => [
      { name: `one ${name}`, sample, array: false },
      { name: `many ${name}`, sample, array: name !== 'moments' },
    ]);
    const list = columns.map(
      ({ name, sample, array }) => `${quoteIdentifier(name)} ${sample.type}${array ? '[]' : ''}`,
    );
    await onPublic(node.connection, `create table everything (id serial primary key, ${list.join(', ')})`);
    await node.capture({ tables: '- { name: public.everything, before: full }' });
    writer = await node.session();
  });
  afterAll(() => node.close());

  it('knows every type that a column can have', async () => {
    const rows = await node.connection.query(
      `select t.typname from pg_type t join pg_namespace n on n.oid = t.typnamespace
       where n.nspname = 'pg_catalog' and t.typtype in ('b', 'r', 'm', 'd', 'e') and not (t.typelem <> 0 and t.typlen = -1 and t.typname like '\\_%')`,
    );
    const known = new Set([...Object.keys(SAMPLES), ...Object.keys(WITHOUT_INPUT)]);
    expect(rows.map((row) => row.typname ?? '').filter((name) => !known.has(name))).toEqual([]);
  });

  it.each(Object.entries(WITHOUT_INPUT))('leaves out %s: %s', async (name) => {
    await expect(node.connection.query(`select ''::pg_catalog.${name}`)).rejects.toThrow();
  });

  const literal = ({ sample }: Column) =>
    sample.random
      ? fc.oneof(fc.constantFrom(...sample.values), sample.random)
      : fc.constantFrom(...sample.values);
  const element = (column: Column) => fc.option(literal(column), { freq: 4 });
  /** An SQL expression for a column. */
  const expression = (column: Column): fc.Arbitrary<string> => {
    const cast = (text: string | null) =>
      text === null ? `null::${column.sample.type}` : `${quoteLiteral(text)}::${column.sample.type}`;
    if (!column.array) return element(column).map(cast);
    const bounds = fc.constantFrom('', '', '[0:', '[-3:', '[5:');
    return fc
      .tuple(fc.array(element(column), { maxLength: 3 }), bounds, fc.integer({ min: 0, max: 9 }))
      .map(([list, bound, dice]) => {
        if (dice === 0) return `null::${column.sample.type}[]`;
        const plain = `array[${list.map(cast).join(', ')}]::${column.sample.type}[]`;
        if (list.length === 0) return plain;
        if (dice === 1) return `array[${plain}, ${plain}]`;
        if (bound === '') return plain;
        const from = Number(bound.slice(1, -1));
        const open = `format('[%s:%s]=%s', ${from}, ${from + list.length - 1}, ${plain})::${column.sample.type}[]`;
        return dice === 2
          ? `format('[%s:%s][1:%s]={%s}', ${from}, ${from}, ${list.length}, ${plain})::${column.sample.type}[]`
          : open;
      });
  };

  it('logs values that cast back to what they are', async () => {
    const row = fc.tuple(SETTINGS, fc.tuple(...columns.map(expression)));
    const seen = { rows: 0, text: 0, nulls: 0 };
    await fc.assert(
      fc.asyncProperty(row, async ([settings, values]) => {
        const before = await node.lastSeq();
        await writer.script('reset all; drop table if exists pg_temp.given; set search_path = public');
        // Literals are read under settings of their own; only printing is the settings' business.
        await writer.script(
          `create temp table given as select ${values.map((value, i) => `${value} as ${quoteIdentifier(columns[i]?.name ?? '')}`).join(', ')}`,
        );
        for (const [name, value] of Object.entries(settings)) {
          await writer.query('select pg_catalog.set_config($1, $2, false)', [name, value]);
        }
        await writer.script(`insert into public.everything (${columns.map(({ name }) => quoteIdentifier(name)).join(', ')}) select * from pg_temp.given;
          delete from public.everything where id operator(pg_catalog.<) pg_catalog.currval('public.everything_id_seq'); drop table pg_temp.given; reset all`);
        const [logged] = (await node.log(`l.seq > ${before} and l.op = 'I'`)).slice(-1);
        if (!logged) throw new Error('nothing was logged');
        expect([logged.mark, logged.mark && logged.extra]).toEqual([null, null]);
        expect(await wrong(logged, seen)).toEqual([]);
        seen.rows += 1;
      }),
      { numRuns: 40, endOnFailure: true },
    );
    expect(seen.rows).toBeGreaterThanOrEqual(40);
    expect(seen.text).toBeGreaterThan(0);
    expect(seen.nulls).toBeGreaterThan(0);
  }, 240_000);

  /** Columns whose logged value, cast back, is not bytewise the value in the table. */
  const wrong = async (logged: LogRow, seen: { text: number; nulls: number }): Promise<readonly string[]> => {
    const extra = record(record(logged.extra === null ? null : JSON.parse(logged.extra)).new);
    const texts = new Map(
      Object.entries(extra)
        .filter(([name]) => /^text\d*$/.test(name))
        .flatMap(([, members]) => Object.entries(record(members))),
    );
    const nulls = new Set(Array.isArray(extra.json_null) ? extra.json_null.map(String) : []);
    seen.text += texts.size;
    seen.nulls += nulls.size;
    const id = memberText(logged.new ?? '', 'id');
    const checks = columns.map(({ name, sample, array }) => {
      const column = `t.${quoteIdentifier(name)}`;
      const type = `${sample.type}${array ? '[]' : ''}`;
      const text = texts.get(name);
      const raw = memberText(logged.new ?? '', name) ?? '';
      if (text !== undefined)
        return `record_image_eq(row(${column}), row(${quoteLiteral(String(text))}::${type}))`;
      if (nulls.has(name)) return `${column}::text ~ '^\\s*null\\s*$'`;
      if (raw === 'null') return `num_nulls(${column}) = 1`;
      // Of a json value the bytes are published; a parser on the way would spell it differently.
      if (/^(json|jdomain)$/.test(sample.type)) {
        return `${array ? `array_to_json(${column})` : column}::text = ${quoteLiteral(raw)}`;
      }
      return `record_image_eq(row(${column}), row((json_populate_record(null::everything, ${quoteLiteral(`{${JSON.stringify(name)}:${raw}}`)}::json)).${quoteIdentifier(name)}))`;
    });
    await node.connection.script('set search_path = public');
    const [result] = await node.connection.arrays(
      `select ${checks.map((check) => `coalesce(${check}, false)`).join(', ')} from everything t where id = ${id}`,
    );
    await node.connection.script('set search_path = pg_catalog');
    return columns
      .filter((_, i) => result?.[i] !== 't')
      .map(({ name }) => `${name}: ${memberText(logged.new ?? '', name)} ${texts.get(name) ?? ''}`);
  };
});

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
