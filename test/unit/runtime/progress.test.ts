import { describe, expect, it } from 'vitest';
import { createLogger } from '../../../src/runtime/logger.js';
import { createProgress } from '../../../src/runtime/progress.js';

function clock() {
  let now = 1_000;
  return { now: () => now, pass: (ms: number) => (now += ms) };
}

function logger(lines: string[]) {
  return createLogger({
    level: 'info',
    format: 'json',
    destination: { write: (text) => void lines.push(JSON.parse(text).message) },
  });
}

describe('progress on a terminal', () => {
  it('draws a bar over itself, at most ten times a second', () => {
    const drawn: string[] = [];
    const time = clock();
    const progress = createProgress({
      label: 'copying public.accounts',
      unit: 'rows',
      total: 200_000,
      terminal: { write: (text) => void drawn.push(text), columns: 200 },
      logger: logger([]),
      now: time.now,
    });
    progress.update(0);
    for (let i = 1; i <= 10; i += 1) {
      time.pass(50);
      progress.update(i * 10_000);
    }
    expect(drawn.length).toBe(6);
    expect(drawn.at(-1)).toContain('\r');
    expect(drawn.at(-1)).toContain('50 %');
    expect(drawn.at(-1)).toContain('100 000 of 200 000 rows, 200 000 rows/s, 1 s left');
    progress.finish();
    progress.finish();
    progress.update(3);
    expect(drawn.length).toBe(7);
    expect(drawn.at(-1)?.endsWith('\n')).toBe(true);
  });

  it('never goes past the width of the terminal', () => {
    const drawn: string[] = [];
    const progress = createProgress({
      label: 'x'.repeat(100),
      unit: 'rows',
      terminal: { write: (text) => void drawn.push(text), columns: 40 },
      logger: logger([]),
      now: clock().now,
    });
    progress.update(1);
    expect(drawn[0]?.replace(/^\r.*?K/, '').length).toBe(39);
  });
});

describe('progress elsewhere', () => {
  it('logs a line every five seconds, and one at the end', () => {
    const lines: string[] = [];
    const time = clock();
    const progress = createProgress({ label: 'copying', unit: 'rows', logger: logger(lines), now: time.now });
    for (let i = 1; i <= 12; i += 1) {
      time.pass(1_000);
      progress.update(i * 100);
    }
    expect(lines).toEqual(['copying: 500 rows, 100 rows/s', 'copying: 1 000 rows, 100 rows/s']);
    progress.finish();
    expect(lines.at(-1)).toBe('copying: 1 200 rows, 100 rows/s');
  });
});
