/** What the publisher to Kafka does beyond the contract of all publishers, against a real broker. */

import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { ShovelError } from '../../src/errors.js';
import { createKafkaPublisher, type KafkaPublisherOptions } from '../../src/streams/kafka/kafka-publisher.js';
import { partitionOfKey } from '../../src/streams/kafka/partition.js';
import type { OutgoingMessage, Publisher } from '../../src/streams/publisher.js';
import {
  createTestTopic,
  kafkaBrokers,
  kafkaTestOptions,
  type ReadMessage,
  readTopic,
  testKafka,
  withTestAdmin,
} from '../support/kafka.js';
import { sampleBatch, samplePosition } from '../support/sample-batches.js';

const opened: Publisher[] = [];

function open(options: KafkaPublisherOptions): Publisher {
  const publisher = createKafkaPublisher(options);
  opened.push(publisher);
  return publisher;
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map((publisher) => publisher.stop()));
});

function message(topic: string, text: string, extra: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    destination: topic,
    partition: 0,
    key: null,
    value: JSON.stringify(text),
    headers: { 'shovel-id': `n/1/1/${text.length}`, 'shovel-op': 'c', 'shovel-epoch': '7' },
    ...extra,
  };
}

function countBy(messages: readonly ReadMessage[]): number[] {
  const counts: number[] = [];
  for (const { partition } of messages) counts[partition] = (counts[partition] ?? 0) + 1;
  return counts;
}

describe('topics and partitions', () => {
  test('a missing topic is made with the partitions that the stream asks for, an existing one is left alone', async () => {
    const options = kafkaTestOptions(kafkaBrokers(), { partitions: 3 });
    const existing = `${options.positionTopic}.existing`;
    await createTestTopic(options.brokers, { topic: existing, partitions: 2 });
    const publisher = open(options);
    await publisher.start();
    const topics = [options.positionTopic, existing, `${options.positionTopic}.later`];
    await publisher.publish(
      topics.map((topic) => message(topic, 'x')),
      samplePosition(1n),
    );
    const partitions = await withTestAdmin(options.brokers, async (admin) => {
      const found = await admin.fetchTopicMetadata({ topics });
      return topics.map((topic) => found.topics.find((entry) => entry.name === topic)?.partitions.length);
    });
    expect(partitions).toEqual([3, 2, 3]);
  });

  test('keys go where the default partitioner puts them, `all` to every partition, a number to that one', async () => {
    const options = kafkaTestOptions(kafkaBrokers(), { partitions: 4 });
    const topic = options.positionTopic;
    const publisher = open(options);
    await publisher.start();
    const keys = Array.from({ length: 50 }, (_, id) => `{"id":${id}}`);
    const keyed = keys.map((key) => message(topic, key, { key, partition: 'by-key' }));
    await publisher.publish(
      [
        ...keyed,
        message(topic, 'everywhere', { partition: 'all' }),
        message(topic, 'third', { partition: 2 }),
      ],
      samplePosition(1n),
    );
    const found = await readTopic(options.brokers, topic, { atLeast: 55 });
    for (const { key, partition } of found.filter((entry) => entry.key !== null)) {
      expect(partition).toBe(partitionOfKey(Buffer.from(key ?? ''), 4));
    }
    const where = (value: string) =>
      found.filter((entry) => entry.value === value).map(({ partition }) => partition);
    expect(where('"everywhere"')).toEqual([0, 1, 2, 3]);
    expect(where('"third"')).toEqual([2]);
    expect(found).toHaveLength(55);
  });

  test('a partition that does not exist is refused, and nothing of the batch is seen', async () => {
    const options = kafkaTestOptions(kafkaBrokers());
    const topic = options.positionTopic;
    const publisher = open(options);
    await publisher.start();
    const batch = [message(topic, 'fits'), message(topic, 'does not', { partition: 7 })];
    await expect(publisher.publish(batch, samplePosition(1n))).rejects.toMatchObject({
      code: 'partition_missing',
      exitCode: 20,
      message: expect.stringContaining(topic),
    });
    await expect(publisher.publish([message(topic, 'fits')], samplePosition(1n))).rejects.toMatchObject({
      code: 'partition_missing',
    });
    expect(await publisher.start()).toBeUndefined();
    expect(await readTopic(options.brokers, topic)).toEqual([]);
  });

  test('a topic name that Kafka does not take is a configuration error', async () => {
    const options = kafkaTestOptions(kafkaBrokers());
    const publisher = open(options);
    await publisher.start();
    const batch = [message('not a topic', 'x')];
    await expect(publisher.publish(batch, samplePosition(1n))).rejects.toMatchObject({ exitCode: 20 });
  });

  test('bytes arrive as they were given: tombstones, headers, any character', async () => {
    const options = kafkaTestOptions(kafkaBrokers(), { compression: 'gzip' });
    const topic = options.positionTopic;
    const publisher = open(options);
    await publisher.start();
    const odd = message(topic, 'žluťoučký 🐎 \u0000 \u2028', { key: '{"ключ":"ü"}' });
    await publisher.publish([odd, { ...odd, value: null }], samplePosition(1n));
    const [first, second] = await readTopic(options.brokers, topic, { atLeast: 2 });
    expect(first).toMatchObject({ key: odd.key, value: odd.value, headers: odd.headers });
    expect(second).toMatchObject({ key: odd.key, value: null, headers: odd.headers });
  });
});

