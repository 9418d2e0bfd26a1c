/** Topics and partitions that are not what the publisher needs, on a real broker: nothing goes missing without a word. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import { Addresser } from '../../src/streams/kafka/addresser.js';
import { createKafkaPublisher } from '../../src/streams/kafka/kafka-publisher.js';
import { type Addressed, partitionName } from '../../src/streams/kafka/rounds.js';
import { sendRound } from '../../src/streams/kafka/transaction.js';
import {
  createTestTopic,
  kafkaBrokers,
  kafkaTestOptions,
  readTopic,
  testKafka,
  withTestAdmin,
} from '../support/kafka.js';
import { sampleBatch, samplePosition } from '../support/sample-batches.js';

describe('a cluster with fewer brokers than copies of a topic', () => {
  let broker: EphemeralService;
  beforeAll(async () => {
    broker = await startEphemeral('kafka', { settings: { 'default.replication.factor': '3' } });
  });
  afterAll(() => broker?.close());

  test('is waited for, and a topic that someone makes meanwhile is taken', async () => {
    const options = kafkaTestOptions([broker.address], { startTimeoutMs: 500 });
    const topic = options.positionTopic;
    const publisher = createKafkaPublisher(options);
    const command = `kafka-topics.sh --bootstrap-server ${broker.address} --create --topic ${topic} --partitions 1`;
    await expect(publisher.start()).rejects.toMatchObject({
      code: 'topic_not_ready',
      exitCode: 23,
      retryable: true,
      message: expect.stringContaining(`topic "${topic}"`),
      hint: expect.stringContaining(`${command} --replication-factor N`),
    });
    await withTestAdmin([broker.address], (admin) =>
      admin.createTopics({
        topics: [{ topic, numPartitions: 1, replicationFactor: 1 }],
        waitForLeaders: true,
      }),
    );
    expect(await publisher.start()).toBeUndefined();
    await publisher.publish(sampleBatch({ destination: topic, ticket: 1n, count: 3 }), samplePosition(1n));
    await publisher.stop();
    expect(await readTopic([broker.address], topic, { atLeast: 5 })).toHaveLength(5);
  });
});

describe('a partition that the client does not know', () => {
  test('is one that has not answered: the client says that all was sent', async () => {
    const brokers = kafkaBrokers();
    const { positionTopic: topic, transactionalId } = kafkaTestOptions(brokers);
    await createTestTopic(brokers, { topic, partitions: 2 });
    const producer = testKafka(brokers).producer({
      transactionalId,
      idempotent: false,
      maxInFlightRequests: 1,
    });
    await producer.connect();
    const to = (partition: number): Addressed => ({
      topic,
      partition,
      key: null,
      value: Buffer.from(`to ${partition}`),
      headers: {},
      bytes: 100,
      batchBytes: 1000,
    });
    const send = async (partitions: readonly number[]) => {
      const transaction = await producer.transaction();
      const round = {
        topics: new Map([[topic, partitions.map(to)]]),
        partitions: new Set(partitions.map((partition) => partitionName(topic, partition))),
      };
      const addresser = new Addresser({
        withAdmin: (use) => withTestAdmin(brokers, use),
        partitions: 2,
        brokers,
        compression: 'none',
        batchLimits: new Map(),
      });
      try {
        await sendRound(transaction, { round, compression: 'none', addresser });
        await transaction.commit();
      } catch (error) {
        await transaction.abort();
        throw error;
      }
    };
    for (const [sent, missing] of [
      [[0, 1, 7], [`${topic}/7`]],
      [[7], [`${topic}/7`]],
      [
        [0, 7, 8],
        [`${topic}/7`, `${topic}/8`],
      ],
    ] as const) {
      await expect(send(sent)).rejects.toMatchObject({
        code: 'kafka_send_incomplete',
        exitCode: 23,
        retryable: true,
        message: `Kafka did not answer for ${missing.join(', ')}`,
        hint: expect.stringContaining('check that the partitions have leaders'),
        details: { missing },
      });
    }
    await send([0, 1]);
    await producer.disconnect();
    const values = (await readTopic(brokers, topic, { atLeast: 2 })).map(({ value }) => value);
    expect(values).toEqual(['to 0', 'to 1']);
  });
});
