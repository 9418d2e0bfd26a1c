/** A relay that is killed again and again under load: the file holds every committed change once, in order. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { onPublic } from '../support/captured-node.js';
import { Reader } from '../support/reader.js';
import { nodeCoordinator, startRelayProcess } from '../support/relay-process.js';
import { RelayedNode } from '../support/relayed-node.js';
import { testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

const KILLS = 6;

describe('a relay that is killed', () => {
  let relayed: RelayedNode;
  beforeAll(async () => {
    relayed = await RelayedNode.create({
      server: testPgUrl(),
      setup: 'create table item (id int primary key, v int not null, note text)',
      tables: '- { name: public.item }',
    });
    const coordinator = nodeCoordinator(relayed.node.url);
    await coordinator.start();
    for (const path of ['/shovel', '/shovel/default', '/shovel/default/leases']) {
      await coordinator.multi([{ kind: 'create', path, data: '' }]);
    }
    await coordinator.stop();
  });
  afterAll(() => relayed.close());

  it('goes on where it was', async () => {
    const job = {
      url: relayed.node.url,
      set: relayed.relaySet(),
      path: relayed.path('trail'),
      messages: 7,
    };
    await onPublic(relayed.node.connection, `insert into item select n, 0, '' from generate_series(1, 30) n`);
    let writing = true;
    const session = await relayed.node.session();
    const writer = (async () => {
      for (let round = 1; writing; round += 1) {
        await session.script(
          `begin; update public.item set v = ${round}, note = repeat('z', ${round % 300}) where id % 3 = ${round % 3}; commit`,
        );
      }
    })();
    try {
      for (let kill = 0; kill < KILLS; kill += 1) {
        const before = (await relayed.lines()).length;
        const relay = startRelayProcess(job);
        // At another distance from its start each time, so at another place in a batch.
        await until('it has published', async () => (await relayed.lines()).length > before + kill * 13, {
          timeoutMs: 60_000,
          everyMs: 3,
        });
        await relay.kill();
      }
    } finally {
      writing = false;
      await writer;
    }
    const relay = startRelayProcess(job);
    const expected = await relayed.tableRows('public.item');
    const reader = await until(
      'the file holds what the table holds',
      async () => {
        const made = new Reader({ keys: { 'public.item': ['id'] } });
        for (const line of await relayed.lines()) made.take(line);
        return !made.within && made.rows('public.item').join() === expected.join() && made;
      },
      { timeoutMs: 60_000, everyMs: 100 },
    );
    expect(await relay.stop()).toBe(0);
    expect(reader.rows('public.item')).toEqual(expected);
    expect(new Set(reader.mutations.map((one) => one.seq)).size).toBe(reader.mutations.length);
    const epochs = await relayed.node.connection.query('select epoch from shovel.set_head');
    expect(epochs[0]?.epoch).toBe(String(KILLS + 1));
  });
});
