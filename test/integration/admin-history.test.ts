/** Coordinators that have lost history and databases that are not what they were: refused, and how they are mended. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adoptNode } from '../../src/admin/adopt-node.js';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { initCluster } from '../../src/admin/init-cluster.js';
import { inspectSet } from '../../src/admin/inspect-set.js';
import { loadSet } from '../../src/admin/load-set.js';
import { recoverCluster } from '../../src/admin/recover-cluster.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { openConnection } from '../../src/postgres/connect.js';
import {
  type AdminCluster,
  type Administrator,
  catalogOf,
  configurationOf,
  makeMainAndEu,
  type NodeDatabase,
} from '../support/admin-cluster.js';
import { testPgUrl } from '../support/services.js';

const plain = { wait: false, dryRun: false } as const;

let cluster: AdminCluster;
let admin: Administrator;
let main: NodeDatabase;
let eu: NodeDatabase;
beforeEach(async () => {
  ({ cluster, admin, main, eu } = await makeMainAndEu());
});
afterEach(() => cluster.remove());

const states = async () =>
  (await inspectSet(admin.context, { name: 'example' })).nodes.map((node) => node.state);

describe('a coordinator that lost history', () => {
  it('is never followed: a node ahead of it stops everything with 25', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await createSet(admin.context, { configuration, ...plain });
    const path = `/shovel/${cluster.name}/sets/example`;
    const old = await admin.coordinator.read(path);
    const next = configurationOf({ databases: { main, eu }, tables: ['public.orders'] });
    await upgradeSet(admin.context, { configuration: next, ...plain });
    const now = await admin.coordinator.read(path);
    await admin.coordinator.multi([
      { kind: 'set', path, data: old?.data ?? '', version: now?.version ?? 0 },
      { kind: 'remove', path: `${path}/versions/2`, version: 0 },
    ]);
    const before = await Promise.all([catalogOf(main), catalogOf(eu)]);
    await expect(upgradeSet(admin.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 25,
      code: 'node_ahead',
      hint: expect.stringContaining('--from-nodes'),
    });
    await expect(recoverCluster(admin.context)).rejects.toMatchObject({ exitCode: 25, code: 'node_ahead' });
    expect(await Promise.all([catalogOf(main), catalogOf(eu)])).toEqual(before);
    expect(await states()).toEqual(['ahead', 'ahead']);
    expect(await recoverCluster(admin.context, { fromNodes: [] })).toMatchObject({
      refilled: [{ set: 'example', version: 2 }],
    });
    expect(await states()).toEqual(['capturing', 'capturing']);
  });

  it('is refilled from one database, and finds the others by it', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await createSet(admin.context, { configuration, ...plain });
    const before = await loadSet(admin.context, 'example');
    const root = `/shovel/${cluster.name}`;
    for (const name of [
      'admins',
      'intents',
      'leases',
      'sets/example/versions/1',
      'sets/example/versions',
      'sets/example',
      'sets',
      '',
    ]) {
      const path = name === '' ? root : `${root}/${name}`;
      const entry = await admin.coordinator.read(path);
      const result = await admin.coordinator.multi([{ kind: 'remove', path, version: entry?.version ?? 0 }]);
      expect(result, path).toEqual({ kind: 'done' });
    }
    await expect(recoverCluster(admin.context)).rejects.toMatchObject({ code: 'cluster_missing' });
    expect(await recoverCluster(admin.context, { fromNodes: [eu.url] })).toMatchObject({
      refilled: [{ set: 'example', version: 1 }],
    });
    expect(await loadSet(admin.context, 'example')).toEqual(before);
    expect(await states()).toEqual(['capturing', 'capturing']);
  });

  it('does not take a database that another coordinator’s cluster of the same name is in', async () => {
    const configuration = configurationOf({ databases: { main } });
    await createSet(admin.context, { configuration, ...plain });
    const root = `/shovel/${cluster.name}`;
    const entry = await admin.coordinator.read(root);
    await admin.coordinator.multi([
      {
        kind: 'set',
        path: root,
        version: entry?.version ?? 0,
        data: (entry?.data ?? '').replace(/"id":"[^"]+"/, '"id":"00000000-0000-4000-8000-000000000000"'),
      },
    ]);
    await expect(
      createSet(admin.context, {
        configuration: configurationOf({ name: 'second', databases: { main } }),
        ...plain,
      }),
    ).rejects.toMatchObject({ exitCode: 21, code: 'schema_shared' });
    await expect(initCluster(admin.context)).rejects.toMatchObject({ code: 'cluster_exists' });
  });
});

describe('a database that is not what it was', () => {
  it('is refused as a copy, and taken on again as a new incarnation', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    await createSet(admin.context, { configuration, ...plain });
    await main.connection.script('insert into accounts values (1)');
    const server = await openConnection({ dsn: testPgUrl(), name: 'test', applicationName: 'shovel test' });
    const copy = `${main.name}_copy`;
    await main.connection.end();
    await server.script(`create database ${copy} template ${main.name}`);
    const url = new URL(main.url);
    url.pathname = `/${copy}`;
    const moved = configurationOf({ databases: { main: { url: url.href }, eu } });
    await expect(upgradeSet(admin.context, { configuration: moved, ...plain })).rejects.toMatchObject({
      exitCode: 25,
      code: 'node_copied',
    });
    // The original is lost, and the copy stands at its address.
    await server.script(`drop database ${main.name} with (force)`);
    await server.script(`alter database ${copy} rename to ${main.name}`);
    expect(await states()).toEqual(['copied', 'capturing']);
    await expect(
      dropSet(admin.context, { name: 'example', force: false, dryRun: false }),
    ).rejects.toMatchObject({
      code: 'node_copied',
      hint: expect.stringContaining('shovel node adopt example main'),
    });
    expect(await adoptNode(admin.context, { name: 'example', database: 'main' })).toMatchObject({
      version: 2,
      incarnation: 2,
    });
    expect(await states()).toEqual(['capturing', 'capturing']);
    expect((await loadSet(admin.context, 'example')).nodes.map((node) => node.incarnation)).toEqual([2, 1]);
    await expect(adoptNode(admin.context, { name: 'example', database: 'nowhere' })).rejects.toMatchObject({
      exitCode: 21,
      code: 'database_not_in_set',
    });
    await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
    await server.end();
  });

  it('is refused where it holds a set that the coordinator does not know', async () => {
    const configuration = configurationOf({ databases: { main } });
    await createSet(admin.context, { configuration, ...plain });
    const path = `/shovel/${cluster.name}/sets/example`;
    const entry = await admin.coordinator.read(path);
    const removed = await admin.coordinator.multi([
      { kind: 'remove', path: `${path}/versions/1`, version: 0 },
      { kind: 'remove', path: `${path}/versions`, version: 0 },
      { kind: 'remove', path, version: entry?.version ?? 0 },
    ]);
    expect(removed).toEqual({ kind: 'done' });
    await expect(createSet(admin.context, { configuration, ...plain })).rejects.toMatchObject({
      exitCode: 21,
      code: 'set_in_database',
    });
  });
});
