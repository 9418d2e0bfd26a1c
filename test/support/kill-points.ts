/**
 * Administrators killed by SIGKILL before and after everything that they do to a node or to the coordinator, over three
 * databases and ZooKeeper, while applications write to every table: a single later command, of whatever kind, brings
 * all to one version. The points are found by asking the command line where it comes by; what the code can do and no
 * command was killed at fails the test.
 *
 * By default every kind of point is taken once in each way to commit, in a change and a database that take turns;
 * SHOVEL_TEST_ALL=1 takes every point of every change in every database.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MULTI_LABELS, NODE_ACTIONS } from '../../src/model/change-effects.js';
import { buildCli } from './cli.js';
import { CHANGES, type Change, KilledCluster, type SetStage } from './killed-cluster.js';

/** Who is killed: a change, or the recovery of a change that was killed at `left`. */
interface Round {
  readonly change: Change;
  readonly left?: string;
  readonly point: string;
}

const RECOVER = ['cluster', 'recover'];
/** What recoverers find: nothing decided, decided, decided and begun on one node; of nodes that join, stay and leave. */
const LEFT: readonly (readonly [Change, string])[] = [
  ['create', 'prepare.eu.after'],
  ['create', 'commit.main.after'],
  ['upgrade', 'decide.after'],
  ['drop', 'decide.after'],
];
const NEXT: Readonly<Record<SetStage, Change>> = { none: 'create', one: 'upgrade', two: 'rollback' };

/** `open.main.commit.after` → `open.commit.after` */
const kindOf = (point: string) => point.replace(/^([a-z]+)\.(?:main|eu|us)\./, '$1.');

/** `server`: of the three databases. */
export function killAtEveryPoint({
  way,
  server,
}: {
  way: 'prepared' | 'staged';
  server: () => string;
}): void {
  describe(`administrators killed at every point, ${way}`, () => {
    let cluster: KilledCluster;
    let rounds: Round[];
    beforeAll(async () => {
      await buildCli();
      cluster = await KilledCluster.make({ server: server() });
    });
    afterAll(() => cluster?.remove());

    it('come by all that the code can do', async () => {
      const all: Round[] = [];
      let stage: SetStage = 'none';
      const note = async (round: Omit<Round, 'point'>, args: readonly string[]) => {
        const { change } = round;
        const path = [stage];
        const points = new Set(await cluster.trace(args));
        all.push(...[...points].map((point) => ({ ...round, point })));
        path.push(await cluster.stage());
        stage = await cluster.checkConverged(`after a whole ${change}`, path);
      };
      for (const [change, left] of LEFT) {
        stage = await reach(cluster, { from: stage, to: CHANGES[change].from });
        cluster.leave();
        if (change === 'drop') await cluster.publish();
        await cluster.killAt(left, cluster.args(change));
        await note({ change, left }, RECOVER);
      }
      for (const change of ['create', 'upgrade', 'rollback', 'drop'] as const) {
        stage = await reach(cluster, { from: stage, to: CHANGES[change].from });
        cluster.leave();
        if (change === 'drop') await cluster.publish();
        await note({ change }, cluster.args(change));
      }
      const seen = new Set(all.map(({ point }) => point.split('.')[0]));
      expect([...NODE_ACTIONS, ...MULTI_LABELS].filter((step) => !seen.has(step))).toEqual([]);
      rounds = process.env.SHOVEL_TEST_ALL === '1' ? all : chosen(all, way);
    }, 900_000);

    it(
      'leave what a single later command settles',
      async () => {
        const left = [...rounds];
        let stage = await cluster.stage();
        let count = 0;
        while (left.length > 0) {
          const at = left.findIndex(({ change }) => CHANGES[change].from === stage);
          const [round] = left.splice(Math.max(at, 0), 1);
          if (!round) break;
          stage = await reach(cluster, { from: stage, to: CHANGES[round.change].from });
          stage = await play(cluster, { round, stage, turn: count });
          count += 1;
        }
        stage = await reach(cluster, { from: stage, to: 'none' });
        expect(count).toBe(rounds.length);
        expect(cluster.bystanders.looks()).toBeGreaterThan(count);
      },
      4 * 3_600_000,
    );
  });
}

/** Kills, lets one other command come by, and looks. */
async function play(
  cluster: KilledCluster,
  { round, stage, turn }: { round: Round; stage: SetStage; turn: number },
): Promise<SetStage> {
  const { change, left, point } = round;
  const what = `${change} killed at ${left === undefined ? point : `${left}, its recovery at ${point}`}`;
  cluster.leave();
  // What is captured and not published goes with the set.
  if (change === 'drop') await cluster.publish();
  if (left !== undefined) await cluster.killAt(left, cluster.args(change));
  await cluster.killAt(point, left === undefined ? cluster.args(change) : RECOVER);
  const path = [stage, await cluster.stage()];
  const reached = path.at(-1) ?? stage;
  const kind = (['recover', 'change', 'relay'] as const)[turn % 3];
  if (kind === 'change') {
    const next = NEXT[reached];
    // What was captured since is not to go with it: a rollback ends the capture of a table, and no set.
    await cluster.succeed(cluster.args(next));
    path.push(CHANGES[next].to);
  } else if (kind === 'relay' && reached !== 'none') {
    await cluster.publish();
  } else {
    await cluster.succeed(RECOVER);
  }
  const settled = await cluster.checkConverged(`${what}, then ${kind}`, path);
  expect(settled, what).toBe(path.at(-1));
  return settled;
}

/** Brings the set to a stage by commands that nobody kills. */
async function reach(
  cluster: KilledCluster,
  { from, to }: { from: SetStage; to: SetStage },
): Promise<SetStage> {
  let stage = from;
  while (stage !== to) {
    const way: Change =
      stage === 'none' ? 'create' : stage === 'two' ? 'rollback' : to === 'none' ? 'drop' : 'upgrade';
    cluster.leave();
    if (way === 'drop') await cluster.publish();
    await cluster.succeed(cluster.args(way));
    stage = await cluster.checkConverged(`after ${way}`, [stage, CHANGES[way].to]);
  }
  return stage;
}

/** One round per kind of point; changes and databases take turns, and differ between the ways. */
function chosen(all: readonly Round[], way: 'prepared' | 'staged'): Round[] {
  const kinds = [...new Set(all.map(({ point }) => kindOf(point)))].sort();
  return kinds.flatMap((kind, at) => {
    const turn = way === 'prepared' ? at : at + 3;
    const candidates = all.filter(({ point }) => kindOf(point) === kind);
    const direct = candidates.filter(({ left }) => left === undefined);
    const from = direct.length > 0 && turn % 8 < 6 ? direct : candidates;
    const one = from[(turn * 7) % from.length];
    return one ? [one] : [];
  });
}
