import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isJson, members, memberText, pickMembers, spaceLineBreaks } from '../../../src/model/json-text.js';

/** Any JSON object, printed with any escapes and any space between tokens. */
const space = fc.constantFrom('', ' ', '\n', '\r\n', '\t', '  ');

function printed(value: unknown, how: { escapes: boolean; space: string }): string {
  const { escapes, space: gap } = how;
  if (Array.isArray(value)) {
    return `[${gap}${value.map((item) => printed(item, how)).join(`${gap},${gap}`)}${gap}]`;
  }
  if (typeof value === 'object' && value !== null) {
    const parts = Object.entries(value).map(
      ([name, item]) => `${printed(name, how)}${gap}:${gap}${printed(item, how)}`,
    );
    return `${gap}{${gap}${parts.join(`${gap},${gap}`)}${gap}}`;
  }
  const text = JSON.stringify(value);
  return typeof value === 'string' && escapes
    ? `"${[...value].map((unit) => escaped(unit)).join('')}"`
    : text;
}

function escaped(character: string): string {
  return character
    .split('')
    .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .join('');
}

const name = fc.oneof(
  fc.constantFrom('id', 'a', '"', '\\', 'a"b', 'x\\', '\n', 'Order Items', 'ü', '🙂', '', 'a":1,"b'),
  fc.string(),
);
const value = fc.jsonValue({ maxDepth: 3 });
/**
 * None with a key that is one backslash: once Node 24's JSON.parse has met one beside another key, it takes escaped keys
 * there for it (`{"ü":1,"\"":2}` gets the key `\`), and no text could be held against it any more.
 */
const row = fc
  .dictionary(name, value, { maxKeys: 8, noNullPrototype: true })
  .filter((object) => !JSON.stringify(object).includes('"\\\\":'));
const style = fc.record({ escapes: fc.boolean(), space });

