/**
 * `npm test [-- VITEST ARGUMENTS]`: everything a change must pass. The static checks, the build (end-to-end tests run
 * what was built), then the tests; a failed check does not keep the tests from running, a failed build does. The last
 * line on standard output is `N passed, N failed`, as vitest counted; a run without a test has failed.
 *
 * `--only-tests` leaves out checks and build.
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { countTests, summarize, type TestCounts } from './test-counts.js';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

function main(args: readonly string[]): number {
  const onlyTests = args.includes('--only-tests');
  const forVitest = args.filter((word) => word !== '--only-tests');
  const broken: string[] = [];
  if (!onlyTests) {
    if (!npm('check')) broken.push('npm run check');
    if (!npm('build'))
      return finish({ passed: 0, failed: 0, failures: [], trouble: [...broken, 'npm run build'] });
  }
  const counts = vitest(forVitest);
  return finish({ ...counts, trouble: [...broken, ...counts.trouble] });
}

function npm(script: string): boolean {
  return (
    spawnSync('npm', ['run', '-s', script], { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] }).status ===
    0
  );
}

function vitest(args: readonly string[]): TestCounts {
  const folder = mkdtempSync(join(tmpdir(), 'shovel-test-'));
  const report = join(folder, 'report.json');
  try {
    const program = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const run = spawnSync(process.execPath, [program, 'run', ...reporters, ...args], {
      cwd: ROOT,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    return countTests(readReport(report), { exitCode: run.status ?? -1, filtered: isFiltered(args) });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Whether tests are picked by name, so that the others are rightly skipped. */
function isFiltered(args: readonly string[]): boolean {
  return args.some((word) => /^(-t|--testNamePattern)(=|$)/.test(word));
}

function readReport(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

function finish(counts: TestCounts): number {
  const { trouble, line, exitCode } = summarize(counts);
  // Told again at the end, where whoever sees no more than the end of a long log finds it.
  if (counts.failures.length > 0) {
    process.stdout.write(`\nWhat failed:\n${counts.failures.join('\n').replaceAll(`${ROOT}/`, '')}\n\n`);
  }
  for (const what of trouble) process.stderr.write(`failed: ${what}\n`);
  process.stdout.write(`${line}\n`);
  return exitCode;
}

process.exitCode = main(process.argv.slice(2));
