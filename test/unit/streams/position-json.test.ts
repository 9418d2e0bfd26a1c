import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodePosition, encodePosition } from '../../../src/streams/position-json.js';

const position = fc.record({
  incarnation: fc.nat(),
  ticket: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
  snapshotHash: fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: 64, maxLength: 64 }),
  complete: fc.boolean(),
  part: fc.nat(),
  lastSeq: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
  epoch: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
});

test('what is written is read, without loss, and short enough for any broker', () => {
  fc.assert(
    fc.property(position, (value) => {
      const text = encodePosition(value);
      expect(text.length).toBeLessThan(400);
      expect(decodePosition(text)).toEqual(value);
    }),
  );
});

test('unknown members are ignored', () => {
  const text = encodePosition({
    incarnation: 1,
    ticket: 2n,
    snapshotHash: 'ab',
    complete: true,
    part: 1,
    lastSeq: 3n,
    epoch: 4n,
  });
  expect(decodePosition(text.replace('{', '{"later":1,'))?.ticket).toBe(2n);
});

test.each([
  '',
  'null',
  '[]',
  '{}',
  '"x"',
  '{"incarnation":1}',
  '{"incarnation":1.5,"ticket":"1"}',
  'nonsense',
])('no position: %s', (text) => {
  expect(decodePosition(text)).toBeUndefined();
});

test('every member is needed, and of its type', () => {
  const whole = {
    incarnation: 1,
    ticket: '2',
    hash: 'ab',
    complete: true,
    part: 1,
    lastSeq: '3',
    epoch: '4',
  };
  expect(decodePosition(JSON.stringify(whole))).toBeDefined();
  for (const name of Object.keys(whole)) {
    expect(decodePosition(JSON.stringify({ ...whole, [name]: undefined })), name).toBeUndefined();
    expect(decodePosition(JSON.stringify({ ...whole, [name]: {} })), name).toBeUndefined();
  }
  expect(decodePosition(JSON.stringify({ ...whole, ticket: 2 }))).toBeUndefined();
});
