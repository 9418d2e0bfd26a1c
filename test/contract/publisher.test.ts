/**
 * The contract of src/streams/publisher.ts, held against every implementation that keeps its position with its
 * destination. Crashes are real: the publisher runs in a process that is killed.
 */

import { randomUUID } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Publisher, StreamPosition } from '../../src/streams/publisher.js';
import { kafkaBrokers, kafkaTestOptions, readTopic, waitForUncommitted } from '../support/kafka.js';
import {
  createPublisher,
  type PublisherRecipe,
  partsOf,
  publishStep,
  type Step,
  startPublisherProcess,
} from '../support/publisher-process.js';
import { lastSeqOf, sampleBatch, samplePosition, valuesOf } from '../support/sample-batches.js';
import { temporaryFolder } from '../support/temporary-folder.js';

interface Harness {
  readonly recipe: PublisherRecipe;
  readonly destination: string;
  /** A second destination of the same stream. */
  readonly other: string;
  /** What readers see, in order; reads again until so many are there. */
  read(destination: string, atLeast: number): Promise<(string | null)[]>;
  /** Resolves when something of the ticket's batch has arrived, visible or not. */
  arrived(ticket: number): Promise<void>;
  /** What `start` returns after ticket 1 was published and part 1 of ticket 2. */
  readonly afterPart: StreamPosition;
  /** Whether readers see that part then. */
  readonly partVisible: boolean;
  readonly shutsOut: 'first' | 'second';
}

const firstStep: Step = { ticket: 1, count: 5 };
const partedStep: Step = { ticket: 2, count: 6, parts: 2 };

async function kafkaHarness(): Promise<Harness> {
  const brokers = kafkaBrokers();
  const { logger: _, ...options } = kafkaTestOptions(brokers);
  const destination = options.positionTopic;
  return {
    recipe: { kind: 'kafka', options },
    destination,
    other: `${destination}.other`,
    read: async (topic, atLeast) => (await readTopic(brokers, topic, { atLeast })).map(({ value }) => value),
    arrived: (ticket) =>
      waitForUncommitted(brokers, destination, (value) => value.includes(`"ticket":"${ticket}"`)),
    afterPart: samplePosition(2n, { complete: false, part: 1, lastSeq: lastSeqOf(2n, 6) }),
    partVisible: true,
    shutsOut: 'first',
  };
}

async function fileHarness(): Promise<Harness> {
  const directory = temporaryFolder('file');
  const path = join(directory, 'trail.jsonl');
  return {
    recipe: { kind: 'file', options: { path, stream: randomUUID() } },
    destination: path,
    other: join(directory, 'other.jsonl'),
    read: async (file) => (await readFile(file, 'utf8')).split('\n').slice(0, -1),
    arrived: async (ticket) => {
      const whole = valuesOf(sampleBatch({ destination: path, ticket: BigInt(ticket - 1), count: 5 }));
      const before = Buffer.byteLength(whole.map((value) => `${value}\n`).join(''));
      while ((await stat(path)).size <= before) await delay(1);
    },
    afterPart: samplePosition(1n, { lastSeq: lastSeqOf(1n, 5) }),
    partVisible: false,
    shutsOut: 'second',
  };
}