describe('memberText', () => {
  test('is the raw text of the member, however the object is printed', () => {
    fc.assert(
      fc.property(row, style, (object, how) => {
        const json = printed(object, how);
        for (const [key, item] of Object.entries(object)) {
          const text = memberText(json, key);
          expect(text).toBeDefined();
          expect(JSON.parse(text ?? '')).toEqual(JSON.parse(JSON.stringify(item)));
        }
      }),
    );
  });

  test('finds exactly the members that are there', () => {
    fc.assert(
      fc.property(row, style, name, (object, how, wanted) => {
        expect(memberText(printed(object, how), wanted) !== undefined).toBe(Object.hasOwn(object, wanted));
      }),
    );
  });

  test.each([
    ['{"id":9007199254740993,"n":1.10}', 'id', '9007199254740993'],
    ['{"id":9007199254740993,"n":1.10}', 'n', '1.10'],
    ['{"s":"a\\"b\\\\","t":1}', 's', '"a\\"b\\\\"'],
    ['{"s":"a\\"b\\\\","t":1}', 't', '1'],
    ['{"j":{"id":7},"id":8}', 'id', '8'],
    ['{"j":[{"id":7},"]"],"id":8}', 'id', '8'],
    ['{"\\u0069d":1}', 'id', '1'],
    ['{"a\\\\n":1}', 'a\\n', '1'],
    ['{"a\\n":1}', 'a\\n', undefined],
    ['{"a\\n":1}', 'a\n', '1'],
    ['{"a":1,"b":2}', 'a":1,"b', undefined],
    ['{"j":{"a":\n1,\r\n"b":[\n]},"z":true}', 'j', '{"a":\n1,\r\n"b":[\n]}'],
    ['{"id":1,"id":2}', 'id', '1'],
    ['[{"id":1}]', 'id', undefined],
    ['"id"', 'id', undefined],
    ['{}', 'id', undefined],
    ['', 'id', undefined],
  ])('%s has %s = %s', (json, wanted, text) => {
    expect(memberText(json, wanted)).toBe(text);
  });

  test('ends on any text, JSON or not', () => {
    const text = fc.oneof(
      fc.string(),
      fc
        .array(fc.constantFrom('{', '}', '[', ']', '"', '\\', ',', ':', 'a', ' ', '1'), { maxLength: 40 })
        .map((a) => a.join('')),
    );
    fc.assert(
      fc.property(text, (json) => {
        memberText(json, 'a');
        pickMembers(json, ['a', 'b']);
        expect([...members(json)].length).toBeLessThanOrEqual(json.length);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('members', () => {
  test('are what JSON.parse sees, in their order, each text lossless', () => {
    fc.assert(
      fc.property(row, style, (object, how) => {
        const seen = [...members(printed(object, how))];
        expect(seen.map(([key]) => key)).toEqual(Object.keys(object));
        expect(Object.fromEntries(seen.map(([key, text]) => [key, JSON.parse(text)]))).toEqual(
          JSON.parse(JSON.stringify(object)),
        );
      }),
    );
  });

  test('raw texts put together again are the object', () => {
    const json = '{"a":1.50,"b":"x\\u0041","c":[1, {"d":null}],"e":-0.0e+5}';
    const texts = [...members(json)].map(([key, text]) => `${JSON.stringify(key)}:${text}`);
    expect(`{${texts.join(',')}}`).toBe(json);
  });
});

describe('pickMembers', () => {
  test('builds the object of the named members, without space between name and value', () => {
    fc.assert(
      fc.property(row, style, (object, how) => {
        const json = printed(object, how);
        const names = Object.keys(object).reverse().slice(0, 3);
        const picked = pickMembers(json, names);
        expect([...members(picked ?? '')].map(([key]) => key)).toEqual(names);
        const start = names[0] === undefined ? '{}' : `{${JSON.stringify(names[0])}:`;
        expect(picked?.startsWith(start)).toBe(true);
        expect(JSON.parse(picked ?? '')).toEqual(
          JSON.parse(JSON.stringify(Object.fromEntries(names.map((key) => [key, object[key]])))),
        );
      }),
    );
  });

  test('is undefined where a member is missing', () => {
    expect(pickMembers('{"a":1,"b":2}', ['a', 'c'])).toBeUndefined();
    expect(pickMembers('{"a":1,"b":2}', ['c'])).toBeUndefined();
  });

  test.each([
    ['{"id":12345678901234567890,"x":1}', ['id'], '{"id":12345678901234567890}'],
    ['{ "id" : 1 , "x":1}', ['id'], '{"id":1}'],
    ['{"a":1,"b":1.0}', ['b', 'a'], '{"b":1.0,"a":1}'],
    ['{"a":1}', [], '{}'],
  ])('%s, %j → %s', (json, names, picked) => {
    expect(pickMembers(json, names)).toBe(picked);
  });
});

describe('isJson', () => {
  test.each(['1', '"a"', 'null', ' {"a":[]} ', '{"a":"\\u0000"}', '1e400', '\t[1]\r\n', '"\u2028"'])(
    '%j is',
    (text) => {
      expect(isJson(text)).toBe(true);
    },
  );

  test.each([
    '',
    'a',
    '01',
    '1.',
    '.5',
    '+1',
    "'a'",
    '{a:1}',
    '[1,]',
    '{"a":1,}',
    '"\n"',
    '\ufeff1',
    'NaN',
    '1 2',
    '"\\x"',
    '// x\n1',
  ])('%j is not', (text) => {
    expect(isJson(text)).toBe(false);
  });

  test('does not exhaust the stack', () => {
    expect(isJson('['.repeat(200_000) + ']'.repeat(200_000))).toBe(true);
    expect(memberText(`{"a":${'['.repeat(200_000)}${']'.repeat(200_000)},"b":1}`, 'b')).toBe('1');
  });
});

describe('spaceLineBreaks', () => {
  test('changes no meaning and leaves no line break', () => {
    fc.assert(
      fc.property(row, style, (object, how) => {
        const json = printed(object, how);
        const spaced = spaceLineBreaks(json);
        expect(spaced).not.toMatch(/[\r\n]/);
        expect(JSON.parse(spaced)).toEqual(JSON.parse(json));
        expect(spaced).toHaveLength(json.length);
      }),
    );
  });
});
