import { expect, it } from 'vitest';
import { displayWidth, renderTable } from '../../../src/cli/table.js';

it('aligns columns by what is seen, numbers to the right, without trailing spaces', () => {
  const rows = [
    { name: 'a', count: 5, note: '' },
    { name: 'Kürbis', count: 1200, note: 'x' },
    { name: '表', count: 1, note: 'y' },
  ];
  const lines = renderTable(rows, [
    { title: 'NAME', text: ({ name }) => name },
    { title: 'COUNT', text: ({ count }) => String(count), align: 'right' },
    { title: 'NOTE', text: ({ note }) => note },
  ]);
  expect(lines).toEqual(['NAME    COUNT  NOTE', 'a           5  -', 'Kürbis   1200  x', '表          1  y']);
});

it('counts what terminals show', () => {
  expect(displayWidth('abc')).toBe(3);
  expect(displayWidth('e\u0301')).toBe(1);
  expect(displayWidth('日本')).toBe(4);
});
