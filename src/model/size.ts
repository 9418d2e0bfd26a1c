/** Sizes in the set file: `10GB` is 10^10 bytes, `64MiB` is 2^26, a bare number is bytes. Decides the spelling only. */

const UNITS: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['b', 1],
  ['kb', 1e3],
  ['mb', 1e6],
  ['gb', 1e9],
  ['tb', 1e12],
  ['kib', 2 ** 10],
  ['mib', 2 ** 20],
  ['gib', 2 ** 30],
  ['tib', 2 ** 40],
]);

const SPELLINGS: ReadonlyArray<readonly [unit: string, bytes: number]> = [
  ['TiB', 2 ** 40],
  ['TB', 1e12],
  ['GiB', 2 ** 30],
  ['GB', 1e9],
  ['MiB', 2 ** 20],
  ['MB', 1e6],
  ['KiB', 2 ** 10],
  ['kB', 1e3],
];

/** In words, for messages. */
export const SIZE_RULE =
  'a number of bytes with a unit (kB, MB, GB, TB; KiB, MiB, GiB, TiB), such as 10GB or 64MiB';

/** Bytes, a whole number above 0; undefined where the text is no size, or no whole number of bytes. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?) ?([a-z]*)$/i.exec(text);
  const factor = UNITS.get((match?.[2] ?? '?').toLowerCase());
  if (match === null || factor === undefined) {
    return undefined;
  }
  const bytes = Number(match[1]) * factor;
  return bytes > 0 && Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The shortest exact spelling: 10000000000 → `10GB`, 67108864 → `64MiB`, 1500 → `1500B`. */
export function formatSize(bytes: number): string {
  for (const [unit, factor] of SPELLINGS) {
    if (bytes >= factor && bytes % factor === 0) {
      return `${bytes / factor}${unit}`;
    }
  }
  return `${bytes}B`;
}
