/** What of vitest's report makes `npm test` fail, and the line it ends with. */

import { describe, expect, it } from 'vitest';
import { countTests, summarize } from '../../../scripts/test-counts.js';

const RUN = { exitCode: 0, filtered: false };

function report(statuses: readonly string[], fileStatus = 'passed'): string {
  return JSON.stringify({
    numPassedTests: statuses.filter((status) => status === 'passed').length,
    numFailedTests: statuses.filter((status) => status === 'failed').length,
    testResults: [
      { name: 'a.test.ts', status: fileStatus, assertionResults: statuses.map((status) => ({ status })) },
    ],
  });
}

function outcome(text: string | undefined, run = RUN) {
  return summarize(countTests(text, run));
}

describe('the end of npm test', () => {
  it('is good when tests ran and all passed', () => {
    expect(outcome(report(['passed', 'passed']))).toEqual({
      line: '2 passed, 0 failed',
      trouble: [],
      exitCode: 0,
    });
  });

  it('counts failures', () => {
    const result = outcome(report(['passed', 'failed'], 'failed'), { ...RUN, exitCode: 1 });
    expect(result).toEqual({ line: '1 passed, 1 failed', trouble: [], exitCode: 1 });
  });

  it('tells of each test that failed where it stands and what it said', () => {
    const assertionResults = [
      { status: 'passed', fullName: 'counts up' },
      {
        status: 'failed',
        fullName: 'counts down',
        failureMessages: [['expected 1 to be 2', 'at /node_modules/x.js', ...'abcdefghijklmnop'].join('\n')],
      },
    ];
    const text = JSON.stringify({
      numPassedTests: 1,
      numFailedTests: 1,
      testResults: [{ name: 'a.test.ts', status: 'failed', assertionResults }],
    });
    expect(countTests(text, { ...RUN, exitCode: 1 }).failures).toEqual([
      ['a.test.ts: counts down', 'expected 1 to be 2', ...'abcdefghijk'].join('\n    '),
    ]);
  });

  it('is bad when no test ran', () => {
    expect(outcome(report([]))).toMatchObject({
      line: '0 passed, 0 failed',
      trouble: ['no test ran'],
      exitCode: 1,
    });
  });

  it('is bad when a file could not run, whatever else passed', () => {
    const result = outcome(report(['passed'], 'failed'), { ...RUN, exitCode: 1 });
    expect(result).toMatchObject({
      line: '1 passed, 0 failed',
      trouble: ['a.test.ts could not run'],
      exitCode: 1,
    });
  });

  it.each(['skipped', 'todo', 'pending', 'disabled'])('is bad when a test is %s', (status) => {
    expect(outcome(report(['passed', status]))).toMatchObject({ trouble: ['1 skipped'], exitCode: 1 });
  });

  it('does not mind tests that a name on the command line left out', () => {
    expect(outcome(report(['passed', 'skipped']), { ...RUN, filtered: true }).exitCode).toBe(0);
  });

  it.each([undefined, '', '{', '[]', 'null'])('is bad when the report is %j', (text) => {
    expect(outcome(text, { exitCode: 137, filtered: false }).exitCode).toBe(1);
  });

  it('is bad when vitest says so and the report does not', () => {
    const result = outcome(report(['passed']), { ...RUN, exitCode: 1 });
    expect(result).toMatchObject({ trouble: ['vitest ended with 1'], exitCode: 1 });
  });
});
