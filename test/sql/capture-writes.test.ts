/** Every way in which rows are written is captured, and the log alone makes the tables again. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CapturedNode, createCapturedNode, onPublic } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';
import { testPgUrl } from '../support/services.js';

const SETUP = `
create table account (id bigint primary key, owner text, balance numeric(12,2), note text, opened timestamptz default now(),
                      tags text[], data jsonb, doc json);
create table entry (id bigint generated always as identity primary key, account bigint references account(id) on delete cascade on update cascade,
                    amount numeric, doubled numeric generated always as (amount * 2) stored);
create table keyless (a int, b text);
create table event (at date not null, id int not null, note text, primary key (id, at)) partition by range (at);
create table event_2025 partition of event for values from ('2025-01-01') to ('2026-01-01');
create table event_2026 (note text, id int not null, at date not null, primary key (id, at));
alter table event attach partition event_2026 for values from ('2026-01-01') to ('2027-01-01');
create table event_deep partition of event for values from ('2027-01-01') to ('2028-01-01') partition by list (id);
create table event_deep_1 partition of event_deep for values in (1);
create table event_deep_rest partition of event_deep default;
create table parent (id int primary key, name text);
create table child (primary key (id), extra text) inherits (parent);
create table "Order Items; ""odd"" ünï" ("Key; ""k""" int primary key, "größe" text, "select" text);
create table "${'t'.repeat(63)}" ("${'c'.repeat(63)}" int primary key, v int);
create table wide (id int primary key, big text, other int);
alter table wide alter big set storage external;
create collation anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create table several (id int primary key, name text collate anycase, v varchar(20), b bytea, n int[], j jsonb, other int);
create table full_image (id int primary key, v text, n numeric);
`;

const TABLES = `
- { name: public.account }
- { name: public.entry, before: full }
- { name: public.keyless, key: none }
- { name: public.event, before: full }
- { name: public.parent }
- { name: public.child }
- { name: 'public."Order Items; ""odd"" ünï"' }
- { name: public.${'t'.repeat(63)} }
- { name: public.wide, unchanged_wide: omit }
- { name: public.several, unchanged_wide: omit }
- { name: public.full_image, before: full }
`;

describe.each(SERVERS)('on $name', ({ url }) => {
  let node: CapturedNode;

  beforeAll(async () => {
    node = await createCapturedNode({ server: url(), setup: SETUP, tables: TABLES });
  });
  afterAll(() => node.close());

  const run = (script: string) => onPublic(node.connection, script);
  /** The operations that a script logs, in order: `I account, U entry`. */
  const logged = async (script: string): Promise<string> => {
    const before = await node.lastSeq();
    await run(script);
    const rows = await node.log(`l.seq > ${before}`);
    return rows.map((row) => `${row.op}${row.mark ?? ''} ${row.table?.replace('public.', '')}`).join(', ');
  };
  const expectReplayed = async () => expect(await node.differences()).toEqual([]);

  it('captures inserts, updates, deletes and key changes', async () => {
    expect(
      await logged(`
        insert into account (id, owner, balance) values (1, 'ann', 10.50), (2, 'bob', 0);
        update account set balance = balance + 1 where id = 1;
        update account set id = 3 where id = 2;
        update account set id = id + 10;
        delete from account where id = 13`),
    ).toBe('I account, I account, U account, K account, K account, K account, D account');
    await expectReplayed();
  });

  it('captures an update that changes nothing', async () => {
    expect(await logged('update account set owner = owner')).toBe('U account');
    await expectReplayed();
  });

  it('captures COPY', async () => {
    await run(`create temp table lines as select 'x' as x`);
    expect(
      await logged(`
        do $$ begin
          create temp table source as select g as a, repeat('ä', g) as b from generate_series(1, 100) g;
        end $$;
        insert into keyless select * from source`),
    ).toBe(Array(100).fill('I keyless').join(', '));
    await node.connection.script(`copy public.keyless from program 'printf "1\\tone\\n2\\t\\\\\\\\N\\n"'`);
    expect((await node.log(`l.op = 'I'`)).slice(-2).map((row) => row.new)).toEqual([
      '{"a":1,"b":"one"}',
      '{"a":2,"b":null}',
    ]);
    await expectReplayed();
  });

  it('captures duplicate keyless rows as often as they are there', async () => {
    await logged(`insert into keyless values (7, 'same'), (7, 'same'), (7, 'same'); delete from keyless where ctid =
      (select min(ctid) from keyless where a = 7); update keyless set b = 'other' where ctid = (select max(ctid) from keyless where a = 7)`);
    await expectReplayed();
  });

  it('captures ON CONFLICT as what it became', async () => {
    expect(
      await logged(`
        insert into account (id, owner) values (100, 'x'), (101, 'y') on conflict do nothing;
        insert into account (id, owner) values (100, 'z'), (102, 'new') on conflict (id) do update set owner = excluded.owner;
        insert into account (id) values (101) on conflict (id) do nothing`),
    ).toBe('I account, I account, U account, I account');
    await expectReplayed();
  });

  it('captures writable CTEs', async () => {
    expect(
      await logged(`
        with gone as (delete from account where id = 102 returning *),
             back as (insert into account select id + 1, owner from gone returning id)
        update account set note = 'seen' where id = 101`),
    ).toBe('U account, D account, I account');
    await expectReplayed();
  });

  it('captures foreign key cascades', async () => {
    await run(`insert into account (id) values (200), (201); insert into entry (account, amount)
      select 200 + g % 2, g from generate_series(1, 6) g`);
    expect(await logged('update account set id = 300 where id = 200')).toBe(
      'K account, U entry, U entry, U entry',
    );
    expect(await logged('delete from account where id = 300')).toBe('D account, D entry, D entry, D entry');
    await expectReplayed();
  });

  it('captures generated and identity columns', async () => {
    await logged(
      `insert into entry (amount) values (1.10); insert into entry (id, amount) overriding system value values (5000, -3)`,
    );
    const [last] = (await node.log(`l.op = 'I'`)).slice(-1);
    expect(last?.new).toBe('{"id":5000,"account":null,"amount":-3,"doubled":-6}');
    await expectReplayed();
  });

  it('keeps nothing of a savepoint or transaction that rolled back', async () => {
    expect(
      await logged(`
        begin;
        insert into account (id) values (400);
        savepoint a; insert into account (id) values (401); rollback to a;
        savepoint b; insert into account (id) values (402); release b;
        commit;
        begin; insert into account (id) values (403); rollback;
        do $$ begin
          begin insert into account (id) values (404); raise exception 'no'; exception when others then null; end;
        end $$`),
    ).toBe('I account, I account');
    await expectReplayed();
  });

  it('captures writes through the root, straight to a partition, and rows that move', async () => {
    expect(
      await logged(`
        insert into event values ('2025-05-01', 1, 'root');
        insert into event_2026 (at, id, note) values ('2026-05-01', 2, 'straight');
        insert into event values ('2027-05-01', 1, 'deep'), ('2027-05-01', 9, 'rest');
        update event set note = 'both';
        update event set at = '2026-06-01' where id = 1 and at = '2025-05-01';
        delete from event_deep_rest`),
    ).toBe(
      'I event, I event, I event, I event, U event, U event, U event, U event, D event, I event, D event',
    );
    const rows = await node.log(`l.rel = (select rel from shovel.captured_table where table_name = 'event')`);
    expect(rows.at(1)?.new).toBe('{"note":"straight","id":2,"at":"2026-05-01"}');
    await expectReplayed();
  });

  it('captures partitions attached later, and not those that were detached', async () => {
    await run(`create table event_2030 (at date not null, id int not null, note text, primary key (id, at));
      alter table event attach partition event_2030 for values from ('2030-01-01') to ('2031-01-01')`);
    expect(
      await logged(`insert into event values ('2030-02-02', 1, 'new'); update event_2030 set note = 'x'`),
    ).toBe('I event, U event');
    await expectReplayed();
    await run(`create table event_2031 partition of event for values from ('2031-01-01') to ('2032-01-01')`);
    expect(
      await logged(
        `insert into event_2031 values ('2031-02-02', 1, 'new'); delete from event where at > '2030-01-01'`,
      ),
    ).toBe('I event, D event, D event');
    expect(
      await logged(
        `alter table event detach partition event_2031; insert into event_2031 values ('2031-02-02', 2, 'gone')`,
      ),
    ).toBe('');
    await expectReplayed();
  });

  it('captures inheritance: each table its own rows', async () => {
    expect(
      await logged(`
        insert into parent values (1, 'p'); insert into child (id, name, extra) values (2, 'c', 'x');
        update parent set name = name || '!'; delete from parent where id = 2`),
    ).toBe('I parent, I child, U parent, U child, D child');
    await expectReplayed();
  });

  it('captures TRUNCATE of tables, of a root and of one partition', async () => {
    await run(
      `insert into event values ('2025-01-02', 77, ''), ('2026-01-02', 77, ''), ('2027-01-02', 1, '')`,
    );
    expect(await logged('truncate event_2026')).toBe('T event');
    await expectReplayed();
    expect(await logged('truncate event_deep')).toBe('T event, T event, T event');
    await expectReplayed();
    const root = await logged('truncate event');
    expect(new Set(root.split(', '))).toEqual(new Set(['T event']));
    await expectReplayed();
    await run('insert into account (id) values (900); insert into entry (account) values (900)');
    expect((await logged('truncate account cascade')).split(', ').sort()).toEqual(['T account', 'T entry']);
    expect(await logged('truncate child')).toBe('T child');
    await expectReplayed();
  });

  it('captures odd names and names of 63 bytes', async () => {
    await logged(`
      insert into "Order Items; ""odd"" ünï" values (1, 'groß', 'x'), (2, null, null);
      update "Order Items; ""odd"" ünï" set "Key; ""k""" = 3 where "select" = 'x';
      insert into "${'t'.repeat(63)}" values (1, 1); update "${'t'.repeat(63)}" set v = 2`);
    await expectReplayed();
  });

  it('captures values kept out of line, and leaves them out where they are unchanged and not wanted', async () => {
    await run(`insert into wide select g, repeat(md5(g::text), 1000), 0 from generate_series(1, 3) g`);
    const before = await node.lastSeq();
    await run(`update wide set other = 1 where id = 1; update wide set big = big || 'x' where id = 2;
      update wide set id = 4 where id = 3; update wide set big = null where id = 1`);
    const rows = await node.log(`l.seq > ${before}`);
    expect(rows.map((row) => [row.op, (row.new ?? '').length > 1000, row.extra])).toEqual([
      ['U', false, '{"update":{"unchanged":["big"]}}'],
      ['U', true, null],
      ['K', true, null],
      ['U', false, null],
    ]);
    await expectReplayed();
  });

  it('tells values kept out of line apart by what they are, not by where they are kept', async () => {
    await run(`create table many (id int primary key, a text, j json, n int[]);
      alter table many alter a set storage external, alter j set storage external, alter n set storage external`);
    await node.capture({ tables: '- { name: public.many, unchanged_wide: omit }' });
    const [a, j, n] = [
      `repeat('ab', 4000)`,
      `to_json(repeat('ab', 4000))`,
      '(select array_agg(g) from generate_series(1, 3000) g)',
    ];
    await run(`insert into many values (1, ${a}, ${j}, ${n})`);
    const before = await node.lastSeq();
    // Kept anew, as they were; then one of them changed, and one gone.
    await run(`update many set a = ${a}, j = ${j}, n = ${n}; update many set j = to_json(${a} || 'c'); update many set n = null;
      update many set id = id`);
    const rows = await node.log(`l.seq > ${before}`);
    expect(rows.map((row) => JSON.parse(row.extra ?? 'null')?.update.unchanged)).toEqual([
      ['a', 'j', 'n'],
      ['a', 'n'],
      ['a', 'j'],
      ['a', 'j', 'n'],
    ]);
    await node.capture({ tables: TABLES });
  });

  it.each([
    ['other = 1', ['name', 'v', 'b', 'n', 'j']],
    [`name = 'A'`, ['v', 'b', 'n', 'j']],
    [`v = ''`, ['name', 'b', 'n', 'j']],
    ['b = null', ['name', 'v', 'n', 'j']],
    [`n = '[0:0]={1}', other = 2`, ['name', 'v', 'b', 'j']],
    [`j = '{"a": 1.0}'`, ['name', 'v', 'b', 'n']],
    [`name = 'b', v = 'c', b = 'd', n = '{}', j = '[]'`, undefined],
    ['id = 2', undefined],
  ])('compares what may be left out byte by byte: %s', async (change, unchanged) => {
    await run(`delete from several; insert into several values (1, 'a', null, 'x', '{1}', '{"a": 1}', 0)`);
    const before = await node.lastSeq();
    await run(`update several set ${change}`);
    const rows = await node.log(`l.seq > ${before}`);
    const extra = rows[0]?.extra ?? undefined;
    expect(extra && JSON.parse(extra).update.unchanged).toEqual(unchanged);
    await expectReplayed();
  });

  it('captures a row that a BEFORE trigger changed as it was stored', async () => {
    await run(`create function shout() returns trigger language plpgsql as $$ begin new.v := upper(new.v); return new; end $$;
      create trigger shout before insert or update on full_image for each row execute function shout()`);
    await logged(
      `insert into full_image values (1, 'quiet', 1.0); update full_image set v = 'still', n = 1.00`,
    );
    await expectReplayed();
    expect((await node.log(`l.op = 'U'`)).at(-1)?.new).toBe('{"id":1,"v":"STILL","n":1.00}');
  });

  it('logs application context once per transaction and value', async () => {
    const session = await node.session();
    await session.script(`begin; select set_config('shovel.metadata', '{"actor":"alice"}', true);
      insert into public.keyless values (-1, 'a'), (-2, 'b'); update public.keyless set b = 'c' where a = -2;
      savepoint s; select set_config('shovel.metadata', '{"actor":"bob"}', true); insert into public.keyless values (-3, 'c');
      rollback to s; insert into public.keyless values (-4, 'd'); commit;
      insert into public.keyless values (-5, 'none')`);
    const rows = (await node.log()).slice(-6);
    expect(rows.map((row) => row.op)).toEqual(['M', 'I', 'I', 'U', 'I', 'I']);
    expect(rows[0]?.new).toBe('{"actor":"alice"}');
    expect(rows.map((row) => row.meta === rows[0]?.seq)).toEqual([false, true, true, true, true, false]);
    await run('delete from keyless where a < 0');
    await expectReplayed();
  });

  it('captures nothing under replica role unless the set asks for it', async () => {
    const quiet = await logged(
      `set session_replication_role = replica; insert into parent values (50, 'r'); delete from parent where id = 50;
       reset session_replication_role`,
    );
    expect(quiet).toBe('');
  });
});

