/** What messages say, from the write to the line: context, truncates, fallbacks, rows that can't be captured. */
import { afterEach, describe, expect, it } from 'vitest';
import { memberText } from '../../src/model/json-text.js';
import { onPublic } from '../support/captured-node.js';
import { RelayedNode } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

describe('published messages', () => {
  let relayed: RelayedNode;
  afterEach(() => relayed.close());

  const make = async (setup: string, tables: string) => {
    relayed = await RelayedNode.create({ server: testPgUrl(), setup, tables });
  };
  const run = (script: string) => onPublic(relayed.node.connection, script);
  /** Mutations published so far, without the markers. */
  const messages = async () => {
    const summary = await relayed.once();
    expect(summary.error).toBeUndefined();
    return (await relayed.lines()).filter((line) => !/^\{"op":"[be]"/.test(line));
  };
  const source = (line: string, member: string) => memberText(memberText(line, 'source') ?? '', member);
  const short = (line: string) =>
    `${memberText(line, 'op')} ${memberText(line, 'before')} ${memberText(line, 'after')}`;

  it('are in the order and form of the contract', async () => {
    await make('create table t (id int primary key, n numeric)', '- { name: public.t }');
    await run(
      `begin; select set_config('shovel.metadata', '{"actor":"alice"}', true); insert into t values (1, 10.50); commit`,
    );
    const [line] = await messages();
    const rows = await relayed.node.connection.query(
      `select current_database() as db, l.xid, l.seq, floor(extract(epoch from l.at) * 1000)::bigint as at,
         floor(extract(epoch from t.drawn_at) * 1000)::bigint as drawn
       from shovel.log_example l, shovel.ticket_example t where l.op = 'I' and t.ticket = 1`,
    );
    const row = rows[0] ?? {};
    expect(line).toBe(
      `{"before":null,"after":{"id":1,"n":10.50},"op":"c","ts_ms":${row.drawn},"source":{"connector":"shovel",` +
        `"version":"1.0.0","name":"default","db":"${row.db}","schema":"public","table":"t","ts_ms":${row.at},` +
        `"snapshot":"false","txId":${row.xid},"set":"example","set_version":1,"node":"${relayed.nodeId}",` +
        `"incarnation":1,"ticket":"1","seq":"${row.seq}","metadata":{"actor":"alice"}},"transaction":null}`,
    );
  });

  it('carry the context of their transaction, JSON or not, and none where there is none', async () => {
    await make('create table t (id int primary key)', '- { name: public.t }');
    await run(`
      begin; select set_config('shovel.metadata', '{"a":\n1}', true); insert into t values (1);
      select set_config('shovel.metadata', 'no "json"', true); insert into t values (2);
      select set_config('shovel.metadata', '', true); insert into t values (3); commit;
    `);
    await run('insert into t values (4)');
    // What an application puts into our own setting is not believed.
    await run(
      `begin; select set_config('shovel.metadata', '{"b":2}', true), set_config('shovel.noted_example', '1:{"b":2}', true);
       insert into t values (5); commit`,
    );
    const found = (await messages()).map((line) => source(line, 'metadata'));
    expect(found).toEqual(['{"a": 1}', '"no \\"json\\""', undefined, undefined, undefined]);
  });

  it('say one t for a table, and a marked one for a partition alone', async () => {
    await make(
      `create table p (id int, at date, primary key (id, at)) partition by range (at);
       create table p_1 partition of p for values from ('2025-01-01') to ('2026-01-01');
       create table "P 2" partition of p for values from ('2026-01-01') to ('2027-01-01');
       create table q (id int primary key)`,
      '- { name: public.p }\n- { name: public.q }',
    );
    // What is said of a partition does not depend on who says it, nor on what becomes of it.
    await run(`truncate p; set "DateStyle" = 'German'; truncate "P 2"; reset "DateStyle"; truncate q`);
    await run(`alter table "P 2" rename to "P 3"; drop table "P 3"`);
    await run(`do $$ begin truncate p; insert into p values (1, '2025-05-05'); truncate p_1; end $$`);
    const found = (await messages()).map(
      (line) =>
        `${memberText(line, 'op')} ${source(line, 'table')} ${source(line, 'partition')} ${source(line, 'bound')}`,
    );
    expect(found).toEqual([
      '"t" "p" undefined undefined',
      `"t" "p" "public.\\"P 2\\"" "FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"`,
      '"t" "q" undefined undefined',
      '"t" "p" undefined undefined',
      '"c" "p" undefined undefined',
      `"t" "p" "public.p_1" "FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')"`,
    ]);
  });

  it('put nested writes into the order in which they happened', async () => {
    await make(
      `create table t (id int primary key, v int);
       create function bump() returns trigger language plpgsql as $$ begin
         if NEW.id = 1 then update t set v = v + 100 where id = 2; end if; return null; end $$;
       create trigger bump after insert on t for each row execute function bump()`,
      '- { name: public.t }',
    );
    await run('insert into t values (2, 0), (1, 0)');
    await run('delete from t; insert into t values (1, 0), (2, 0)');
    const rows = new Map<string, string>();
    for (const line of await messages()) {
      const after = memberText(line, 'after') ?? '';
      if (memberText(line, 'op') === '"d"')
        rows.delete(memberText(memberText(line, 'before') ?? '', 'id') ?? '');
      else rows.set(memberText(after, 'id') ?? '', after);
    }
    expect([...rows.values()].sort()).toEqual(await relayed.tableRows('public.t'));
    expect([...rows.values()].sort()).toEqual(['{"id":1,"v":0}', '{"id":2,"v":100}']);
  });

  it('put nested writes into order where the set got another version in the middle of a statement', async () => {
    const tables = (before: string) => `- { name: public.t, before: ${before} }`;
    await make(
      `create table t (id int primary key, v int);
       create function bump() returns trigger language plpgsql as $$ begin
         if NEW.id = 1 then
           update t set v = v + 100 where id = 2;
           perform pg_advisory_xact_lock(41);
           update t set v = v + 100 where id = 2;
         end if;
         return null; end $$;
       create trigger bump after insert on t for each row execute function bump()`,
      tables('key'),
    );
    const { node } = relayed;
    await node.connection.script('select pg_advisory_lock(41)');
    const session = await node.session({ settings: { search_path: 'public' } });
    const writing = session.script('insert into t values (1, 0), (2, 0)');
    await until(
      'it waits in the middle',
      async () =>
        (await node.connection.query(`select from pg_locks where locktype = 'advisory' and not granted`))
          .length > 0,
    );
    await node.capture({ tables: tables('full') });
    await node.connection.script('select pg_advisory_unlock(41)');
    await writing;
    expect((await messages()).map(short)).toEqual([
      '"c" null {"id":1,"v":0}',
      '"c" null {"id":2,"v":0}',
      '"u" null {"id":2,"v":100}',
      '"u" {"id":2,"v":100} {"id":2,"v":200}',
    ]);
  });

  it('keep values that JSON can not tell, and leave out what did not change', async () => {
    await make(
      `create table t (id int primary key, a int[], j jsonb);
       create table w (id int primary key, big text, n int); alter table w alter big set storage external`,
      '- { name: public.t }\n- { name: public.w, unchanged_wide: omit }',
    );
    await run(`insert into t values (1, '[0:1]={1,2}', 'null'), (2, '{1}', null)`);
    await run(`insert into w values (1, repeat('x', 5000), 0); update w set n = 1`);
    const found = await messages();
    expect(found.slice(0, 2).map(short)).toEqual([
      '"c" null {"id":1,"a":"[0:1]={1,2}","j":null}',
      '"c" null {"id":2,"a":[1],"j":null}',
    ]);
    expect(found.map((line) => source(line, 'json_null'))).toEqual([
      '["j"]',
      undefined,
      undefined,
      undefined,
    ]);
    expect(short(found[3] ?? '')).toBe('"u" null {"id":1,"n":1}');
    expect(source(found[3] ?? '', 'unchanged')).toBe('["big"]');
  });

  it('leave nothing out of a row that gets another key: for who reads by key it is a new one', async () => {
    await make(
      `create table w (id int primary key, big text, n int); alter table w alter big set storage external;
       create table v (a int, b text, big text, primary key (a, b))`,
      '- { name: public.w, unchanged_wide: omit }\n- { name: public.v, unchanged_wide: omit }',
    );
    await run(
      `insert into w values (1, repeat('x', 3000), 0); update w set n = 1; update w set id = 2; update w set n = 2`,
    );
    await run(`insert into v values (1, 'a', 'x'); update v set b = 'b'; update v set b = 'b'`);
    const found = await messages();
    expect(found.map((line) => [memberText(line, 'op'), source(line, 'unchanged')])).toEqual([
      ['"c"', undefined],
      ['"u"', '["big"]'],
      ['"u"', undefined],
      ['"u"', '["big"]'],
      ['"c"', undefined],
      ['"u"', undefined],
      ['"u"', '["big"]'],
    ]);
    expect(memberText(memberText(found[2] ?? '', 'after') ?? '', 'big')).toBe(`"${'x'.repeat(3000)}"`);
    expect(short(found[5] ?? '')).toBe('"u" {"a":1,"b":"a"} {"a":1,"b":"b","big":"x"}');
  });

  it('say that a row which leaves a filter is deleted, and one that enters it inserted', async () => {
    await make(
      'create table t (id int primary key, n int, note text)',
      `- { name: public.t, where: "n > 10" }`,
    );
    await run(`
      insert into t values (1, 5, 'a'), (2, 11, 'b'); update t set note = 'c'; update t set n = 12 where id = 1;
      update t set n = 3, id = 4 where id = 2; update t set id = 6 where id = 1; delete from t;
    `);
    expect((await messages()).map(short)).toEqual([
      '"c" null {"id":2,"n":11,"note":"b"}',
      '"u" null {"id":2,"n":11,"note":"c"}',
      '"c" null {"id":1,"n":12,"note":"c"}',
      '"d" {"id":2} null',
      '"u" {"id":1} {"id":6,"n":12,"note":"c"}',
      '"d" {"id":6} null',
    ]);
    await run('alter table t rename n to m; insert into t values (7, 100, null)');
    const summary = await relayed.once({ tuning: { giveUpMs: 300 } });
    expect(summary.error).toMatchObject({ code: 'where_column_missing', retryable: true });
  });

  it('go on after a column was renamed, and wait where it was a key', async () => {
    await make('create table t (id int primary key, v int)', '- { name: public.t, columns: [id, v] }');
    await run('insert into t values (1, 1); alter table t rename v to w; update t set w = 2');
    const found = await messages();
    expect(found.map(short)).toEqual(['"c" null {"id":1,"v":1}', '"u" null {"id":1}']);
    await run('alter table t rename id to key; update t set w = 3');
    const summary = await relayed.once({ tuning: { giveUpMs: 300 } });
    expect(summary.error).toMatchObject({ code: 'row_key_missing', exitCode: 25, retryable: true });
  });

  it('stop their stream where a row could not be captured, without a word of its values', async () => {
    await make(
      `create domain odd as int;
       create table t (id int primary key, v text)`,
      '- { name: public.t }',
    );
    await run(`insert into t values (1, 'fine')`);
    await relayed.node.connection.script(
      `insert into shovel.more_0_example (seq, xid, at, rel, new_ctid, op, mark, old)
         select seq, xid, at, rel, new_ctid, op, 'o', '{"id" : 77}' from shovel.log_0_example where op = 'I';
       delete from only shovel.log_0_example where op = 'I'`,
    );
    const summary = await relayed.once();
    expect(summary.error).toMatchObject({ code: 'row_oversized', exitCode: 25 });
    expect(summary.error?.message).toContain('public.t');
    expect(`${summary.error?.message} ${summary.error?.hint}`).not.toContain('77');
  });

  it('fit into parts whatever their size', async () => {
    await make('create table t (id int primary key, v text)', '- { name: public.t }');
    await run(`insert into t select n, repeat('y', 300000) from generate_series(1, 20) n`);
    expect(await messages()).toHaveLength(20);
  });
});
