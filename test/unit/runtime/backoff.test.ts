import { describe, expect, it } from 'vitest';
import { createBackoff } from '../../../src/runtime/backoff.js';
import { systemClock } from '../../../src/runtime/clock.js';

describe('pauses between tries', () => {
  it('double up to a limit, and are said louder the longer they get', () => {
    const backoff = createBackoff({ firstMs: 100, maxMs: 20_000, random: () => 1 });
    const pauses = Array.from({ length: 10 }, () => backoff.next());
    expect(pauses.map((pause) => pause.ms)).toEqual([
      100, 200, 400, 800, 1600, 3200, 6400, 12_800, 20_000, 20_000,
    ]);
    expect(new Set(pauses.map((pause) => pause.level))).toEqual(new Set(['info', 'warn', 'error']));
    expect(pauses.at(-1)?.attempt).toBe(10);
    backoff.reset();
    expect(backoff.next()).toEqual({ ms: 100, attempt: 1, level: 'info' });
  });

  it('are random between half and all of it', () => {
    expect(createBackoff({ random: () => 0 }).next().ms).toBe(50);
  });
});

describe('the clock', () => {
  it('wakes early when told to stop', async () => {
    const stopping = new AbortController();
    const asleep = systemClock.sleep(1_000_000, stopping.signal);
    stopping.abort();
    await asleep;
    await systemClock.sleep(1_000_000, stopping.signal);
    await systemClock.sleep(1);
  });
});
