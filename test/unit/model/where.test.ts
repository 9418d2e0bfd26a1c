import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Where, type WhereConstant, whereColumns } from '../../../src/model/where.js';
import { parseWhere } from '../../../src/model/where-parse.js';
import { formatWhere, renderWhere } from '../../../src/model/where-render.js';

function parsed(text: string): Where {
  const result = parseWhere(text);
  if ('problem' in result) {
    throw new Error(`${result.problem} at ${result.offset}`);
  }
  return result.where;
}

const column = fc.oneof(
  fc.constantFrom('id', 'Balance', 'order', 'not', 'NULL', 'a"b', 'true', 'x y', 'ü'),
  fc.string({ minLength: 1, maxLength: 10 }).filter((name) => !name.includes('\0')),
);
const constant: fc.Arbitrary<WhereConstant> = fc.oneof(
  fc.string({ unit: 'binary' }).map((text) => ({ kind: 'text' as const, text: text.replaceAll('\0', '') })),
  fc
    .constantFrom('0', '-1', '1.50', '12345678901234567890', '1e-7')
    .map((text) => ({ kind: 'number' as const, text })),
  fc.constantFrom('true', 'false').map((text) => ({ kind: 'boolean' as const, text })),
);
const { tree } = fc.letrec<{ tree: Where }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 5, depthSize: 'small' },
    fc.record({
      kind: fc.constant('compare' as const),
      column,
      operator: fc.constantFrom('=', '<>', '<', '<=', '>', '>='),
      constant,
    }),
    fc.record({
      kind: fc.constant('in' as const),
      column,
      negated: fc.boolean(),
      constants: fc.array(constant, { minLength: 1, maxLength: 3 }),
    }),
    fc.record({ kind: fc.constant('null' as const), column, negated: fc.boolean() }),
    fc.record({ kind: fc.constant('not' as const), term: tie('tree') }),
    fc.record({
      kind: fc.constantFrom('and' as const, 'or' as const),
      terms: fc.array(tie('tree'), { minLength: 2, maxLength: 3 }),
    }),
  ),
}));

const plain = (name: string) => ({ sql: name, type: 'pg_catalog.text' });

describe('one spelling', () => {
  test('is read back as the same tree', () => {
    fc.assert(
      fc.property(tree, (where) => {
        expect(parsed(formatWhere(where))).toEqual(where);
      }),
    );
  });

  test('gives the same SQL', () => {
    fc.assert(
      fc.property(tree, (where) => {
        expect(renderWhere(parsed(formatWhere(where)), plain)).toBe(renderWhere(where, plain));
      }),
    );
  });

  test.each([
    ["a='x'AND(b<>2 OR not C in(1,2))", "a = 'x' and (b <> 2 or not c in (1, 2))"],
    ['((a = 1))', 'a = 1'],
    ['a != +1.50', 'a <> 1.50'],
    ['0 < a', 'a > 0'],
    ["'x' >= a", "a <= 'x'"],
    ['a IS NOT NULL', 'a is not null'],
    ['"Odd Name" is null', '"Odd Name" is null'],
    ['"order" = 1', 'order = 1'],
    ['"not" = TRUE', '"not" = true'],
    ["a not in ('it''s')", "a not in ('it''s')"],
    ['not not a = 1', 'not not a = 1'],
    ['a = 1 or b = 2 and c = 3', 'a = 1 or b = 2 and c = 3'],
    ['(a = 1 or b = 2) and c = 3', '(a = 1 or b = 2) and c = 3'],
    ['a = -1\nand b > .5', 'a = -1 and b > .5'],
  ])('%s is %s', (text, spelling) => expect(formatWhere(parsed(text))).toBe(spelling));
});

