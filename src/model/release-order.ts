/** Which of two releases is the newer one, by the rules of Semantic Versioning. */

/** Negative where `a` is older than `b`. What can't be read as a version counts as the oldest. */
export function compareReleases(a: string, b: string): number {
  const [left, right] = [parse(a), parse(b)];
  for (let index = 0; index < 3; index += 1) {
    const difference = (left.numbers[index] ?? 0) - (right.numbers[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return comparePrereleases(left.prerelease, right.prerelease);
}

/** The newest of them; null where there is none. */
export function newestRelease(releases: Iterable<string | null | undefined>): string | null {
  let newest: string | null = null;
  for (const release of releases) {
    if (
      release !== null &&
      release !== undefined &&
      (newest === null || compareReleases(release, newest) > 0)
    )
      newest = release;
  }
  return newest;
}

interface Parsed {
  readonly numbers: readonly number[];
  /** Empty for a release proper, which is newer than any of its pre-releases. */
  readonly prerelease: readonly string[];
}

function parse(text: string): Parsed {
  const match = /^v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+.*)?$/.exec(text);
  if (!match) return { numbers: [-1], prerelease: [] };
  return { numbers: match.slice(1, 4).map(Number), prerelease: match[4]?.split('.') ?? [] };
}

function comparePrereleases(a: readonly string[], b: readonly string[]): number {
  if (a.length === 0 || b.length === 0) return b.length - a.length;
  for (let index = 0; index < Math.max(a.length, b.length); index += 1) {
    const [left, right] = [a[index], b[index]];
    if (left === undefined || right === undefined) return left === undefined ? -1 : 1;
    if (left === right) continue;
    const numeric = [left, right].map((part) => /^\d+$/.test(part));
    if (numeric[0] && numeric[1]) return Number(left) - Number(right);
    if (numeric[0] !== numeric[1]) return numeric[0] ? -1 : 1;
    return left < right ? -1 : 1;
  }
  return 0;
}
