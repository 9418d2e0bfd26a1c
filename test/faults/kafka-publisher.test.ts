/**
 * Exactly once under SIGKILL: a publisher's process is killed at random points, and so is the broker beneath it. What
 * `read_committed` readers find afterwards is every batch once, in order. The points come from a seed that is printed
 * when the test fails; the timing of the machine makes them differ all the same.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import { createTestTopic, kafkaBrokers, kafkaTestOptions, readTopic } from '../support/kafka.js';
import {
  createPublisher,
  endlessStep,
  type PublisherRecipe,
  partsOf,
  publishStep,
  startPublisherProcess,
} from '../support/publisher-process.js';

const KILLS = 14;
const BROKER_KILLS = 4;
const REQUEST_TIMEOUT_MS = 1000;

/** Numbers from 0 to 1 that a seed fixes. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

interface Stream {
  readonly brokers: string[];
  readonly recipe: PublisherRecipe;
  readonly destination: string;
}

async function createStream(brokers: string[]): Promise<Stream> {
  const { logger: _, ...options } = kafkaTestOptions(brokers, {
    startTimeoutMs: 20_000,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
  });
  await createTestTopic(brokers, { topic: options.positionTopic, partitions: 1 });
  return { brokers, recipe: { kind: 'kafka', options }, destination: options.positionTopic };
}

/** Ends the batch in hand, and compares all that readers see with what was to be published. */
async function expectEveryBatchOnce(stream: Stream, atLeastTicket: number): Promise<void> {
  const publisher = createPublisher(stream.recipe);
  const position = await publisher.start();
  const ticket = Number(position?.ticket ?? 0n);
  expect(ticket).toBeGreaterThanOrEqual(atLeastTicket);
  if (position?.complete === false) {
    const { destination } = stream;
    await publishStep(publisher, endlessStep(ticket), { destination, fromPart: position.part });
  }
  await publisher.stop();

  const expected = Array.from({ length: ticket }, (_, index) => endlessStep(index + 1))
    .flatMap((step) => partsOf(step, stream.destination).flat())
    .map(({ value }) => value);
  const found = await readTopic(stream.brokers, stream.destination, { atLeast: expected.length });
  expect(found.length).toBe(expected.length);
  expect(found.map(({ value }) => value)).toEqual(expected);
}

function ticketOf(line: string): number {
  return Number(/^published ([0-9]+)$/.exec(line)?.[1] ?? 0);
}

describe('the publisher is killed', () => {
  test(`${KILLS} times at random points: nothing lost, nothing twice, order kept`, async () => {
    const seed = Date.now() % 2 ** 32;
    const next = random(seed);
    const stream = await createStream(kafkaBrokers());
    let last = 0;
    for (let kill = 0; kill < KILLS; kill += 1) {
      const process = startPublisherProcess({ ...stream, steps: 'endless' });
      const lines = 1 + Math.floor(next() * 12);
      for (let line = 0; line <= lines; line += 1) last = Math.max(last, ticketOf(await process.line()));
      await delay(next() * 15);
      await process.kill();
    }
    await expectEveryBatchOnce(stream, last).catch((error: unknown) => {
      throw new Error(`seed ${seed}`, { cause: error });
    });
  });
});

describe.each(['kafka', 'kafka39'])('a private broker (%s)', (service) => {
  let broker: EphemeralService;
  beforeAll(async () => {
    broker = await startEphemeral(service);
  });
  afterAll(() => broker?.close());

  /** Publishes endlessly while `harm` is done to the broker again and again. */
  async function publishThrough(times: number, harm: () => Promise<void>): Promise<void> {
    const seed = Date.now() % 2 ** 32;
    const next = random(seed);
    const stream = await createStream([broker.address]);
    const process = startPublisherProcess({ ...stream, steps: 'endless' });
    const until = async (word: 'failed' | 'published'): Promise<number> => {
      for (;;) {
        const line = await process.line();
        if (line.startsWith(word)) return ticketOf(line);
      }
    };
    let last = await until('published');
    for (let time = 0; time < times; time += 1) {
      const more = last + 1 + Math.floor(next() * 30);
      while (last < more) last = await until('published');
      await delay(next() * 15);
      await Promise.all([harm(), until('failed')]);
      last = await until('published');
    }
    await process.kill();
    await expectEveryBatchOnce(stream, last).catch((error: unknown) => {
      throw new Error(`seed ${seed}`, { cause: error });
    });
  }

  test(`killed ${BROKER_KILLS} times: the publisher goes on by itself, nothing lost, nothing twice`, async () => {
    await publishThrough(BROKER_KILLS, async () => {
      await broker.server.kill();
      await broker.server.start();
    });
  });

  test('silent for longer than a request may take: the same', async () => {
    await publishThrough(2, async () => {
      broker.server.pause();
      await delay(2 * REQUEST_TIMEOUT_MS);
      broker.server.resume();
    });
  });
});
