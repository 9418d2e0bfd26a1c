import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type NestedMutation, orderNested } from '../../../src/model/nested-order.js';

/**
 * A model of PostgreSQL's nesting: a command changes rows that stood when it began; functions called meanwhile run
 * commands of their own; its mutations are logged when it ends, and triggers on each run further commands.
 */
function simulate(random: () => number) {
  const pick = (n: number) => Math.floor(random() * n);
  const rows = new Map<string, { ctid: string; command: number; old: boolean }>();
  for (const key of ['a', 'b', 'c', 'd']) {
    if (random() < 0.6) rows.set(key, { ctid: `old-${key}`, command: -1, old: true });
  }
  const initial = new Map(rows);
  const logged: NestedMutation[] = [];
  let versions = 0;
  let commands = 0;
  let budget = 24;

  const change = (command: number): NestedMutation | undefined => {
    const key = 'abcd'[pick(4)] ?? 'a';
    const row = rows.get(key);
    const base = { seq: 0n, place: 't', emptied: false };
    if (!row) {
      const ctid = `v${++versions}`;
      rows.set(key, { ctid, command, old: false });
      return { ...base, oldCtid: null, newCtid: ctid, oldKey: null, newKey: key };
    }
    if (row.command >= command) return undefined;
    rows.delete(key);
    if (random() < 0.4) {
      return { ...base, oldCtid: row.ctid, newCtid: null, oldKey: key, newKey: null };
    }
    const target = random() < 0.4 ? ('abcd'[pick(4)] ?? key) : key;
    const to = rows.has(target) ? key : target;
    const ctid = `v${++versions}`;
    rows.set(to, { ctid, command, old: false });
    return { ...base, oldCtid: row.ctid, newCtid: ctid, oldKey: key, newKey: to };
  };

  const run = (depth: number) => {
    const command = ++commands;
    const queue: NestedMutation[] = [];
    for (let n = 1 + pick(3); n > 0 && budget > 0; n--) {
      if (depth < 3 && random() < 0.35) run(depth + 1);
      const mutation = change(command);
      if (mutation) {
        queue.push(mutation);
        budget -= 1;
      }
    }
    for (const mutation of queue) {
      logged.push({ ...mutation, seq: BigInt(logged.length + 1) });
      if (depth < 3 && budget > 0 && random() < 0.3) run(depth + 1);
    }
  };
  while (budget > 0 && commands < 60) run(0);
  return { initial, final: rows, logged };
}

/** Replays and insists that each mutation meets the version that it ended, and each key is free when it is taken. */
function replay(initial: ReadonlyMap<string, { ctid: string }>, mutations: readonly NestedMutation[]) {
  const rows = new Map([...initial].map(([key, row]) => [key, row.ctid]));
  for (const mutation of mutations) {
    if (mutation.oldKey !== null) {
      expect(rows.get(mutation.oldKey)).toBe(mutation.oldCtid);
      rows.delete(mutation.oldKey);
    }
    if (mutation.newKey !== null && mutation.newCtid !== null) {
      expect(rows.has(mutation.newKey)).toBe(false);
      rows.set(mutation.newKey, mutation.newCtid);
    }
  }
  return rows;
}

function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const update = (seq: number, from: string, to: string): NestedMutation => ({
  seq: BigInt(seq),

  place: 't',
  emptied: false,
  oldCtid: from,
  newCtid: to,
  oldKey: 'k',
  newKey: 'k',
});

describe('orderNested', () => {
  it('puts a nested update after the one whose version it changed', () => {
    const inner = update(1, '(0,2)', '(0,3)');
    const outer = update(2, '(0,1)', '(0,2)');
    expect(orderNested([inner, outer])).toEqual([outer, inner]);
  });

  it('puts the delete of an old row before a nested insert under its key', () => {
    const insert: NestedMutation = { ...update(1, '', '(0,2)'), oldCtid: null, oldKey: null };
    const gone: NestedMutation = { ...update(2, '(0,1)', ''), newCtid: null, newKey: null };
    expect(orderNested([insert, gone])).toEqual([gone, insert]);
  });

  it('leaves log order alone where nothing is nested', () => {
    const history = [update(1, '(0,1)', '(0,2)'), update(2, '(0,2)', '(0,3)'), update(5, '(0,3)', '(0,4)')];
    expect(orderNested(history)).toEqual(history);
  });

  it('replays to the true state for any nesting', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const { initial, final, logged } = simulate(generator(seed));
        const ordered = orderNested(logged);
        expect(ordered.length).toBe(logged.length);
        const rows = replay(initial, ordered);
        expect(rows).toEqual(new Map([...final].map(([key, row]) => [key, row.ctid])));
      }),
      { numRuns: 3000 },
    );
  });
});
