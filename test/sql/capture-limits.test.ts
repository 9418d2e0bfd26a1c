/** Capture at its limits: rows and tables that are too large, values that can't be printed, serializable transactions. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PostgresError } from '../../src/postgres/sqlstate.js';
import { CapturedNode, createCapturedNode, onPublic } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';

const MANY = Array.from({ length: 1_599 }, (_, i) => `c${i} int`).join(', ');
const SOME = Array.from({ length: 70 }, (_, i) => `"col ${i}" text, list_${i} int[]`).join(', ');

describe.each(SERVERS)('on $name', ({ url }) => {
  it('logs a row past row_bytes by its key, marked, and the application goes on', async () => {
    const node = await createCapturedNode({
      server: url(),
      setup: 'create table doc (id int primary key, body text); create table loose (body text)',
      tables: '- { name: public.doc }\n- { name: public.loose, key: none }',
      more: 'limits: { row_bytes: 1kB }',
    });
    await onPublic(
      node.connection,
      `insert into doc values (1, repeat('x', 900)), (2, repeat('x', 1100)); update doc set body = repeat('y', 2000) where id = 1;
       update doc set id = 3 where id = 2; delete from doc; insert into loose values (repeat('x', 1100)); delete from loose`,
    );
    expect((await node.log()).map((row) => [row.op, row.mark, row.old, row.new === null])).toEqual([
      ['I', null, null, false],
      ['I', 'o', '{"id" : 2}', true],
      ['U', 'o', '{"id" : 1}', true],
      ['U', 'o', '{"id" : 2}', true],
      ['D', null, '{"id":1}', true],
      ['D', null, '{"id":3}', true],
      ['I', 'o', null, true],
      ['D', 'o', null, true],
    ]);
    await node.close();
  });

  it('logs a row whose cast to json raises by its key, with the SQLSTATE and without the value', async () => {
    const node = await createCapturedNode({
      server: url(),
      setup: `create type mood as enum ('good', 'SECRET');
        create function mj(m mood) returns json language plpgsql as $$ begin
          if m = 'SECRET' then raise exception 'can''t print %', m using errcode = 'XX123'; end if; return to_json(m::text); end $$;
        create cast (mood as json) with function mj(mood);
        create table t (id int primary key, m mood)`,
      tables: '- { name: public.t }',
    });
    await onPublic(
      node.connection,
      `insert into t values (1, 'good'), (2, 'SECRET'); update t set m = 'SECRET'; delete from t`,
    );
    const rows = await node.log();
    expect(rows.map((row) => [row.op, row.mark, row.mark === null ? null : row.extra])).toEqual([
      ['I', null, null],
      ['I', 'u', 'XX123'],
      ['U', 'u', 'XX123'],
      ['U', 'u', 'XX123'],
      ['D', null, null],
      ['D', null, null],
    ]);
    expect(rows[1]?.old).toBe('{"id" : 2}');
    expect(JSON.stringify(rows)).not.toContain('SECRET');
    await node.close();
  });

  it('captures 1600 columns, and lists of more columns than one call takes', async () => {
    const node = await createCapturedNode({
      server: url(),
      setup: `create table many (id int primary key, ${MANY}); create table lists (id int primary key, secret text, ${SOME})`,
      tables:
        '- { name: public.many, before: full }\n- { name: public.lists, exclude: [secret], before: full }',
    });
    await onPublic(
      node.connection,
      `insert into many (id, c0, c1598) values (1, 2, 3); update many set c7 = 8; delete from many; insert into many (id) values (9);
       insert into lists (id, secret, "col 3", list_1, list_69) values (1, 'TOPSECRET', 'x', '[0:0]={1}', '{2}'); update lists set secret = 'y', "col 60" = 'z'`,
    );
    const rows = await node.log();
    expect(rows.map((row) => `${row.op}${row.mark ?? ''}`).join('')).toBe('IUDIIU');
    expect(JSON.stringify(rows)).not.toContain('TOPSECRET');
    expect(await node.differences()).toEqual([]);
    await node.close();
  });

  describe('serializable', () => {
    let node: CapturedNode;
    beforeAll(async () => {
      node = await CapturedNode.create(url());
      await onPublic(
        node.connection,
        `create table bare (id int primary key, n int); create table captured (id int primary key, n int);
         create table trail (id bigint generated always as identity primary key, of int);
         insert into bare select g, 0 from generate_series(1, 2000) g; insert into captured select * from bare; analyze`,
      );
      await node.capture({ tables: '- { name: public.captured }\n- { name: public.trail }' });
    });
    afterAll(() => node.close());

    /** Transactions of disjoint rows, four sessions at once; how many could not be serialized. */
    const failures = async (table: string, rounds: number): Promise<number> => {
      const work = async (worker: number) => {
        const session = await node.session({ settings: { default_transaction_isolation: 'serializable' } });
        let failed = 0;
        for (let i = 0; i < rounds; i += 1) {
          const own = 1 + worker * 500 + ((i * 7) % 500);
          try {
            await session.script(`begin; update public.${table} set n = n + 1 where id = ${own};
              insert into public.trail (of) values (${own}); commit`);
          } catch (error) {
            if (!(error instanceof PostgresError) || error.sqlstate !== '40001') throw error;
            failed += 1;
            await session.script('rollback');
          }
        }
        return failed;
      };
      const counts = await Promise.all([0, 1, 2, 3].map(work));
      return counts.reduce((sum, one) => sum + one, 0);
    };

    it('transactions fail no more often than without', async () => {
      const bare = await failures('bare', 100);
      const captured = await failures('captured', 100);
      expect(captured).toBeLessThanOrEqual(bare + 4);
      expect((await node.log(`l.op = 'U'`)).length).toBe(400 - captured);
    });

    it('capture leaves no predicate lock on anything of ours', async () => {
      const session = await node.session({ settings: { default_transaction_isolation: 'serializable' } });
      await session.script(
        `begin; select set_config('shovel.metadata', '{"a":1}', true); update public.captured set n = n + 1 where id = 1`,
      );
      const rows = await session.query(
        `select distinct l.relation::regclass::text as relation from pg_locks l where l.mode = 'SIReadLock' and l.relation is not null`,
      );
      expect(rows.map((row) => row.relation).filter((name) => name?.startsWith('shovel.'))).toEqual([]);
      await session.script('rollback');
    });
  });
});
