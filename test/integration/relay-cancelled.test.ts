/** Somebody cancels a relay's statements, or a limit does: it says so, tries again, and nothing is lost or repeated. */
import { expect, it } from 'vitest';
import { openConnection } from '../../src/postgres/connect.js';
import { onPublic, SET } from '../support/captured-node.js';
import { Reader } from '../support/reader.js';
import { RelayedNode } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

it('a relay goes on when its statements are cancelled', async () => {
  const relayed = await RelayedNode.create({
    server: testPgUrl(),
    setup: 'create table item (id int primary key)',
    tables: '- { name: public.item }',
  });
  const { connection } = relayed.node;
  const insert = (first: number) =>
    onPublic(connection, `insert into item select generate_series(${first}, ${first} + 8)`);
  const holder = await openConnection({ dsn: relayed.node.url, name: 'holder', applicationName: 'test' });
  try {
    const relay = relayed.start();
    await insert(1);
    await relayed.published(relay);
    // Those who draw and those who publish read tickets.
    await holder.script(`begin; lock table shovel.ticket_${SET} in access exclusive mode`);
    await insert(101);
    const cancelled = new Set<string>();
    await until('four statements were cancelled', async () => {
      const rows = await connection.query(
        `select pid || ' ' || query_start as statement, pg_cancel_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name = 'shovel relay' and wait_event_type = 'Lock'`,
      );
      for (const { statement } of rows) cancelled.add(statement ?? '');
      return cancelled.size >= 4;
    });
    await holder.script('rollback');
    await relayed.published(relay);
    expect(await relay.stop()).toMatchObject({ ended: 'stopped', error: undefined });
    const reader = new Reader({ keys: { 'public.item': ['id'] } });
    for (const line of await relayed.lines()) reader.take(line);
    expect(reader.rows('public.item')).toEqual(await relayed.tableRows('public.item'));
    expect(reader.mutations).toHaveLength(18);
  } finally {
    await holder.end();
    await relayed.close();
  }
});
