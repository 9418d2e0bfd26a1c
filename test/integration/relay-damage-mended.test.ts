/**
 * The ways on that are named where a log was changed by hand (relay-damage): with them all that is written afterwards is
 * published, once, and readers are told that something is missing.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adoptNode } from '../../src/admin/adopt-node.js';
import { createSet } from '../../src/admin/create-set.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { memberText } from '../../src/model/json-text.js';
import type { SetConfiguration } from '../../src/model/set-configuration.js';
import { Drawer } from '../../src/relay/drawer.js';
import { takeOver } from '../../src/relay/head.js';
import { logNames } from '../../src/relay/relay-set.js';
import {
  type AdminCluster,
  type Administrator,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';
import { makeTrailFolder, startRelays, type TrailFolder } from '../support/running-relays.js';
import { configured } from '../support/set-file-text.js';
import { until } from '../support/until.js';

const plain = { wait: true, dryRun: false } as const;

describe('a set whose log was changed by hand', () => {
  let cluster: AdminCluster;
  let admin: Administrator;
  let main: NodeDatabase;
  let folder: TrailFolder;
  let schema: string;
  beforeEach(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    admin = await cluster.administrator();
    main = await cluster.database('create table item (id int primary key)');
    folder = makeTrailFolder();
    schema = cluster.names.schema;
    await createSet(admin.context, { configuration: configuration('trail'), ...plain });
    await write(1);
    await once();
    // Drawn, and not published.
    const log = logNames(cluster.name, 'example');
    const epoch = await takeOver(main.connection, { log, owner: 'test' });
    const drawer = await Drawer.open(main.connection, { log, epoch });
    for (const ticket of [2n, 3n]) {
      await write(Number(ticket));
      expect((await drawer.drawNow())?.ticket).toBe(ticket);
    }
  });
  afterEach(() => cluster.remove());

  function configuration(stream?: string): SetConfiguration {
    const streams =
      stream === undefined ? '{}' : `{ ${stream}: { file: { path: "${folder.path(stream)}" } } }`;
    return configured(`name: example
databases: { main: { dsn: "${main.url}" } }
tables: [{ name: public.item }]
streams: ${streams}
`);
  }
  const upgrade = (configured: SetConfiguration) =>
    upgradeSet(admin.context, { configuration: configured, ...plain });
  const write = async (...ids: readonly number[]) => {
    for (const id of ids) await main.connection.script(`insert into item values (${id})`);
  };
  const start = (isOnce: boolean) => startRelays({ cluster: cluster.name, sets: ['example'], once: isOnce });
  const once = () => start(true).ended;
  const lines = () => folder.lines('trail');
  const ids = async () => (await lines()).flatMap((line) => /"after":\{"id":(\d+)\}/.exec(line)?.[1] ?? []);

  async function expectStopped(code: string): Promise<void> {
    await expect(once()).rejects.toMatchObject({ code, exitCode: 25 });
    expect(await ids()).toEqual(['1']);
  }

  it.each([
    ['a batch lacks rows', 'batch_incomplete', () => `delete from ${schema}.log_0_example where seq = 2`],
    ['a ticket is gone', 'batch_missing', () => `delete from ${schema}.ticket_0_example where ticket = 2`],
    ['a table is not described', 'captured_table_missing', () => `delete from ${schema}.captured_table`],
  ])('goes on with streams that are taken out and in again, where %s', async (_, code, script) => {
    await main.connection.script(script());
    await expectStopped(code);
    const relays = start(false);
    await until('it has stopped', () => relays.stats.get('example/main/trail')?.state === 'failed');
    expect(relays.stats.get('example/main/trail')?.error?.code).toBe(code);
    await upgrade(configuration());
    await upgrade(configuration('trail'));
    await write(10);
    await until('it is there', async () => (await ids()).includes('10'));
    await write(11);
    await until('it is there', async () => (await ids()).includes('11'));
    await relays.stop();
    expect(await ids()).toEqual(['1', '10', '11']);
    // Nobody who reads can take the batch for the one after the first.
    const begun = (await lines()).filter((line) => line.startsWith('{"op":"b"'));
    const previous = begun.map((line) => memberText(line, 'previous'));
    expect(previous[0]).toBe('"0"');
    expect(previous[1]).not.toBe('"1"');
  });

  it('goes on as a new incarnation, where its tickets are gone', async () => {
    await main.connection.script(`delete from ${schema}.ticket_0_example`);
    await expectStopped('tickets_missing');
    await adoptNode(admin.context, { name: 'example', database: 'main' });
    for (const id of [10, 11]) {
      await write(id);
      await once();
    }
    expect(await ids()).toEqual(['1', '10', '11']);
  });

  it('goes on as a new incarnation, where it has forgotten a stream', async () => {
    await main.connection.script(`delete from ${schema}.stream`);
    await expectStopped('stream_unknown');
    await adoptNode(admin.context, { name: 'example', database: 'main' });
    for (const id of [10, 11]) {
      await write(id);
      await once();
    }
    expect((await ids()).slice(-2)).toEqual(['10', '11']);
    expect(new Set(await ids()).size).toBe((await ids()).length);
  });

  it('goes on by both, where a ticket has lost its snapshot', async () => {
    await main.connection.script(
      `alter table ${schema}.ticket_0_example alter snapshot drop not null;
       update ${schema}.ticket_0_example set snapshot = null where ticket > 1`,
    );
    await expectStopped('tickets_damaged');
    await adoptNode(admin.context, { name: 'example', database: 'main' });
    await expectStopped('batch_missing');
    await upgrade(configuration());
    await upgrade(configuration('trail'));
    await write(10);
    await once();
    expect(await ids()).toEqual(['1', '10']);
  });
});
