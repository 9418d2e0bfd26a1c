/**
 * The simulation is worth what it notices: the protocol is broken in one place, as somebody might do who thinks that
 * place superfluous, and some history must fail. A place that is no longer found in the source fails as well: say there
 * what the place is now.
 */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../support/temporary-folder.js';
import { type Broken, MODES, runHistory, runInterleaved, SCENARIOS } from './histories.js';
import type { Machines } from './programs.js';
import type { Flaw } from './simulated-node.js';

const MODEL = fileURLToPath(new URL('../../../src/model/', import.meta.url));
/** The machines, in the order in which they build on each other. */
const FILES = ['change-effects', 'change-protocol', 'change-recovery'] as const;

interface Mutant {
  readonly name: string;
  readonly file: (typeof FILES)[number];
  readonly from: string;
  readonly to: string;
}

const MUTANTS: readonly Mutant[] = [
  {
    name: 'the decision checks the intent instead of setting it',
    file: 'change-protocol',
    from: "kind: 'set',\n      path: paths.intent(intent.intent),\n      version: 1,",
    to: "kind: 'check',\n      path: paths.intent(intent.intent),\n      version: 1,",
  },
  {
    name: 'an unknown outcome is settled by a read',
    file: 'change-protocol',
    from: "if (state === 'decided' || state === 'aborted') return { kind: state };",
    to: "return { kind: state === 'decided' ? state : 'aborted' };",
  },
  {
    name: 'an unknown outcome is taken for a failure',
    file: 'change-protocol',
    from: 'const settled = yield* settle(plan, ATTEMPTS);',
    to: "const settled = { kind: 'aborted' as const };",
  },
  {
    name: 'an absence is read from a follower',
    file: 'change-effects',
    from: "const synced = yield { kind: 'sync' };",
    to: "const synced = { kind: 'sync', result: { kind: 'done' } } as Answer;",
  },
  {
    name: 'recovery undoes what it has not aborted',
    file: 'change-recovery',
    from: "if (intent.state === 'aborted') return",
    to: "if (intent.state !== 'decided') return",
  },
  {
    name: 'recovery applies a version that a later one has replaced',
    file: 'change-recovery',
    from: "record.kind === 'found' && decodeRecord(record.data, paths.set(intent.set)).version > intent.to;",
    to: 'false;',
  },
  {
    name: 'an abandoned change stays listed, and its rows stay',
    file: 'change-protocol',
    from: 'const leftovers = yield* undo({ intent, fence: intent.intent, nodes: begun });',
    to: 'const leftovers: readonly NodeFailure[] = [];',
  },
  {
    name: 'nodes are left out once something is decided',
    file: 'change-protocol',
    from: 'if (failure) failures.push(failure);\n  }\n  if (failures.length > 0) return',
    to: 'if (failure) break;\n  }\n  if (failures.length > 0) return',
  },
];

const FLAWS: readonly Flaw[] = ['prepares without its fence', 'applies what is older'];

let folder: string;
beforeAll(() => {
  folder = temporaryFolder('mutants');
});

/** The machines with one place broken; what they import besides themselves is the product's own. */
async function breakMachines({ name, file, from, to }: Mutant): Promise<Machines> {
  const place = mkdtempSync(join(folder, 'one-'));
  for (const one of FILES) {
    let source = readFileSync(join(MODEL, `${one}.ts`), 'utf8');
    if (one === file) {
      expect(source.split(from), `where ${name}`).toHaveLength(2);
      source = source.replace(from, to);
    }
    source = source.replace(/from '\.\/([a-z-]+)\.js'/g, (_, other: string) => {
      const own = FILES.some((machine) => machine === other);
      return `from '${own ? join(place, other) : join(MODEL, other)}.ts'`;
    });
    writeFileSync(join(place, `${one}.ts`), source);
  }
  const [effects, protocol, recovery] = await Promise.all(
    FILES.map((one) => import(/* @vite-ignore */ join(place, `${one}.ts`)) as Promise<Machines>),
  );
  if (!effects || !protocol || !recovery) throw new Error('nothing was imported');
  const { readFresh } = effects;
  const { runChange } = protocol;
  const { recoverIntent, healSet, closeOrphans } = recovery;
  return { readFresh, runChange, recoverIntent, healSet, closeOrphans };
}

/** The first history that fails, in words; undefined where all of them hold. */
function firstFailure(broken: Broken): string | undefined {
  try {
    for (let seed = 1; seed <= 1_500; seed += 1) {
      for (const scenario of SCENARIOS) {
        for (const mode of MODES) runHistory(scenario, { mode, seed, broken });
        if (seed > 40) continue;
        for (const mode of MODES) runInterleaved(scenario, { mode, i: seed, j: (seed * 7) % 50, broken });
      }
    }
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

describe('the simulation notices that', () => {
  it.each(MUTANTS)(
    '$name',
    async (mutant) => {
      const failure = firstFailure({ machines: await breakMachines(mutant) });
      expect(failure).toBeDefined();
    },
    120_000,
  );

  it.each(FLAWS)(
    'a node %s',
    (flaw) => {
      expect(firstFailure({ flaw })).toBeDefined();
    },
    120_000,
  );
});
