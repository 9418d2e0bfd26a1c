import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  encodeName,
  hasPlaceholder,
  parseTemplate,
  renderTemplate,
  renderTopic,
  topicProblem,
} from '../../../src/model/template.js';
import { expandVariables, strayVariableOffset, variablesOf } from '../../../src/model/variables.js';

const values = { cluster: 'default', set: 'example', node: '6f', schema: 'public', table: 'Order Items' };

describe('templates', () => {
  test('fill in every placeholder, odd names encoded', () => {
    expect(renderTemplate('{cluster}/{set}/{node}/{schema}.{table}', values)).toBe(
      'default/example/6f/public.Order-20Items',
    );
  });

  test('leave variables as they stand', () => {
    expect(renderTemplate('${PREFIX}.{set}', values)).toBe('${PREFIX}.example');
  });

  test.each([
    ['a{tabel}', 1],
    ['{set', 0],
    ['set}', 3],
    ['{}', 0],
    ['{{set}}', 0],
    ['${A-}', 1],
  ])('%s is none, at %i', (text, offset) => {
    expect(parseTemplate(text)).toMatchObject({ problem: expect.any(String), offset });
  });

  test('columns only where asked', () => {
    expect(parseTemplate('{id}')).toHaveProperty('problem');
    expect(parseTemplate('{table}:{id}', { columns: true })).toHaveLength(3);
    expect(hasPlaceholder('{table}:{id}', 'id')).toBe(true);
    expect(hasPlaceholder('${table}', 'table')).toBe(false);
  });

  test('throw an error that names the template', () => {
    expect(() => renderTemplate('x.{table}', { set: 'a' })).toThrow(
      /template x\.\{table\}: \{table\} has no value/,
    );
    expect(() => renderTemplate('{nope}', {})).toThrow(expect.objectContaining({ code: 'template_invalid' }));
  });
});

describe('encoded names', () => {
  test('are taken by Kafka, and no two names have the same', () => {
    const name = fc
      .string({ unit: 'binary', minLength: 1, maxLength: 20 })
      .filter((text) => !/[\ud800-\udfff]/u.test(text));
    fc.assert(
      fc.property(name, name, (a, b) => {
        expect(topicProblem(encodeName(a))).toBeUndefined();
        expect(encodeName(a) === encodeName(b)).toBe(a === b);
        const decoded = decodeURIComponent(encodeName(a).replaceAll('-', '%'));
        expect(decoded).toBe(a);
      }),
    );
  });

  test('keep the parts of a name apart', () => {
    expect(renderTopic('{schema}.{table}', { schema: 'a.b', table: 'c' })).not.toBe(
      renderTopic('{schema}.{table}', { schema: 'a', table: 'b.c' }),
    );
  });

  test('everyday names stay as they are', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9_]+$/), (name) => {
        expect(encodeName(name)).toBe(name);
      }),
    );
  });
});

describe('topics', () => {
  test('of more than 249 characters are refused, at 249 not', () => {
    expect(renderTopic('{table}', { table: 'a'.repeat(249) })).toHaveLength(249);
    expect(() => renderTopic('x{table}', { table: 'a'.repeat(249) })).toThrow(
      expect.objectContaining({ code: 'topic_invalid', exitCode: 20 }),
    );
  });

  test.each(['', '.', '..', 'a b', 'a/b', 'ü'])('%j is none', (topic) =>
    expect(topicProblem(topic)).toBeDefined(),
  );
  test.each(['a', '...', 'a-b_c.D9'])('%j is one', (topic) => expect(topicProblem(topic)).toBeUndefined());
});

describe('variables', () => {
  test('are filled in, not looked at again', () => {
    expect(expandVariables('a${X}b${Y}${X}', { X: '${Y}', Y: '' })).toEqual({ text: 'a${Y}b${Y}' });
  });

  test('that are missing are all named, once', () => {
    expect(expandVariables('${B}${A}${B}${C}', { C: '1' })).toEqual({ missing: ['B', 'A'] });
    expect(expandVariables('${constructor}', {})).toEqual({ missing: ['constructor'] });
  });

  test('only the exact spelling is one', () => {
    expect(expandVariables('$A {A} ${1A} ${A-b} $${A}', { A: 'x' })).toEqual({
      text: '$A {A} ${1A} ${A-b} $x',
    });
    expect(variablesOf('${A}${B}${A}')).toEqual(['A', 'B']);
    expect(strayVariableOffset('${A} ${b c}')).toBe(5);
    expect(strayVariableOffset('${A}')).toBeUndefined();
  });
});
