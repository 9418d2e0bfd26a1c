/**
 * Each file of sql/functions/ says all that it makes, so those that print values repeat the settings that values are
 * printed under. They must be the same, or a value would depend on which of them printed it.
 */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { settingsTest } from '../../../src/capture/pinned-settings.js';

const PRINTERS = ['row_text', 'row_pick', 'row_extra', 'partition_place'];

function pinned(name: string): ReadonlyMap<string, string> {
  const text = readFileSync(new URL(`../../../sql/functions/${name}.sql`, import.meta.url), 'utf8');
  return new Map(
    [...text.matchAll(/^ {2}set "?(\w+)"? = '?(\w+)'?$/gm)].map(([, key, value]) => [key ?? '', value ?? '']),
  );
}

it('pins the same settings in every function that prints values', () => {
  const [first, ...others] = PRINTERS.map((name) => {
    const { standard_conforming_strings: _ofTheBody, ...printed } = Object.fromEntries(pinned(name));
    return printed;
  });
  expect(Object.keys(first ?? {})).toHaveLength(7);
  for (const other of others) expect(other).toEqual(first);
});

it('asks the writer for the settings that are pinned', () => {
  const asked = settingsTest([
    'TimeZone',
    'DateStyle',
    'IntervalStyle',
    'bytea_output',
    'extra_float_digits',
    'lc_monetary',
    'search_path',
  ]);
  for (const [name, value] of pinned('row_text')) {
    expect(asked).toContain(`current_setting('${name}')`);
    expect(asked).toContain(`'${value}`);
  }
});
