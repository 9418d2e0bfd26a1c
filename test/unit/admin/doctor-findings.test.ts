/** Every code that doctor can tell is in the table of findings, and so in the documentation. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { doctorPage } from '../../../scripts/doctor-page.js';
import { FINDINGS, type Finding, finding, ranked } from '../../../src/admin/doctor/finding.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const capture = readdirSync(`${root}src/capture`).map((name) =>
  readFileSync(`${root}src/capture/${name}`, 'utf8'),
);

it('knows every code that inspection and description of tables can give', () => {
  const codes = capture.flatMap((text) =>
    [...text.matchAll(/code: ([^\n]*)/g)].flatMap(([, words]) =>
      [...(words ?? '').matchAll(/'([a-z_]+)'/g)].map(([, code]) => code ?? ''),
    ),
  );
  expect(codes).toContain('trigger_missing');
  expect(codes).toContain('function_replaced');
  expect(codes).toContain('where_invalid');
  expect(codes.filter((code) => !(code in FINDINGS))).toEqual([]);
});

it('is documented as it stands', () => {
  expect(readFileSync(`${root}docs/doctor.md`, 'utf8')).toBe(doctorPage());
});

it('tells the gravest first, and each thing once', () => {
  const one = (code: keyof typeof FINDINGS): Finding => finding(code, { object: 'x', message: '', fix: '' });
  expect(
    ranked([one('wake'), one('node_behind'), one('node_lost'), one('node_behind')]).map(({ code }) => code),
  ).toEqual(['node_lost', 'node_behind', 'wake']);
});
