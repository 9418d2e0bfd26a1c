/**
 * A stream's position as text, the same wherever a destination keeps it for us: Kafka's offset metadata, the
 * file stream's side file. Decides the shape alone; what to do about text that can't be read is the caller's.
 */

import type { StreamPosition } from './publisher.js';

/** One line of JSON, below 400 characters (brokers take 4096). 64-bit numbers are decimal strings. */
export function encodePosition(position: StreamPosition): string {
  return JSON.stringify({
    incarnation: position.incarnation,
    ticket: position.ticket.toString(),
    hash: position.snapshotHash,
    complete: position.complete,
    part: position.part,
    lastSeq: position.lastSeq.toString(),
    epoch: position.epoch.toString(),
  });
}

/** Undefined where the text is not what `encodePosition` writes. Members that it does not know are ignored. */
export function decodePosition(text: string): StreamPosition | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  return decodePositionValue(json);
}

/** Like `decodePosition`, for JSON that was parsed already. */
export function decodePositionValue(json: unknown): StreamPosition | undefined {
  if (typeof json !== 'object' || json === null) return undefined;
  const members = new Map<string, unknown>(Object.entries(json));
  const incarnation = count(members.get('incarnation'));
  const ticket = decimal(members.get('ticket'));
  const snapshotHash = members.get('hash');
  const complete = members.get('complete');
  const part = count(members.get('part'));
  const lastSeq = decimal(members.get('lastSeq'));
  const epoch = decimal(members.get('epoch'));
  if (incarnation === undefined || ticket === undefined || part === undefined) return undefined;
  if (lastSeq === undefined || epoch === undefined) return undefined;
  if (typeof snapshotHash !== 'string' || typeof complete !== 'boolean') return undefined;
  return { incarnation, ticket, snapshotHash, complete, part, lastSeq, epoch };
}

function count(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

function decimal(value: unknown): bigint | undefined {
  return typeof value === 'string' && /^-?[0-9]{1,19}$/.test(value) ? BigInt(value) : undefined;
}
