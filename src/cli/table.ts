/** Aligned columns for people: numbers to the right, the last column open-ended, no lines. */

export interface TableColumn<Row> {
  readonly title: string;
  readonly text: (row: Row) => string;
  readonly align?: 'right';
}

/** One line for the titles and one for each row. Empty cells are shown as `-`. */
export function renderTable<Row>(
  rows: readonly Row[],
  columns: readonly TableColumn<Row>[],
): readonly string[] {
  const cells = rows.map((row) => columns.map((column) => column.text(row) || '-'));
  const lines = [columns.map((column) => column.title), ...cells];
  const widths = columns.map((_, at) => Math.max(...lines.map((line) => displayWidth(line[at] ?? ''))));
  return lines.map((line) => {
    const padded = line.map((cell, at) => {
      const fill = ' '.repeat((widths[at] ?? 0) - displayWidth(cell));
      return columns[at]?.align === 'right' ? fill + cell : cell + fill;
    });
    return padded.join('  ').trimEnd();
  });
}

/** Characters, not UTF-16 units; wide East Asian ones count twice. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) width += WIDE.test(character) ? 2 : COMBINING.test(character) ? 0 : 1;
  return width;
}

const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
const COMBINING = /\p{Mark}/u;
