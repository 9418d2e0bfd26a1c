/**
 * How long an application's transactions take while a set over a hundred tables, a tree of two hundred partitions among
 * them, is created, upgraded and dropped, and how long without. Rounds take turns: bare, while the set is made, captured
 * and left alone, while it is upgraded, while it is dropped. Writes bench/results/latency.json.
 *
 *   npm run bench -- latency [--rounds 3] [--writers 4]
 */
import { writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { startEphemeral } from '../scripts/services/index.js';
import { CapturedNode, onPublic } from '../test/support/captured-node.js';
import { LOAD_TABLES, PARTITIONS, startTableLoad, TABLES } from '../test/support/table-load.js';
import { until } from '../test/support/until.js';

const { values: flags } = parseArgs({
  options: { rounds: { type: 'string', default: '3' }, writers: { type: 'string', default: '4' } },
});
/** Upper ends of the histogram's bars, ms; what took longer comes after the last. */
const BARS = [1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280];
/** Transactions of a phase in which nothing of ours goes on. */
const CALM = 3_000;

const PHASES = ['bare', 'create', 'captured', 'upgrade', 'drop'] as const;
type Phase = (typeof PHASES)[number];

async function main(): Promise<void> {
  const started = new Date().toISOString();
  const loadBefore = loadavg()[0] ?? 0;
  const server = await startEphemeral('pg', { settings: { max_locks_per_transaction: '256' } });
  const took = new Map<Phase, number[]>(PHASES.map((phase) => [phase, []]));
  const stood = new Map<Phase, number>();
  try {
    const node = await CapturedNode.create(server.address);
    await onPublic(node.connection, LOAD_TABLES);
    const phases: { readonly phase: Phase; readonly from: number }[] = [];
    // Writers and administrator share this process: how long it stood still itself is in every latency.
    const delay = monitorEventLoopDelay({ resolution: 5 });
    delay.enable();
    const enter = (phase: Phase) => {
      const last = phases.at(-1)?.phase;
      if (last) stood.set(last, Math.max(stood.get(last) ?? 0, delay.max / 1e6));
      delay.reset();
      phases.push({ phase, from: performance.now() });
    };
    enter('bare');
    const load = await startTableLoad({
      url: node.url,
      writers: Number(flags.writers),
      others: false,
      // Counted where it began: what a phase holds up may end in the next.
      written: ({ ms }) => {
        const begun = performance.now() - ms;
        const found = phases.findLast(({ from }) => from <= begun) ?? phases[0];
        if (found) took.get(found.phase)?.push(ms);
      },
    });
    const calm = async (next: Phase) => {
      enter(next);
      const enough = load.transactions + CALM;
      await until('enough was written', () => load.transactions >= enough, { timeoutMs: 300_000 });
    };
    const during = async (next: Phase, work: () => Promise<unknown>) => {
      enter(next);
      await work();
    };
    for (let round = 0; round < Number(flags.rounds); round += 1) {
      await calm('bare');
      await during('create', () => node.capture({ tables: '- { name: public.* }' }));
      await calm('captured');
      await during('upgrade', () =>
        node.capture({ tables: '- { name: public.*, before: full, operations: [insert, update, delete] }' }),
      );
      await during('drop', () => node.removeCapture());
    }
    enter('bare');
    delay.disable();
    await load.stop();
    if (load.failures.length > 0) throw new Error(`the application met errors: ${load.failures[0]}`);
    await node.close();
  } finally {
    await server.close();
  }
  const result = {
    command: `npm run bench -- latency --rounds ${flags.rounds} --writers ${flags.writers}`,
    started,
    machine: { cpus: cpus().length, model: cpus()[0]?.model, loadBefore, loadAfter: loadavg()[0] },
    noisy: loadBefore > 1.5,
    tables: TABLES,
    partitions: PARTITIONS,
    transaction: 'four updates of four tables, two of the tree',
    bars: BARS.map((bar) => `<= ${bar} ms`).concat(`> ${BARS.at(-1)} ms`),
    phases: Object.fromEntries(
      [...took].map(([phase, times]) => [
        phase,
        { ...summarize(times), clientStoodMs: Math.round(stood.get(phase) ?? 0) },
      ]),
    ),
  };
  const text = `${JSON.stringify(result, null, 2)}\n`;
  await writeFile(new URL('./results/latency.json', import.meta.url), text);
  process.stdout.write(text);
}

function summarize(times: readonly number[]) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) =>
    Number((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN).toFixed(2));
  const histogram = [...BARS, Number.POSITIVE_INFINITY].map(
    (bar, i, bars) => sorted.filter((ms) => ms <= bar && ms > (bars[i - 1] ?? -1)).length,
  );
  return { transactions: sorted.length, p50: at(0.5), p95: at(0.95), p99: at(0.99), most: at(1), histogram };
}

await main();