describe('mistakes', () => {
  test.each([
    ['', 0, /empty/],
    ['a', 1, /expected a comparison, found the end/],
    ['a =', 3, /expected a constant/],
    ['a = null', 4, /nothing equals null/],
    ['a = b', 4, /expected a constant, found b/],
    ['a = 1 b', 6, /unexpected b/],
    ['a = 1 and', 9, /expected a column/],
    ['(a = 1', 6, /expected \), found the end/],
    ['a = 1)', 5, /without its \(/],
    ['a in ()', 6, /expected a constant/],
    ['a in 1', 5, /expected \(/],
    ['a like 1', 2, /found like/],
    ['a between 1 and 2', 2, /found between/],
    ['a is true', 5, /expected null/],
    ["a = 'x", 4, /never closed/],
    ['"a = 1', 0, /never closed/],
    ["a = E'x'", 4, /prefix/],
    ["a = date '2020-01-01'", 4, /found date/],
    ["a = 'x'::int", 7, /casts/],
    ['a + 1 = 2', 2, /expressions/],
    ['t.a = 1', 1, /columns only/],
    ['lower(a) = 1', 0, /lower\(…\)/],
    ['a = 1; drop', 5, /one condition/],
    ['a = 1 -- x', 6, /comments/],
    ['a = $1', 4, /parameters/],
    ['a = 1x', 5, /number goes on/],
    ["a = '\0'", 4, /NUL/],
    ['a not = 1', 6, /expected in after not/],
    ['and = 1', 0, /expected a column, found and/],
    ['1 = 2', 4, /expected a column, found a number/],
    ['a ~ 1', 2, /expressions/],
    [`${'('.repeat(101)}a = 1${')'.repeat(101)}`, 100, /nested deeper/],
    [`a = '${'x'.repeat(10_000)}'`, 10_000, /more than 10000/],
  ])('%j at %i', (text, offset, problem) => {
    expect(parseWhere(text)).toMatchObject({
      problem: expect.stringMatching(problem),
      hint: expect.any(String),
      offset,
    });
  });

  test('no text at all makes the parser throw', () => {
    const piece = fc.constantFrom(
      'a',
      '"',
      "'",
      '(',
      ')',
      ' and ',
      ' or ',
      ' not ',
      ' in ',
      ' is ',
      'null',
      '=',
      '<',
      '1',
      ',',
      '.',
      '-',
      'ü',
      '🙂',
      '\\',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.array(piece).map((pieces) => pieces.join('')),
        ),
        (text) => {
          const result = parseWhere(text);
          expect('where' in result || (result.offset >= 0 && result.offset <= text.length)).toBe(true);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

test('columns are named once, in the order of their mention', () => {
  expect(whereColumns(parsed('b = 1 and (a is null or not B in (1)) and "B" = 2'))).toEqual(['b', 'a', 'B']);
});

describe('SQL', () => {
  const qualified = (name: string) => ({
    sql: `l.${name}`,
    type: 'pg_catalog.int4',
    operatorSchema: 'pg_catalog',
  });

  test('casts every constant to the column’s type', () => {
    expect(renderWhere(parsed('a > 1 and b is null'), plain)).toBe(
      "(((a) > '1'::pg_catalog.text) and ((b) is null))",
    );
  });

  test('names the schema of operators where asked, in lists too', () => {
    expect(renderWhere(parsed('a not in (1, 2)'), qualified)).toBe(
      "(not (((l.a) operator(pg_catalog.=) '1'::pg_catalog.int4) or ((l.a) operator(pg_catalog.=) '2'::pg_catalog.int4)))",
    );
  });

  test('compares enums by functions, which no cast makes ambiguous', () => {
    expect(renderWhere(parsed("a >= 'x'"), () => ({ sql: 'l.a', type: 'app.mood', enumeration: true }))).toBe(
      "pg_catalog.enum_ge((l.a), 'x'::app.mood)",
    );
  });

  test('lets no constant out of its quotes', () => {
    fc.assert(
      fc.property(constant, (given) => {
        const sql = renderWhere({ kind: 'compare', column: 'a', operator: '=', constant: given }, plain);
        const literal = /^\(\(a\) = (E?)'((?:[^'\\]|''|\\\\)*)'::pg_catalog\.text\)$/su.exec(sql);
        expect(literal).not.toBeNull();
        const inner = (literal?.[2] ?? '').replaceAll("''", "'").replaceAll('\\\\', '\\');
        expect(inner).toBe(given.text);
      }),
    );
  });
});
