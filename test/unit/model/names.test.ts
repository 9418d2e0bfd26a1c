import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatColumnName,
  formatTableName,
  identifierProblem,
  isName,
  parseColumnName,
  parseTableName,
  splitNames,
  utf8Length,
} from '../../../src/model/names.js';

const identifier = fc
  .oneof(
    fc.string({ minLength: 1, maxLength: 15, unit: 'grapheme' }),
    fc.constantFrom('a', 'A"b', 'Order Items', 'a.b', '"', '1', 'ü'),
  )
  .filter((name) => identifierProblem(name) === undefined);

describe('our own names', () => {
  test.each(['a', 'a1', 'a_b', `a${'b'.repeat(39)}`])('%s is one', (name) => expect(isName(name)).toBe(true));
  test.each(['', 'A', '1a', '_a', 'a-b', 'ä', 'a b', 'a\n', `a${'b'.repeat(40)}`])('%j is none', (name) =>
    expect(isName(name)).toBe(false),
  );
});

describe('table names', () => {
  test.each([
    ['accounts', 'public', 'accounts'],
    ['Accounts', 'public', 'accounts'],
    ['SALES.Orders', 'sales', 'orders'],
    ['public."Order Items"', 'public', 'Order Items'],
    ['"Odd ""quoted"" one"."a.b"', 'Odd "quoted" one', 'a.b'],
    ['sales.*', 'sales', '*'],
    ['"Sales".*', 'Sales', '*'],
    [' public . t ', 'public', 't'],
    ['public.t$1', 'public', 't$1'],
    ['public.order', 'public', 'order'],
    ['public.MÜLLER', 'public', 'mÜller'],
    ['"a".b', 'a', 'b'],
  ])('%s is %s, %s', (text, schema, table) => {
    expect(parseTableName(text)).toEqual({ name: { schema, table } });
  });

  test.each([
    ['', 0],
    ['a.', 2],
    ['a.b.c', 3],
    ['*', 0],
    ['a.b*', 3],
    ['a."b', 2],
    ['a.""', 2],
    ['a b', 2],
    ['a-b', 1],
    ['1a', 0],
    ['a."*"', 2],
    ['*.a', 1],
    [`a.${'b'.repeat(64)}`, 2],
    [`a."${'ü'.repeat(32)}"`, 2],
  ])('%j is none, at %i', (text, offset) => {
    expect(parseTableName(text)).toMatchObject({
      problem: expect.any(String),
      hint: expect.any(String),
      offset,
    });
  });

  test('what is formatted is read back, whatever the names', () => {
    fc.assert(
      fc.property(identifier, identifier, (schema, table) => {
        fc.pre(table !== '*');
        expect(parseTableName(formatTableName({ schema, table }))).toEqual({ name: { schema, table } });
        expect(parseTableName(formatTableName({ schema, table: '*' }))).toEqual({
          name: { schema, table: '*' },
        });
      }),
    );
  });

  test('lists are cut at commas outside of quotes', () => {
    expect(splitNames('a, public."b,c""d" ,e.*')).toEqual(['a', 'public."b,c""d"', 'e.*']);
    expect(splitNames('a,')).toEqual(['a', '']);
  });
});

describe('column names', () => {
  test.each([
    ['id', 'id'],
    ['userId', 'userId'],
    ['Order Item', 'Order Item'],
    ['"userId"', 'userId'],
    ['"a""b"', 'a"b'],
    ['a"b', 'a"b'],
  ])('%s is %s', (text, name) => expect(parseColumnName(text)).toEqual({ name }));

  test.each(['', '""', '"a"b"', 'x'.repeat(64)])('%j is none', (text) =>
    expect(parseColumnName(text)).toHaveProperty('problem'),
  );

  test('what is formatted is read back', () => {
    fc.assert(
      fc.property(identifier, (name) => {
        expect(parseColumnName(formatColumnName(name))).toEqual({ name });
      }),
    );
  });
});

test('lengths in UTF-8 are those of the encoder', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(utf8Length(text)).toBe(new TextEncoder().encode(text).length);
    }),
  );
});
