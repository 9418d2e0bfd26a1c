/**
 * The two-phase commit under every fault that it must survive: administrators in any interleaving, each dying at any
 * point, answers lost anywhere, nodes away, reads stale, leases that hold nobody back. Whatever happens, every node
 * ends where the coordinator says, and nothing that was not decided is ever active. A failure prints its seed and the
 * history that led to it.
 */
import { describe, expect, it } from 'vitest';
import {
  ALL,
  actor,
  advance,
  checkEnding,
  explain,
  type Fate,
  MODES,
  prepareWorld,
  runAlone,
  runHistory,
  runInterleaved,
  SCENARIOS,
  settle,
} from './histories.js';
import { administrator, type Ending, recoverAll } from './programs.js';
import { intentState } from './simulation.js';

/** SHOVEL_TEST_ALL=1: ten times as many, and every pair of steps. */
const HISTORIES = process.env.SHOVEL_TEST_ALL === '1' ? 15_000 : 800;
const STRIDE = process.env.SHOVEL_TEST_ALL === '1' ? 1 : 4;

describe.each(SCENARIOS)('$name', (scenario) => {
  it.each(MODES)(
    'survives random histories, %s',
    (mode) => {
      const seeds = Array.from({ length: HISTORIES }, (_, index) => index + 1);
      const decided = seeds.filter((seed) => runHistory(scenario, { mode, seed }));
      // The histories are worth something only if most of them get somewhere.
      expect(decided.length).toBeGreaterThan(seeds.length / 2);
    },
    600_000,
  );

  it.each(MODES)(
    'survives two administrators stopped at any two steps, %s',
    (mode) => {
      let i = 0;
      for (let more = true; more; i += STRIDE) {
        let j = 0;
        for (more = true; more; j += STRIDE) more = runInterleaved(scenario, { mode, i, j });
        more = j > STRIDE;
      }
      expect(i).toBeGreaterThan(10);
    },
    600_000,
  );

  it.each(MODES)('survives death after, and a lost answer to, each single step, %s', (mode) => {
    const fates: readonly Fate[] = ['dies before', 'dies after', 'lost before', 'lost after'];
    for (const fate of fates) {
      for (let at = 0; ; at += 1) {
        const { world, ids } = prepareWorld(scenario, mode);
        const ending: Ending = {};
        const one = actor('admin 1', administrator(ids, { ...scenario.first, ending }));
        let step = -1;
        try {
          while (!one.done) {
            advance(world, one, () => {
              step += 1;
              return step === at ? fate : 'fine';
            });
          }
          checkEnding(world, ending);
          // The next command of another administrator is all that it takes.
          const second: Ending = {};
          runAlone(world, 'admin 2', administrator(ids, { ...scenario.second, ending: second }));
          checkEnding(world, second);
          settle(world, ids);
        } catch (error) {
          throw explain(error, world, `${fate} at step ${at}, ${mode}`);
        }
        if (step < at) break;
      }
    }
  });

  it.each(MODES)('survives a node that goes away at each step and comes back, %s', (mode) => {
    for (const away of ALL) {
      for (let from = 0; ; from += 1) {
        const { world, ids } = prepareWorld(scenario, mode);
        const ending: Ending = {};
        const one = actor('admin 1', administrator(ids, { ...scenario.first, ending }));
        let step = -1;
        try {
          while (!one.done) {
            advance(world, one, (request) => {
              step += 1;
              const concerned = request.kind === 'node' && request.database === away;
              return concerned && step >= from ? 'lost before' : 'fine';
            });
          }
          checkEnding(world, ending);
          settle(world, ids);
        } catch (error) {
          throw explain(error, world, `${away} away from step ${from}, ${mode}`);
        }
        if (step < from) break;
      }
    }
  });
});

describe('what nobody is told wrong', () => {
  it('is never both: an intent that was decided can’t be aborted any more', () => {
    const { world, ids } = prepareWorld(SCENARIOS[0] ?? raise(), 'prepared');
    const ending: Ending = {};
    const one = actor('admin 1', administrator(ids, { databases: ALL, wanted: 'create', ending }));
    // Its answer to the decision is lost, and a recoverer comes in between.
    let deciding = false;
    while (!one.done) {
      advance(world, one, (request) => {
        deciding = request.kind === 'multi' && request.label === 'decide';
        return deciding ? 'lost after' : 'fine';
      });
      if (deciding && ending.intent) {
        expect(intentState(world, ending.intent)).toBe('decided');
        runAlone(world, 'recoverer', recoverAll(ids));
        expect(intentState(world, ending.intent)).toBeUndefined();
      }
    }
    // Removed by the recoverer: that it was decided shows by the version's document.
    expect(ending.outcome).toMatchObject({ kind: 'unfinished' });
    settle(world, ids);
  });

  it('says unknown, and no more, while the coordinator is silent', () => {
    const { world, ids } = prepareWorld(SCENARIOS[0] ?? raise(), 'prepared');
    const ending: Ending = {};
    const one = actor('admin 1', administrator(ids, { databases: ALL, wanted: 'create', ending }));
    let silent = false;
    while (!one.done) {
      advance(world, one, (request) => {
        if (request.kind === 'multi' && request.label === 'decide') silent = true;
        return silent && request.kind !== 'node' ? 'lost before' : 'fine';
      });
    }
    expect(ending.outcome).toMatchObject({ kind: 'unknown' });
    settle(world, ids);
    expect(world.record()).toBeUndefined();
  });
});

function raise(): never {
  throw new Error('no scenario');
}
