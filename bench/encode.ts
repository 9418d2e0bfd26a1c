/**
 * How many messages of about 300 bytes format `shovel` encodes in a second on one core, hashed for the batch's
 * checksum as the relay does. Run: npx tsx bench/encode.ts
 */
import { createHash } from 'node:crypto';
import type { CapturedTable } from '../src/model/captured-table.js';
import type { Mutation } from '../src/model/mutation.js';
import { createShovelBatch } from '../src/wire/shovel.js';

const ROUNDS = 7;
const ROWS = 200_000;

const batch = () =>
  createShovelBatch({
    cluster: 'default',
    db: 'app',
    set: 'example',
    nodeId: '6f9619ff-8b86-4d01-b42d-00cf4fc964ff',
    incarnation: 1,
    ticket: '42',
    tsMs: '1700000000123',
    setVersion: 3,
    snapshot: '10:20:',
    previousTicket: '41',
    previousSnapshot: '5:10:',
    keyed: false,
    transactions: false,
  });

const table: CapturedTable = {
  schema: 'public',
  table: 'accounts',
  key: ['id'],
  columns: null,
  before: 'key',
  operations: ['insert', 'update', 'delete', 'truncate'],
  partitioned: false,
  base: 'capture_example_0123456789',
};

function rows(op: 'I' | 'U' | 'D'): readonly Mutation[] {
  return Array.from({ length: ROWS }, (_, i) => ({
    seq: String(1000 + i),
    xid: String(7000 + (i % 50)),
    atMs: '1700000000100',
    rel: '1',
    version: '3',
    op,
    mark: null,
    old: op === 'I' ? null : `{"id" : ${i}}`,
    new: op === 'D' ? null : `{"id":${i},"owner":"owner ${i % 97}","balance":${i}.50}`,
    extra: null,
    metadata: null,
    partition: null,
  }));
}

const FORMS: readonly (readonly [string, CapturedTable])[] = [
  ['whole rows', table],
  ['with a column list', { ...table, columns: ['id', 'owner', 'balance'] }],
];

for (const [name, narrowed] of FORMS) {
  for (const op of ['I', 'U', 'D'] as const) {
    const input = rows(op);
    const rates: number[] = [];
    let bytes = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const encoder = batch();
      const hash = createHash('sha256');
      bytes = 0;
      const started = performance.now();
      for (const row of input) {
        for (const { value } of encoder.mutation(row, narrowed)) {
          hash.update(value).update('\n');
          bytes += value.length;
        }
      }
      hash.digest('hex');
      rates.push(ROWS / ((performance.now() - started) / 1000));
    }
    rates.sort((a, b) => a - b);
    const median = Math.round(rates[Math.floor(ROUNDS / 2)] ?? 0);
    process.stdout.write(
      `${JSON.stringify({ bench: 'encode', rows: name, op, bytes: Math.round(bytes / ROWS), messages_per_second: median })}\n`,
    );
  }
}
