/** What vitest's JSON report says about a run, and what of it makes the run a failure. Pure. */

export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  /** What else went wrong, each in a few words. */
  readonly trouble: readonly string[];
  /** Of each test that failed: its file and name, and what it says, indented. */
  readonly failures: readonly string[];
}

export interface Summary {
  /** `N passed, N failed`. */
  readonly line: string;
  readonly trouble: readonly string[];
  readonly exitCode: 0 | 1;
}

export interface Run {
  readonly exitCode: number;
  /** Tests were picked by name: those that were not are skipped, and rightly so. */
  readonly filtered: boolean;
}

/** `report`: text of the JSON report, `undefined` where none was written. */
export function countTests(report: string | undefined, run: Run): TestCounts {
  const root = parse(report);
  if (root === undefined) {
    return {
      passed: 0,
      failed: 0,
      failures: [],
      trouble: [`vitest wrote no report (exit code ${run.exitCode})`],
    };
  }
  const passed = number(root.numPassedTests);
  const failed = number(root.numFailedTests);
  const trouble = brokenFiles(root).map((name) => `${name} could not run`);
  // A test that is left out says nothing; it must not look like one that passes.
  const skipped = run.filtered ? 0 : skippedTests(root);
  if (skipped > 0) trouble.push(`${skipped} skipped`);
  if (run.exitCode !== 0 && failed === 0 && trouble.length === 0)
    trouble.push(`vitest ended with ${run.exitCode}`);
  return { passed, failed, trouble, failures: failedTests(root) };
}

export function summarize({ passed, failed, trouble }: TestCounts): Summary {
  const all = passed + failed === 0 ? [...trouble, 'no test ran'] : trouble;
  return {
    line: `${passed} passed, ${failed} failed`,
    trouble: all,
    exitCode: failed === 0 && all.length === 0 ? 0 : 1,
  };
}

/** Lines of a failed test's message that are told again at the end; the rest stands further up, where it failed. */
const MESSAGE_LINES = 12;

function failedTests(root: Record<string, unknown>): string[] {
  return list(root.testResults).flatMap((file) =>
    list(file.assertionResults)
      .filter((test) => test.status === 'failed')
      .map((test) => {
        const messages = Array.isArray(test.failureMessages) ? test.failureMessages.map(String) : [];
        const lines = messages
          .join('\n')
          .split('\n')
          .filter((line) => !line.includes('/node_modules/'))
          .slice(0, MESSAGE_LINES);
        return [`${String(file.name)}: ${String(test.fullName)}`, ...lines.map((line) => `    ${line}`)].join(
          '\n',
        );
      }),
  );
}

/** Files that failed without a failed test in them: an import, a hook. */
function brokenFiles(root: Record<string, unknown>): string[] {
  return list(root.testResults)
    .filter(
      (file) =>
        file.status === 'failed' && !list(file.assertionResults).some((test) => test.status === 'failed'),
    )
    .map((file) => String(file.name));
}

function skippedTests(root: Record<string, unknown>): number {
  return list(root.testResults)
    .flatMap((file) => list(file.assertionResults))
    .filter((test) => ['skipped', 'disabled', 'pending', 'todo'].includes(String(test.status))).length;
}

function list(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

function number(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

function parse(report: string | undefined): Record<string, unknown> | undefined {
  try {
    const root: unknown = JSON.parse(report ?? '');
    return isObject(root) ? root : undefined;
  } catch {
    return undefined;
  }
}
