/**
 * A stream that moves to another topic, to other brokers, and back, under a relay that runs, is killed meanwhile, or
 * begins at an old ticket: all places together hold every committed change once, in order.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import { adoptNode } from '../../src/admin/adopt-node.js';
import { createSet } from '../../src/admin/create-set.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import type { SetConfiguration } from '../../src/model/set-configuration.js';
import {
  type AdminCluster,
  type Administrator,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';
import { buildCli, type RunningCli, startCli } from '../support/cli.js';
import { kafkaBrokers } from '../support/kafka.js';
import { messagesOf, type Place, readHistory } from '../support/published-places.js';
import { type RunningRelays, startRelays } from '../support/running-relays.js';
import { testZkHosts } from '../support/services.js';
import { configured } from '../support/set-file-text.js';
import { until } from '../support/until.js';

const plain = { wait: true, dryRun: false } as const;
const slow = { timeoutMs: 60_000, everyMs: 50 };

let cluster: AdminCluster;
let admin: Administrator;
let main: NodeDatabase;
let other: EphemeralService;
let relays: RunningRelays | undefined;
let writing: (() => Promise<void>) | undefined;
const here = kafkaBrokers();
const there = () => other.address.split(',');

beforeAll(async () => {
  await buildCli();
  other = await startEphemeral('kafka');
});
afterAll(() => other?.close());
beforeEach(async () => {
  cluster = await makeAdminCluster(zooKeeper);
  admin = await cluster.administrator();
  main = await cluster.database('create table item (id int primary key, v int not null default 0)');
});
afterEach(async () => {
  await writing?.();
  for (const relay of processes) relay.child.kill('SIGKILL');
  for (const relay of processes) await relay.done;
  processes.clear();
  await relays?.stop().catch(() => undefined);
  relays = undefined;
  await cluster.remove();
});

function at({ brokers, topic }: Place): SetConfiguration {
  return configured(`name: example
databases: { main: { dsn: "${main.url}" } }
tables: [{ name: public.item }]
streams:
  events: { kafka: { brokers: ${JSON.stringify(brokers)}, topic: ${topic} } }
`);
}

const place = (name: string, brokers: readonly string[] = here): Place => ({
  brokers,
  topic: `moves.${cluster.name}.${name}`,
});
const create = (to: Place) => createSet(admin.context, { configuration: at(to), ...plain });
const move = (to: Place) => upgradeSet(admin.context, { configuration: at(to), ...plain });
const start = (more: { readonly once?: boolean; readonly fromTicket?: bigint } = {}) => {
  relays = startRelays({ cluster: cluster.name, sets: ['example'], ...more });
  return relays;
};
const once = (more: { readonly fromTicket?: bigint } = {}) => start({ once: true, ...more }).ended;
const processes = new Set<RunningCli>();
const startRelay = () => {
  const relay = startCli(['relay', 'example', '--log-format', 'json'], {
    env: {
      SHOVEL_CLUSTER: cluster.name,
      SHOVEL_ZOOKEEPER_HOSTS: testZkHosts(),
      SHOVEL_LEASE_TIME: '2s',
    },
    timeoutMs: 300_000,
  });
  processes.add(relay);
  return relay;
};
const state = () => relays?.stats.get('example/main/events');

let next = 0;
const insert = async (rows = 1) => {
  next += rows;
  await main.connection.script(`insert into item select generate_series(${next - rows + 1}, ${next})`);
};

/** Transactions one after another, until the answer is called. */
async function write(): Promise<void> {
  let going = true;
  const connection = main.connection;
  const done = (async () => {
    while (going) {
      await insert(3);
      await connection.script(
        `update item set v = v + 1 where id = ${next - 1}; delete from item where id = ${next}`,
      );
    }
  })();
  writing = async () => {
    going = false;
    writing = undefined;
    await done;
  };
}

const tableRows = async () =>
  [...(await main.column('select row_to_json(i)::text from item i'))].map(String).sort();

/** All places together hold what the table holds. */
async function expectAll(places: readonly Place[]) {
  const expected = await tableRows();
  const history = await until(
    'the places hold what the table holds',
    async () => {
      const found = await readHistory(places);
      return found.reader.rows('public.item').join() === expected.join() && found;
    },
    slow,
  );
  return history.tickets;
}

/** The stream has published there. */
const arrived = (to: Place, atLeast = 1) =>
  until(`${atLeast} messages are in ${to.topic}`, async () => (await messagesOf(to)).length >= atLeast, slow);

