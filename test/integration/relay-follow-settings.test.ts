/**
 * A relay that runs while an upgrade changes how rows are captured and how the relay works: what `before` holds, by what
 * it is woken, which limits it watches. An application writes all the time; nothing is lost, repeated or out of order.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
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
import { testPgNo2pcUrl, testPgUrl } from '../support/services.js';
import { configured } from '../support/set-file-text.js';
import { until } from '../support/until.js';

const plain = { wait: true, dryRun: false } as const;

describe.each([
  ['that prepares', testPgUrl],
  ['that does not prepare', testPgNo2pcUrl],
])('in a server %s', (_, server) => {
  let cluster: AdminCluster;
  let admin: Administrator;
  let main: NodeDatabase;
  let folder: TrailFolder;
  let relays: RunningRelays | undefined;
  let endWriting: (() => Promise<void>) | undefined;
  beforeEach(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    admin = await cluster.administrator({ giveUpMs: 30_000 });
    main = await cluster.database(
      'create table item (id int primary key, v int not null default 0, note text)',
      { server: server() },
    );
    folder = await makeTrailFolder();
  });
  afterEach(async () => {
    await endWriting?.();
    await relays?.stop().catch(() => undefined);
    relays = undefined;
    await cluster.remove();
  });

  function configuration(table: string, more: string): SetConfiguration {
    return configured(`name: example
databases: { main: { dsn: "${main.url}" } }
tables: [{ name: public.item${table} }]
streams: { trail: { file: { path: "${folder.path('trail')}" } } }
${more}
`);
  }

  /** Inserts, updates and deletes in transactions of several statements, until it is ended. */
  async function startWriting(): Promise<void> {
    let going = true;
    const writing = (async () => {
      for (let round = 1; going; round += 1) {
        await main.connection.script(
          `begin; insert into item values (${round}, 0, 'made');
           update item set v = v + 1 where id = ${round}; commit;
           update item set note = 'changed' where id = ${round - 1}; delete from item where id = ${round - 7}`,
        );
      }
    })();
    endWriting = async () => {
      going = false;
      endWriting = undefined;
      await writing;
    };
  }

  const reached = (version: number) =>
    until(`version ${version} is published`, async () =>
      (await folder.lines('trail')).some((line) => line.includes(`"set_version":${version},`)),
    );
  const head = (what: string) => main.value(`select ${what} from ${cluster.names.schema}.set_head`);

  it('to other images, wake-ups and limits', { timeout: 240_000 }, async () => {
    await createSet(admin.context, { configuration: configuration('', 'wake: poll'), ...plain });
    relays = startRelays({ cluster: cluster.name, sets: ['example'] });
    await startWriting();
    await reached(1);
    const steps: readonly [string, string, (() => Promise<unknown>)?][] = [
      [', before: full', 'wake: notify'],
      [
        ', before: full',
        'wake: auto\nlimits: { log_bytes: 8kB }',
        () => until('the limit is seen to be passed', () => head('over_limits')),
      ],
      [
        ', unchanged_wide: omit',
        'wake: poll\nlimits: { log_bytes: 1GB }',
        () => until('it is within its limits', async () => (await head('over_limits')) === null),
      ],
    ];
    for (const [index, [table, more, seen]] of steps.entries()) {
      await upgradeSet(admin.context, { configuration: configuration(table, more), ...plain });
      await reached(index + 2);
      await seen?.();
    }
    await endWriting?.();
    const expected = (await main.column('select row_to_json(i)::text from item i')).map(String).sort();
    const reader = await until('the file holds what the table holds', async () => {
      const made = new Reader({ keys: { 'public.item': ['id'] } });
      for (const line of await folder.lines('trail')) made.take(line);
      return !made.within && made.rows('public.item').join() === expected.join() && made;
    });
    expect(new Set(reader.mutations.map(({ seq }) => seq)).size).toBe(reader.mutations.length);
    // Each mutation has the image that its own version asks for.
    const updates = reader.mutations.filter(({ op }) => op === 'u');
    const images = (version: number) =>
      new Set(
        updates
          .filter(({ source }) => memberText(source, 'set_version') === String(version))
          .map(({ before }) => (before === 'null' ? 'none' : 'whole')),
      );
    expect([1, 2, 3, 4].map(images)).toEqual([
      new Set(['none']),
      new Set(['whole']),
      new Set(['whole']),
      new Set(['none']),
    ]);
    expect(relays.stats.get('example/main/trail')).toMatchObject({ state: 'running', error: undefined });
  });
});
