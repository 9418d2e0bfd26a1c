import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatDuration, parseDuration } from '../../../src/model/duration.js';
import { formatSize, parseSize } from '../../../src/model/size.js';

describe('durations', () => {
  test.each([
    ['90s', 90_000],
    ['6h', 21_600_000],
    ['1h30m', 5_400_000],
    ['1.5h', 5_400_000],
    ['250ms', 250],
    ['2d', 172_800_000],
    ['0.1s', 100],
  ])('%s is %i ms', (text, ms) => expect(parseDuration(text)).toBe(ms));

  test.each([
    '',
    '6',
    '6 h',
    'h',
    '0s',
    '-1s',
    '1s1h',
    '1s1s',
    '0.5ms',
    '1w',
    '1e3s',
    '99999999999999d',
    '6H',
  ])('%j is none', (text) => expect(parseDuration(text)).toBeUndefined());

  test('what is formatted is read back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000_000_000 }), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
    expect(formatDuration(21_600_000)).toBe('6h');
  });
});

describe('sizes', () => {
  test.each([
    ['10GB', 10_000_000_000],
    ['64MiB', 67_108_864],
    ['1.5kB', 1500],
    ['10 MB', 10_000_000],
    ['1kib', 1024],
    ['42', 42],
    ['42B', 42],
    ['1TiB', 2 ** 40],
  ])('%s is %i bytes', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  test.each(['', 'GB', '0', '-1MB', '1.5B', '10XB', '1e3', '99999999TiB', '1 0MB', '0x10'])(
    '%j is none',
    (text) => expect(parseSize(text)).toBeUndefined(),
  );

  test('what is formatted is read back', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (bytes) => {
        fc.pre(bytes > 0);
        expect(parseSize(formatSize(bytes))).toBe(bytes);
      }),
    );
    expect(formatSize(67_108_864)).toBe('64MiB');
  });
});
