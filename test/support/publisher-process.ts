/**
 * A publisher in a process of its own, so that it can be killed as a relay would be: run as a program it publishes
 * what its argument says, and reports each step as a line on stdout; imported it gives the function that starts it.
 * It never ends by itself before its steps are done, and then waits to be killed.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { ShovelError } from '../../src/errors.js';
import { silentLogger } from '../../src/runtime/logger.js';
import { createFilePublisher, type FilePublisherOptions } from '../../src/streams/file/file-publisher.js';
import { createKafkaPublisher, type KafkaPublisherOptions } from '../../src/streams/kafka/kafka-publisher.js';
import type { Publisher } from '../../src/streams/publisher.js';
import { lastSeqOf, sampleBatch, samplePosition } from './sample-batches.js';

export type PublisherRecipe =
  | { readonly kind: 'kafka'; readonly options: Omit<KafkaPublisherOptions, 'logger'> }
  | { readonly kind: 'file'; readonly options: Omit<FilePublisherOptions, 'logger' | 'stdout'> };

export interface Step {
  readonly ticket: number;
  readonly count: number;
  readonly padding?: number;
  /** How many parts the batch has, and how many of them to publish; default all of one. */
  readonly parts?: number;
  readonly publishParts?: number;
}

export interface Job {
  readonly recipe: PublisherRecipe;
  readonly destination: string;
  /** Each in turn; or `steps` of tickets from the position on, for ever. */
  readonly steps: readonly Step[] | 'endless';
}

export function createPublisher(recipe: PublisherRecipe): Publisher {
  return recipe.kind === 'kafka'
    ? createKafkaPublisher({ ...recipe.options, logger: silentLogger() })
    : createFilePublisher({ ...recipe.options, logger: silentLogger() });
}

/** What every ticket of an endless job is: sizes differ, some come in parts. */
export function endlessStep(ticket: number): Required<Pick<Step, 'ticket' | 'count' | 'parts'>> {
  return { ticket, count: (ticket * 7) % 40, parts: 1 + (ticket % 3) };
}

/** The messages of a step, cut into its parts; what comes out is the same every time. */
export function partsOf(step: Step, destination: string): ReturnType<typeof sampleBatch>[] {
  const { count, padding = 0 } = step;
  const messages = sampleBatch({ destination, ticket: BigInt(step.ticket), count, padding });
  const parts = step.parts ?? 1;
  const size = Math.ceil(messages.length / parts);
  return Array.from({ length: parts }, (_, index) => messages.slice(index * size, (index + 1) * size));
}

export async function publishStep(
  publisher: Publisher,
  step: Step,
  options: { readonly destination: string; readonly fromPart?: number },
): Promise<void> {
  const parts = partsOf(step, options.destination);
  const last = Math.min(step.publishParts ?? parts.length, parts.length);
  for (let part = (options.fromPart ?? 0) + 1; part <= last; part += 1) {
    const complete = part === parts.length;
    const lastSeq = lastSeqOf(BigInt(step.ticket), step.count);
    await publisher.publish(
      parts[part - 1] ?? [],
      samplePosition(BigInt(step.ticket), { complete, part, lastSeq }),
    );
  }
}

export interface PublisherProcess {
  /** Resolves with the next line that the process reports. */
  line(): Promise<string>;
  readonly child: ChildProcess;
  /** SIGKILL, and until it is gone. */
  kill(): Promise<void>;
}

/** `shell` is put before the command, e.g. to set a limit. */
export function startPublisherProcess(job: Job, shell: readonly string[] = []): PublisherProcess {
  const command = [
    ...shell,
    process.execPath,
    '--import',
    'tsx',
    fileURLToPath(import.meta.url),
    JSON.stringify(job),
  ];
  const [program = process.execPath, ...args] = command;
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    line: async () => {
      const next = await lines.next();
      if (next.done === true) throw new Error(`the publisher's process ended with ${child.exitCode}`);
      return next.value;
    },
    kill: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = once(child, 'exit');
      child.kill('SIGKILL');
      await gone;
    },
  };
}

async function main(job: Job): Promise<void> {
  const say = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  const publisher = createPublisher(job.recipe);
  const { destination } = job;
  if (job.steps === 'endless') await publishEndlessly(publisher, { destination, say });
  else {
    await publisher.start();
    say('started');
    for (const step of job.steps) {
      say(`publishing ${step.ticket}`);
      await publishStep(publisher, step, { destination });
      say(`published ${step.ticket}`);
    }
  }
  setInterval(() => undefined, 60_000);
}

/** As a relay does: after any error that is worth it, start again and go on from the position. */
async function publishEndlessly(
  publisher: Publisher,
  { destination, say }: { readonly destination: string; readonly say: (line: string) => void },
): Promise<void> {
  for (;;) {
    try {
      const position = await publisher.start();
      let ticket = position === undefined ? 1 : Number(position.ticket) + (position.complete ? 1 : 0);
      let fromPart = position === undefined || position.complete ? 0 : position.part;
      say(`started ${ticket}`);
      for (; ; ticket += 1, fromPart = 0) {
        await publishStep(publisher, endlessStep(ticket), { destination, fromPart });
        say(`published ${ticket}`);
      }
    } catch (error) {
      if (!(error instanceof ShovelError) || !error.retryable) throw error;
      say(`failed ${error.code}`);
      await publisher.stop();
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const job: Job = JSON.parse(process.argv[2] ?? '');
  await main(job);
}
