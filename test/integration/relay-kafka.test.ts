/** A relay from a real database to a real Kafka: exactly once to read_committed consumers, by batch and by key. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConfigurationError } from '../../src/errors.js';
import { memberText } from '../../src/model/json-text.js';
import type { KafkaStreamConfiguration } from '../../src/model/set-configuration.js';
import { createKafkaPublisher } from '../../src/streams/kafka/kafka-publisher.js';
import { positionOffsets, readPosition } from '../../src/streams/kafka/position-group.js';
import { onPublic } from '../support/captured-node.js';
import { faultyPublisher } from '../support/faulty-publisher.js';
import { kafkaTestOptions, readTopic, testKafka, withTestAdmin } from '../support/kafka.js';
import { Reader } from '../support/reader.js';
import { RelayedNode } from '../support/relayed-node.js';
import { testKafkaBrokers, testPgUrl } from '../support/services.js';
import { until } from '../support/until.js';

describe('a relay to Kafka', () => {
  let relayed: RelayedNode;
  const brokers = testKafkaBrokers().split(',');
  beforeEach(async () => {
    relayed = await RelayedNode.create({
      server: testPgUrl(),
      setup:
        'create table item (id int primary key, v int not null); create table other (id int primary key)',
      tables: '- { name: public.item }\n- { name: public.other }',
    });
  });
  afterEach(() => relayed.close());

  const run = (script: string) => onPublic(relayed.node.connection, script);
  const kafka = (topic: string): KafkaStreamConfiguration => ({
    kind: 'kafka',
    brokers,
    topic,
    partitions: 1,
    ssl: false,
    compression: 'none',
    format: 'shovel',
    transactions: false,
  });

  it('goes on in the middle of a batch, and nothing comes twice', async () => {
    const topic = `relay.${relayed.nodeId}`;
    const options = kafkaTestOptions(brokers, {
      positionTopic: topic,
      limits: { messages: 5, bytes: 1_000_000 },
    });
    const calls = { count: 0 };
    await run('insert into item select n, 0 from generate_series(1, 12) n; insert into other values (1)');
    const start = { streams: { trail: kafka(topic) } };
    for (const batch of [1, 2]) {
      const summary = await relayed.once({
        ...start,
        createPublisher: async () =>
          faultyPublisher(createKafkaPublisher(options), {
            calls,
            fault: (call) => (call % 2 === 0 ? undefined : call % 4 === 1 ? 'after' : 'before'),
          }),
      });
      expect(summary.error).toBeUndefined();
      await run(`update item set v = ${batch}; delete from item where id = ${batch}`);
    }
    await relayed.once({ ...start, createPublisher: async () => createKafkaPublisher(options) });
    const messages = await readTopic(brokers, topic, { atLeast: 44 });
    const reader = new Reader({ keys: { 'public.item': ['id'], 'public.other': ['id'] } });
    for (const { value } of messages) reader.take(value ?? '');
    expect(reader.ticket).toBe(3n);
    expect(reader.rows('public.item')).toEqual(await relayed.tableRows('public.item'));
    expect(reader.mutations).toHaveLength(13 + 13 + 12);
    const keys = messages.map((message) => `${message.headers['shovel-op']} ${message.key}`);
    expect(keys.slice(0, 2)).toEqual(['b null', 'c {"id":1}']);
    const ids = messages.map((message) => message.headers['shovel-id'] ?? '');
    expect(ids[1]).toMatch(new RegExp(`^${relayed.nodeId}/1/1/\\d+$`));
    expect(calls.count).toBeGreaterThan(6);
  });

  it('refuses to go on where the topic was deleted', async () => {
    const topic = `relay.${relayed.nodeId}`;
    const start = { streams: { trail: kafka(topic) } };
    await run('insert into other values (1)');
    await relayed.once({
      ...start,
      createPublisher: async () => createKafkaPublisher(kafkaTestOptions(brokers, { positionTopic: topic })),
    });
    // Another group and topic hold no position, as after a deletion.
    const summary = await relayed.once({
      ...start,
      createPublisher: async () =>
        createKafkaPublisher(kafkaTestOptions(brokers, { positionTopic: `${topic}.new` })),
    });
    expect(summary.error).toMatchObject({ code: 'position_lost', exitCode: 25 });
  });

  it('stops where the topic is deleted under it, and publishes nothing to the one in its place', async () => {
    const topic = `relay.${relayed.nodeId}`;
    const options = kafkaTestOptions(brokers, { positionTopic: topic });
    const relay = relayed.start({
      streams: { trail: kafka(topic) },
      createPublisher: async () => createKafkaPublisher(options),
    });
    await run('insert into other values (1)');
    await until('it is published', () => relay.stats.get('trail')?.ticket === 1n);
    await withTestAdmin(brokers, (admin) => admin.deleteTopics({ topics: [topic] }));
    await run('insert into other values (2)');
    await until('it has stopped', () => relay.stats.get('trail')?.state === 'failed');
    expect(relay.stats.get('trail')).toMatchObject({
      ticket: 1n,
      error: { code: 'position_lost', exitCode: 25 },
    });
    expect(await readTopic(brokers, topic)).toEqual([]);
    await relay.stop();
  });

  it('refuses to go on in a batch that lacks the mutation up to which it was published', async () => {
    const topic = `relay.${relayed.nodeId}`;
    const options = kafkaTestOptions(brokers, {
      positionTopic: topic,
      limits: { messages: 5, bytes: 1_000_000 },
    });
    const place = { group: options.positionGroup, topic };
    const start = { streams: { trail: kafka(topic) } };
    const whole = { ...start, createPublisher: async () => createKafkaPublisher(options) };
    await run('insert into item select n, 0 from generate_series(1, 12) n');
    const error = new ConfigurationError('login_refused', 'The broker refuses the login.', { hint: 'Wait.' });
    const calls = { count: 0 };
    await relayed.once({
      ...start,
      createPublisher: async () =>
        faultyPublisher(createKafkaPublisher(options), {
          calls,
          fault: (call) => (call > 2 ? 'before' : undefined),
          error,
        }),
    });
    const position = await withTestAdmin(brokers, (admin) => readPosition(admin, place));
    if (position === undefined) throw new Error('nothing was published');
    expect(position).toMatchObject({ ticket: 1n, complete: false, part: 2 });
    const producer = testKafka(brokers).producer({ transactionalId: `${topic}.hand` });
    await producer.connect();
    const transaction = await producer.transaction();
    await transaction.sendOffsets({
      consumerGroupId: place.group,
      topics: positionOffsets(place, { ...position, lastSeq: 99n }),
    });
    await transaction.commit();
    await producer.disconnect();
    for (let time = 0; time < 2; time += 1) {
      expect((await relayed.once(whole)).error).toMatchObject({
        code: 'batch_changed',
        exitCode: 25,
        message:
          'Set example, database main: mutation 99 of ticket 1 was published, but is not in the batch.',
        hint: expect.stringContaining('shovel relay example --from 1.'),
      });
    }
    // What the hint says.
    expect((await relayed.once({ ...whole, fromTicket: 1n })).error).toBeUndefined();
    const messages = await readTopic(brokers, topic, { atLeast: 10 + 14 });
    const ops = messages.map(({ headers }) => headers['shovel-op']).join('');
    expect(ops).toBe(`b${'c'.repeat(9)}b${'c'.repeat(12)}e`);
  });

  it('keys rows where each table has a topic: no markers, a key change is d and c, t to every partition', async () => {
    const prefix = `relay.${relayed.nodeId}`;
    const stream = { ...kafka(`${prefix}.{schema}.{table}`), partitions: 3 };
    const options = kafkaTestOptions(brokers, { positionTopic: `${prefix}.positions`, partitions: 3 });
    const start = { streams: { trail: stream }, createPublisher: async () => createKafkaPublisher(options) };
    await run(
      'insert into item values (1, 0), (2, 0); update item set id = 3 where id = 2; update item set v = 1',
    );
    await run('insert into other values (1); truncate other');
    expect((await relayed.once(start)).error).toBeUndefined();
    const items = await readTopic(brokers, `${prefix}.public.item`, { atLeast: 6 });
    const others = await readTopic(brokers, `${prefix}.public.other`, { atLeast: 4 });
    const said = items.map(({ key, value }) => `${memberText(value ?? '', 'op')} ${key}`).sort();
    expect(said).toEqual([
      '"c" {"id":1}',
      '"c" {"id":2}',
      '"c" {"id":3}',
      '"d" {"id":2}',
      '"u" {"id":1}',
      '"u" {"id":3}',
    ]);
    expect(
      others
        .filter(({ value }) => memberText(value ?? '', 'op') === '"t"')
        .map((one) => one.partition)
        .sort(),
    ).toEqual([0, 1, 2]);
    const [deleted] = items.filter(({ headers }) => headers['shovel-op'] === 'd');
    const made = items.filter(({ headers }) => headers['shovel-id'] === deleted?.headers['shovel-id']);
    expect(made.map(({ headers }) => headers['shovel-op']).sort()).toEqual(['c', 'd']);
  });
});
