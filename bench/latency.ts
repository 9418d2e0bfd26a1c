/**
 * How long an application's transactions take while a set over a hundred tables, a tree of two hundred partitions among
 * them, is created, upgraded and dropped, and how long without. Rounds take turns: bare; triggers of one function that
 * does nothing are made and dropped (the floor: the same DDL, nothing of shovel); the set is made, captured and left
 * alone, upgraded, dropped as `set drop` does it (functions are emptied first, then triggers and functions go). The
 * application is a process of its own, with new sessions in each round. Writes bench/results/latency.json.
 *
 *   npm run bench -- latency [--rounds 3] [--writers 4]
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startEphemeral } from '../scripts/services/index.js';
import { lockTree, runSteps, type Step } from '../src/capture/lock-patience.js';
import { CapturedNode, onPublic } from '../test/support/captured-node.js';
import { LOAD_TABLES, PARTITIONS, startTableLoad, TABLES } from '../test/support/table-load.js';
import { until } from '../test/support/until.js';

const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    writers: { type: 'string', default: '4' },
    // This process is the application, and writes to that database.
    of: { type: 'string' },
  },
});
/** Upper ends of the histogram's bars, ms; what took longer comes after the last. */
const BARS = [1, 2, 5, 10, 20, 40, 80, 160, 320, 640, 1280];
/** Transactions of a phase in which nothing of ours goes on. */
const CALM = 3_000;

const PHASES = [
  'bare',
  'triggers made',
  'triggers dropped',
  'create',
  'captured',
  'upgrade',
  'drop',
] as const;
type Phase = (typeof PHASES)[number];

/** What the application tells from time to time; times are ms since the epoch. */
interface Report {
  readonly samples: readonly { readonly begun: number; readonly ms: number }[];
  /** The longest time that the process itself stood still. */
  readonly stoodMs: number;
  readonly failures: readonly string[];
}

const now = () => performance.timeOrigin + performance.now();

/** The application. Ends when it is told anything, after its last report. */
async function write(url: string): Promise<void> {
  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  let samples: { begun: number; ms: number }[] = [];
  const tell = (failures: readonly string[]) => {
    process.send?.({ samples, stoodMs: delay.max / 1e6, failures } satisfies Report);
    samples = [];
    delay.reset();
  };
  const load = await startTableLoad({
    url,
    writers: Number(flags.writers),
    others: false,
    written: ({ ms }) => {
      samples.push({ begun: now() - ms, ms });
      if (samples.length >= 50) tell([]);
    },
  });
  await once(process, 'message');
  await load.stop();
  tell(load.failures);
  process.disconnect();
}

class Application {
  transactions = 0;
  readonly #child: ChildProcess;
  #failures: readonly string[] = [];

  constructor(url: string, heard: (report: Report) => void) {
    this.#child = fork(fileURLToPath(import.meta.url), ['--of', url, '--writers', flags.writers]);
    this.#child.on('message', (message) => {
      const report = message as Report;
      this.transactions += report.samples.length;
      this.#failures = [...this.#failures, ...report.failures];
      heard(report);
    });
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.send('stop');
    const [code] = await ended;
    if (code !== 0 || this.#failures.length > 0) {
      throw new Error(`the application met errors: ${this.#failures[0] ?? `exit ${code}`}`);
    }
  }
}

async function main(): Promise<void> {
  const started = new Date().toISOString();
  const loadBefore = loadavg()[0] ?? 0;
  const server = await startEphemeral('pg', { settings: { max_locks_per_transaction: '256' } });
  const took = new Map<Phase, number[]>(PHASES.map((phase) => [phase, []]));
  const stood = new Map<Phase, number>();
  try {
    const node = await CapturedNode.create(server.address);
    await onPublic(node.connection, LOAD_TABLES);
    await onPublic(node.connection, NOTHING);
    const phases: { readonly phase: Phase; readonly from: number }[] = [{ phase: 'bare', from: 0 }];
    const note = ({ samples, stoodMs }: Report) => {
      const last = phases.at(-1)?.phase ?? 'bare';
      stood.set(last, Math.max(stood.get(last) ?? 0, stoodMs));
      // Counted where it began: what a phase holds up may end in the next.
      for (const { begun, ms } of samples) {
        took.get(phases.findLast(({ from }) => from <= begun)?.phase ?? 'bare')?.push(ms);
      }
    };
    for (let round = 0; round < Number(flags.rounds); round += 1) {
      phases.push({ phase: 'bare', from: now() });
      const application = new Application(node.url, note);
      const calm = async (phase: Phase) => {
        phases.push({ phase, from: now() });
        const enough = application.transactions + CALM;
        await until('enough was written', () => application.transactions >= enough, { timeoutMs: 300_000 });
      };
      const during = async (phase: Phase, work: () => Promise<unknown>) => {
        phases.push({ phase, from: now() });
        await work();
      };
      await calm('bare');
      await during('triggers made', () => runSteps(node.connection, triggers('create'), PATIENCE));
      await during('triggers dropped', () => runSteps(node.connection, triggers('drop'), PATIENCE));
      await during('create', () => node.capture({ tables: ALL }));
      await calm('captured');
      await during('upgrade', () =>
        node.capture({ tables: '- { name: public.*, before: full, operations: [insert, update, delete] }' }),
      );
      const { configuration } = await node.describe({ tables: ALL });
      await during('drop', async () => {
        await node.activate([], configuration);
        await node.removeCapture();
      });
      phases.push({ phase: 'bare', from: now() });
      await application.stop();
    }
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

const ALL = '- { name: public.* }';
const PATIENCE = { lockTimeoutMs: 40, giveUpMs: 30_000, waiting: () => undefined };

const NOTHING = `create function nothing() returns trigger language plpgsql as 'begin return null; end'`;

/** As many triggers as a set has, in transactions as short as a set's, in the plainest words. */
function triggers(verb: 'create' | 'drop'): readonly Step[] {
  const mode = verb === 'create' ? 'share row exclusive' : 'access exclusive';
  const statement = (event: string, table: string) =>
    verb === 'create'
      ? `create trigger plain_${event} after ${event} on public.${table} for each ${event === 'truncate' ? 'statement' : 'row'} execute function public.nothing()`
      : `drop trigger plain_${event} on public.${table}`;
  const step = (table: string, events: readonly string[], below: readonly string[] = []): Step => ({
    table,
    relids: [],
    statements: [
      ...lockTree(
        `public.${table}`,
        below.map((one) => `public.${one}`),
        mode,
      ),
      ...events.map((event) => statement(event, table)),
    ],
  });
  const rows = ['insert', 'update', 'delete'];
  const partitions = Array.from({ length: PARTITIONS }, (_, i) => `tree_${i}`);
  return [
    ...Array.from({ length: TABLES - 1 }, (_, i) => step(`t_${i + 1}`, [...rows, 'truncate'])),
    ...rows.map((event) => step('tree', [event], partitions)),
    ...['tree', ...partitions].map((table) => step(table, ['truncate'])),
  ];
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

await (flags.of === undefined ? main() : write(flags.of));