describe('sizes', () => {
  test('a batch far beyond what one request may hold is one transaction all the same', async () => {
    const options = kafkaTestOptions(kafkaBrokers(), { partitions: 2 });
    const topic = options.positionTopic;
    const publisher = open(options);
    await publisher.start();
    const wide = 'y'.repeat(100_000);
    const batch = Array.from({ length: 60 }, (_, index) =>
      message(topic, `${index}${wide}`, { partition: index % 2 }),
    );
    await publisher.publish(batch, samplePosition(1n));
    const found = await readTopic(options.brokers, topic, { atLeast: 60 });
    expect(countBy(found)).toEqual([30, 30]);
    const order = batch.filter(({ partition }) => partition === 0).map(({ value }) => value);
    expect(found.filter(({ partition }) => partition === 0).map(({ value }) => value)).toEqual(order);
  });

  test("batches keep within the topic's own limit", async () => {
    const options = kafkaTestOptions(kafkaBrokers());
    const topic = options.positionTopic;
    await createTestTopic(options.brokers, {
      topic,
      partitions: 1,
      config: { 'max.message.bytes': '20000' },
    });
    const publisher = open(options);
    await publisher.start();
    await publisher.publish(
      Array.from({ length: 100 }, (_, index) => message(topic, `${index}${'z'.repeat(3000)}`)),
      samplePosition(1n),
    );
    expect(await readTopic(options.brokers, topic, { atLeast: 100 })).toHaveLength(100);
  });

  test('a message larger than the topic takes stops the stream and names itself, not its content', async () => {
    const options = kafkaTestOptions(kafkaBrokers());
    const topic = options.positionTopic;
    await createTestTopic(options.brokers, {
      topic,
      partitions: 1,
      config: { 'max.message.bytes': '20000' },
    });
    const publisher = open(options);
    await publisher.start();
    const large = message(topic, 'secret'.repeat(5000), { key: '{"id":"hidden"}' });
    const failure: unknown = await publisher
      .publish([message(topic, 'small'), large], samplePosition(1n))
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'message_too_large', exitCode: 25, retryable: false });
    expect(String(failure)).toContain(topic);
    expect(String(failure)).toContain('n/1/1/30000');
    expect(JSON.stringify(failure)).not.toMatch(/secret|hidden/);
    expect(await publisher.start()).toBeUndefined();
    expect(await readTopic(options.brokers, topic)).toEqual([]);
  });

  test('with gzip it is the compressed size that counts', async () => {
    const options = kafkaTestOptions(kafkaBrokers(), { compression: 'gzip' });
    const topic = options.positionTopic;
    await createTestTopic(options.brokers, {
      topic,
      partitions: 1,
      config: { 'max.message.bytes': '20000' },
    });
    const publisher = open(options);
    await publisher.start();
    const wide = message(topic, 'w'.repeat(1_000_000));
    await publisher.publish([wide, message(topic, 'next')], samplePosition(1n));
    const found = await readTopic(options.brokers, topic, { atLeast: 2 });
    expect(found.map(({ value }) => value)).toEqual([wide.value, '"next"']);
  });

  test('a limit that was lowered meanwhile: smaller batches after a restart', async () => {
    const options = kafkaTestOptions(kafkaBrokers());
    const topic = options.positionTopic;
    const publisher = open(options);
    await publisher.start();
    await publisher.publish([message(topic, 'before')], samplePosition(1n));
    await withTestAdmin(options.brokers, (admin) =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [{ type: 2, name: topic, configEntries: [{ name: 'max.message.bytes', value: '20000' }] }],
      }),
    );
    const batch = Array.from({ length: 40 }, (_, index) => message(topic, `${index}${'v'.repeat(3000)}`));
    const failure = publisher.publish(batch, samplePosition(2n));
    await expect(failure).rejects.toMatchObject({ code: 'kafka_batch_too_large', retryable: true });
    expect(await publisher.start()).toEqual(samplePosition(1n));
    await publisher.publish(batch, samplePosition(2n));
    expect(await readTopic(options.brokers, topic, { atLeast: 41 })).toHaveLength(41);
  });
});