describe('on servers that have them', () => {
  it('captures MERGE; trap 12: and prepared transactions, once they are committed', async () => {
    const node = await createCapturedNode({
      server: testPgUrl(),
      setup: 'create table stock (id int primary key, n int)',
      tables: '- { name: public.stock, before: full }',
    });
    const run = (script: string) => onPublic(node.connection, script);
    // Names of prepared transactions are the whole server's.
    const gid = (name: string) => `${name} in ${node.url.split('/').at(-1)}`;
    await run(`insert into stock values (1, 1), (2, 2)`);
    await run(`merge into stock s using (values (1, 10), (2, null), (3, 30)) v(id, n) on s.id = v.id
      when matched and v.n is null then delete when matched then update set n = v.n
      when not matched then insert values (v.id, v.n)`);
    await run(`begin; insert into stock values (4, 4); prepare transaction '${gid('kept')}'`);
    await run(`begin; insert into stock values (5, 5); prepare transaction '${gid('dropped')}'`);
    await run('update stock set n = 11 where id = 1');
    expect((await node.log()).length).toBe(6);
    await run(`rollback prepared '${gid('dropped')}'`);
    await run(`commit prepared '${gid('kept')}'`);
    expect((await node.log()).map((row) => row.op).join('')).toBe('IIUDIIU');
    expect(await node.differences()).toEqual([]);
    await node.close();
  });
});

describe.each(SERVERS)('capture_replicated on $name', ({ url }) => {
  it('captures what arrives under replica role, in partitions attached later too', async () => {
    const node = await createCapturedNode({
      server: url(),
      setup: `create table t (id int primary key); create table p (id int primary key) partition by list (id);
        create table p1 partition of p for values in (1)`,
      tables: '- { name: public.t }\n- { name: public.p }',
      more: 'capture_replicated: true',
    });
    await onPublic(
      node.connection,
      `create table p2 partition of p for values in (2); set session_replication_role = replica;
       insert into t values (1); insert into p values (1), (2); truncate p1; delete from p; truncate t; insert into t values (4)`,
    );
    expect((await node.log()).map((row) => row.op).join('')).toBe('IIITDTI');
    expect(await node.differences()).toEqual([]);
    await node.close();
  });
});
