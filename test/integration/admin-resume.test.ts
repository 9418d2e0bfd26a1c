/**
 * A suspended capture is ended by taking its node on again: what was written meanwhile is in no batch, nobody's
 * transaction is torn apart by the end either, and the new incarnation comes before all that follows.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adoptNode } from '../../src/admin/adopt-node.js';
import { createSet } from '../../src/admin/create-set.js';
import { readSuspension, suspendCapture } from '../../src/capture/limits.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import {
  type AdminCluster,
  type Administrator,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  postgres,
} from '../support/admin-cluster.js';
import { testPgNo2pcUrl, testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

describe.each([
  ['prepared', testPgUrl],
  ['staged', testPgNo2pcUrl],
])('a suspended capture, where changes are %s', (_, server) => {
  let cluster: AdminCluster;
  let admin: Administrator;
  let main: NodeDatabase;
  let schema: string;
  const sessions: PostgresConnection[] = [];
  beforeEach(async () => {
    cluster = await makeAdminCluster(postgres);
    admin = await cluster.administrator();
    main = await cluster.database(
      `create table item (id serial primary key, tag text, day int default 0);
       create table part (id serial, day int, tag text, primary key (id, day)) partition by list (day);
       create table part_1 partition of part for values in (1)`,
      { server: server() },
    );
    schema = cluster.names.schema;
    await createSet(admin.context, {
      configuration: configurationOf({ databases: { main }, tables: ['public.item', 'public.part'] }),
      wait: true,
      dryRun: false,
    });
  });
  afterEach(async () => {
    for (const session of sessions.splice(0)) await session.end();
    await cluster.remove();
  });

  const application = async () => {
    const session = await openConnection({ dsn: main.url, name: 'test', applicationName: 'application' });
    sessions.push(session);
    return session;
  };
  const node = () => ({ names: cluster.names, set: 'example' });
  const write = (session: PostgresConnection, tag: string, table = 'item') =>
    session.query(`insert into public.${table} (day, tag) values (1, $1)`, [tag]);
  const draw = async () => {
    const epoch = (await main.value(`select epoch from ${schema}.set_head`)) ?? '';
    return main.column(`select t.ticket from ${schema}.draw_example($1, -1, null, null, 0, null) t`, [epoch]);
  };
  /** Tags by ticket, of all batches. */
  const batches = () =>
    main.column(
      `select t.ticket || ' ' || (l.new::json ->> 'tag') from ${schema}.ticket_example t
       join ${schema}.ticket_example b on b.ticket = t.ticket - 1
       join ${schema}.log_example l on pg_visible_in_snapshot(l.xid, t.snapshot) and not pg_visible_in_snapshot(l.xid, b.snapshot)
         and t.mutations > 0
       order by t.ticket, l.seq`,
    );

  it('ends when the node is taken on again, and tears nothing apart', async () => {
    const [a, b, c] = [await application(), await application(), await application()];
    await write(a, 'before');
    await b.script('begin');
    await write(b, 'torn at its start');
    const suspension = await suspendCapture(main.connection, { ...node(), reason: 'of a test' });
    expect(suspension?.ticket).toBe(1n);
    await write(b, 'torn at its start');
    await b.script('commit');
    await write(a, 'unlogged');
    await c.script('begin');
    await write(c, 'torn at its end', 'part_1');

    const adopting = adoptNode(admin.context, { name: 'example', database: 'main' });
    // The switch shows before the transaction that turned it has committed.
    await until('capture is on', async () => (await readSuspension(main.connection, node()))?.resuming);
    await write(a, 'logged, and in no batch');
    await expect(draw()).rejects.toMatchObject({ code: 'capture_suspended' });
    // A look at the limits does not turn it off again.
    expect(await suspendCapture(main.connection, { ...node(), reason: 'again' })).toMatchObject({
      capturing: true,
    });
    await until('it says whom it waits for', () => admin.said.some((line) => line.includes('(application,')));
    await write(c, 'torn at its end');
    await c.script('commit');
    expect(await adopting).toMatchObject({ incarnation: 2, version: 2 });
    expect(await readSuspension(main.connection, node())).toBeUndefined();
    expect(await draw()).toEqual([]);

    await write(a, 'after');
    expect(await draw()).toEqual(['3']);
    expect(await batches()).toEqual(['1 before', '3 after']);
    // The ticket between them is the new incarnation's first, and stands for all that is missing.
    expect(await main.value(`select mutations from ${schema}.ticket_example where ticket = 2`)).toBe('0');
    // It can be suspended once more.
    expect(await suspendCapture(main.connection, { ...node(), reason: 'once more' })).toMatchObject({
      reason: 'once more',
      ticket: 3n,
      resuming: false,
      capturing: false,
    });
  });

  it('stays suspended where the administrator dies on the way, until the command is given again', async () => {
    await write(main.connection, 'before');
    await suspendCapture(main.connection, { ...node(), reason: 'of a test' });
    const dying = await cluster.administrator({
      failpoint: async (name) => {
        if (name.startsWith('prepare.main')) throw new Error('dead');
      },
    });
    await expect(adoptNode(dying.context, { name: 'example', database: 'main' })).rejects.toThrow('dead');
    await dying.stop();
    await write(main.connection, 'meanwhile');
    await expect(draw()).rejects.toMatchObject({ code: 'capture_suspended' });
    expect(await adoptNode(admin.context, { name: 'example', database: 'main' })).toMatchObject({
      incarnation: 2,
    });
    await write(main.connection, 'after');
    expect(await draw()).toEqual(['3']);
    expect(await batches()).toEqual(['1 before', '3 after']);
  });
});
