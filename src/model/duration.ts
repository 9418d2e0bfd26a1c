/** Durations in the set file and on the command line: `90s`, `6h`, `1h30m`. Decides the spelling only. */

const UNITS: ReadonlyArray<readonly [unit: string, ms: number]> = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
];
const UNIT_MS: ReadonlyMap<string, number> = new Map(UNITS);

/** In words, for messages. */
export const DURATION_RULE = 'a number with a unit (ms, s, m, h, d), such as 90s, 6h or 1h30m';

/**
 * Milliseconds, a whole number above 0; undefined where the text is no duration or not a whole number of
 * milliseconds. Days have 24 hours.
 */
export function parseDuration(text: string): number | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|[smhd]))+$/.test(text)) {
    return undefined;
  }
  let total = 0;
  let last = Number.POSITIVE_INFINITY;
  for (const [, digits, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhd])/g)) {
    const unitMs = UNIT_MS.get(unit ?? '') ?? 0;
    if (unitMs >= last) {
      return undefined;
    }
    last = unitMs;
    total += Number(digits) * unitMs;
  }
  const rounded = Math.round(total);
  return Math.abs(total - rounded) < 1e-6 && rounded > 0 && Number.isSafeInteger(rounded)
    ? rounded
    : undefined;
}

/** The shortest exact spelling in one unit: 21600000 → `6h`, 90000 → `90s`. */
export function formatDuration(durationMs: number): string {
  for (const [unit, ms] of UNITS) {
    if (durationMs >= ms && durationMs % ms === 0) {
      return `${durationMs / ms}${unit}`;
    }
  }
  return `${durationMs}ms`;
}
