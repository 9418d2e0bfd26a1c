/**
 * A node whose files were copied while a transaction was prepared, as a snapshot of a disk does: it is the same database
 * by every number that it has. Its relay refuses by what was published, and once the node is taken on again, what was
 * prepared before and commits after that is published once.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import { adoptNode } from '../../src/admin/adopt-node.js';
import { createSet } from '../../src/admin/create-set.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import {
  type AdminCluster,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';
import { copyServer } from '../support/copy-server.js';
import { makeTrailFolder, startRelays, type TrailFolder } from '../support/running-relays.js';
import { configured } from '../support/set-file-text.js';
import { until } from '../support/until.js';

describe('a node whose files were copied', () => {
  let source: EphemeralService;
  let copy: EphemeralService;
  let cluster: AdminCluster;
  let main: NodeDatabase;
  let folder: TrailFolder;
  let url: string;
  beforeEach(async () => {
    [source, copy] = await Promise.all([startEphemeral('pg'), startEphemeral('pg')]);
    cluster = await makeAdminCluster(zooKeeper);
    main = await cluster.database('create table item (id int primary key)', { server: source.address });
    folder = await makeTrailFolder();
    url = main.url;
  }, 180_000);
  afterEach(async () => {
    await source.server.start();
    await cluster.remove();
    await Promise.all([source.close(), copy.close()]);
  });

  const start = (once = false) =>
    startRelays({ cluster: cluster.name, sets: ['example'], once, variables: { MAIN: url } });
  const connect = (): Promise<PostgresConnection> =>
    openConnection({ dsn: url, name: 'of the test', applicationName: 'app' });
  const insert = async (...ids: readonly number[]) => {
    const connection = await connect();
    for (const id of ids) await connection.script(`insert into public.item values (${id})`);
    await connection.end();
  };
  /** `id of incarnation`, as they stand in the file. */
  const published = async () =>
    (await folder.lines('trail'))
      .map((line) => JSON.parse(line))
      .filter(({ op }) => op === 'c')
      .map(({ after, source: { incarnation } }) => `${after.id} of ${incarnation}`);
  const arrived = (row: string) => until(`${row} is there`, async () => (await published()).includes(row));

  it('publishes what was prepared then and commits later, once', { timeout: 240_000 }, async () => {
    const admin = await cluster.administrator({
      openNode: (database) =>
        openConnection({ dsn: url, name: `database ${database}`, applicationName: 'shovel admin' }),
    });
    const configuration = configured(`name: example
databases: { main: { dsn: "\${MAIN}" } }
tables: [{ name: public.item }]
streams: { trail: { file: { path: "${folder.path('trail')}" } } }
`);
    await createSet(admin.context, { configuration, wait: true, dryRun: false });
    await insert(1);
    await start(true).ended;
    for (const id of [2, 3]) {
      await main.connection.script(`begin; insert into item values (${id}); prepare transaction 'app ${id}'`);
    }
    await main.connection.end();
    await copyServer({ from: source, to: copy });
    // The original goes on for a while: one of the two commits there, and is published.
    const original = await connect();
    await original.script(`commit prepared 'app 2'`);
    await original.end();
    await insert(4);
    await start(true).ended;
    expect(await published()).toEqual(['1 of 1', '2 of 1', '4 of 1']);
    await source.server.stop();

    url = new URL(new URL(main.url).pathname, copy.address).href;
    await insert(5);
    await expect(start(true).ended).rejects.toMatchObject({ code: 'source_went_back', exitCode: 25 });
    await adoptNode(admin.context, { name: 'example', database: 'main' });
    const relays = start();
    await insert(6);
    await arrived('6 of 2');
    const there = await connect();
    await there.script(`commit prepared 'app 3'`);
    await arrived('3 of 2');
    await there.script(`commit prepared 'app 2'`);
    await arrived('2 of 2');
    await there.end();
    await insert(7);
    await arrived('7 of 2');
    await relays.stop();
    const rows = await published();
    expect(new Set(rows).size).toBe(rows.length);
    expect(rows).toEqual([
      '1 of 1',
      '2 of 1',
      '4 of 1',
      // Captured before the node was taken on, and drawn by nobody.
      '5 of 2',
      '6 of 2',
      '3 of 2',
      '2 of 2',
      '7 of 2',
    ]);
  });
});
