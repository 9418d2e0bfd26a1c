/** `capture: statement`: one log insert a statement, right also where keys change, and refused where it can't be. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CapturedNode, createCapturedNode, names, onPublic, SET } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';

const SETUP = `
create table bulk (id int primary key, v text, n numeric, at timestamptz default '2026-01-01 00:00:00+00', tags int[], j jsonb);
create table textual (k text, r int, note text, primary key (k, r));
create table ref (id int primary key, bulk int references bulk(id) on update cascade on delete cascade);
create table part (id int primary key) partition by range (id);
create table tree (id int primary key, up int references tree(id) on delete cascade);
create table busy (id int primary key);
create function nothing() returns trigger language plpgsql as 'begin return new; end';
create trigger app before insert on busy for each row execute function nothing();
`;
const TABLES = `
- { name: public.bulk, capture: statement }
- { name: public.textual, capture: statement, columns: [k, r] }
- { name: public.ref, capture: statement }`;

describe.each(SERVERS)('on $name', ({ url }) => {
  let node: CapturedNode;
  const run = (script: string) => onPublic(node.connection, script);
  const logged = async (script: string): Promise<string> => {
    const before = await node.lastSeq();
    await run(script);
    const rows = await node.log(`l.seq > ${before}`);
    return rows.map((row) => `${row.op}${row.mark ?? ''}`).join('');
  };
  beforeAll(async () => {
    node = await createCapturedNode({ server: url(), setup: SETUP, tables: TABLES });
  });
  afterAll(() => node.close());
  const expectReplayed = async () => expect(await node.differences()).toEqual([]);

  it('captures statements of few rows and of many', async () => {
    expect(
      await logged(`insert into bulk (id, v) values (1, 'a'), (2, 'b'); update bulk set v = 'c' where id = 1; delete from bulk where id = 2;
        update bulk set v = 'none' where id = 99; delete from bulk where false`),
    ).toBe('IIUD');
    expect(
      await logged(
        `insert into bulk (id, v, n) select g, repeat('x', 100), g / 3.0 from generate_series(10, 1009) g`,
      ),
    ).toBe('I'.repeat(1000));
    expect(await logged('update bulk set n = n + 1')).toBe('U'.repeat(1001));
    await expectReplayed();
    expect(await logged('delete from bulk where id > 500')).toBe('D'.repeat(509));
    expect(
      await logged(
        `insert into textual values ('a', 1, 'x'), ('b', 2, 'y'); update textual set note = 'z'; truncate textual`,
      ),
    ).toBe('IIUUT');
    await expectReplayed();
  });

  it('captures key changes with the old key', async () => {
    await run('delete from bulk; insert into bulk (id, v) select g, g::text from generate_series(1, 5) g');
    expect(await logged('update bulk set id = id + 100 where id in (2, 4)')).toBe('KK');
    expect(await logged(`update bulk set id = case id when 1 then 7 else id end, v = v || '!'`)).toMatch(
      /^[UK]{5}$/,
    );
    expect(
      (await node.log())
        .slice(-5)
        .filter((row) => row.op === 'K')
        .map((row) => [row.old, JSON.parse(row.new ?? '').id]),
    ).toEqual([['{"id" : 1}', 7]]);
    await expectReplayed();
    await run('delete from bulk; insert into bulk (id, v) select g, g::text from generate_series(1, 600) g');
    expect(await logged('update bulk set id = id + 10000')).toBe('K'.repeat(600));
    await expectReplayed();
    expect(
      await logged(
        `insert into textual values ('a', 1), ('A', 1); update textual set k = k || 'b' where k = 'a'`,
      ),
    ).toBe('IIK');
    await expectReplayed();
  });

  it('captures rows that exchange their keys', async () => {
    await run(
      'alter table bulk drop constraint bulk_pkey cascade, add constraint bulk_pkey primary key (id) deferrable initially immediate',
    );
    await run(`delete from bulk; insert into bulk (id, v) values (1, 'one'), (2, 'two')`);
    await logged('update bulk set id = 3 - id');
    await expectReplayed();
  });

  it('captures ON CONFLICT, COPY and cascades', async () => {
    await run(
      'delete from ref; delete from bulk; alter table bulk drop constraint bulk_pkey, add primary key (id); alter table ref add foreign key (bulk) references bulk (id) on update cascade on delete cascade',
    );
    expect(
      await logged(
        `insert into bulk (id, v) values (1, 'a'); insert into bulk (id, v) values (1, 'b'), (2, 'c') on conflict (id) do update set v = excluded.v`,
      ),
    ).toMatch(/^I(IU|UI)$/);
    await node.connection.script(`copy public.bulk (id, v) from program 'printf "50\\tx\\n51\\ty\\n"'`);
    await run('insert into ref values (1, 1), (2, 50)');
    await logged('update bulk set id = 500 where id = 50; delete from bulk where id in (1, 500)');
    await expectReplayed();
  });

  it('tells array bounds and JSON nulls, under any settings', async () => {
    const before = await node.lastSeq();
    const writer = await node.session({ settings: { TimeZone: 'Asia/Tokyo' } });
    await writer.script(
      `insert into public.bulk (id, tags, j) values (900, '[0:0]={1}', 'null'), (901, '{1}', '1')`,
    );
    const rows = await node.log(`l.seq > ${before}`);
    expect(rows.map((row) => row.extra && JSON.parse(row.extra))).toEqual([
      { new: { text: { tags: '[0:0]={1}' }, json_null: ['j'] } },
      null,
    ]);
    expect(rows.every((row) => row.new?.includes('"at":"2026-01-01T00:00:00+00:00"'))).toBe(true);
    await expectReplayed();
  });

  it('spends a subtransaction for large statements alone', async () => {
    const nested = async (from: string) =>
      (
        await node.connection.query(
          `select l.seq from ${names.schema}.log_0_${SET} l where l.seq > ${from} and l.xmin::text <> (l.xid::text::bigint & 4294967295)::text`,
        )
      ).length;
    const small = await node.lastSeq();
    await run('insert into bulk (id) select generate_series(2001, 2128)');
    expect(await nested(small)).toBe(0);
    const large = await node.lastSeq();
    await run('insert into bulk (id) select generate_series(3001, 3129)');
    expect(await nested(large)).toBe(129);
  });

  it('goes row by row after DDL that it does not know, and where a row is too large', async () => {
    const limited = await createCapturedNode({
      server: url(),
      setup: SETUP,
      tables: TABLES,
      more: 'limits: { row_bytes: 1kB }',
    });
    const marks = async (script: string): Promise<string> => {
      const before = await limited.lastSeq();
      await onPublic(limited.connection, script);
      return (await limited.log(`l.seq > ${before}`)).map((row) => `${row.op}${row.mark ?? ''}`).join('');
    };
    expect(await marks(`insert into bulk (id, v) values (1, 'a'), (2, repeat('x', 2000)), (3, 'b')`)).toBe(
      'IIoI',
    );
    expect(JSON.parse((await limited.log()).at(1)?.old ?? '')).toEqual({ id: 2 });
    expect(
      await marks(
        `insert into bulk (id, v) select g, case when g = 400 then repeat('x', 2000) end from generate_series(201, 500) g`,
      ),
    ).toBe(`${'I'.repeat(199)}Io${'I'.repeat(100)}`);
    await onPublic(
      limited.connection,
      'alter table bulk rename id to number; alter table bulk add extra int',
    );
    expect(
      await marks(
        `insert into bulk (number, v) values (10, 'a'); update bulk set number = 11 where number = 10; delete from bulk where number = 11`,
      ),
    ).toBe('IfUfDf');
    expect(await marks(`insert into bulk (number) select generate_series(10001, 10300)`)).toBe(
      'If'.repeat(300),
    );
    const rows = await limited.log();
    expect(rows.find((row) => row.op === 'U' && row.mark === 'f')?.old).toContain('"number":10');
    await limited.close();
  });

  it('is refused where it would be wrong', async () => {
    const why = async (tables: string) =>
      (await node.describe({ tables })).issues.map((issue) => issue.message.replace(/^.*: it /, ''));
    expect(await why('- { name: public.part, capture: statement }')).toEqual(['is partitioned.']);
    expect(await why('- { name: public.tree, capture: statement }')).toEqual([
      'is changed by the cascades of its own changes.',
    ]);
    expect(await why('- { name: public.busy, capture: statement }')).toEqual(['has another trigger, app.']);
  });

  it('changes to capture by row without losing a row', async () => {
    const before = await node.lastSeq();
    await run(`insert into bulk (id) values (5001)`);
    const byRow = TABLES.replaceAll(', capture: statement', '');
    const { tables, configuration } = await node.describe({ tables: byRow });
    await node.ground(tables);
    await run(`insert into bulk (id) values (5002)`);
    await node.activate(tables, configuration);
    await run(`insert into bulk (id) values (5003)`);
    await node.removeCapture(tables);
    await run(`insert into bulk (id) values (5004)`);
    const rows = await node.log(`l.seq > ${before}`);
    expect(rows.map((row) => JSON.parse(row.new ?? '').id)).toEqual([5001, 5002, 5003, 5004]);
    await expectReplayed();
  });
});
