import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type Addressed,
  BATCH_OVERHEAD_BYTES,
  intoRounds,
  recordBytes,
} from '../../../src/streams/kafka/rounds.js';

function message(at: { topic: string; partition: number; size: number; batchBytes: number }): Addressed {
  const value = Buffer.alloc(at.size);
  const { topic, partition, batchBytes } = at;
  return { topic, partition, key: null, value, headers: {}, bytes: recordBytes(null, value, {}), batchBytes };
}

const anyMessages = fc.array(
  fc.record({
    topic: fc.constantFrom('a', 'b'),
    partition: fc.integer({ min: 0, max: 2 }),
    size: fc.integer({ min: 0, max: 400 }),
  }),
  { maxLength: 60 },
);

test('every message is in one round, in order within its partition, and no batch is too large', () => {
  fc.assert(
    fc.property(
      anyMessages,
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 100, max: 2000 }),
      (list, most, bytes) => {
        const messages = list.map((entry) => message({ ...entry, batchBytes: 500 }));
        const rounds = [...intoRounds(messages, { messages: most, bytes })];
        for (const name of ['a/0', 'a/1', 'a/2', 'b/0', 'b/1', 'b/2']) {
          const of = (source: Iterable<Addressed>) =>
            [...source].filter((entry) => `${entry.topic}/${entry.partition}` === name);
          const sent = rounds.map((round) => of([...round.topics.values()].flat()));
          expect(sent.flat()).toEqual(of(messages));
          for (const batch of sent) {
            const size = batch.reduce((sum, entry) => sum + entry.bytes, BATCH_OVERHEAD_BYTES);
            expect(batch.length <= 1 || size <= 500).toBe(true);
          }
        }
        for (const round of rounds) {
          const all = [...round.topics.values()].flat();
          expect(all.length).toBeGreaterThan(0);
          expect(all.length).toBeLessThanOrEqual(most);
          expect(all.length === 1 || all.reduce((sum, entry) => sum + entry.bytes, 0) <= bytes).toBe(true);
          expect(round.partitions).toEqual(new Set(all.map((entry) => `${entry.topic}/${entry.partition}`)));
        }
      },
    ),
  );
});

test('nothing makes no round', () => {
  expect([...intoRounds([], { messages: 10, bytes: 10 })]).toEqual([]);
});

test('a record counts its key, value and headers in bytes, not characters', () => {
  const plain = recordBytes(null, null, {});
  expect(recordBytes(Buffer.from('é'), Buffer.from('€'), { h: 'ü' }) - plain).toBe(2 + 3 + 10 + 1 + 2);
});
