/**
 * Kafka in tests: names of their own, topics, and a reader that sees what a `read_committed` consumer sees, from a
 * topic's start to its end. Brokers are real; their address comes from the caller.
 */

import { randomUUID } from 'node:crypto';
import type { Admin, Kafka, KafkaMessage } from 'kafkajs';
import kafkajs from 'kafkajs';
import { silentLogger } from '../../src/runtime/logger.js';
import type { KafkaPublisherOptions } from '../../src/streams/kafka/kafka-publisher.js';
import { testKafkaBrokers } from './services.js';

export interface ReadMessage {
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** Of the broker that tests share. */
export function kafkaBrokers(): string[] {
  return testKafkaBrokers().split(',');
}

/** A client of the test's own, apart from the publisher's. */
export function testKafka(brokers: readonly string[]): Kafka {
  return new kafkajs.Kafka({
    clientId: 'shovel-test',
    brokers: [...brokers],
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { initialRetryTime: 50, maxRetryTime: 500, retries: 20 },
  });
}

/** Options of a publisher that shares nothing with any other test. */
export function kafkaTestOptions(
  brokers: readonly string[],
  extra: Partial<KafkaPublisherOptions> = {},
): KafkaPublisherOptions {
  const id = `test.${randomUUID()}`;
  return {
    brokers,
    compression: 'none',
    transactionalId: id,
    positionGroup: id,
    positionTopic: id,
    logger: silentLogger(),
    ...extra,
  };
}

export async function withTestAdmin<T>(
  brokers: readonly string[],
  use: (admin: Admin) => Promise<T>,
): Promise<T> {
  const admin = testKafka(brokers).admin();
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
}

export async function createTestTopic(
  brokers: readonly string[],
  options: {
    readonly topic: string;
    readonly partitions: number;
    readonly config?: Readonly<Record<string, string>>;
  },
): Promise<void> {
  await withTestAdmin(brokers, (admin) =>
    admin.createTopics({
      topics: [
        {
          topic: options.topic,
          numPartitions: options.partitions,
          configEntries: Object.entries(options.config ?? {}).map(([name, value]) => ({ name, value })),
        },
      ],
      waitForLeaders: true,
    }),
  );
}

/**
 * What a `read_committed` consumer finds in the topic, partition by partition in offset order, up to the last stable
 * offset at the time of the call. That offset may lag a commit by some milliseconds: `atLeast` reads again until so
 * many messages are there or a minute has passed.
 */
export async function readTopic(
  brokers: readonly string[],
  topic: string,
  options: { readonly atLeast?: number } = {},
): Promise<ReadMessage[]> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    try {
      const found = await readOnce(brokers, topic);
      if (found.length >= (options.atLeast ?? 0) || Date.now() > deadline) return found;
    } catch (error) {
      // A broker that has just come back may not serve groups yet.
      if (!isPassing(error) || Date.now() > deadline) throw error;
    }
  }
}

function isPassing(error: unknown): boolean {
  return error instanceof Error && 'retriable' in error && error.retriable === true;
}

async function readOnce(brokers: readonly string[], topic: string): Promise<ReadMessage[]> {
  const ends = await withTestAdmin(brokers, (admin) => admin.fetchTopicOffsets(topic));
  const pending = new Map(
    ends.filter((end) => end.high !== end.low).map((end) => [end.partition, BigInt(end.high)]),
  );
  if (pending.size === 0) return [];
  const found: ReadMessage[] = [];
  await consume(brokers, { topic, readUncommitted: false }, (batch) => {
    for (const message of batch.messages) found.push(toRead(batch.topic, batch.partition, message));
    const end = pending.get(batch.partition);
    if (end !== undefined && batch.next >= end) pending.delete(batch.partition);
    return pending.size === 0;
  });
  return found.sort((a, b) => a.partition - b.partition || Number(BigInt(a.offset) - BigInt(b.offset)));
}

/** Resolves when the topic holds a message whose value fits, committed or not. */
export async function waitForUncommitted(
  brokers: readonly string[],
  topic: string,
  fits: (value: string) => boolean,
): Promise<void> {
  await consume(brokers, { topic, readUncommitted: true }, (batch) =>
    batch.messages.some((message) => fits(message.value?.toString() ?? '')),
  );
}

interface ConsumedBatch {
  readonly topic: string;
  readonly partition: number;
  readonly messages: readonly KafkaMessage[];
  /** The offset behind the batch, records that are no messages included. */
  readonly next: bigint;
}

/** From the start until `done` says so. */
async function consume(
  brokers: readonly string[],
  from: { readonly topic: string; readonly readUncommitted: boolean },
  done: (batch: ConsumedBatch) => boolean,
): Promise<void> {
  const consumer = testKafka(brokers).consumer({
    groupId: `reader.${randomUUID()}`,
    readUncommitted: from.readUncommitted,
    maxWaitTimeInMs: 100,
    allowAutoTopicCreation: false,
  });
  await consumer.connect();
  await consumer.subscribe({ topic: from.topic, fromBeginning: true });
  try {
    await new Promise<void>((resolve, reject) => {
      const seen = (batch: ConsumedBatch): void => {
        if (done(batch)) resolve();
      };
      consumer.on('consumer.crash', ({ payload }) => reject(payload.error));
      // A batch of markers alone reaches no handler, only this event.
      consumer.on('consumer.end_batch_process', ({ payload }) =>
        seen({ ...payload, messages: [], next: BigInt(payload.lastOffset) + 1n }),
      );
      consumer
        .run({
          autoCommit: false,
          eachBatch: async ({ batch }) => seen({ ...batch, messages: batch.messages, next: 0n }),
        })
        .catch(reject);
    });
  } finally {
    await consumer.disconnect();
  }
}

function toRead(topic: string, partition: number, message: KafkaMessage): ReadMessage {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(message.headers ?? {})) headers[name] = String(value);
  return {
    topic,
    partition,
    offset: message.offset,
    key: message.key?.toString() ?? null,
    value: message.value?.toString() ?? null,
    headers,
  };
}
