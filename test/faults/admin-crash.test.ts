/**
 * An administrator dies at each point of a change, before and after everything that it does to a node or to the
 * coordinator. The next command of another, or `cluster recover`, brings all databases to what was decided, with
 * nothing of the dead one's left and no person asked. Those who use ZooKeeper are killed for real: admin-kill-points.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { inspectSet } from '../../src/admin/inspect-set.js';
import { recoverCluster } from '../../src/admin/recover-cluster.js';
import { setHistory } from '../../src/admin/set-history.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import {
  type AdminCluster,
  type Administrator,
  catalogOf,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  postgres,
} from '../support/admin-cluster.js';
import { testPgNo2pcUrl } from '../support/services.js';

const TABLES = `create table accounts (id int primary key, owner text);
  create table orders (id int primary key, total numeric)`;
const plain = { wait: false, dryRun: false } as const;

class Death extends Error {}

/**
 * Runs `work` as an administrator who dies right after its point-th effect (0: before the first), which is the same as
 * right before the next. Its connections go, and its leases with them. Undefined where it lived to the end.
 */
async function dieAt(
  cluster: AdminCluster,
  { point, work }: { point: number; work: (admin: Administrator) => Promise<unknown> },
): Promise<string | undefined> {
  let count = 0;
  let died: string | undefined;
  const reached = (name: string) => {
    died = name;
    throw new Death(name);
  };
  const opened: { end(): Promise<void> }[] = [];
  const first = await cluster.administrator();
  const dying = await cluster.administrator({
    coordinator: first.coordinator,
    openNode: async (database, configuration) => {
      const connection = await first.context.openNode(database, configuration);
      opened.push(connection);
      return connection;
    },
    failpoint: async (name) => {
      // Inside a transaction only a process can die: see admin-kill-points.
      if (name.includes('.commit.')) return;
      if (name.endsWith('.before')) {
        if (point === 0) reached(name);
        return;
      }
      count += 1;
      if (count === point) reached(name);
    },
  });
  await work(dying).catch((error: unknown) => {
    if (!(error instanceof Death)) throw error;
  });
  await Promise.all(opened.map((connection) => connection.end()));
  await first.stop();
  return died;
}

async function settled(cluster: AdminCluster, admin: Administrator, databases: readonly NodeDatabase[]) {
  expect(await admin.coordinator.list(`/shovel/${cluster.name}/intents`)).toEqual([]);
  for (const database of databases) {
    expect(
      await database.column('select gid from pg_prepared_xacts where database = current_database()'),
    ).toEqual([]);
    const there = await database.value('select to_regclass($1)', [`${cluster.names.schema}.intent`]);
    if (there === null) continue;
    for (const table of ['intent', 'staged_version']) {
      expect(await database.column(`select intent_id from ${cluster.names.schema}.${table}`)).toEqual([]);
    }
  }
}

describe('an administrator who dies, with a coordinator in PostgreSQL, staged', () => {
  let cluster: AdminCluster;
  let admin: Administrator;
  let main: NodeDatabase;
  let eu: NodeDatabase;
  let us: NodeDatabase;
  let bare: readonly string[];
  beforeAll(async () => {
    cluster = await makeAdminCluster(postgres);
    admin = await cluster.administrator();
    const options = { server: testPgNo2pcUrl() };
    main = await cluster.database(TABLES, options);
    eu = await cluster.database(TABLES, options);
    us = await cluster.database(TABLES, options);
    bare = await Promise.all([catalogOf(main), catalogOf(eu), catalogOf(us)]);
  });
  afterAll(() => cluster?.remove());

  it('while creating a set', async () => {
    const configuration = configurationOf({ databases: { main, eu } });
    const points: string[] = [];
    for (let point = 0; ; point += 1) {
      const name = await dieAt(cluster, {
        point,
        work: (dying) => createSet(dying.context, { configuration, ...plain }),
      });
      if (name !== undefined) points.push(name);
      const second = await createSet(admin.context, { configuration, ...plain }).then(
        () => 'created' as const,
        (error: unknown) => {
          expect(error, `after ${name}`).toMatchObject({ code: 'set_exists' });
          return 'existed' as const;
        },
      );
      const decidedBefore = name === undefined || points.includes('decide.after');
      expect(second, `after ${name}`).toBe(decidedBefore ? 'existed' : 'created');
      await recoverCluster(admin.context);
      await settled(cluster, admin, [main, eu]);
      const { nodes } = await inspectSet(admin.context, { name: 'example' });
      expect(
        nodes.map((node) => node.state),
        `after ${name}`,
      ).toEqual(['capturing', 'capturing']);
      await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
      expect(await Promise.all([catalogOf(main), catalogOf(eu), catalogOf(us)]), `after ${name}`).toEqual(
        bare,
      );
      if (name === undefined) break;
    }
    expect(points).toContain('prepare.main.after');
    expect(points).toContain('begin.before');
    expect(points).toContain('decide.after');
    expect(points).toContain('remove.after');
  }, 300_000);

  it('while changing and dropping one', async () => {
    const one = configurationOf({ databases: { main, eu } });
    const two = configurationOf({ databases: { us, eu }, tables: ['public.orders'] });
    for (const drop of [false, true]) {
      for (let point = 0; ; point += 1) {
        await createSet(admin.context, { configuration: one, ...plain });
        const [before] = await setHistory(admin.context, { name: 'example' });
        const name = await dieAt(cluster, {
          point,
          work: (dying) =>
            drop
              ? dropSet(dying.context, { name: 'example', force: false, dryRun: false })
              : upgradeSet(dying.context, { configuration: two, ...plain }),
        });
        await recoverCluster(admin.context);
        await settled(cluster, admin, [main, eu, us]);
        const [after] = await setHistory(admin.context, { name: 'example' });
        const changed = after?.version !== before?.version;
        if (changed && drop) {
          expect(await Promise.all([catalogOf(main), catalogOf(eu), catalogOf(us)]), `after ${name}`).toEqual(
            bare,
          );
        } else {
          const { nodes } = await inspectSet(admin.context, { name: 'example' });
          expect(
            nodes.map((node) => [node.database, node.state]),
            `after ${name}`,
          ).toEqual(
            changed
              ? [
                  ['eu', 'capturing'],
                  ['us', 'capturing'],
                ]
              : [
                  ['main', 'capturing'],
                  ['eu', 'capturing'],
                ],
          );
          await dropSet(admin.context, { name: 'example', force: false, dryRun: false });
          expect(await Promise.all([catalogOf(main), catalogOf(eu), catalogOf(us)]), `after ${name}`).toEqual(
            bare,
          );
        }
        if (name === undefined) break;
      }
    }
  }, 300_000);
});
