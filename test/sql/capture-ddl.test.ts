/**
 * DDL on captured tables, under sessions that were connected before and have the functions' plans in their caches: no
 * write fails and nothing is lost; making the functions again ends the fallback.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { CapturedNode, createCapturedNode, onPublic } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';

describe.each(SERVERS)('on $name', ({ url }) => {
  let node: CapturedNode;
  let writer: PostgresConnection;
  const TABLES = `
- { name: public.item }
- { name: public.chosen, columns: [id, name] }
- { name: public.whole, key: none }
- { name: public.slim, unchanged_wide: omit }
- { name: public.dated, before: full }
- { name: public.loose, key: [id] }`;

  beforeAll(async () => {
    node = await CapturedNode.create(url());
  });
  afterAll(() => node.close());

  /** Fresh tables, captured, written to by a session that keeps its plans. */
  beforeEach(async () => {
    await node.removeCapture();
    await onPublic(
      node.connection,
      `drop table if exists item, chosen, whole, slim, dated, loose, moved cascade;
       create table item (id int primary key, name text, price numeric default 1, tags int[]);
       create table chosen (id int primary key, name text, secret text);
       create table whole (a int, b text);
       create table slim (id int primary key, big text, other int);
       create table loose (id int not null unique, name text);
       create table dated (id int, at date, note text, primary key (id, at)) partition by range (at);
       create table dated_1 partition of dated for values from ('2026-01-01') to ('2026-02-01')`,
    );
    await node.capture({ tables: TABLES });
    writer = await node.session({ settings: { search_path: 'public' } });
    await write(1);
  });

  /** Rows `n` to `n + 2` of every table, each kind of write. */
  const write = async (n: number) => {
    for (const table of ['item', 'chosen', 'slim']) {
      const key = await keyColumn(table);
      await writer.script(`insert into ${table} (${key}) values ('${n}'), ('${n + 1}'), ('${n + 2}');
        update ${table} set ${key} = ${key} where ${key} = '${n}';
        update ${table} set ${key} = '${n + 3}' where ${key} = '${n + 2}';
        delete from ${table} where ${key} = '${n + 1}'`);
    }
    await writer.script(`insert into whole values (${n}, 'x'), (${n}, 'y'); update whole set b = 'z' where a = ${n} and b = 'x';
      delete from whole where b = 'y'`);
    await writer.script(`insert into dated values (${n}, '2026-01-05', 'x'), (${n + 1}, '2026-01-06', 'y');
      update dated set note = 'z' where id = ${n}; delete from dated where id = ${n + 1}`);
  };
  const keyColumn = async (table: string): Promise<string> => {
    const rows = await node.connection.query(
      `select quote_ident(attname) as name from pg_attribute where attrelid = $1::regclass and attnum = 1`,
      [`public.${table}`],
    );
    return rows[0]?.name ?? '';
  };
  const marksAfter = async (seq: string): Promise<string> =>
    [
      ...new Set(
        (await node.log(`l.seq > ${seq}`)).map((row) => `${row.table}${row.mark ? ` ${row.mark}` : ''}`),
      ),
    ]
      .sort()
      .map((one) => one.replace('public.', ''))
      .join(', ');

  it('captures columns that are added, also with a default, and dropped', async () => {
    await onPublic(
      node.connection,
      `alter table item add extra text; alter table item add made int default 7; alter table item drop name`,
    );
    const before = await node.lastSeq();
    await write(10);
    await writer.script(`update item set extra = 'seen' where id = 10`);
    expect(await marksAfter(before)).toBe('chosen, dated, item, item f, slim, whole');
    expect((await node.log(`l.seq > ${before}`)).at(-1)?.new).toBe(
      '{"id":10,"price":1,"tags":null,"extra":"seen","made":7}',
    );
    expect((await node.differences()).filter((one) => !/made is 7/.test(one))).toEqual([]);
  });

  it.each([
    ['the key becomes bigint', 'alter table item alter id type bigint', 'item f'],
    ['the key becomes text', 'alter table item alter id type text', 'item f'],
    ['the key is renamed', 'alter table item rename id to number', 'item f'],
    [
      'the key is dropped with CASCADE',
      'alter table item drop id cascade; alter table item add id2 int; alter table item drop id2',
      'item f',
    ],
    ['an array becomes text', 'alter table item alter tags type text using tags::text', 'item f'],
    ['a wide column is renamed', 'alter table slim rename big to large', 'slim f'],
    ['a wide column becomes an integer', 'alter table slim alter big type int using 0', 'slim f'],
    ['a chosen column is renamed', 'alter table chosen rename name to title', 'chosen f'],
    ['a chosen column is dropped', 'alter table chosen drop name', 'chosen f'],
  ])('captures by the fallback when %s', async (_, ddl, expected) => {
    await onPublic(node.connection, ddl);
    const before = await node.lastSeq();
    if (ddl.includes('cascade')) await writer.script(`insert into item (name) values ('keyless now')`);
    else await write(20);
    const marks = (await marksAfter(before)).split(', ');
    expect(marks).toContain(expected);
    expect(marks.filter((one) => / [ou]$/.test(one))).toEqual([]);
  });

  it('finds a row whose key was renamed, and goes on without marks once the functions are made again', async () => {
    await onPublic(
      node.connection,
      'alter table item rename id to number; alter table item alter number type bigint',
    );
    const before = await node.lastSeq();
    await writer.script(
      `update item set price = 2 where number = 1; update item set number = 5 where number = 1; delete from item where number = 5`,
    );
    const rows = await node.log(`l.seq > ${before}`);
    expect(rows.map((row) => [row.op, row.mark])).toEqual([
      ['U', 'f'],
      ['U', 'f'],
      ['D', 'f'],
    ]);
    expect(rows.map((row) => row.old?.includes('"number":'))).toEqual([true, true, true]);
    await node.capture({ tables: TABLES });
    const after = await node.lastSeq();
    await write(30);
    expect(await marksAfter(after)).toBe('chosen, dated, item, slim, whole');
  });

  it('tells a key that was null from one that stayed', async () => {
    await onPublic(
      node.connection,
      `alter table loose alter id drop not null; insert into loose values (null, 'nobody')`,
    );
    const before = await node.lastSeq();
    await writer.script(`update loose set name = 'somebody' where id is null;
      update loose set id = 9 where id is null; update loose set id = null where id = 9`);
    const rows = await node.log(`l.seq > ${before}`);
    expect(rows.slice(1).map((row) => [row.op, row.old])).toEqual([
      ['K', '{"id" : null}'],
      ['K', '{"id" : 9}'],
    ]);
    expect(rows[0]?.new).toBe('{"id":null,"name":"somebody"}');
  });

  it('keeps a renamed secret out', async () => {
    await writer.script(`insert into chosen values (100, 'open', 'TOPSECRET')`);
    await onPublic(
      node.connection,
      'alter table chosen rename secret to formerly; alter table chosen rename name to title',
    );
    await writer.script(`update chosen set formerly = 'TOPSECRET2'; delete from chosen where id = 100`);
    const everything = JSON.stringify(await node.log());
    expect(everything).toContain('open');
    expect(everything).not.toContain('TOPSECRET');
  });

  it('tells array bounds and JSON nulls in columns that came later', async () => {
    await onPublic(
      node.connection,
      `alter table item rename price to cost; alter table item alter id type bigint;
      alter table item add odd int[]; alter table item add j jsonb; alter table item add h text`,
    );
    const before = await node.lastSeq();
    await writer.script(
      `insert into item (id, odd, j, h) values (70, '[0:1]={5,6}', 'null', 'say "(hi\\,)"')`,
    );
    const [row] = await node.log(`l.seq > ${before}`);
    expect(row?.mark).toBe('f');
    expect(JSON.parse(row?.extra ?? '')).toEqual({ new: { text: { odd: '[0:1]={5,6}' }, json_null: ['j'] } });
  });

  it('captures a table that is renamed or moved to another schema', async () => {
    await onPublic(node.connection, 'alter table item rename to moved');
    const before = await node.lastSeq();
    await writer.script(`insert into moved (id) values (500)`);
    expect(await marksAfter(before)).toBe('item');
    await onPublic(node.connection, 'create schema elsewhere; alter table moved set schema elsewhere');
    await writer.script(`insert into elsewhere.moved (id) values (501)`);
    expect((await node.log(`l.seq > ${before}`)).length).toBe(2);
    await onPublic(node.connection, 'drop schema elsewhere cascade');
  });

  it('loses nothing while a set takes on the new name of a renamed table', async () => {
    await onPublic(node.connection, 'alter table item rename to moved');
    const { tables, configuration } = await node.describe({ tables: '- { name: public.moved }' });
    await node.ground(tables);
    const before = await node.lastSeq();
    await writer.script('insert into moved (id) values (600)');
    expect(await marksAfter(before)).toBe('item');
    await node.activate(tables, configuration);
    await writer.script('insert into moved (id) values (601)');
    const rows = await node.log(`l.seq > ${before}`);
    expect(rows.map((row) => [row.table, row.op])).toEqual([
      ['public.item', 'I'],
      ['public.moved', 'I'],
    ]);
    await node.removeCapture(tables);
    await writer.script('insert into moved (id) values (602)');
    expect((await node.log(`l.seq > ${before}`)).length).toBe(3);
  });

  it('captures partitions that are attached, detached and dropped during writes', async () => {
    await onPublic(
      node.connection,
      `create table dated_2 (note text, gone int, id int, at date, primary key (id, at));
      alter table dated_2 drop gone; alter table dated attach partition dated_2 for values from ('2026-02-01') to ('2026-03-01')`,
    );
    const before = await node.lastSeq();
    await writer.script(
      `insert into dated values (1, '2026-02-05', 'n'); update dated set at = '2026-01-20' where at = '2026-02-05'`,
    );
    await onPublic(node.connection, 'alter table dated detach partition dated_2');
    await writer.script(`insert into dated_2 (id, at) values (9, '2026-02-09')`);
    await onPublic(node.connection, 'drop table dated_1');
    expect((await node.log(`l.seq > ${before}`)).map((row) => row.op)).toEqual(['I', 'D', 'I']);
  });

  it('writes on while DDL runs all the time', async () => {
    const changer = await node.session({ settings: { search_path: 'public' } });
    const before = await node.lastSeq();
    let writes = 0;
    let done = false;
    const ddl = async () => {
      for (let round = 0; round < 12; round += 1) {
        await changer.script(`alter table item add column r${round} int; alter table item rename column r${round} to s${round};
          alter table item alter s${round} type bigint; alter table item alter price type ${round % 2 ? 'numeric' : 'float8'};
          alter table item drop s${round}`);
      }
      done = true;
    };
    const write = async () => {
      for (let id = 1_000; !done || writes < 200; id += 1) {
        await writer.script(`insert into item (id, name) values (${id}, 'n')`);
        await writer.script(`update item set name = 'm' where id = ${id}`);
        writes += 2;
      }
    };
    await Promise.all([ddl(), write()]);
    expect((await node.log(`l.seq > ${before}`)).length).toBe(writes);
  });
});

it('leaves virtual generated columns out, and refuses one that is named', async () => {
  const node = await createCapturedNode({
    server: (SERVERS[0]?.url ?? (() => ''))(),
    setup: 'create table v (id int primary key, a int, twice int generated always as (a * 2) virtual)',
    tables: '- { name: public.v }',
  });
  await onPublic(node.connection, 'insert into v (id, a) values (1, 2); update v set a = 3');
  expect((await node.log()).map((row) => JSON.parse(row.new ?? ''))).toEqual([
    { id: 1, a: 2 },
    { id: 1, a: 3 },
  ]);
  expect(await node.differences()).toEqual([]);
  const { issues } = await node.describe({ tables: '- { name: public.v, columns: [id, twice] }' });
  expect(issues.map((issue) => issue.code)).toEqual(['column_virtual']);
  await node.close();
});
