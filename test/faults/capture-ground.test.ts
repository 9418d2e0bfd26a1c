/**
 * Triggers come and go on many tables under load: nobody deadlocks, nobody waits on us longer than one lock attempt, and
 * nothing of ours is left when the last set is gone.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { PostgresError } from '../../src/postgres/sqlstate.js';
import { CapturedNode, names, onPublic } from '../support/captured-node.js';
import { testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

const TABLES = 100;
const PARTITIONS = 200;
/** One attempt to get a lock, and what a busy machine adds. */
const LOCK_ATTEMPT_MS = 40;
const GRACE_MS = 400;

let node: CapturedNode;
beforeAll(async () => {
  node = await CapturedNode.create(testPgUrl());
  await onPublic(
    node.connection,
    `do $$ begin
       for i in 1..${TABLES - 1} loop execute format('create table t_%s (id int primary key, n int not null default 0)', i); end loop;
       create table tree (id int primary key, n int not null default 0) partition by range (id);
       for i in 0..${PARTITIONS - 1} loop
         execute format('create table tree_%s partition of tree for values from (%s) to (%s)', i, i * 10, i * 10 + 10);
       end loop;
       for i in 1..${TABLES - 1} loop execute format('insert into t_%s select generate_series(1, 5)', i); end loop;
     end $$;
     insert into tree select generate_series(0, ${PARTITIONS * 10 - 1}, 10)`,
  );
});
afterAll(() => node.close());

const SET_OF_ALL = '- { name: public.* }';

/** Every object of the database that is not the application's, by kind and name. */
async function catalog(): Promise<readonly string[]> {
  const rows = await node.connection.query(
    `select 'relation ' || n.nspname || '.' || c.relname as object from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
     union all select 'function ' || p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace
       where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
     union all select 'trigger ' || t.tgname || ' on ' || t.tgrelid::regclass from pg_trigger t
     union all select 'type ' || n.nspname || '.' || t.typname from pg_type t join pg_namespace n on n.oid = t.typnamespace
       where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
     union all select 'constraint ' || c.conname || ' on ' || c.conrelid::regclass from pg_constraint c
     union all select 'comment ' || d.description from pg_description d where d.objoid >= 16384
     union all select 'acl ' || c.oid::regclass || coalesce(c.relacl::text, '') from pg_class c where c.oid >= 16384
     order by 1`,
  );
  return rows.map((row) => row.object ?? '');
}

it(`creates, upgrades and drops a set over ${TABLES} tables and ${PARTITIONS} partitions under load`, async () => {
  const before = await catalog();
  const load = startLoad(
    await Promise.all(Array.from({ length: 4 }, () => node.session({ settings: { search_path: 'public' } }))),
  );
  const watch = startWatch(await node.session({}), await ourPid());
  try {
    await node.capture({ tables: SET_OF_ALL });
    await node.capture({ tables: '- { name: public.*, before: full }' });
    await until('writes were captured', async () => (await node.log()).length > 100);
    await node.removeCapture();
  } finally {
    await load.stop();
    await watch.stop();
  }
  expect(load.failures).toEqual([]);
  expect(load.writes).toBeGreaterThan(100);
  expect(watch.looks).toBeGreaterThan(20);
  expect(watch.longestMs).toBeLessThan(LOCK_ATTEMPT_MS + GRACE_MS);
  expect(await catalog()).toEqual(before);
}, 180_000);

it('gives up with the names of who holds a table, having harmed nobody', async () => {
  const holder = await node.session({});
  await holder.script('begin; update public.t_1 set n = n + 1');
  const { tables } = await node.describe({ tables: '- { name: public.t_1 }' });
  const { prepareGround } = await import('../../src/capture/ground.js');
  const lines: string[] = [];
  await expect(
    prepareGround(node.connection, {
      names,
      set: 'example',
      tables,
      lockTimeoutMs: 20,
      giveUpMs: 300,
      waiting: (line) => lines.push(line),
    }),
  ).rejects.toMatchObject({ code: 'table_busy', message: expect.stringContaining('application') });
  await holder.script('rollback');
  await node.removeCapture();
});

async function ourPid(): Promise<string> {
  return (await node.connection.query('select pg_backend_pid() as pid'))[0]?.pid ?? '';
}

/** Short transactions over several tables each, in an order that is the same for all. */
function startLoad(sessions: readonly PostgresConnection[]) {
  const state = { failures: [] as string[], writes: 0 };
  let going = true;
  const run = async (session: PostgresConnection, seed: number) => {
    for (let i = seed; going; i += 7) {
      const table = 1 + (i % (TABLES - 2));
      const key = (i % PARTITIONS) * 10;
      try {
        await session.script(`begin; update t_${table} set n = n + 1 where id = ${1 + (i % 5)};
          update t_${table + 1} set n = n + 1 where id = ${1 + (i % 5)}; update tree set n = n + 1 where id = ${key};
          update tree_${i % PARTITIONS} set n = n + 1 where id = ${key}; commit`);
        state.writes += 1;
      } catch (error) {
        state.failures.push(error instanceof PostgresError ? error.sqlstate : String(error));
        await session.script('rollback').catch(() => undefined);
      }
    }
  };
  const running = Promise.all(sessions.map((session, i) => run(session, i * 31)));
  return Object.assign(state, {
    stop: async () => {
      going = false;
      await running;
    },
  });
}

/** Looks all the time who waits for the session, and keeps the longest time that anybody did. */
function startWatch(session: PostgresConnection, pid: string) {
  const state = { looks: 0, longestMs: 0 };
  const since = new Map<string, number>();
  let going = true;
  const run = async () => {
    while (going) {
      const rows = await session.query(
        `select a.pid::text || ' ' || a.query_start::text as wait from pg_stat_activity a
         where a.wait_event_type = 'Lock' and ${pid} = any (pg_blocking_pids(a.pid))`,
      );
      const now = performance.now();
      const waiting = new Set(rows.map((row) => row.wait ?? ''));
      for (const wait of waiting) if (!since.has(wait)) since.set(wait, now);
      for (const [wait, start] of since) {
        if (waiting.has(wait)) state.longestMs = Math.max(state.longestMs, now - start);
        else since.delete(wait);
      }
      state.looks += 1;
    }
  };
  const running = run();
  return Object.assign(state, {
    stop: async () => {
      going = false;
      await running;
    },
  });
}
