/** The known traps of capture by triggers, one test each, by the numbers of the list that they were collected in. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { orderNested } from '../../src/model/nested-order.js';
import { CapturedNode, createCapturedNode, names, onPublic, SET } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';

const TABLES = `
- { name: public.acc }
- { name: public.txt, before: full }
- { name: public.part }
- { name: public.few, columns: [id, open] }`;

describe.each(SERVERS)('on $name', ({ url }) => {
  let node: CapturedNode;
  const run = (script: string) => onPublic(node.connection, script);

  beforeAll(async () => {
    node = await CapturedNode.create(url());
    await run(`create table acc (id int primary key, bal int, j json, at timestamptz default now(), unique (id, bal));
      create table txt (id int primary key, f8 float8, f4 float4, iv interval, by bytea, dr daterange, m money, ts timestamptz, rc regclass, arr int[]);
      create table part (id int primary key, note text) partition by range (id);
      create table part_1 partition of part for values from (0) to (100); create table part_2 partition of part for values from (100) to (200);
      create table few (id int primary key, open text, secret text)`);
    await node.capture({ tables: TABLES });
  });
  afterAll(() => node.close());
  beforeEach(() =>
    run(
      'reset all; set client_min_messages = warning; delete from acc; delete from txt; delete from part; delete from few',
    ),
  );

  const since = async (seq: string) => node.log(`l.seq > ${seq}`);
  /** What two snapshots make of the log: the rows that the second shows and the first does not. */
  const between = async (first: string, second: string) =>
    node.log(`pg_visible_in_snapshot(l.xid, '${second}') and not pg_visible_in_snapshot(l.xid, '${first}')`);
  const snapshot = async (): Promise<string> =>
    (await node.connection.query('select pg_current_snapshot()::text as s'))[0]?.s ?? '';

  it('trap 1: a number given out early and committed late is in the batch after its commit', async () => {
    const [slow, fast] = [await node.session(), await node.session()];
    const a = await snapshot();
    await slow.script('begin; insert into public.acc (id) values (1)');
    await fast.script('insert into public.acc (id) values (2)');
    const b = await snapshot();
    await slow.script('commit');
    const c = await snapshot();
    const ids = async (from: string, to: string) =>
      (await between(from, to)).map((row) => JSON.parse(row.new ?? '').id);
    expect(await ids(a, b)).toEqual([2]);
    expect(await ids(b, c)).toEqual([1]);
  });

  it('trap 2: numbers follow the order in which a row was locked, not that of xids', async () => {
    await run('insert into acc (id, bal) values (1, 0)');
    const [a, b] = [await node.session(), await node.session()];
    await a.script('begin; select pg_current_xact_id()');
    await b.script('begin; update public.acc set bal = 1; commit');
    await a.script('update public.acc set bal = 2; commit');
    const rows = (await node.log(`l.op = 'U'`)).slice(-2);
    expect(rows.map((row) => JSON.parse(row.new ?? '').bal)).toEqual([1, 2]);
    expect(BigInt(rows[0]?.xid ?? 0) > BigInt(rows[1]?.xid ?? 0)).toBe(true);
    expect(await node.differences()).toEqual([]);
    const [cache] = await node.connection.query(
      `select seqcache from pg_sequence where seqrelid = '${names.schema}.seq_${SET}'::regclass`,
    );
    expect(cache?.seqcache).toBe('1');
  });

  it('trap 3: of transactions that waited for each other the later one has the higher last number', async () => {
    await run('insert into acc (id, bal) values (1, 0), (2, 0)');
    const [a, b] = [await node.session(), await node.session()];
    await a.script('begin; update public.acc set bal = 1 where id = 1');
    const waiting = b.script(
      'begin; update public.acc set bal = 9 where id = 2; update public.acc set bal = 2 where id = 1; commit',
    );
    await a.script('update public.acc set bal = 3 where id = 1; commit');
    await waiting;
    const rows = (await node.log(`l.op = 'U'`)).slice(-4);
    const last = new Map<string, string>();
    for (const row of rows) last.set(row.xid, row.seq);
    const [first, second] = [rows.find((row) => row.new?.includes('"bal":3'))?.xid, rows.at(-1)?.xid];
    expect(first).not.toBe(second);
    expect(BigInt(last.get(first ?? '') ?? 0) < BigInt(last.get(second ?? '') ?? 0)).toBe(true);
  });

  it('trap 4: a batch is the same however often it is read', async () => {
    const a = await snapshot();
    await run('insert into acc (id) select generate_series(1, 50)');
    const b = await snapshot();
    const first = await between(a, b);
    await run('update acc set bal = 1');
    expect(await between(a, b)).toEqual(first);
    expect(first.length).toBe(50);
  });

  it('trap 5: a batch can be read in pieces, each under a snapshot of its own', async () => {
    const a = await snapshot();
    await run('insert into acc (id) select generate_series(1, 30)');
    const b = await snapshot();
    const whole = await between(a, b);
    const pieces: string[] = [];
    for (let after = '0'; ; after = pieces.at(-1) ?? '0') {
      await run('update acc set bal = coalesce(bal, 0) + 1');
      const piece = (await between(a, b)).filter((row) => BigInt(row.seq) > BigInt(after)).slice(0, 7);
      if (piece.length === 0) break;
      pieces.push(...piece.map((row) => row.seq));
    }
    expect(pieces).toEqual(whole.map((row) => row.seq));
  });

  it('trap 7: a transaction that stays open holds back none of the others', async () => {
    const slow = await node.session();
    await slow.script('begin; insert into public.acc (id) values (1)');
    let before = await snapshot();
    for (const id of [2, 3, 4]) {
      await run(`insert into acc (id) values (${id})`);
      const now = await snapshot();
      expect((await between(before, now)).map((row) => JSON.parse(row.new ?? '').id)).toEqual([id]);
      before = now;
    }
    await slow.script('commit');
    expect((await between(before, await snapshot())).map((row) => JSON.parse(row.new ?? '').id)).toEqual([1]);
  });

  it("trap 8: a captured row spends no transaction id beside the writer's, and savepoints log the same xid", async () => {
    /** Rows of the log that a subtransaction wrote have its id, not the transaction's. */
    const nested = async (from: string) =>
      node.connection.query(
        `select l.seq from ${names.schema}.log_0_${SET} l where l.seq > ${from} and l.xmin::text <> (l.xid::text::bigint & 4294967295)::text`,
      );
    const from = await node.lastSeq();
    await run('insert into acc (id) select generate_series(1, 500); update acc set bal = 1; delete from acc');
    expect(await nested(from)).toEqual([]);
    await run(
      'begin; insert into acc (id) values (1); savepoint s; insert into acc (id) values (2); release s; commit',
    );
    expect((await nested(from)).length).toBe(1);
    const rows = (await node.log(`l.op = 'I'`)).slice(-2);
    expect(rows[0]?.xid).toBe(rows[1]?.xid);
    // The fallback spends none either.
    await run('alter table acc rename bal to balance');
    const fallback = await node.lastSeq();
    await run('update acc set balance = 1');
    expect((await since(fallback)).map((row) => row.mark)).toEqual(['f', 'f']);
    expect(await nested(fallback)).toEqual([]);
    await run('alter table acc rename balance to bal');
  });

  it('trap 9: the log is written by inserts alone, so nothing in it is ever dead', async () => {
    const [row] = await node.connection.query(
      `select count(*) as dead from pg_class c where c.relname like 'log__${SET}' and exists
         (select from pg_stat_all_tables s where s.relid = c.oid and (s.n_tup_upd > 0 or s.n_tup_del > 0))`,
    );
    expect(row?.dead).toBe('0');
  });

  it('trap 10: a transaction of many rows is captured whole', async () => {
    const from = await node.lastSeq();
    await run('insert into acc (id) select generate_series(1, 20000); delete from acc');
    const [row] = await node.connection.query(
      `select count(*) as n, count(distinct xid) as xids from ${names.schema}.log_${SET} l where l.seq > ${from}`,
    );
    expect(row).toEqual({ n: '40000', xids: '1' });
  });

  it('trap 11: capture leaves synchronous_commit to the application', async () => {
    const session = await node.session({ settings: { synchronous_commit: 'off' } });
    await session.script('insert into public.acc (id) values (1)');
    expect((await session.query(`select current_setting('synchronous_commit') as s`))[0]?.s).toBe('off');
  });

  it("trap 13: a mutation carries its statement's time, which orders nothing", async () => {
    const from = await node.lastSeq();
    await run('insert into acc (id) values (1)');
    const rows = await node.connection.query(
      `select abs(extract(epoch from clock_timestamp() - at)) < 60 as near from ${names.schema}.log_${SET} where seq > ${from}`,
    );
    expect(rows).toEqual([{ near: 't' }]);
  });

  it('trap 19: no DDL makes a write fail', async () => {
    const session = await node.session({ settings: { search_path: 'public' } });
    await session.script(`insert into few values (1, 'a', 'b'); update few set open = 'c'`);
    await run('alter table few drop column open');
    await session.script(
      `insert into few values (2, 'b'); update few set secret = 'c'; delete from few where id = 2`,
    );
    await run('alter table few add column open text');
    const everything = (await node.log()).filter((row) => row.table === 'public.few');
    expect(everything.slice(-4).map((row) => row.mark)).toEqual(['f', 'f', 'f', null]);
    expect(JSON.stringify(everything)).not.toContain('secret');
  });

  it('trap 20: json with \\u0000, with repeated keys and any white space is captured as it stands', async () => {
    const json = String.raw`{"b" : 1, "a":"x\u0000y",   "a": [1 ,2]}`;
    await run(`insert into acc (id, j) values (1, '${json}')`);
    expect((await node.log()).at(-1)?.new).toContain(`"j":${json}`);
    expect(await node.differences()).toEqual([]);
  });

  it('trap 21: values changed by BEFORE triggers are captured, and no column is held fast by our triggers', async () => {
    await run(`create function bump() returns trigger language plpgsql as $$ begin new.bal := 99; return new; end $$;
      create trigger bump before update of j on acc for each row execute function bump();
      insert into acc (id) values (1); update acc set j = '1'; drop trigger bump on acc; drop function bump()`);
    expect((await node.log()).at(-1)?.new).toContain('"bal":99');
    const rows = await node.connection.query(
      `select t.tgqual, t.tgattr::text as columns from pg_trigger t where t.tgname like '!shovel%'`,
    );
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.every((row) => row.tgqual === null && row.columns === '')).toBe(true);
  });

  it.each([
    { TimeZone: 'Asia/Tokyo', DateStyle: 'SQL, DMY', IntervalStyle: 'sql_standard', bytea_output: 'escape' },
    { extra_float_digits: '-3', lc_monetary: 'C', search_path: 'public', quote_all_identifiers: 'on' },
    {
      TimeZone: 'America/St_Johns',
      DateStyle: 'German',
      IntervalStyle: 'postgres_verbose',
      extra_float_digits: '0',
    },
  ])('trap 22: values do not depend on the settings %j', async (settings) => {
    const statement = `insert into public.txt values (1, 0.1::float8 + 0.2::float8, 1.1::float4, '1 year 2 mons 3 days 04:05:06.7', '\\x00ff41',
        '[2026-02-03,2026-05-06)', 12.34::numeric::money, '2026-02-03 04:05:06.789+00', 'public.txt', '[0:1]={1,2}')`;
    const writer = await node.session({ settings });
    await writer.script(`${statement}; update public.txt set id = 2; delete from public.txt`);
    await node.connection.script(`${statement}; update public.txt set id = 2; delete from public.txt`);
    const rows = (await node.log()).slice(-6).map((row) => [row.op, row.mark, row.old, row.new, row.extra]);
    expect(rows.slice(0, 3)).toEqual(rows.slice(3));
    expect(rows[0]?.[3]).toContain('"f8":0.30000000000000004');
    expect(JSON.parse(rows[0]?.[4] ?? '')).toEqual({ new: { text: { arr: '[0:1]={1,2}' } } });
  });

  it('trap 23: capture functions run as a role that cannot log in and may do next to nothing', async () => {
    const rows = await node.connection.query(
      `select distinct r.rolname, r.rolcanlogin, r.rolsuper, p.prosecdef::text as definer,
         coalesce(p.proacl::text, '{=X') ~ '[{,]=X' as everyone
       from pg_proc p join pg_roles r on r.oid = p.proowner where p.proname ~ '^(capture_|note_metadata)'`,
    );
    expect(rows).toEqual([
      { rolname: names.capture, rolcanlogin: 'f', rolsuper: 'f', definer: 'true', everyone: 'f' },
    ]);
  });

  it('trap 24: rows behind row level security are captured like any other', async () => {
    await run(`alter table acc enable row level security; alter table acc force row level security;
      create policy none on acc using (false) with check (true)`);
    await run('insert into acc (id) values (1)');
    expect((await node.log()).at(-1)?.new).toContain('"id":1');
    await run(
      'drop policy none on acc; alter table acc no force row level security; alter table acc disable row level security',
    );
  });

  it('trap 25: what arrives under replica role is not captured unless asked for', async () => {
    const from = await node.lastSeq();
    await run(
      `set session_replication_role = replica; insert into acc (id) values (1); delete from acc; reset session_replication_role`,
    );
    expect(await since(from)).toEqual([]);
  });

  it('trap 27: TRUNCATE of a partition is told from that of the root', async () => {
    const [oids] = await node.connection.query(
      `select 'public.part'::regclass::oid as root, 'public.part_1'::regclass::oid as leaf`,
    );
    await run('truncate part_1; truncate part');
    const leaves = (await node.log(`l.op = 'T'`)).map((row) => row.leaf);
    expect(leaves.slice(-4)[0]).toBe(oids?.leaf);
    expect(leaves.slice(-3)).toContain(oids?.root);
  });

  it('trap 28: rows of partitions are reported under their root, whatever the column order', async () => {
    await run(`create table part_3 (note text, id int primary key);
      alter table part attach partition part_3 for values from (200) to (300); insert into part values (1, 'a');
      update part set id = 201; insert into part_3 values ('b', 202)`);
    const rows = (await node.log()).slice(-4);
    expect(rows.map((row) => [row.op, row.table])).toEqual(
      ['I', 'D', 'I', 'I'].map((op) => [op, 'public.part']),
    );
    expect(await node.differences()).toEqual([]);
    await run('drop table part_3');
  });

  it('trap 29: keys that change all at once are captured row by row', async () => {
    await run(
      'alter table acc drop constraint acc_pkey, add primary key (id) deferrable; insert into acc (id) values (1), (2), (3); update acc set id = id + 1',
    );
    const rows = (await node.log()).slice(-3);
    expect(rows.map((row) => [row.op, JSON.parse(row.old ?? '').id, JSON.parse(row.new ?? '').id])).toEqual([
      ['K', 1, 2],
      ['K', 2, 3],
      ['K', 3, 4],
    ]);
  });

  it('trap 30: rewrites that no trigger sees are not captured', async () => {
    await run('insert into acc (id, bal) values (1, 1)');
    const from = await node.lastSeq();
    await run('alter table acc alter bal type bigint using bal + 1; alter table acc add extra int default 5');
    await run('cluster acc using acc_pkey');
    await node.connection.script('vacuum full public.acc');
    expect(await since(from)).toEqual([]);
  });
});