describe('the position', () => {
  test('an idle one is committed again', async () => {
    const options = kafkaTestOptions(kafkaBrokers(), { refreshMs: 20 });
    const { positionGroup: groupId, positionTopic: topic } = options;
    const publisher = open(options);
    await publisher.start();
    await publisher.publish(sampleBatch({ destination: topic, ticket: 5n, count: 2 }), samplePosition(5n));
    await withTestAdmin(options.brokers, async (admin) => {
      const offset = async () =>
        (await admin.fetchOffsets({ groupId, topics: [topic] }))[0]?.partitions[0]?.offset;
      await expect.poll(offset, { timeout: 60_000 }).toBe('5');
      await admin.deleteGroups([groupId]);
      await expect.poll(offset, { timeout: 60_000 }).toBe('5');
    });
    expect(await publisher.start()).toEqual(samplePosition(5n));
    expect(await readTopic(options.brokers, topic, { atLeast: 4 })).toHaveLength(4);
  });

  test('a consumer in the reserved group is refused', async () => {
    const options = kafkaTestOptions(kafkaBrokers());
    await createTestTopic(options.brokers, { topic: options.positionTopic, partitions: 1 });
    const consumer = testKafka(options.brokers).consumer({
      groupId: options.positionGroup,
      maxWaitTimeInMs: 100,
    });
    await consumer.connect();
    await consumer.subscribe({ topic: options.positionTopic });
    const joined = new Promise<void>((resolve) => {
      consumer.on('consumer.group_join', () => resolve());
    });
    await consumer.run({ eachMessage: async () => undefined });
    await joined;
    try {
      await expect(open(options).start()).rejects.toMatchObject({
        code: 'position_group_in_use',
        exitCode: 25,
        message: expect.stringContaining(options.positionGroup),
      });
    } finally {
      await consumer.disconnect();
    }
  });

  test('an offset that someone else committed is refused, not taken for the start', async () => {
    const options = kafkaTestOptions(kafkaBrokers());
    const { positionGroup: groupId, positionTopic: topic } = options;
    await createTestTopic(options.brokers, { topic, partitions: 1 });
    const other = testKafka(options.brokers).producer({ transactionalId: `${groupId}.other` });
    await other.connect();
    const transaction = await other.transaction();
    await transaction.sendOffsets({
      consumerGroupId: groupId,
      topics: [{ topic, partitions: [{ partition: 0, offset: '3' }] }],
    });
    await transaction.commit();
    await other.disconnect();
    // The other's commit may be on its way still: until then the group is empty.
    const code = () =>
      open(options)
        .start()
        .then(
          () => 'none',
          (error: unknown) => (error instanceof ShovelError ? `${error.code} ${error.exitCode}` : error),
        );
    await expect.poll(code, { timeout: 60_000 }).toBe('position_unreadable 25');
  });
});

describe('brokers that do not answer', () => {
  test('none there: unreachable, by name', async () => {
    const options = kafkaTestOptions(['127.0.0.1:1', '127.0.0.1:2'], { startTimeoutMs: 500 });
    await expect(open(options).start()).rejects.toMatchObject({
      code: 'kafka_unreachable',
      exitCode: 23,
      retryable: true,
      message: expect.stringContaining('127.0.0.1:1, 127.0.0.1:2'),
    });
  });

  test('one that accepts and stays silent: unreachable too', async () => {
    const sockets = new Set<net.Socket>();
    const server = net.createServer((socket) => sockets.add(socket));
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const brokers = [`127.0.0.1:${port}`];
    const options = kafkaTestOptions(brokers, { startTimeoutMs: 500, requestTimeoutMs: 300 });
    try {
      await expect(open(options).start()).rejects.toMatchObject({
        exitCode: 23,
        retryable: true,
        message: expect.stringContaining(`127.0.0.1:${port}`),
      });
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });

  test('a SASL mechanism that is not supported is a configuration error', async () => {
    const sasl = { mechanism: 'gssapi', username: 'u', password: 'hidden' };
    const failure: unknown = await open(kafkaTestOptions(kafkaBrokers(), { sasl }))
      .start()
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'kafka_sasl_mechanism', exitCode: 20 });
    expect(String(failure)).not.toContain('hidden');
  });
});
