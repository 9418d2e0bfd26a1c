import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HeldLease } from '../../../src/coordinator/held-lease.js';

const SESSION_MS = 3_000;

describe('HeldLease', () => {
  let nowMs: number;
  let givenBack: number;

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    nowMs = 1_000;
    givenBack = 0;
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function take(sentAtMs: number): HeldLease {
    return new HeldLease(sentAtMs, {
      epoch: 7n,
      sessionTimeMs: SESSION_MS,
      now: () => nowMs,
      giveBack: async () => {
        givenBack += 1;
      },
    });
  }

  function pass(ms: number): void {
    nowMs += ms;
    vi.advanceTimersByTime(ms);
  }

  it('is lost two thirds of the session after the request that took it was sent', () => {
    const lease = take(500);
    pass(1_499);
    expect(lease.lost.aborted).toBe(false);
    pass(1);
    expect(lease.lost.aborted).toBe(true);
    expect(givenBack).toBe(0);
  });

  it('is lost at once where the answer took longer than that', () => {
    nowMs = 10_000;
    expect(take(8_000).lost.aborted).toBe(true);
  });

  it('lives on by proofs, counted from when they were asked for', () => {
    const lease = take(1_000);
    for (let i = 0; i < 50; i += 1) {
      pass(1_000);
      lease.vouch(nowMs - 900);
    }
    expect(lease.lost.aborted).toBe(false);
    pass(1_099);
    expect(lease.lost.aborted).toBe(false);
    pass(1);
    expect(lease.lost.aborted).toBe(true);
  });

  it('is not prolonged by a proof older than one that it has', () => {
    const lease = take(1_000);
    pass(1_500);
    lease.vouch(2_000);
    lease.vouch(1_100);
    pass(1_499);
    expect(lease.lost.aborted).toBe(false);
    pass(1);
    expect(lease.lost.aborted).toBe(true);
  });

  it('is not revived by a proof that comes too late, though the timer has not run yet', () => {
    const lease = take(1_000);
    nowMs = 3_000;
    lease.vouch(2_900);
    expect(lease.lost.aborted).toBe(true);
    lease.vouch(2_950);
    expect(lease.lost.aborted).toBe(true);
  });

  it('gives back once, after telling', async () => {
    const lease = take(1_000);
    await Promise.all([lease.release(), lease.release()]);
    await lease.release();
    expect(lease.lost.aborted).toBe(true);
    expect(givenBack).toBe(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('leaves no timer behind when it is lost', () => {
    take(1_000).lose();
    expect(vi.getTimerCount()).toBe(0);
  });
});