it.each(SERVERS)(
  'trap 6 on $name: writes nested in triggers are put into the order in which they happened',
  async ({ url }) => {
    const node = await createCapturedNode({
      server: url(),
      setup: 'create table acc (id int primary key, bal int)',
      tables: '- { name: public.acc }',
    });
    const run = (script: string) => onPublic(node.connection, script);
    const snapshot = async (): Promise<string> =>
      (await node.connection.query('select pg_current_snapshot()::text as s'))[0]?.s ?? '';
    await run(`create function bounce() returns trigger language plpgsql as $$ begin
        if new.bal = 1 then update public.acc set bal = 2 where id = 2; end if;
        return null; end $$;
      create trigger bounce after insert on acc for each row execute function bounce()`);
    const a = await snapshot();
    const from = await node.lastSeq();
    await run('insert into acc (id, bal) values (1, 1), (2, 0)');
    const b = await snapshot();
    await run('drop trigger bounce on acc; drop function bounce()');
    const logged = await node.log(`l.seq > ${from}`);
    expect(logged.map((row) => [row.op, JSON.parse(row.new ?? '').id])).toEqual([
      ['I', 1],
      ['U', 2],
      ['I', 2],
    ]);
    const suspects = await node.connection.query(
      `select n.* from ${names.schema}.nested_${SET}('${a}', '${b}', ${logged[0]?.seq}, ${logged.at(-1)?.seq}) n`,
    );
    const ordered = orderNested(
      suspects.map((row) => ({
        seq: BigInt(row.seq ?? 0),
        place: row.place ?? '',
        emptied: row.emptied === 't',
        oldCtid: row.old_ctid ?? null,
        newCtid: row.new_ctid ?? null,
        oldKey: row.old_key ?? null,
        newKey: row.new_key ?? null,
      })),
    );
    const bySeq = new Map(logged.map((row) => [row.seq, row.op]));
    expect(ordered.map((one) => bySeq.get(String(one.seq)))).toEqual(['I', 'U']);
    await node.close();
  },
);

it('trap 26: disabled triggers capture nothing, which only inspection can tell', async () => {
  const node = await createCapturedNode({
    server: (SERVERS[0]?.url ?? (() => ''))(),
    setup: 'create table t (id int primary key)',
    tables: '- { name: public.t }',
  });
  await onPublic(node.connection, 'alter table t disable trigger all; insert into t values (1)');
  expect(await node.log()).toEqual([]);
  await node.close();
});
