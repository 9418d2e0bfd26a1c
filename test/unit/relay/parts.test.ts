import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Part, Parts } from '../../../src/relay/parts.js';
import type { OutgoingMessage } from '../../../src/streams/publisher.js';

const message = (value: string): OutgoingMessage => ({
  destination: 't',
  partition: 0,
  key: null,
  value,
  headers: {},
});

interface Batch {
  readonly markers: boolean;
  /** Messages of each mutation. */
  readonly mutations: readonly (1 | 2)[];
}

function cut(
  batch: Batch,
  options: { readonly limit: number; readonly from?: { readonly part: number; readonly lastSeq: bigint } },
): readonly Part[] {
  const parts = new Parts({ limits: { messages: options.limit, bytes: 1e9 }, from: options.from });
  const out: Part[] = [];
  if (batch.markers) parts.begin(message('begin'));
  for (const [i, count] of batch.mutations.entries()) {
    const messages = Array.from({ length: count }, (_, at) => message(`${i + 1}.${at}`));
    const part = parts.mutation(messages, BigInt(i + 1));
    if (part !== undefined) out.push(part);
  }
  expect(parts.passing).toBe(false);
  out.push(parts.end(batch.markers ? message('end') : undefined));
  return out;
}

const values = (parts: readonly Part[]) => parts.flatMap((part) => part.messages.map(({ value }) => value));

const batches = fc.record({
  markers: fc.boolean(),
  mutations: fc.array(fc.constantFrom<1 | 2>(1, 1, 2), { maxLength: 30 }),
});

describe('the parts of a batch', () => {
  it('hold every message once, in order, never more than the limit but for a mutation or marker', () => {
    fc.assert(
      fc.property(batches, fc.integer({ min: 1, max: 10 }), (batch, limit) => {
        const parts = cut(batch, { limit });
        const whole = cut(batch, { limit: 1000 });
        expect(values(parts)).toEqual(values(whole));
        expect(parts.map((part) => part.part)).toEqual(parts.map((_, i) => i + 1));
        for (const part of parts) expect(part.messages.length).toBeLessThanOrEqual(Math.max(limit, 2) + 1);
      }),
    );
  });

  it('go on after any part, however it was cut then', () => {
    fc.assert(
      fc.property(
        batches,
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 1, max: 10 }),
        fc.nat(100),
        (batch, limit, later, at) => {
          const parts = cut(batch, { limit });
          const sent = parts.slice(0, at % parts.length);
          const last = sent.at(-1);
          if (last === undefined) return;
          const rest = cut(batch, { limit: later, from: last });
          expect([...values(sent), ...values(rest)]).toEqual(values(parts));
          expect(rest[0]?.part).toBe(last.part + 1);
        },
      ),
    );
  });

  it('notices that the last mutation that was sent is not there', () => {
    const parts = new Parts({ limits: { messages: 5, bytes: 1000 }, from: { part: 1, lastSeq: 9n } });
    parts.mutation([message('x')], 1n);
    expect(parts.passing).toBe(true);
  });

  it('are cut by bytes too', () => {
    const parts = new Parts({ limits: { messages: 100, bytes: 1000 } });
    expect(parts.mutation([message('a'.repeat(700))], 1n)).toBeUndefined();
    expect(parts.mutation([message('b'.repeat(700))], 2n)).toMatchObject({ part: 1, lastSeq: 1n });
    expect(parts.end(undefined)).toMatchObject({ part: 2, lastSeq: 2n });
  });
});
