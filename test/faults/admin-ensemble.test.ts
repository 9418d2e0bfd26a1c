/**
 * Changes over a ZooKeeper ensemble of three whose members are killed in the middle: whichever member goes, at whichever
 * step, the change is carried out, or, where the decision itself was lost, taken back and carried out at the second try;
 * without a quorum nobody is told that it was unless it was, and one recovery after the quorum is back brings the
 * databases to what was decided.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { inspectSet } from '../../src/admin/inspect-set.js';
import { recoverCluster } from '../../src/admin/recover-cluster.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { createZooKeeperCoordinator } from '../../src/coordinator/zookeeper/zookeeper-coordinator.js';
import { ShovelError } from '../../src/errors.js';
import {
  type AdminCluster,
  type Administrator,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
} from '../support/admin-cluster.js';
import { type CoordinatorKind, type OpenCoordinator, silentLogger } from '../support/coordinators.js';
import { until } from '../support/until.js';
import { type Ensemble, type EnsembleMember, startEnsemble } from '../support/zookeeper-ensemble.js';

const plain = { wait: false, dryRun: false } as const;
const TABLES = 'create table accounts (id int primary key); create table orders (id int primary key)';
/** Where a member goes: before each write to the coordinator, and between databases. */
const POINTS = ['begin.before', 'announce.before', 'prepare.main.after', 'decide.before', 'remove.before'];

let ensemble: Ensemble;
let cluster: AdminCluster;
let main: NodeDatabase;
let eu: NodeDatabase;

beforeAll(async () => {
  ensemble = await startEnsemble();
  cluster = await makeAdminCluster(overEnsemble());
  main = await cluster.database(TABLES);
  eu = await cluster.database(TABLES);
});
afterAll(async () => {
  await serve();
  await cluster?.remove();
  await ensemble?.stop();
});
beforeEach(() => serve());

async function serve(): Promise<void> {
  await Promise.all((ensemble?.members ?? []).map((member) => member.serve()));
  await until('there is a leader', async () => (await leader()) !== undefined);
}

async function leader(): Promise<EnsembleMember | undefined> {
  for (const member of ensemble.members) {
    if (await member.leads().catch(() => false)) return member;
  }
  return undefined;
}

/** As the command line opens it, with a session that outlives an election. */
function overEnsemble(): CoordinatorKind {
  const hosts = () => ensemble.members.map(({ host, port }) => `${host}:${port}`).join(',');
  const target = { host: '127.0.0.1', port: 0 };
  const open = ({ operationTimeoutMs = 10_000 }: OpenCoordinator = {}) =>
    createZooKeeperCoordinator({
      hosts: hosts(),
      sessionTimeoutMs: 10_000,
      connectTimeoutMs: 10_000,
      operationTimeoutMs,
      logger: silentLogger,
    });
  const place = { target, open, decisive: (data: string) => data, remove: async () => undefined };
  return { name: 'an ensemble', makePlace: async () => place };
}

/** An administrator beside whom `happen` comes to pass, once, at that point. */
async function beside(
  point: string,
  happen: () => Promise<void>,
  options: OpenCoordinator = {},
): Promise<Administrator> {
  let happened = false;
  return cluster.administrator({
    coordinator: cluster.place.open(options),
    failpoint: async (name) => {
      if (name !== point || happened) return;
      happened = true;
      await happen();
    },
  });
}

const one = () => configurationOf({ databases: { main, eu } });
const two = () => configurationOf({ databases: { main, eu }, tables: ['public.accounts', 'public.orders'] });

/**
 * The decision is lost with the connection that it was sent on: then it is made sure that it never was one, nothing is
 * changed, and it is said so. Nothing else may fail.
 */
async function carriedOut<T>(point: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    expect(error, point).toMatchObject({
      exitCode: 23,
      message: expect.stringContaining('nothing was changed'),
    });
    // After the last preparation the decision is the next thing that is sent.
    expect(['prepare.main.after', 'decide.before']).toContain(point);
    return work();
  }
}

async function settled(admin: Administrator): Promise<void> {
  expect(await admin.coordinator.list(`/shovel/${cluster.name}/intents`)).toEqual([]);
  for (const database of [main, eu]) {
    const left = 'select gid from pg_prepared_xacts where database = current_database()';
    expect(await database.column(left)).toEqual([]);
  }
}

describe('a member that is killed', () => {
  it.each(POINTS.flatMap((point) => [[point, 'the leader'] as const, [point, 'a follower'] as const]))(
    'at %s, %s: the change is carried out',
    async (point, which) => {
      const kill = async () => {
        const leading = await leader();
        const chosen =
          which === 'the leader' ? leading : ensemble.members.find((member) => member !== leading);
        await chosen?.kill();
      };
      const creator = await beside(point, kill);
      const made = await carriedOut(point, () =>
        createSet(creator.context, { configuration: one(), ...plain }),
      );
      expect(made.kind).toBe('created');
      await serve();
      const changer = await beside(point, kill);
      const changed = await carriedOut(point, () =>
        upgradeSet(changer.context, { configuration: two(), ...plain }),
      );
      expect(changed.kind).toBe('upgraded');
      await serve();
      const witness = await cluster.administrator();
      const { nodes, version } = await inspectSet(witness.context, { name: 'example' });
      expect(nodes.map(({ state }) => state)).toEqual(['capturing', 'capturing']);
      expect('version' in changed && changed.version).toBe(version);
      await settled(witness);
      await dropSet(witness.context, { name: 'example', force: false, dryRun: false });
      for (const admin of [creator, changer, witness]) await admin.stop();
    },
    180_000,
  );
});

describe('a quorum that is gone', () => {
  it.each(['announce.before', 'decide.before', 'remove.before'])(
    'at %s, and back: nobody is told wrong',
    async (point) => {
      const lose = async () => {
        const [first, second] = ensemble.members;
        await Promise.all([first?.kill(), second?.kill()]);
      };
      const admin = await beside(point, lose, { operationTimeoutMs: 2_000 });
      const ending = await createSet(admin.context, { configuration: one(), ...plain }).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (ending !== undefined && !(ending instanceof ShovelError)) throw ending;
      // Unreachable: nothing was changed. In doubt: recovery tells. Never success without a quorum.
      expect([23, 24]).toContain(ending?.exitCode);
      await admin.stop();
      await serve();
      const witness = await cluster.administrator();
      await recoverCluster(witness.context);
      await settled(witness);
      const found = await inspectSet(witness.context, { name: 'example' }).catch(() => undefined);
      const decided = point === 'remove.before';
      if (decided || ending?.exitCode === 23) expect(found !== undefined).toBe(decided);
      if (found) {
        expect(found.nodes.map(({ state }) => state)).toEqual(['capturing', 'capturing']);
        await dropSet(witness.context, { name: 'example', force: false, dryRun: false });
      }
      await witness.stop();
    },
    180_000,
  );
});
