/** A relay that is told to stop before it has begun: that is no error. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import {
  type AdminCluster,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';
import { zooKeeperTarget } from '../support/coordinators.js';
import { startRelays } from '../support/running-relays.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

const plain = { wait: false, dryRun: false } as const;

describe('a relay is told to stop', () => {
  let cluster: AdminCluster;
  let main: NodeDatabase;
  beforeEach(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    main = await cluster.database('create table item (id int primary key)');
    const admin = await cluster.administrator();
    const configuration = configurationOf({ databases: { main }, tables: ['public.item'] });
    await createSet(admin.context, { configuration, ...plain });
  });
  afterEach(() => cluster.remove());

  it('while its coordinator does not answer', async () => {
    const proxy = await startTcpProxy(zooKeeperTarget());
    proxy.setMode('half-open');
    const relays = startRelays({ cluster: cluster.name, hosts: `${proxy.host}:${proxy.port}` });
    await until('it has tried', () => proxy.connections > 0);
    expect(await relays.stop()).toEqual([]);
    await proxy.close();
  });

  it('while it waits for an administrator', async () => {
    let goOn = () => {};
    const waiting = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let reached = false;
    const busy = await cluster.administrator({
      failpoint: async (name) => {
        if (name !== 'prepare.main.before') return;
        reached = true;
        await waiting;
      },
    });
    const configuration = configurationOf({
      databases: { main },
      tables: ['name: public.item, before: full'],
    });
    const upgrading = upgradeSet(busy.context, { configuration, ...plain });
    await until('the administrator is at work', () => reached);
    const said: string[] = [];
    const relays = startRelays({
      cluster: cluster.name,
      sets: ['example'],
      say: (line) => said.push(line),
    });
    await until('it waits', () => said.some((line) => line.includes('waiting for')));
    expect(await relays.stop()).toEqual([]);
    goOn();
    expect(await upgrading).toMatchObject({ version: 2 });
  });
});
