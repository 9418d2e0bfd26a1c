/**
 * Batches as a relay would publish them, made from nothing but their ticket: format `shovel` with markers, counts and
 * checksums. Two processes that are given the same ticket make the same bytes.
 */

import { createHash } from 'node:crypto';
import type { OutgoingMessage, StreamPosition } from '../../src/streams/publisher.js';

export interface SampleOptions {
  readonly destination: string;
  readonly ticket: bigint;
  /** Mutations, without the markers. */
  readonly count: number;
  readonly partition?: OutgoingMessage['partition'];
  /** Characters of padding in each mutation. */
  readonly padding?: number;
}

function snapshotOf(ticket: bigint): string {
  return `${ticket}:${ticket + 2n}:${ticket}`;
}

export function samplePosition(
  ticket: bigint,
  part: Partial<Pick<StreamPosition, 'complete' | 'part' | 'lastSeq'>> = {},
): StreamPosition {
  return {
    incarnation: 1,
    ticket,
    snapshotHash: createHash('sha256').update(snapshotOf(ticket)).digest('hex'),
    complete: true,
    part: 1,
    lastSeq: 0n,
    epoch: 7n,
    ...part,
  };
}

/** The last sequence number in the batch of `sampleBatch`. */
export function lastSeqOf(ticket: bigint, count: number): bigint {
  return ticket * 1_000_000n + BigInt(count);
}

/** Begin marker, mutations, end marker. */
export function sampleBatch(options: SampleOptions): OutgoingMessage[] {
  const { destination, ticket, count, partition = 0, padding = 0 } = options;
  const source = `{"name":"default","set":"sample","set_version":1,"node":"n","incarnation":1,"ticket":"${ticket}"}`;
  const hash = createHash('sha256');
  const message = (value: string, key: string | null, seq: string, op: string): OutgoingMessage => ({
    destination,
    partition,
    key,
    value,
    headers: { 'shovel-id': `n/1/${ticket}/${seq}`, 'shovel-op': op, 'shovel-epoch': '7' },
  });
  const begin = `{"op":"b","ts_ms":1,"source":${source},"previous":"${ticket - 1n}","snapshot":"${snapshotOf(ticket)}","previous_snapshot":"${snapshotOf(ticket - 1n)}"}`;
  const messages = [message(begin, null, '', 'b')];
  for (let index = 1; index <= count; index += 1) {
    const seq = lastSeqOf(ticket, index).toString();
    const value = `{"before":null,"after":{"id":${index},"note":"${'x'.repeat(padding)}"},"op":"c","ts_ms":1,"source":{"ticket":"${ticket}","seq":"${seq}"},"transaction":null}`;
    hash.update(value).update('\n');
    messages.push(message(value, `{"id":${index}}`, seq, 'c'));
  }
  const end = `{"op":"e","source":${source},"count":"${count}","checksum":"sha256:${hash.digest('hex')}"}`;
  messages.push(message(end, null, '', 'e'));
  return messages;
}

export function valuesOf(messages: readonly OutgoingMessage[]): (string | null)[] {
  return messages.map(({ value }) => value);
}
