import fc from 'fast-check';
import kafkajs from 'kafkajs';
import { expect, test } from 'vitest';
import { murmur2, partitionOfKey } from '../../../src/streams/kafka/partition.js';

/** From the tests of Kafka's own Java client (UtilsTest.testMurmur2). */
const published: Readonly<Record<string, number>> = {
  '21': -973932308,
  foobar: -790332482,
  'a-little-bit-long-string': -985981536,
  'a-little-bit-longer-string': -1486304829,
  lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8: -58897971,
  abc: 479470107,
};

test.each(Object.entries(published))('murmur2 of %s', (text, hash) => {
  expect(murmur2(Buffer.from(text))).toBe(hash);
});

test('any key goes where the default partitioner puts it', () => {
  const theirs = kafkajs.Partitioners.DefaultPartitioner();
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 1, max: 300 }), (text, partitions) => {
      const key = Buffer.from(text);
      const metadata = Array.from({ length: partitions }, (_, partitionId) => ({
        partitionId,
        partitionErrorCode: 0,
        leader: 1,
        replicas: [1],
        isr: [1],
      }));
      const expected = theirs({ topic: 't', partitionMetadata: metadata, message: { key, value: null } });
      expect(partitionOfKey(key, partitions)).toBe(expected);
    }),
  );
});

test('reads a key that stands within a larger buffer', () => {
  expect(murmur2(Buffer.from('xxfoobar').subarray(2))).toBe(published.foobar);
});

test('without a key it is partition 0', () => {
  expect(partitionOfKey(null, 7)).toBe(0);
});
