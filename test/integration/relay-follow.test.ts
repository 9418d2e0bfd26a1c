/** A relay that runs while its sets change: it follows, and nothing is lost, repeated or out of order. */
import { mkdir } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { memberText } from '../../src/model/json-text.js';
import type { SetConfiguration } from '../../src/model/set-configuration.js';
import {
  type AdminCluster,
  type Administrator,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';
import { Reader } from '../support/reader.js';
import {
  makeTrailFolder,
  type RunningRelays,
  startRelays,
  type TrailFolder,
} from '../support/running-relays.js';
import { configured } from '../support/set-file-text.js';
import { until } from '../support/until.js';

const TABLES = `create table item (id int primary key, v int not null default 0, kind text);
  create table other (id int primary key)`;
const plain = { wait: true, dryRun: false } as const;

describe('a relay follows its set', () => {
  let cluster: AdminCluster;
  let admin: Administrator;
  let main: NodeDatabase;
  let folder: TrailFolder;
  let relays: RunningRelays | undefined;
  beforeEach(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    admin = await cluster.administrator();
    main = await cluster.database(TABLES);
    folder = makeTrailFolder();
  });
  afterEach(async () => {
    await relays?.stop().catch(() => undefined);
    relays = undefined;
    await cluster.remove();
  });

  /** Streams by name: the file that they go to, and what else the set file says of them. */
  function configuration({
    name = 'example',
    databases = { main },
    tables = ['name: public.item'],
    streams,
  }: {
    readonly name?: string;
    readonly databases?: Readonly<Record<string, { readonly url: string }>>;
    readonly tables?: readonly string[];
    readonly streams: Readonly<Record<string, string>>;
  }): SetConfiguration {
    const text = [
      `name: ${name}`,
      'databases:',
      ...Object.entries(databases).map(([key, { url }]) => `  ${key}: { dsn: "${url}" }`),
      'tables:',
      ...tables.map((table) => `  - { ${table} }`),
      'streams:',
      ...Object.entries(streams).map(([stream, of]) => {
        const [file = '', ...more] = of.split(', ');
        return `  ${stream}: { ${[`file: { path: "${folder.path(file)}" }`, ...more].join(', ')} }`;
      }),
    ].join('\n');
    return configured(text);
  }

  const create = (configured: SetConfiguration) =>
    createSet(admin.context, { configuration: configured, ...plain });
  const upgrade = (configured: SetConfiguration) =>
    upgradeSet(admin.context, { configuration: configured, ...plain });
  const start = (sets?: readonly string[]) => {
    relays = startRelays({ cluster: cluster.name, ...(sets === undefined ? {} : { sets }) });
    return relays;
  };

  let next = 0;
  /** Each row in a transaction of its own. */
  async function write(rows: number, database = main): Promise<void> {
    for (let row = 0; row < rows; row += 1) {
      next += 1;
      await database.connection.script(
        `insert into item values (${next}, 0, 'k'); insert into other values (${next})`,
      );
    }
  }

  const after = (line: string) => (line.startsWith('{"before"') ? memberText(line, 'after') : undefined);
  /** Ids of the rows of a table that were inserted, as they stand in the file. */
  async function ids(file: string, table = 'item'): Promise<readonly number[]> {
    return (await folder.lines(file)).flatMap((line) => {
      const row = after(line);
      const of = JSON.parse(memberText(memberText(line, 'source') ?? '', 'table') ?? '""');
      return row === undefined || row === 'null' || of !== table ? [] : [Number(memberText(row, 'id'))];
    });
  }
  const upTo = (file: string, id: number) =>
    until(`row ${id} is in ${file}`, async () => (await ids(file)).includes(id));
  const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
  const versions = async (file: string) => [
    ...new Set(
      (await folder.lines(file)).map((line) => memberText(memberText(line, 'source') ?? '', 'set_version')),
    ),
  ];

  it('through streams and tables that come, go and move', { timeout: 120_000 }, async () => {
    next = 0;
    await create(configuration({ streams: { trail: 'a' } }));
    start();
    await write(3);
    await upTo('a', 3);

    await upgrade(
      configuration({
        tables: ['name: public.item', 'name: public.other'],
        streams: { trail: 'a', second: 'b' },
      }),
    );
    await write(3);
    await upTo('b', 6);
    expect(await ids('b')).toEqual([4, 5, 6]);
    expect(await ids('b', 'other')).toEqual([4, 5, 6]);
    await upTo('a', 6);

    // trail moves on to another file, second goes.
    await upgrade(configuration({ streams: { trail: 'c' } }));
    await write(3);
    await upTo('c', 9);

    // Back to where it was, by what that file already holds; second begins anew, leaving out what it missed.
    await upgrade(configuration({ streams: { trail: 'a', second: 'b, tables: [public.item]' } }));
    await write(3);
    await upTo('a', 12);
    await upTo('b', 12);

    expect(await ids('a')).toEqual([...range(1, 6), ...range(10, 12)]);
    expect(await ids('c')).toEqual(range(7, 9));
    expect(await ids('b')).toEqual([4, 5, 6, 10, 11, 12]);
    expect(await versions('a')).toEqual(['1', '2', '4']);
    expect(await versions('c')).toEqual(['3']);
    // Each of its own, they are one history: batches join, from one place to the next.
    const reader = new Reader({ keys: { 'public.item': ['id'], 'public.other': ['id'] } });
    const a = await folder.lines('a');
    const back = a.findIndex((line) => memberText(memberText(line, 'source') ?? '', 'set_version') === '4');
    for (const line of [...a.slice(0, back), ...(await folder.lines('c')), ...a.slice(back)])
      reader.take(line);
    expect(reader.rows('public.item')).toHaveLength(12);
    await relays?.stop();
  });

  it('publishes what was left by the version that it was drawn under', { timeout: 120_000 }, async () => {
    next = 0;
    await create(configuration({ streams: { trail: 'late/a', other: 'o' } }));
    start();
    await write(2);
    await upTo('o', 2);
    // Its folder is not there yet, so what was drawn so far waits; two versions later it can be published.
    await upgrade(configuration({ streams: { trail: 'b', other: 'o' } }));
    await upgrade(configuration({ streams: { trail: 'c', other: 'o' } }));
    await write(2);
    await upTo('o', 4);
    await until('it still waits', () => relays?.stats.get('example/main/trail')?.state === 'failed');
    await mkdir(folder.path('late').replace('.jsonl', ''));
    await upgrade(configuration({ streams: { trail: 'c, tables: [public.item]', other: 'o' } }));
    await write(2);
    await upTo('c', 6);
    expect(await ids('late/a')).toEqual([1, 2]);
    expect(await versions('late/a')).toEqual(['1']);
    expect(await folder.lines('b')).toEqual([]);
    expect(await ids('c')).toEqual([3, 4, 5, 6]);
    expect(await versions('c')).toEqual(['3', '4']);
  });

  it('counts a stream that was removed no longer', { timeout: 120_000 }, async () => {
    next = 0;
    const blocked = configuration({ streams: { trail: 'a', dead: 'no/such/folder' } });
    await create(blocked);
    start();
    await write(2);
    await upTo('a', 2);
    await until('the dead one has failed', () => relays?.stats.get('example/main/dead')?.error !== undefined);
    await upgrade(configuration({ streams: { trail: 'a' } }));
    await write(2);
    await upTo('a', 4);
    expect(await main.column(`select stream_name from ${cluster.names.schema}.stream`)).toEqual(['trail']);
    // What it had failed at comes back to life when its place is mended.
    await upgrade(configuration({ streams: { trail: 'a', dead: 'alive' } }));
    await write(2);
    await upTo('alive', 6);
    expect(await ids('alive')).toEqual([5, 6]);
  });

  it('to what mends a stream: a key and a filter that were renamed', { timeout: 120_000 }, async () => {
    next = 0;
    await create(
      configuration({
        tables: ['name: public.item, where: "kind = \'k\'"', 'name: public.other'],
        streams: { trail: 'a' },
      }),
    );
    start(['example']);
    await write(2);
    await upTo('a', 2);
    await main.connection.script(
      'alter table item rename column kind to sort; alter table other rename column id to number',
    );
    await main.connection.script(
      `insert into item values (3, 0, 'k'), (4, 0, 'x'); insert into other values (3)`,
    );
    await until(
      'the stream waits for the filter',
      () => relays?.stats.get('example/main/trail')?.error?.code === 'where_column_missing',
    );
    await upgrade(
      configuration({
        tables: ['name: public.item, where: "sort = \'k\'"', 'name: public.other'],
        streams: { trail: 'a' },
      }),
    );
    await main.connection.script(`insert into item values (5, 0, 'k'), (6, 0, 'x')`);
    await upTo('a', 5);
    expect(await ids('a')).toEqual([1, 2, 3, 5]);
    const others = (await folder.lines('a')).filter((line) => line.includes('"table":"other"'));
    expect(others.map((line) => memberText(line, 'after'))).toEqual(['{"id":1}', '{"id":2}', '{"number":3}']);
  });

  it('through databases and sets that come and go', { timeout: 120_000 }, async () => {
    next = 0;
    const eu = await cluster.database(TABLES);
    start();
    await create(configuration({ streams: { trail: 'main.{node}' }, databases: { main } }));
    await create(configuration({ name: 'later', streams: { trail: 'later' }, databases: { main: eu } }));
    await write(2, eu);
    await upTo('later', 2);
    await upgrade(configuration({ streams: { trail: 'both.{node}' }, databases: { main, eu } }));
    const node = async (database: NodeDatabase) =>
      (await database.value(
        `select node_id from ${cluster.names.schema}.replication_set where set_name = 'example'`,
      )) ?? '';
    const [first, second] = [await node(main), await node(eu)];
    await write(2);
    await upTo(`both.${first}`, 4);
    await write(2, eu);
    await upTo(`both.${second}`, 6);
    await upgrade(configuration({ streams: { trail: 'both.{node}' }, databases: { eu } }));
    await write(2, eu);
    await upTo(`both.${second}`, 8);
    await dropSet(admin.context, { name: 'example', dryRun: false, force: false });
    await write(1, eu);
    await upTo('later', 9);
    await create(configuration({ streams: { trail: 'anew' }, databases: { main } }));
    await write(1);
    await upTo('anew', 10);
    expect(await ids(`both.${second}`)).toEqual([5, 6, 7, 8]);
    expect(await ids('later')).toEqual([1, 2, 5, 6, 7, 8, 9]);
    const ended = await relays?.stop();
    expect(ended?.map((one) => `${one.set} ${one.database} ${one.ended}`).sort()).toEqual([
      'example eu dropped',
      'example main dropped',
      'example main stopped',
      'later main stopped',
    ]);
  });

  it('to another address of its database', { timeout: 120_000 }, async () => {
    next = 0;
    await create(configuration({ streams: { trail: 'a' } }));
    start(['example']);
    await write(1);
    await upTo('a', 1);
    const url = new URL(main.url);
    url.searchParams.set('options', '-c search_path=pg_catalog');
    const pids = async () =>
      main.column(
        `select pid::text from pg_stat_activity where datname = current_database() and application_name = 'shovel relay'`,
      );
    const before = await pids();
    await upgrade(configuration({ streams: { trail: 'a' }, databases: { main: { url: url.href } } }));
    await until('no connection of before is left', async () => {
      const now = await pids();
      return now.length > 0 && now.every((pid) => !before.includes(pid));
    });
    await write(1);
    await upTo('a', 2);
  });

  it('to its end: a set that is named and dropped ends it', { timeout: 120_000 }, async () => {
    next = 0;
    await create(configuration({ streams: { trail: 'a' } }));
    const named = start(['example']);
    await write(1);
    await upTo('a', 1);
    await dropSet(admin.context, { name: 'example', dryRun: false, force: false });
    expect(await named.ended).toMatchObject([{ set: 'example', database: 'main', ended: 'dropped' }]);
  });

  it('while its databases have different versions', { timeout: 120_000 }, async () => {
    next = 0;
    const eu = await cluster.database(TABLES);
    const databases = { main, eu };
    await create(configuration({ databases, streams: { trail: 'one.{node}' } }));
    start(['example']);
    const died = new Error('died');
    const opened: { end(): Promise<void> }[] = [];
    const dying = await cluster.administrator({
      openNode: async (database, configured) => {
        const connection = await admin.context.openNode(database, configured);
        opened.push(connection);
        return connection;
      },
      failpoint: async (name) => {
        if (/^commit\.[a-z]+\.after$/.test(name)) throw died;
      },
    });
    await expect(
      upgradeSet(dying.context, {
        configuration: configuration({ databases, streams: { trail: 'two.{node}' } }),
        ...plain,
      }),
    ).rejects.toBe(died);
    await Promise.all(opened.map((connection) => connection.end()));
    await dying.stop();
    const state = async (database: NodeDatabase) => {
      const [row] = await database.connection.query(
        `select node_id, set_version from ${cluster.names.schema}.replication_set`,
      );
      return { id: row?.node_id ?? '', version: row?.set_version };
    };
    const states = [await state(main), await state(eu)];
    expect(states.map((one) => one.version).sort()).toEqual(['1', '2']);
    const [behind, ahead] = states[0]?.version === '1' ? [main, eu] : [eu, main];
    const [behindId, aheadId] = [(await state(behind)).id, (await state(ahead)).id];
    await write(1, behind);
    await upTo(`one.${behindId}`, 1);
    await write(1, ahead);
    await upTo(`two.${aheadId}`, 2);
    // The next command that writes finishes it, and the relay follows.
    await upgrade(configuration({ databases, streams: { trail: 'two.{node}', more: 'more.{node}' } }));
    await write(1, behind);
    await upTo(`two.${behindId}`, 3);
    await upTo(`more.${behindId}`, 3);
    expect(await ids(`one.${behindId}`)).toEqual([1]);
  });
});
