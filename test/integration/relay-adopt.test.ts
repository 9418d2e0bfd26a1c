/**
 * A node whose history changed, for real: dumped and restored into another database, and into another cluster. Its relay
 * refuses until the node is taken on again, then goes on as a new incarnation with what was committed after that.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
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
import { readTopic } from '../support/kafka.js';
import { makeTrailFolder, startRelays, type TrailFolder } from '../support/running-relays.js';
import { createTestDatabase, testKafkaBrokers, testPgNo2pcUrl } from '../support/services.js';
import { configured } from '../support/set-file-text.js';
import { until } from '../support/until.js';

const run = promisify(execFile);

describe('a node that was restored', () => {
  let cluster: AdminCluster;
  let main: NodeDatabase;
  let folder: TrailFolder;
  let topic: string;
  let url: string;
  const connections: PostgresConnection[] = [];
  let other: EphemeralService | undefined;
  const brokers = testKafkaBrokers().split(',');
  beforeEach(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    // pg_dump must not be older than the server.
    main = await cluster.database('create table item (id int primary key)', { server: testPgNo2pcUrl() });
    folder = makeTrailFolder();
    topic = `adopt.${randomBytes(6).toString('hex')}`;
    url = main.url;
  });
  afterEach(async () => {
    for (const connection of connections.splice(0)) await connection.end();
    await cluster.remove();
    await other?.close();
    other = undefined;
  });

  const start = (once = false) =>
    startRelays({ cluster: cluster.name, sets: ['example'], once, variables: { MAIN: url } });

  async function into(server: string): Promise<PostgresConnection> {
    const copy = await createTestDatabase({ server });
    // What a dump expects to be there; a restore into the same cluster finds it.
    const connection = await openConnection({ dsn: copy.url, name: 'copy', applicationName: 'test' });
    connections.push(connection);
    for (const role of [cluster.names.owner, cluster.names.capture, cluster.names.sandbox]) {
      const there = await connection.query('select 1 as one from pg_roles where rolname = $1', [role]);
      if (there.length === 0) await connection.script(`create role "${role}" nologin`);
    }
    const { stdout } = await run('pg_dump', ['--inserts', '--dbname', main.url], {
      maxBuffer: 64 * 1024 * 1024,
    });
    await connection.script(stdout.replaceAll(/^\\(un)?restrict .*$/gm, ''));
    url = copy.url;
    return connection;
  }

  const messages = async () =>
    (await readTopic(brokers, topic, { atLeast: 1 })).map(({ value, headers }) => ({
      id: headers['shovel-id'] ?? '',
      op: headers['shovel-op'] ?? '',
      row: (JSON.parse(value ?? '{}') as { after?: { id: number } | null }).after?.id,
    }));

  it.each(['another database', 'another cluster'])('in %s', { timeout: 240_000 }, async (where) => {
    const admin = await cluster.administrator({
      openNode: (database) =>
        openConnection({ dsn: url, name: `database ${database}`, applicationName: 'shovel admin' }),
    });
    const configuration = configured(`name: example
databases: { main: { dsn: "\${MAIN}" } }
tables: [{ name: public.item }]
streams:
  trail: { file: { path: "${folder.path('trail')}" } }
  events: { kafka: { brokers: ${JSON.stringify(brokers)}, topic: ${topic} } }
`);
    await createSet(admin.context, { configuration, wait: true, dryRun: false });
    // Drawn and published before the dump, drawn by nobody before it, and lost: after it.
    await main.connection.script('insert into item values (1)');
    await start(true).ended;
    await main.connection.script('insert into item values (2)');
    if (where === 'another cluster') other = await startEphemeral('pg');
    const copy = await into(where === 'another cluster' ? (other?.address ?? '') : main.url);
    const restored = url;
    url = main.url;
    for (const id of [3, 4, 5, 6]) {
      await main.connection.script(`insert into item values (${id})`);
      await start(true).ended;
    }
    // A dump reads sequences later than it reads tables.
    const { schema } = cluster.names;
    for (const name of await main.column(`select position_name from ${schema}.stream`)) {
      await copy.query(
        `select setval('${schema}.${name}', ${await main.value(`select last_value from ${schema}.${name}`)})`,
      );
    }
    url = restored;
    await expect(start().ended).rejects.toMatchObject({ code: 'node_changed', exitCode: 25 });

    expect(await adoptNode(admin.context, { name: 'example', database: 'main' })).toMatchObject({
      incarnation: 2,
      version: 2,
    });
    const relays = start();
    await copy.script('set search_path = public; insert into item values (10)');
    await until('it is in the file', async () =>
      (await folder.lines('trail')).some((line) => line.includes('"id":10')),
    );
    await copy.script('insert into item values (11)');
    await until('it is in the topic', async () => (await messages()).some(({ row }) => row === 11), {
      timeoutMs: 60_000,
    });
    // While it runs, once more: the same database on purpose.
    await adoptNode(admin.context, { name: 'example', database: 'main' });
    await copy.script('insert into item values (12)');
    await until('it is in the topic', async () => (await messages()).some(({ row }) => row === 12), {
      timeoutMs: 60_000,
    });
    await until('it is in the file', async () =>
      (await folder.lines('trail')).some((line) => line.includes('"id":12')),
    );
    await relays.stop();

    const all = await messages();
    const ids = all.map(({ id, op }) => `${id} ${op}`);
    expect(new Set(ids).size).toBe(ids.length);
    const rows = all.flatMap(({ id, row }) => (row === undefined ? [] : [`${row} of ${id.split('/')[1]}`]));
    expect(rows.filter((row) => !row.startsWith('2 '))).toEqual([
      '1 of 1',
      '3 of 1',
      '4 of 1',
      '5 of 1',
      '6 of 1',
      '10 of 2',
      '11 of 2',
      '12 of 3',
    ]);
    // What the dump holds and nobody had drawn, where transaction ids go on as they did; else targets need a bootstrap.
    expect(rows.filter((row) => row.startsWith('2 '))).toEqual(
      where === 'another database' ? ['2 of 1', '2 of 2'] : ['2 of 1'],
    );
  });
});
