/**
 * Histories of the simulated world: who acts when, and what befalls them. Everything follows from a seed, so a history
 * that breaks an invariant can be had again. A failure tells the seed and all that happened.
 */
import { administrator, type Ending, heal, Ids, type Machines, recoverAll, tidy } from './programs.js';
import type { Flaw, Mode } from './simulated-node.js';
import { type Program, type Reply, type Request, Violation, World } from './simulation.js';

export const ALL = ['a', 'b', 'c'] as const;
export const MODES: readonly Mode[] = ['prepared', 'staged', 'mixed'];

export interface Scenario {
  readonly name: string;
  /** Databases that the set is in beforehand; none: it does not exist. */
  readonly before: readonly string[];
  readonly first: { readonly wanted: 'create' | 'upgrade' | 'drop'; readonly databases: readonly string[] };
  readonly second: { readonly wanted: 'create' | 'upgrade' | 'drop'; readonly databases: readonly string[] };
}

export const SCENARIOS: readonly Scenario[] = [
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

export interface Actor {
  readonly name: string;
  readonly program: Program;
  reply: Reply | undefined;
  done: boolean;
}

export function actor(name: string, program: Program): Actor {
  return { name, program, reply: undefined, done: false };
}

/** What befalls the next request of an actor. */
export type Fate = 'fine' | 'dies before' | 'dies after' | 'lost before' | 'lost after' | 'lost and late';

/** One request further. */
export function advance(world: World, one: Actor, fate: (request: Request) => Fate): void {
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
  if (happens === 'lost and late') {
    world.log.push(`${one.name} gets no answer (${happens})`);
    world.delay(step.value, one.name);
    one.reply = lost;
    return;
  }
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

export function runAlone(world: World, name: string, program: Program): void {
  const one = actor(name, program);
  while (!one.done) advance(world, one, () => 'fine');
}

/** A world in which somebody, or something, is broken: to see that it is noticed. */
export interface Broken {
  readonly machines?: Machines;
  readonly flaw?: Flaw;
}

export function prepareWorld(
  scenario: Scenario,
  mode: Mode,
  { machines, flaw }: Broken = {},
): { world: World; ids: Ids } {
  const world = new World(mode, flaw === undefined ? {} : { flaw });
  const ids = new Ids(machines);
  if (scenario.before.length > 0) {
    const ending: Ending = {};
    const wanted = 'create' as const;
    runAlone(world, 'founder', administrator(ids, { databases: scenario.before, wanted, ending }));
    if (typeof ending.outcome !== 'object' || ending.outcome.kind !== 'done') throw new Error('no beginning');
  }
  return { world, ids };
}

/**
 * What was under way has arrived, everything can be reached again, and somebody runs recovery: once. `strays`: somebody
 * has worked on a change whose administrator lived, which leases prevent, and died of it; what is left of that may be no
 * more than a row that says so, until somebody comes to the database again.
 */
export function settle(world: World, ids: Ids, { strays = false }: { strays?: boolean } = {}): void {
  world.arriveAll();
  runAlone(world, 'settler', recoverAll(ids, { alone: true }));
  runAlone(world, 'settler', heal(ids));
  if (strays) {
    world.checkSettled({ strays });
    for (const database of world.nodes.keys()) runAlone(world, 'settler', tidy(ids, database));
  }
  world.checkSettled();
}

/** What an administrator was told must be true. */
export function checkEnding(world: World, { outcome, intent }: Ending): void {
  if (outcome === undefined || outcome === 'refused' || intent === undefined) return;
  const decided = [...world.decided.values()].includes(intent);
  if (outcome.kind === 'aborted' && decided) throw new Violation('told aborted, and it was decided');
  if ((outcome.kind === 'done' || outcome.kind === 'unfinished') && !decided) {
    throw new Violation(`told ${outcome.kind}, and it was not decided`);
  }
}

export function explain(error: unknown, world: World, what: string): Error {
  const why = error instanceof Error ? error.message : String(error);
  return new Error(`${what}: ${why}\n${world.log.join('\n')}`, { cause: error });
}

/** What a request may come to late: what a server may still be doing when nobody listens any more. */
function mayBeLate(request: Request): boolean {
  if (request.kind === 'multi') return true;
  return request.kind === 'node' && ['prepare', 'commit', 'apply', 'abort'].includes(request.action);
}

/**
 * Two administrators, and in half of all histories a recoverer and a relay that ask nobody whether anybody is alive;
 * up to two deaths, up to two answers lost: with the request, after it, or with the request arriving later. Returns
 * whether anything was decided. @throws Error that tells the seed, the violation and the history
 */
export function runHistory(
  scenario: Scenario,
  { mode, seed, broken = {} }: { mode: Mode; seed: number; broken?: Broken },
): boolean {
  const next = random(seed * 7_919 + MODES.indexOf(mode));
  const { world, ids } = prepareWorld(scenario, mode, broken);
  const endings: Ending[] = [{}, {}];
  const actors = [scenario.first, scenario.second].map((part, index) =>
    actor(`admin ${index + 1}`, administrator(ids, { ...part, ending: endings[index] ?? {} })),
  );
  if (next() < 0.5) actors.push(actor('recoverer', recoverAll(ids)), actor('relay', heal(ids)));
  let deaths = 1 + Math.floor(next() * 2);
  let losses = 1 + Math.floor(next() * 2);
  try {
    for (;;) {
      const alive = actors.filter((one) => !one.done);
      const one = alive[Math.floor(next() * alive.length)];
      if (!one) break;
      if (next() < 0.1) world.arrive();
      advance(world, one, (request) => {
        const dice = next();
        if (deaths > 0 && dice < 0.02) {
          deaths -= 1;
          return dice < 0.01 ? 'dies before' : 'dies after';
        }
        if (losses > 0 && dice > 0.95) {
          losses -= 1;
          if (dice > 0.98 && mayBeLate(request)) return 'lost and late';
          return dice > 0.965 ? 'lost before' : 'lost after';
        }
        return 'fine';
      });
    }
    for (const ending of endings) checkEnding(world, ending);
    settle(world, ids, { strays: true });
  } catch (error) {
    throw explain(error, world, `${scenario.name}, seed ${seed}, ${mode}`);
  }
  return world.decided.size > (scenario.before.length > 0 ? 1 : 0);
}

/** `first` is stopped after `i` steps, `second` after `j` more, then `first` ends, then `second`. False: too far. */
export function runInterleaved(
  scenario: Scenario,
  { mode, i, j, broken = {} }: { mode: Mode; i: number; j: number; broken?: Broken },
): boolean {
  const { world, ids } = prepareWorld(scenario, mode, broken);
  const endings: [Ending, Ending] = [{}, {}];
  const one = actor('admin 1', administrator(ids, { ...scenario.first, ending: endings[0] }));
  const two = actor('admin 2', administrator(ids, { ...scenario.second, ending: endings[1] }));
  const run = (who: Actor, steps: number) => {
    for (let step = 0; step < steps && !who.done; step += 1) advance(world, who, () => 'fine');
  };
  let far = false;
  try {
    run(one, i);
    run(two, j);
    far = one.done || two.done;
    run(one, Number.POSITIVE_INFINITY);
    run(two, Number.POSITIVE_INFINITY);
    for (const ending of endings) checkEnding(world, ending);
    settle(world, ids);
  } catch (error) {
    throw explain(error, world, `${scenario.name}, ${mode}, interleaved at ${i} and ${j}`);
  }
  return !far;
}
