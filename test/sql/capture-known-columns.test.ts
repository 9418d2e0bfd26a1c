/**
 * A capture function's plan holds the answer to the question whether its table has the columns and types that it was made
 * for. The answer is asked for again after any DDL, whatever the writer's session has planned before and whatever its
 * snapshot shows: values of columns that nobody knew are logged whole and exactly, marked `f`.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { type CapturedNode, createCapturedNode, names, onPublic } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';

const SETUP = `
create table item (id int primary key, gone text, "N ä" text); alter table item drop gone;
create table whole (id int, name text);
create table listed (id int primary key, name text, secret text);
create table bulk (id int primary key, name text);
create type mood as enum ('sad'); create table moody (id int primary key, m mood, tags text[], doc json);
create table part (id int, at date, name text, primary key (id, at)) partition by range (at);
create table part_1 (name text, gone int, at date not null, id int not null); alter table part_1 drop gone;
alter table part attach partition part_1 for values from ('2026-01-01') to ('2026-02-01')`;
const TABLES = `
- { name: public.item }
- { name: public.whole, key: none }
- { name: public.listed, columns: [id, name] }
- { name: public.bulk, capture: statement }
- { name: public.moody }
- { name: public.part, before: full }`;

describe.each(SERVERS)('on $name', ({ url }) => {
  let node: CapturedNode;
  beforeEach(async () => {
    node = await createCapturedNode({ server: url(), setup: SETUP, tables: TABLES });
  });
  afterEach(() => node.close());

  const run = (script: string) => onPublic(node.connection, script);
  const session = (settings: Readonly<Record<string, string>> = {}) =>
    node.session({ settings: { search_path: 'public', ...settings } });
  /** What the statement logged, as `op mark new extra`. */
  const logged = async (writer: PostgresConnection, script: string) => {
    const before = await node.lastSeq();
    await writer.script(script);
    return (await node.log(`l.seq > ${before}`)).map((row) =>
      [row.op, row.mark, row.new, row.extra].filter((part) => part !== null).join(' '),
    );
  };

  it('knows every table as it was captured', async () => {
    const rows = await node.connection.query(
      `select p.proname, (regexp_match(p.prosrc, 'columns_are\\([^)]*\\)'))[1] as call from pg_proc p
       where p.pronamespace = '${names.schema}'::regnamespace and p.prosrc ~ 'columns_are'`,
    );
    // Two row triggers or more of each table but the listed one, which names its columns.
    expect(rows.length).toBeGreaterThanOrEqual(10);
    for (const { call } of rows) {
      const [answer] = await node.connection.query(`select ${names.schema}.${call} as known`);
      expect(answer?.known).toBe('t');
    }
    const [gone] = await node.connection.query(
      `select ${names.schema}.columns_are('1'::regclass, 'x') as none,
         ${names.schema}.columns_are('public.item'::regclass, 'x') as other`,
    );
    expect(gone).toEqual({ none: 'f', other: 'f' });
  });

  it('does not believe in an oid that another table has, or none', async () => {
    await run('create table another (id int primary key, name text)');
    for (const place of [`'public.another'::regclass`, '1']) {
      const functions = await node.connection.query(
        `select p.proname, replace(p.prosrc, '''' || c.relid || '''::pg_catalog.regclass', '''' || (${place})::oid || '''::pg_catalog.regclass') as body
         from pg_proc p join shovel.captured_table c on starts_with(p.proname, c.definition::json ->> 'base')
         where c.table_name in ('bulk', 'whole')`,
      );
      for (const { proname, body } of functions) {
        await node.connection.script(
          `create or replace function shovel.${proname}() returns trigger language plpgsql security definer as $body$${body}$body$`,
        );
      }
      const writer = await session();
      await run('truncate bulk, whole');
      expect(
        await logged(writer, `insert into bulk values (1, 'a'); insert into whole values (1, 'b')`),
      ).toEqual(['I {"id":1,"name":"a"}', 'I {"id":1,"name":"b"}']);
      await run('alter table bulk add tags int[]; alter table whole add tags int[]');
      const rows = await logged(
        writer,
        `insert into bulk values (2, 'a', '[0:1]={5,6}'); insert into whole values (2, 'b', '[0:1]={5,6}')`,
      );
      expect(rows.map((row) => /^I f .*\[0:1\]=\{5,6\}/.test(row))).toEqual([true, true]);
      await run('alter table bulk drop tags; alter table whole drop tags');
    }
  });

  it.each([
    ['is added', 'alter table item add tags int[]', `insert into item values (2, 'b', '[0:1]={5,6}')`],
    [
      'is dropped, and others take its place',
      'alter table item add x int; alter table item drop x; alter table item add tags int[]',
      `insert into item values (2, 'b', '[0:1]={5,6}')`,
    ],
    [
      'takes the name of another',
      'alter table item drop "N ä"; alter table item add "N ä" int[]',
      `insert into item values (2, '[0:1]={5,6}')`,
    ],
    [
      'gets another type',
      'alter table item alter "N ä" type int[] using null',
      `insert into item values (2, '[0:1]={5,6}')`,
    ],
  ])('logs the value of a column that %s', async (_, change, insert) => {
    const old = await session();
    await old.script(`insert into item values (1, 'a')`);
    await run(change);
    const expected = [expect.stringMatching(/^I f .*\[5,\s*6\].*\{"text":\{"[^"]+":"\[0:1\]=\{5,6\}"\}\}/)];
    expect(await logged(old, insert)).toEqual(expected);
    expect(await logged(await session(), insert.replace('(2', '(3'))).toEqual(expected);
  });

  it('does not mind a column that came and went', async () => {
    const writer = await session();
    await run(
      'alter table item add x int; alter table item drop x; alter table bulk add x int, drop name; alter table bulk drop x',
    );
    expect(await logged(writer, `insert into item values (1, 'a'); update item set id = id`)).toEqual([
      'I {"id":1,"N ä":"a"}',
      'U {"id":1,"N ä":"a"}',
    ]);
    const rows = await node.connection.query(
      `select c.table_name, bool_or(not shovel.columns_are(c.relid, (m.call)[1])) as unknown
       from shovel.captured_table c join pg_proc p on starts_with(p.proname, c.definition::json ->> 'base')
       cross join lateral (select regexp_match(p.prosrc, 'columns_are\\([^,]*, ''(\\w+)''') as call) m
       where m.call is not null group by 1 order by 1`,
    );
    expect(rows.map((row) => `${row.table_name} ${row.unknown}`)).toEqual([
      'bulk t',
      'item f',
      'moody f',
      'part f',
      'whole f',
    ]);
  });

  it('prints values of another type as it does all others, whatever the settings of the session', async () => {
    await run(`alter table item alter "N ä" type timestamptz using null; alter table listed alter name type float8 using 0;
      alter table bulk alter name type timestamptz using null; alter table whole alter name type float8 using 0;
      alter table part alter name type timestamptz using null`);
    const writer = await session({ TimeZone: 'Asia/Tokyo', extra_float_digits: '0' });
    const at = '2026-01-05 09:00:00+09';
    const found = [
      await logged(writer, `insert into item values (1, '${at}'); update item set "N ä" = '${at}'`),
      await logged(writer, `insert into listed values (1, 0.1::float8 + 0.2)`),
      await logged(writer, `insert into whole values (1, 0.1::float8 + 0.2)`),
      await logged(writer, `insert into bulk values (1, '${at}'); update bulk set name = '${at}'`),
      await logged(writer, `insert into part values (1, '2026-01-02', '${at}')`),
    ];
    for (const rows of found) {
      for (const row of rows) {
        expect(row).toMatch(/^[IU] f /);
        expect(row).toMatch(/2026-01-05T00:00:00\+00:00|0\.30000000000000004/);
      }
    }
  });

  it('is not misled by a snapshot that is older than the change', async () => {
    const writer = await session();
    await writer.script('begin isolation level repeatable read; select count(*) from bulk');
    await run('alter table item add tags int[]');
    const expected = [expect.stringMatching(/^I f .*\[0:1\]=\{5,6\}/)];
    expect(await logged(writer, `insert into item values (1, 'a', '[0:1]={5,6}')`)).toEqual([]);
    await writer.script('commit');
    expect((await node.log()).map((row) => row.mark)).toEqual(['f']);
    expect(await logged(writer, `insert into item values (2, 'a', '[0:1]={5,6}')`)).toEqual(expected);
  });

  it('follows DDL of the transaction itself, and its rolling back', async () => {
    const writer = await session();
    const rows = await logged(
      writer,
      `insert into item values (1, 'a');
       begin; savepoint s; alter table item add tags int[]; insert into item values (2, 'b', '[0:1]={5,6}'); rollback to s;
       insert into item values (3, 'c'); alter table item add tags int[]; insert into item values (4, 'd', '[0:1]={5,6}'); commit;
       insert into item values (5, 'e', '[0:1]={5,6}')`,
    );
    expect(rows.map((row) => row.slice(0, 10))).toEqual([
      'I {"id":1,',
      'I {"id":3,',
      'I f {"id":',
      'I f {"id":',
    ]);
    expect(rows.slice(2).every((row) => row.includes('[0:1]={5,6}'))).toBe(true);
  });

  it('asks the root about a partition that is written to directly', async () => {
    const writer = await session();
    expect(await logged(writer, `insert into part_1 (id, at) values (1, '2026-01-02')`)).toEqual([
      expect.stringMatching(/^I \{/),
    ]);
    await run('alter table part add tags int[]');
    expect(
      await logged(writer, `insert into part_1 (id, at, tags) values (2, '2026-01-02', '[0:1]={5,6}')`),
    ).toEqual([expect.stringMatching(/^I f .*\[0:1\]=\{5,6\}/)]);
  });

  it('goes by the row itself where its table is called otherwise', async () => {
    await run('alter table item rename to thing; alter table bulk rename to mass');
    const writer = await session();
    expect(await logged(writer, `insert into thing values (1, 'a'); update thing set "N ä" = 'b'`)).toEqual([
      'I {"id":1,"N ä":"a"}',
      'U {"id":1,"N ä":"b"}',
    ]);
    expect(await logged(writer, `insert into mass values (1, 'a')`)).toEqual(['I {"id":1,"name":"a"}']);
    await run('alter table thing add tags int[]; alter table mass add tags int[]');
    expect(await logged(writer, `insert into thing values (2, 'a', '[0:1]={5,6}')`)).toEqual([
      expect.stringMatching(/^I f .*\[0:1\]=\{5,6\}/),
    ]);
    expect(await logged(writer, `insert into mass values (2, 'a', '[0:1]={5,6}')`)).toEqual([
      expect.stringMatching(/^I f .*\[0:1\]=\{5,6\}/),
    ]);
  });

  it('takes no lock on a partitioned table that the writer has not taken', async () => {
    const writer = await session();
    const holder = await session();
    // PostgreSQL itself looks at the root, once.
    await writer.script(`insert into part_1 (id, at) values (1, '2026-01-02')`);
    await holder.script('begin; lock table only part in access exclusive mode');
    await writer.script(`set statement_timeout = '20s'; update part_1 set name = 'x'`);
    await holder.script('rollback');
    expect((await node.log()).map((row) => `${row.op} ${row.mark}`)).toEqual(['I null', 'U null']);
  });
});
