import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { setFileJsonSchema } from '../../../src/model/set-file-schema.js';
import { suggest } from '../../../src/model/set-file-suggest.js';

const docs = new URL('../../../docs/', import.meta.url);

/** Every key that a map of the schema knows, at any depth. */
function keysOf(schema: unknown): readonly string[] {
  if (typeof schema !== 'object' || schema === null) {
    return [];
  }
  return Object.entries(schema).flatMap(([key, value]) =>
    key === 'properties' && typeof value === 'object' && value !== null
      ? [...Object.keys(value), ...Object.values(value).flatMap(keysOf)]
      : keysOf(value),
  );
}

describe('what is published of the schema', () => {
  test('the file for editors is up to date (npx tsx scripts/build-schema.ts)', async () => {
    const text = await readFile(new URL('set-file.schema.json', docs), 'utf8');
    expect(JSON.parse(text)).toEqual(setFileJsonSchema());
  });

  test('the text for people names every key', async () => {
    const text = await readFile(new URL('set-file.md', docs), 'utf8');
    const keys = new Set(keysOf(setFileJsonSchema()));
    expect(keys.size).toBeGreaterThan(50);
    expect([...keys].filter((key) => !text.includes(`\`${key}\``))).toEqual([]);
  });
});

describe('did you mean', () => {
  test.each([
    ['dns', 'dsn'],
    ['Columns', 'columns'],
    ['unchanged-wide', 'unchanged_wide'],
    ['colums', 'columns'],
    ['tabels', 'tables'],
  ])('%s: %s', (word, meant) =>
    expect(suggest(word, ['dsn', 'columns', 'unchanged_wide', 'tables'])).toBe(meant),
  );

  test('says nothing of what is far away', () => {
    expect(suggest('password', ['dsn', 'columns'])).toBeUndefined();
  });
});
