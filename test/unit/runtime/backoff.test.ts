import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
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
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('wakes when the time has come, and not before', async () => {
    let awake = false;
    const asleep = systemClock.sleep(1_000).then(() => {
      awake = true;
    });
    await vi.advanceTimersByTimeAsync(999);
    expect(awake).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(awake).toBe(true);
    await asleep;
  });

  it('wakes early when told to stop, or at once where it was told before, and leaves no timer', async () => {
    const stopping = new AbortController();
    const asleep = systemClock.sleep(1_000, stopping.signal);
    expect(vi.getTimerCount()).toBe(1);
    stopping.abort();
    await asleep;
    await systemClock.sleep(1_000, stopping.signal);
    expect(vi.getTimerCount()).toBe(0);
  });
});
