/**
 * Kafka in tests: names of their own, topics, and a reader that sees what a `read_committed` consumer sees, from a
 * topic's start to its end. Brokers are real; their address comes from the caller.
 */

import { randomUUID } from 'node:crypto';
import type { Admin, Kafka, KafkaMessage } from 'kafkajs';
import kafkajs from 'kafkajs';
import type { KafkaPublisherOptions } from '../../src/streams/kafka/kafka-publisher.js';
import type { StreamLogger } from '../../src/streams/stream-logger.js';

export interface ReadMessage {
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

export const silentLogger: StreamLogger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
};

export function brokerList(addresses: string): string[] {
  return addresses.split(',').filter((address) => address !== '');
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
    logger: silentLogger,
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
 * Everything committed in the topic, partition by partition in offset order, up to the last stable offset at the
 * time of the call. The end is found by a marker transaction of the test's own? No: by the offsets that the broker
 * gives to `read_committed` readers, so an open transaction hides what follows it, as from any consumer.
 */
export async function readTopic(brokers: readonly string[], topic: string): Promise<ReadMessage[]> {
  const kafka = testKafka(brokers);
  const ends = await withTestAdmin(brokers, (admin) => admin.fetchTopicOffsets(topic));
  const pending = new Map(
    ends.filter((end) => end.high !== end.low).map((end) => [end.partition, BigInt(end.high)]),
  );
  const found: ReadMessage[] = [];
  if (pending.size === 0) return found;
  const consumer = kafka.consumer({
    groupId: `reader.${randomUUID()}`,
    readUncommitted: false,
    maxWaitTimeInMs: 100,
    allowAutoTopicCreation: false,
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  try {
    await new Promise<void>((resolve, reject) => {
      consumer.on('consumer.crash', ({ payload }) => reject(payload.error));
      consumer.on('consumer.end_batch_process', ({ payload }) => {
        const end = pending.get(payload.partition);
        if (end !== undefined && BigInt(payload.lastOffset) + 1n >= end) pending.delete(payload.partition);
        if (pending.size === 0) resolve();
      });
      consumer
        .run({
          autoCommit: false,
          eachBatchAutoResolve: true,
          eachBatch: async ({ batch }) => {
            for (const message of batch.messages) found.push(toRead(batch.topic, batch.partition, message));
          },
        })
        .catch(reject);
    });
  } finally {
    await consumer.disconnect();
  }
  return found.sort((a, b) => a.partition - b.partition || Number(BigInt(a.offset) - BigInt(b.offset)));
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
