import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalJson, type JsonValue, orderedJson } from '../../../src/model/canonical-json.js';

const { value } = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger(),
    fc.string({ unit: 'binary' }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string(), tie('value'), { maxKeys: 5, noNullPrototype: true }),
  ),
}));

function shuffled(given: JsonValue): JsonValue {
  if (Array.isArray(given)) {
    return given.map(shuffled);
  }
  return typeof given === 'object' && given !== null
    ? Object.fromEntries(
        Object.entries(given)
          .reverse()
          .map(([name, item]) => [name, item === undefined ? item : shuffled(item)]),
      )
    : given;
}

test('is the value, whatever the order of its members', () => {
  fc.assert(
    fc.property(value, (given) => {
      const text = canonicalJson(given);
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(given)));
      expect(canonicalJson(shuffled(given))).toBe(text);
      expect(canonicalJson(JSON.parse(text))).toBe(text);
    }),
  );
});

test('sorts members, leaves out undefined, knows one zero', () => {
  expect(canonicalJson({ b: [-0, 'ü'], a: undefined, A: { z: null, y: true } })).toBe(
    '{"A":{"y":true,"z":null},"b":[0,"ü"]}',
  );
});

test('keeps the order where it means something', () => {
  expect(
    orderedJson([
      ['b', 1],
      ['a', { d: 1, c: 2 }],
    ]),
  ).toBe('{"b":1,"a":{"c":2,"d":1}}');
});

test.each([0.5, Number.NaN, 2 ** 53])('refuses %d', (number) => {
  expect(() => canonicalJson({ number })).toThrow(RangeError);
});
