import { existsSync } from 'node:fs';
import { expect, it } from 'vitest';
import { LONG_FILES } from '../support/longest-first.js';

it('names files that are there', () => {
  expect(Object.keys(LONG_FILES).filter((path) => !existsSync(path))).toEqual([]);
});
