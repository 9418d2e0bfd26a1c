/** Row filters: what is logged for them, and what the SQL for the relay says of each logged row. */
import { describe, expect, it } from 'vitest';
import { type CapturedNode, createCapturedNode, names, onPublic, SET } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';

const SETUP = `create type state as enum ('new', 'open', 'done'); create domain cents as numeric check (value < 1000000);
create table orders (id int primary key, state state, total cents, note text, placed timestamptz, paid bool, doc json, code char(4), big text, list int[])`;

const ordersOf = (where: string, more = '') =>
  `- { name: public.orders, where: '${where.replaceAll("'", "''")}'${more} }`;

/** Of each logged row: operation, whether the old and the new row pass. */
async function verdicts(node: CapturedNode): Promise<readonly string[]> {
  const [definition] = [...(await node.definitions()).values()].slice(-1);
  const rows = await node.connection.query(
    `select l.op, (${definition?.where?.old})::text as old, (${definition?.where?.new})::text as new
     from ${names.schema}.log_${SET} l where l.op <> 'T' order by l.seq`,
  );
  return rows.map((row) => `${row.op} ${row.old ?? '-'} ${row.new ?? '-'}`);
}

describe.each(SERVERS)('on $name', ({ url }) => {
  it('logs the columns of the filter in the old image too, and tells who enters and leaves', async () => {
    const node = await createCapturedNode({
      server: url(),
      setup: SETUP,
      tables: ordersOf("state in ('open', 'done') and total > 99.50"),
    });
    await onPublic(
      node.connection,
      `insert into orders (id, state, total, doc) values (1, 'new', 100, '{"x":"\\u0000"}');
       update orders set state = 'open'; update orders set note = 'stays'; update orders set total = 99.50;
       update orders set total = null; update orders set total = 99.51, state = 'done', id = 2; delete from orders`,
    );
    expect(await verdicts(node)).toEqual([
      'I - false',
      'U false true',
      'U true true',
      'U true false',
      'U false false',
      'K false true',
      'D true -',
    ]);
    expect(JSON.parse((await node.log()).at(1)?.old ?? '')).toEqual({ id: 1, state: 'new', total: 100 });
    expect(await node.differences()).toEqual([]);
    await onPublic(
      node.connection,
      `alter table orders rename total to amount; insert into orders (id, state, amount) values (9, 'open', 100)`,
    );
    expect((await verdicts(node)).at(-1)).toBe('I - -');
    await node.close();
  });

  it('logs the old image of integers too, whether or not one of them is null', async () => {
    const node = await createCapturedNode({
      server: url(),
      setup: 'create table counted (id int primary key, n int, m bigint)',
      tables: `- { name: public.counted, where: 'n > 1' }`,
    });
    await onPublic(
      node.connection,
      `insert into counted values (1, null, 1), (2, 2, null); update counted set m = 5; update counted set n = 3;
       update counted set n = null where id = 2; delete from counted`,
    );
    const rows = await node.log();
    expect(rows.slice(2).map((row) => JSON.parse(row.old ?? 'null'))).toEqual([
      { id: 1, n: null },
      { id: 2, n: 2 },
      { id: 1, n: null },
      { id: 2, n: 2 },
      { id: 2, n: 3 },
      { id: 1, n: 3 },
      { id: 2, n: null },
    ]);
    expect((await verdicts(node)).slice(2)).toEqual([
      'U false false',
      'U true true',
      'U false true',
      'U true true',
      'U true false',
      'D true -',
      'D false -',
    ]);
    await node.close();
  });

  it("compares as the column's type does, whatever the session's settings", async () => {
    const node = await createCapturedNode({
      server: url(),
      setup: SETUP,
      tables: ordersOf("placed >= '2026-01-01 00:00:00+00' and not (code = 'ab' or paid is null)"),
    });
    const session = await node.session({ settings: { TimeZone: 'Asia/Tokyo', DateStyle: 'SQL, DMY' } });
    await session.script(`insert into public.orders (id, placed, code, paid) values (1, '2026-01-01 08:59:59+09', 'x', true),
      (2, '2026-01-01 09:00:00+09', 'x', false), (3, '2027-01-01', 'ab', true), (4, '2027-01-01', 'abc', null), (5, '2027-01-01', null, true)`);
    expect(await verdicts(node)).toEqual(['I - false', 'I - true', 'I - false', 'I - false', 'I - false']);
    await node.close();
  });

  it('runs no cast that the owner of a type has made, and is not troubled by one', async () => {
    const node = await createCapturedNode({
      server: url(),
      setup: SETUP,
      tables: ordersOf("state in ('open', 'done') and total > 99.50 and state >= 'open'"),
    });
    await onPublic(
      node.connection,
      `create function forge(text) returns state language plpgsql as $$ begin
         perform pg_catalog.set_config('seen.cast', current_user, false); return 'new'; end $$;
       create cast (text as state) with function forge(text) as implicit;
       create function tell(state) returns text language plpgsql as $$ begin
         perform pg_catalog.set_config('seen.cast', current_user, false); return 'new'; end $$;
       create cast (state as text) with function tell(state) as implicit;
       insert into orders (id, state, total) values (1, 'open', 100), (2, 'new', 100), (3, 'done', 99)`,
    );
    await node.connection.query(`select pg_catalog.set_config('seen.cast', '', false)`);
    expect(await verdicts(node)).toEqual(['I - true', 'I - false', 'I - false']);
    const [row] = await node.connection.query(`select pg_catalog.current_setting('seen.cast') as seen`);
    expect(row?.seen).toBe('');
    await node.close();
  });

  it("refuses what can't be compared", async () => {
    const node = await createCapturedNode({
      server: url(),
      setup: SETUP,
      tables: '- { name: public.orders }',
    });
    const codes = async (tables: string) =>
      (await node.describe({ tables })).issues.map((issue) => `${issue.code}: ${issue.message}`);
    expect(await codes(ordersOf("list = '{1}' or doc is null or nothing = 1"))).toEqual([
      "where_column: Table public.orders: where can't compare column list, which is of type integer[].",
      "where_column: Table public.orders: where can't compare column doc, which is of type json.",
      "where_column: Table public.orders: where can't compare column nothing, which the table does not have.",
    ]);
    expect(await codes(ordersOf("state = 'no such state'"))).toEqual([
      'where_invalid: Table public.orders: where does not suit its columns: invalid input value for enum public.state: "no such state".',
    ]);
    await node.close();
  });
});
