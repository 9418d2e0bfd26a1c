/** The demo's proof must not pass over anything: a stream that lacks, repeats or changes something is broken. */
import { describe, expect, it } from 'vitest';
import { Replay, Snapshot } from '../../../src/app/demo/replay.js';
import type { CapturedTable } from '../../../src/model/captured-table.js';
import { sha256Hex } from '../../../src/runtime/hash.js';
import { createShovelBatch } from '../../../src/wire/shovel.js';

const TABLE: CapturedTable = {
  schema: 'public',
  table: 'products',
  key: ['id'],
  columns: null,
  before: 'key',
  operations: ['insert', 'update', 'delete', 'truncate'],
  partitioned: false,
  base: 'capture_demo_0123456789',
};

/** A batch of inserts, as it stands in the file. */
function batch(ticket: number, ...ids: readonly number[]): readonly string[] {
  const encoder = createShovelBatch({
    cluster: 'default',
    db: 'shop',
    set: 'demo',
    nodeId: '6f',
    incarnation: 1,
    ticket: String(ticket),
    tsMs: '1700000000123',
    setVersion: 1,
    snapshot: '10:20:',
    previousTicket: String(ticket - 1),
    previousSnapshot: '5:10:',
    keyed: false,
    transactions: false,
  });
  const rows = ids.flatMap((id) =>
    encoder.mutation(
      {
        seq: String(id),
        xid: '15',
        atMs: '1700000000100',
        rel: '1',
        version: '1',
        op: 'I',
        mark: null,
        old: null,
        new: `{"id":${id},"title":"a"}`,
        extra: null,
        metadata: null,
        partition: null,
      },
      TABLE,
    ),
  );
  const lines = rows.map(({ value }) => value);
  const checksum = sha256Hex(lines.map((line) => `${line}\n`).join(''));
  return [encoder.begin().value, ...lines, encoder.end(BigInt(lines.length), checksum).value];
}

function replay(lines: readonly string[]): Replay {
  const replayed = new Replay(new Map([['public.products', new Map()]]), new Snapshot('1:1:'));
  for (const line of lines) replayed.apply(line);
  replayed.end();
  return replayed;
}

describe('the replay of what was published', () => {
  const first = batch(1, 1, 2);
  const second = batch(2, 3);
  const without = (lines: readonly string[], index: number) => lines.filter((_, i) => i !== index);
  const changed = (lines: readonly string[], from: string, to: string) =>
    lines.map((line) => line.replace(from, to));

  it('takes what is whole', () => {
    expect(replay([...first, ...second])).toMatchObject({ batches: 2, mutations: 3 });
  });

  it.each<[string, readonly string[]]>([
    ['batch 3 follows 2, but the one before was 1', [...first, ...batch(3, 3)]],
    ['batch 1 follows 0, but the one before was 1', [...first, ...first]],
    ['batch 1 should have 2 mutations, not 1', [...without(first, 1), ...second]],
    ['the checksum of batch 1 is wrong', changed(first, '"title":"a"', '"title":"b"')],
    ['the checksum of batch 1 is wrong', [first[0], first[2], first[1], first[3]].map(String)],
    ['a mutation stands outside of a batch', without(first, 0)],
    ['the end of batch 2 has no beginning', [...first, ...second.slice(-1)]],
    ['batch 1 has no end', [...without(first, 3), ...second]],
    ['batch 2 has no end', [...first, ...without(second, 2)]],
    ['table public.other is not in the set', changed(first, '"table":"products"', '"table":"other"')],
    ['a mutation of public.products changes a row that is not there', changed(first, '"op":"c"', '"op":"u"')],
  ])('says what is broken: %s', (what, lines) => {
    expect(() => replay(lines)).toThrow(
      expect.objectContaining({
        code: 'demo_stream_broken',
        exitCode: 25,
        message: `The published stream is broken: ${what}.`,
      }),
    );
  });
});