describe.each([
  ['kafka', kafkaHarness],
  ['file', fileHarness],
] as const)('a publisher to %s', (_name, createHarness) => {
  let harness: Harness;
  const opened: Publisher[] = [];

  const open = (): Publisher => {
    const publisher = createPublisher(harness.recipe);
    opened.push(publisher);
    return publisher;
  };
  const wholeBatches = (...steps: Step[]): (string | null)[] =>
    steps.flatMap((step) => valuesOf(partsOf(step, harness.destination).flat()));

  beforeEach(async () => {
    harness = await createHarness();
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((publisher) => publisher.stop()));
  });

  test('finds no position where nothing was published', async () => {
    expect(await open().start()).toBeUndefined();
  });

  test('publishes in order and returns the position after a restart', async () => {
    const publisher = open();
    await publisher.start();
    const steps = [1, 2, 3].map((ticket) => ({ ticket, count: ticket * 4 }));
    for (const step of steps) await publishStep(publisher, step, harness);
    const expected = wholeBatches(...steps);
    expect(await harness.read(harness.destination, expected.length)).toEqual(expected);

    await publisher.stop();
    const position = samplePosition(3n, { lastSeq: lastSeqOf(3n, 12) });
    expect(await open().start()).toEqual(position);
  });

  test('goes on after its own restart', async () => {
    const publisher = open();
    await publisher.start();
    await publishStep(publisher, firstStep, harness);
    expect(await publisher.start()).toEqual(samplePosition(1n, { lastSeq: lastSeqOf(1n, 5) }));
    await publishStep(publisher, partedStep, harness);
    const expected = wholeBatches(firstStep, partedStep);
    expect(await harness.read(harness.destination, expected.length)).toEqual(expected);
  });

  test('moves the position without messages', async () => {
    const publisher = open();
    await publisher.start();
    await publisher.publish([], samplePosition(9n));
    await publisher.stop();
    expect(await open().start()).toEqual(samplePosition(9n));
  });

  test('writes several destinations under one position', async () => {
    const publisher = open();
    await publisher.start();
    const here = sampleBatch({ destination: harness.destination, ticket: 1n, count: 3 });
    const there = sampleBatch({ destination: harness.other, ticket: 1n, count: 2 });
    const mixed = here.flatMap((message, index) => [message, ...there.slice(index, index + 1)]);
    await publisher.publish(mixed, samplePosition(1n));
    expect(await harness.read(harness.destination, here.length)).toEqual(valuesOf(here));
    expect(await harness.read(harness.other, there.length)).toEqual(valuesOf(there));
    await publisher.stop();
    expect(await open().start()).toEqual(samplePosition(1n));
  });

  test('one of two instances is shut out', async () => {
    const first = open();
    await first.start();
    await publishStep(first, firstStep, harness);
    const second = open();
    if (harness.shutsOut === 'first') {
      expect(await second.start()).toEqual(samplePosition(1n, { lastSeq: lastSeqOf(1n, 5) }));
      await expect(publishStep(first, partedStep, harness)).rejects.toMatchObject({
        code: 'stream_fenced',
        exitCode: 26,
      });
      await publishStep(second, partedStep, harness);
    } else {
      await expect(second.start()).rejects.toMatchObject({ code: 'file_locked', exitCode: 21 });
      await publishStep(first, partedStep, harness);
      await first.stop();
      expect(await second.start()).toMatchObject({ ticket: 2n, complete: true });
    }
    const expected = wholeBatches(firstStep, partedStep);
    expect(await harness.read(harness.destination, expected.length)).toEqual(expected);
  });

  test('a crash between the parts of a batch: goes on from the position, nothing lost or twice', async () => {
    const crashed = startPublisherProcess({
      recipe: harness.recipe,
      destination: harness.destination,
      steps: [firstStep, { ...partedStep, publishParts: 1 }],
    });
    while ((await crashed.line()) !== 'published 2');
    await crashed.kill();

    const publisher = open();
    const position = await publisher.start();
    expect(position).toEqual(harness.afterPart);
    const part = valuesOf(partsOf(partedStep, harness.destination)[0] ?? []);
    const visible = [...wholeBatches(firstStep), ...(harness.partVisible ? part : [])];
    expect(await harness.read(harness.destination, visible.length)).toEqual(visible);

    const fromPart = position?.complete === false ? position.part : 0;
    await publishStep(publisher, partedStep, { destination: harness.destination, fromPart });
    const expected = wholeBatches(firstStep, partedStep);
    expect(await harness.read(harness.destination, expected.length)).toEqual(expected);
  });

  test('a crash within a publish: readers of what was started again see whole publishes only', async () => {
    const large: Step = { ticket: 2, count: 20_000, padding: 2000 };
    const crashed = startPublisherProcess({
      recipe: harness.recipe,
      destination: harness.destination,
      steps: [firstStep, large],
    });
    while ((await crashed.line()) !== 'publishing 2');
    await harness.arrived(2);
    await crashed.kill();

    // On a slow machine the publish may have ended before the kill; then all of it has to be there.
    const publisher = open();
    const position = await publisher.start();
    const published = position?.ticket === 2n ? [firstStep, large] : [firstStep];
    const { ticket, count } = published.at(-1) ?? firstStep;
    expect(position).toEqual(samplePosition(BigInt(ticket), { lastSeq: lastSeqOf(BigInt(ticket), count) }));
    const before = wholeBatches(...published);
    expect(await harness.read(harness.destination, before.length)).toEqual(before);
    const next: Step = { ticket: ticket + 1, count: 6 };
    await publishStep(publisher, next, harness);
    const expected = [...before, ...wholeBatches(next)];
    expect(await harness.read(harness.destination, expected.length)).toEqual(expected);
  });

  test('refuses to publish before start', async () => {
    await expect(publishStep(open(), firstStep, harness)).rejects.toMatchObject({
      code: 'stream_not_started',
    });
  });

  test('stop may come before start, and twice', async () => {
    const publisher = open();
    await publisher.stop();
    await publisher.start();
    await publisher.stop();
    await publisher.stop();
    expect(await publisher.start()).toBeUndefined();
  });
});
