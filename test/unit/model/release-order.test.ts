import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { compareReleases, newestRelease } from '../../../src/model/release-order.js';

const ORDERED = [
  'not a version',
  '0.1.0-alpha',
  '0.1.0-alpha.1',
  '0.1.0-alpha.2',
  '0.1.0-alpha.10',
  '0.1.0-alpha.beta',
  '0.1.0-beta',
  '0.1.0-rc.1',
  '0.1.0',
  '0.1.9',
  '0.1.10',
  '0.2.0',
  '1.0.0',
  '10.0.0',
];

describe('the order of releases', () => {
  it('is that of Semantic Versioning', () => {
    for (const [i, a] of ORDERED.entries()) {
      for (const [j, b] of ORDERED.entries()) {
        expect(Math.sign(compareReleases(a, b)), `${a} and ${b}`).toBe(Math.sign(i - j));
      }
    }
  });

  it('leaves out what comes after a plus sign', () => {
    expect(compareReleases('1.0.0+debian1', '1.0.0')).toBe(0);
  });

  it('has a newest, where there is one at all', () => {
    expect(newestRelease(['0.1.0', null, '0.10.0', undefined, '0.9.9'])).toBe('0.10.0');
    expect(newestRelease([null])).toBeNull();
  });
});

describe('a migration of the package', () => {
  const folder = new URL('../../../migrations/', import.meta.url);
  // The first one was there before this was asked; any release can work with it.
  const later = readdirSync(folder).filter((name) => !name.startsWith('0001_'));

  it.each(later)('%s says which release it takes at least to work with a node that has it', (name) => {
    const text = readFileSync(new URL(name, folder), 'utf8');
    expect(text).toMatch(/^--! minimum-version: \d+\.\d+\.\d+$/m);
  });
});