describe('a stream that moves', () => {
  beforeEach(() => {
    next = 0;
  });

  it('to other topics and brokers, and back, while everything runs', { timeout: 240_000 }, async () => {
    const [a, b, c] = [place('a'), place('b'), place('a', there())];
    await create(a);
    start();
    await write();
    await arrived(a);
    await move(b);
    await arrived(b);
    await move(a);
    await arrived(a, (await messagesOf(a)).length + 20);
    // The same topic, at brokers that know nothing of it.
    await move(c);
    await arrived(c);
    const before = (await messagesOf(a)).length;
    await move(a);
    await arrived(a, before + 20);
    await writing?.();
    const tickets = await expectAll([a, b, c]);
    for (const list of tickets) expect(list.length).toBeGreaterThan(0);
    expect(state()?.state).toBe('running');
  });

  it('waits for the brokers before, which know how far it got, or is told', {
    timeout: 240_000,
  }, async () => {
    const [a, c] = [place('a'), place('a', there())];
    await create(c);
    for (let ticket = 1; ticket <= 2; ticket += 1) {
      await insert();
      await once();
    }
    await move(a);
    await insert();
    await other.server.stop();
    start();
    await until('it waits', () => state()?.state === 'retrying', slow);
    expect(state()?.error).toMatchObject({ exitCode: 23 });
    expect(await messagesOf(a)).toEqual([]);
    await other.server.start();
    expect(await expectAll([a, c])).toEqual([[3n], [1n, 2n]]);
    await relays?.stop();

    await move(c);
    await insert();
    await once();
    await move(a);
    await insert();
    await other.server.stop();
    await expect(once({ fromTicket: 6n })).rejects.toMatchObject({ code: 'ticket_ahead' });
    await once({ fromTicket: 5n });
    await other.server.start();
    expect(await expectAll([a, c])).toEqual([
      [3n, 5n],
      [1n, 2n, 4n],
    ]);
  });

  it('holds the brokers before against the node, too', { timeout: 240_000 }, async () => {
    const [a, c] = [place('a'), place('a', there())];
    await create(c);
    await insert();
    await once();
    // As after the promotion of a standby that lacked the end: other transactions under the same number.
    const { schema } = cluster.names;
    await main.connection.script(
      `update ${schema}.ticket_0_example set snapshot = pg_current_snapshot() where ticket = 1`,
    );
    await move(a);
    await insert();
    await expect(once()).rejects.toMatchObject({ code: 'source_went_back', exitCode: 25 });
    expect(await messagesOf(a)).toEqual([]);
  });

  it('goes on there as the incarnation that it has become meanwhile', { timeout: 240_000 }, async () => {
    const [a, c] = [place('a'), place('a', there())];
    await create(c);
    await insert();
    await once();
    await adoptNode(admin.context, { name: 'example', database: 'main' });
    await move(a);
    await insert();
    await once();
    const rows = async (of: Place) =>
      (await messagesOf(of)).filter(({ headers }) => headers['shovel-op'] === 'c').map(({ key }) => key);
    expect([await rows(c), await rows(a)]).toEqual([['{"id":1}'], ['{"id":2}']]);
  });

  it('is published again from an old ticket on, each batch where it belongs', {
    timeout: 240_000,
  }, async () => {
    const places = [place('a'), place('b'), place('b', there())] as const;
    await create(places[0]);
    for (const to of places) {
      if (to !== places[0]) await move(to);
      for (let batch = 0; batch < 2; batch += 1) {
        await insert();
        await once();
      }
    }
    expect(await expectAll(places)).toEqual([
      [1n, 2n],
      [3n, 4n],
      [5n, 6n],
    ]);
    const values = async (of: Place) => (await messagesOf(of)).map(({ value }) => value);
    const before = await Promise.all(places.map(values));
    await once({ fromTicket: 2n });
    const again = await Promise.all(places.map(values));
    // What was sent to the brokers before goes to those that are named now.
    expect(again).toEqual([
      [...(before[0] ?? []), ...(before[0] ?? []).slice(3)],
      before[1],
      [...(before[2] ?? []), ...(before[1] ?? []), ...(before[2] ?? [])],
    ]);
  });

  it('is killed on its way', { timeout: 400_000 }, async () => {
    const [a, b, c] = [place('a'), place('b'), place('b', there())];
    await create(a);
    await write();
    let relay = startRelay();
    await arrived(a);
    const kill = async () => {
      relay.child.kill('SIGKILL');
      await relay.done;
      relay = startRelay();
    };
    const terms = () => relay.stderr().split('"relaying"').length;
    // When it is killed: as soon as the change is decided, as it begins anew, as it publishes in the new place.
    const moments: readonly ((to: Place, before: { terms: number; messages: number }) => Promise<unknown>)[] =
      [
        () => Promise.resolve(),
        (_, before) => until('it begins anew', () => terms() > before.terms, slow),
        (to, before) =>
          until('it is there', async () => (await messagesOf(to)).length > before.messages, slow),
      ];
    for (const [number, to] of [b, c, a, c, b, a].entries()) {
      const before = { terms: terms(), messages: (await messagesOf(to)).length };
      await move(to);
      await moments[number % moments.length]?.(to, before);
      await kill();
      await arrived(to, before.messages + 1);
    }
    await writing?.();
    const tickets = await expectAll([a, b, c]);
    for (const list of tickets) expect(list.length).toBeGreaterThan(0);
    relay.child.kill('SIGTERM');
    expect(await relay.done).toMatchObject({ code: 0 });
  });
});
