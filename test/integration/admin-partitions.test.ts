/** Partitions that come and go while a set is taken to their database, as those who manage them do at any time. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import {
  type AdminCluster,
  type Administrator,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  zooKeeper,
} from '../support/admin-cluster.js';

const TABLES = `create table tree (id int primary key) partition by range (id);
  create table tree_1 partition of tree for values from (1) to (2);
  create table tree_2 partition of tree for values from (2) to (3);
  create table other (id int primary key)`;
const plain = { wait: false, dryRun: false } as const;

describe('a partition is dropped', () => {
  let cluster: AdminCluster;
  let main: NodeDatabase;
  beforeEach(async () => {
    cluster = await makeAdminCluster(zooKeeper);
    main = await cluster.database(TABLES);
  });
  afterEach(() => cluster.remove());

  /** Partition 2 goes just before this administrator locks it for the first time. */
  function unlucky(options: { failpoint?: (name: string) => Promise<void> } = {}): Promise<Administrator> {
    let dropped = false;
    return cluster.administrator({
      ...options,
      openNode: async (database, { dsn }): Promise<PostgresConnection> => {
        const connection = await openConnection({ dsn, name: database, applicationName: 'shovel admin' });
        return {
          ...connection,
          script: async (text) => {
            if (!dropped && text.includes('lock table only "public"."tree_2"')) {
              dropped = true;
              await main.connection.script('drop table tree_2');
            }
            await connection.script(text);
          },
        };
      },
    });
  }
  const triggers = () =>
    main.column(
      `select distinct t.tgrelid::regclass::text from pg_trigger t
       where t.tgfoid::regproc::text like '%capture%' order by 1`,
    );

  it('while its set is created', async () => {
    const admin = await unlucky();
    const configuration = configurationOf({ databases: { main }, tables: ['public.tree'] });
    expect(await createSet(admin.context, { configuration, ...plain })).toMatchObject({ version: 1 });
    expect(await triggers()).toEqual(['tree', 'tree_1']);
  });

  it('while a change that is decided is carried out', async () => {
    const admin = await cluster.administrator();
    const created = configurationOf({ databases: { main }, tables: ['public.tree'] });
    await createSet(admin.context, { configuration: created, ...plain });
    // Someone takes a trigger away, so there is ground to make again.
    const finishing = await unlucky({
      failpoint: async (name) => {
        if (name !== 'decide.after') return;
        await main.connection.script(
          `do $$ begin execute (select format('drop trigger %I on tree_2', t.tgname) from pg_trigger t
             where t.tgrelid = 'tree_2'::regclass and t.tgparentid = 0 and not t.tgisinternal); end $$`,
        );
      },
    });
    const configuration = configurationOf({
      databases: { main },
      tables: ['public.tree', 'public.other'],
      extra: 'commit: staged',
    });
    expect(await upgradeSet(finishing.context, { configuration, ...plain })).toMatchObject({ version: 2 });
    expect(await main.value(`select set_version from ${cluster.names.schema}.replication_set`)).toBe('2');
    expect(await triggers()).toEqual(['other', 'tree', 'tree_1']);
  });
});
