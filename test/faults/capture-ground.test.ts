/**
 * How triggers come and go: each attempt asks for one lock and holds it for one statement, nothing depends on whether
 * the administrator goes on, and who holds a table for long is named.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { prepareGround } from '../../src/capture/ground.js';
import { removeCapture } from '../../src/capture/remove.js';
import type { TableDescription } from '../../src/capture/table-description.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { CapturedNode, names, onPublic } from '../support/captured-node.js';
import { SERVERS } from '../support/pg-versions.js';
import { until } from '../support/until.js';

const PATIENCE = { lockTimeoutMs: 40, giveUpMs: 20_000, waiting: () => undefined };
const SET = 'example';

/** The connection with something done before or after each script that it runs. */
function watched(
  connection: PostgresConnection,
  { before, after }: { before?: (text: string) => void; after?: (text: string) => Promise<void> },
): PostgresConnection {
  return {
    ...connection,
    async script(text) {
      before?.(text);
      await connection.script(text);
      await after?.(text);
    },
  };
}

describe.each(SERVERS)('triggers on $name', ({ url }) => {
  let node: CapturedNode;
  let tables: readonly TableDescription[];
  beforeAll(async () => {
    node = await CapturedNode.create(url());
    await onPublic(
      node.connection,
      `create table plain (id int primary key, n int not null default 0);
       insert into plain values (1);
       create table tree (id int primary key, n int not null default 0) partition by range (id);
       create table tree_0 partition of tree for values from (0) to (10);
       create table tree_1 partition of tree for values from (10) to (20) partition by range (id);
       create table tree_1_0 partition of tree_1 for values from (10) to (20);
       insert into tree values (1), (11)`,
    );
    ({ tables } = await node.describe({ tables: '- { name: public.* }' }));
  });
  afterAll(() => node.close());
  beforeEach(() => node.removeCapture());

  const ground = (connection = node.connection, only = tables) =>
    prepareGround(connection, { names, set: SET, tables: only, ...PATIENCE });
  const remove = (connection = node.connection) =>
    removeCapture(connection, { names, set: SET, keep: [], ...PATIENCE });
  const triggers = async () =>
    (
      await node.connection.query(
        `select t.tgrelid::regclass || ' ' || right(t.tgname, 1) as trigger from pg_trigger t where t.tgname like '!shovel%' order by 1`,
      )
    ).map((row) => row.trigger ?? '');

  const ROW = (table: string) => ['i', 'u', 'd'].map((letter) => `${table} ${letter}`);

  it('wait for one lock an attempt, and hold it for one trigger of a tree', async () => {
    const messages: string[] = [];
    const recorded = watched(node.connection, { before: (text) => messages.push(text) });
    await ground(recorded);
    expect(await triggers()).toEqual(
      ['plain', 'tree', 'tree_0', 'tree_1', 'tree_1_0']
        .flatMap((table) => [...ROW(`public.${table}`), `public.${table} t`])
        .toSorted(),
    );
    await remove(recorded);
    expect(await triggers()).toEqual([]);
    const ofTables = messages.filter((text) => /(create or replace|drop) trigger/.test(text));
    for (const text of ofTables) {
      expect(text).toMatch(
        /^set local lock_timeout = '40ms'\n;\nset local synchronous_commit = off\n;\nlock table only /,
      );
      expect(text).toMatch(/\n;\ncommit$/);
      expect(text.match(/lock table (?!.* nowait)/g)).toHaveLength(1);
      const made = text.match(/(create or replace|drop trigger)/g)?.length ?? 0;
      expect(made).toBe(text.includes('public"."plain') || text.includes('public.plain') ? 4 : 1);
    }
    // plain, three of the tree, five truncates; twice.
    expect(ofTables).toHaveLength(2 * (1 + 3 + 4));
  });

  it.each([
    ['made', ground, /create or replace trigger/],
    ['taken away', remove, /drop trigger/],
  ] as const)('hold no table while whoever has them %s sleeps', async (_, work, trigger) => {
    if (work === remove) await ground();
    let wake = () => {};
    const asleep = new Promise<void>((resolve) => {
      wake = resolve;
    });
    let fellAsleep = '';
    const own = await node.session();
    const sleeper = watched(own, {
      after: async (text) => {
        if (!/lock table only /.test(text)) return;
        fellAsleep ||= text;
        await asleep;
      },
    });
    const working = work(sleeper);
    await until('it fell asleep over a table', () => fellAsleep !== '');
    expect(fellAsleep).toMatch(trigger);
    const writer = await node.session({ settings: { lock_timeout: '5s', search_path: 'public' } });
    await writer.script(
      'begin; lock table plain, tree in access exclusive mode nowait; update plain set n = n + 1; commit',
    );
    wake();
    await working;
    expect((await triggers()).length > 0).toBe(work === ground);
  });

  it('come without waiting for a partition that somebody holds, while another waits for it', async () => {
    const holder = await node.session({ settings: { search_path: 'public' } });
    await holder.script('begin; lock table only tree_1_0 in access exclusive mode');
    // Reading which tables there are touches none: the other would wait for whoever held tree_0.
    const found = await node.describe({ tables: '- { name: public.* }' });
    expect(found.tables.flatMap((table) => table.partitions)).toHaveLength(3);
    const grounding = ground();
    const blocked = await node.session({ settings: { lock_timeout: '20s', search_path: 'public' } });
    for (let i = 0; i < 5; i += 1) {
      await blocked.script('begin; lock table only tree_0 in access exclusive mode; commit');
      await blocked.script('update tree set n = n + 1 where id = 1');
    }
    expect((await triggers()).filter((one) => one.startsWith('public.tree ') && !one.endsWith('t'))).toEqual(
      [],
    );
    await holder.script('commit');
    await grounding;
    expect(await triggers()).toHaveLength(20);
  });

  it('are given up with the names of who holds a table, having harmed nobody', async () => {
    const holder = await node.session({});
    await holder.script('begin; update public.plain set n = n + 1');
    const one = tables.filter((table) => table.captured.table === 'plain');
    await expect(
      prepareGround(node.connection, {
        names,
        set: SET,
        tables: one,
        lockTimeoutMs: 20,
        giveUpMs: 300,
        waiting: () => undefined,
      }),
    ).rejects.toMatchObject({ code: 'table_busy', message: expect.stringContaining('application') });
    await holder.script('rollback');
    expect(await triggers()).toEqual([]);
  });
});
