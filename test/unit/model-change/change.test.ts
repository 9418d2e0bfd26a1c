/**
 * The two-phase commit under every fault that it must survive: administrators in any interleaving, each dying at any
 * point, answers lost anywhere, nodes away, reads stale, leases that hold nobody back. Whatever happens, every node
 * ends where the coordinator says, and nothing that was not decided is ever active. A failure prints its seed and the
 * history that led to it.
 */
import { describe, expect, it } from 'vitest';
import { administrator, type Ending, heal, Ids, recoverAll, tidy } from './programs.js';
import {
  intentState,
  type Mode,
  type Program,
  type Reply,
  type Request,
  Violation,
  World,
} from './simulation.js';

const ALL = ['a', 'b', 'c'] as const;
const MODES: readonly Mode[] = ['prepared', 'staged', 'mixed'];

interface Scenario {
  readonly name: string;
  /** Databases that the set is in beforehand; none: it does not exist. */
  readonly before: readonly string[];
  readonly first: { readonly wanted: 'create' | 'upgrade' | 'drop'; readonly databases: readonly string[] };
  readonly second: { readonly wanted: 'create' | 'upgrade' | 'drop'; readonly databases: readonly string[] };
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'two create',
    before: [],
    first: { wanted: 'create', databases: ALL },
    second: { wanted: 'create', databases: ALL },
  },
  {
    name: 'two upgrade, a database joins, another leaves',
    before: ['a', 'b'],
    first: { wanted: 'upgrade', databases: ['a', 'c'] },
    second: { wanted: 'upgrade', databases: ['a', 'b'] },
  },
  {
    name: 'one upgrades, one drops',
    before: ['a', 'b'],
    first: { wanted: 'upgrade', databases: ALL },
    second: { wanted: 'drop', databases: [] },
  },
  {
    name: 'one drops, one creates again',
    before: ['a', 'b', 'c'],
    first: { wanted: 'drop', databases: [] },
    second: { wanted: 'create', databases: ['b', 'c'] },
  },
];

/** Small, fast, and the same everywhere (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

interface Actor {
  readonly name: string;
  readonly program: Program;
  reply: Reply | undefined;
  done: boolean;
}

function actor(name: string, program: Program): Actor {
  return { name, program, reply: undefined, done: false };
}

/** What befalls the next request of an actor. */
type Fate = 'fine' | 'dies before' | 'dies after' | 'lost before' | 'lost after';

/** One request further. */
function advance(world: World, one: Actor, fate: (request: Request) => Fate): void {
  const step = one.reply === undefined ? one.program.next() : one.program.next(one.reply);
  if (step.done) {
    one.done = true;
    return;
  }
  const happens = fate(step.value);
  if (happens === 'dies before') {
    world.log.push(`${one.name} dies`);
    one.done = true;
    return;
  }
  const lost = failure(step.value);
  const reply = happens === 'lost before' ? lost : world.carryOut(step.value, one.name);
  if (happens === 'lost before' || happens === 'lost after') {
    world.log.push(`${one.name} gets no answer (${happens})`);
    one.reply = lost;
    return;
  }
  if (happens === 'dies after') {
    world.log.push(`${one.name} dies`);
    one.done = true;
    return;
  }
  one.reply = reply;
}

function failure(request: Request): Reply {
  const error = 'no answer';
  switch (request.kind) {
    case 'multi':
      return { kind: 'multi', result: { kind: 'unknown', error } };
    case 'node':
      return { kind: 'node', result: { kind: 'failed', error } };
    case 'sync':
      return { kind: 'sync', result: { kind: 'failed', error } };
    case 'read':
      return { kind: 'read', result: { kind: 'failed', error } };
    case 'pause':
      return { kind: 'pause', result: { kind: 'done' } };
    case 'intents':
      return { kind: 'intents', ids: [] };
    case 'view':
      return { kind: 'view', view: undefined };
  }
}

function runAlone(world: World, name: string, program: Program): void {
  const one = actor(name, program);
  while (!one.done) advance(world, one, () => 'fine');
}

function prepareWorld(scenario: Scenario, mode: Mode): { world: World; ids: Ids } {
  const world = new World(mode);
  const ids = new Ids();
  if (scenario.before.length > 0) {
    const ending: Ending = {};
    const wanted = 'create' as const;
    runAlone(world, 'founder', administrator(ids, { databases: scenario.before, wanted, ending }));
    if (typeof ending.outcome !== 'object' || ending.outcome.kind !== 'done') throw new Error('no beginning');
  }
  return { world, ids };
}

/** Everything can be reached again, and somebody runs recovery. */
function settle(world: World, ids: Ids): void {
  for (let round = 1; round <= 2; round += 1) {
    runAlone(world, 'settler', recoverAll(ids));
    runAlone(world, 'settler', heal(ids));
    for (const database of world.nodes.keys()) runAlone(world, 'settler', tidy(world, database, ids.take()));
  }
  world.checkSettled();
}

/** What an administrator was told must be true. */
function checkEnding(world: World, { outcome, intent }: Ending): void {
  if (outcome === undefined || outcome === 'refused' || intent === undefined) return;
  const decided = [...world.decided.values()].includes(intent);
  if (outcome.kind === 'aborted' && decided) throw new Violation('told aborted, and it was decided');
  if ((outcome.kind === 'done' || outcome.kind === 'unfinished') && !decided) {
    throw new Violation(`told ${outcome.kind}, and it was not decided`);
  }
}

function explain(error: unknown, world: World, what: string): Error {
  const why = error instanceof Error ? error.message : String(error);
  return new Error(`${what}: ${why}\n${world.log.join('\n')}`, { cause: error });
}

describe.each(SCENARIOS)('$name', (scenario) => {
  it.each(MODES)(
    'survives 2,500 random histories, %s',
    (mode) => {
      const seeds = Array.from({ length: 2_500 }, (_, index) => index + 1);
      let decided = 0;
      for (const seed of seeds) {
        const next = random(seed * 7_919 + MODES.indexOf(mode));
        const { world, ids } = prepareWorld(scenario, mode);
        const endings: Ending[] = [{}, {}];
        const actors = [scenario.first, scenario.second].map((part, index) =>
          actor(`admin ${index + 1}`, administrator(ids, { ...part, ending: endings[index] ?? {} })),
        );
        // A third recovers whenever it pleases, without asking whether anybody is alive.
        if (next() < 0.5) actors.push(actor('recoverer', recoverAll(ids)), actor('relay', heal(ids)));
        let deaths = 1;
        let losses = 1 + Math.floor(next() * 2);
        try {
          for (;;) {
            const alive = actors.filter((one) => !one.done);
            const one = alive[Math.floor(next() * alive.length)];
            if (!one) break;
            advance(world, one, () => {
              const dice = next();
              if (deaths > 0 && dice < 0.02) {
                deaths -= 1;
                return dice < 0.01 ? 'dies before' : 'dies after';
              }
              if (losses > 0 && dice > 0.95) {
                losses -= 1;
                return dice > 0.975 ? 'lost before' : 'lost after';
              }
              return 'fine';
            });
          }
          for (const ending of endings) checkEnding(world, ending);
          settle(world, ids);
        } catch (error) {
          throw explain(error, world, `seed ${seed}, ${mode}`);
        }
        if (world.decided.size > (scenario.before.length > 0 ? 1 : 0)) decided += 1;
      }
      // The histories are worth something only if most of them get somewhere.
      expect(decided).toBeGreaterThan(seeds.length / 2);
    },
    60_000,
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
