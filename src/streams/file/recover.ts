/**
 * Reads a file stream's lines back and tells how far it holds whole batches: a begin marker, the batch's lines, and
 * an end marker whose count and checksum are those of the lines between. Decides nothing about what to cut. Markers
 * are recognised by how format shovel begins them; other formats have none, and nothing of theirs is ever recognised.
 */

import { createHash, type Hash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { StreamPosition } from '../publisher.js';

export interface Recovered {
  /** Offset behind the last whole batch; `from` where there is none. */
  readonly end: number;
  /** What the last whole batch says; undefined where there is none. */
  readonly position: StreamPosition | undefined;
}

export interface RecoverOptions {
  /** Offset to begin at, the start of a line. */
  readonly from: number;
  /** What the stream's position was at `from`; lends what markers don't say. */
  readonly after: StreamPosition | undefined;
  /** True: ends at the first line that does not continue whole batches. False: goes on to the last whole batch. */
  readonly strict: boolean;
}

const BEGIN = Buffer.from('{"op":"b"');
const END = Buffer.from('{"op":"e"');
const NEWLINE = 0x0a;
const CHUNK_BYTES = 1024 * 1024;

interface OpenBatch {
  readonly incarnation: number;
  readonly ticket: bigint;
  readonly snapshot: string;
  readonly hash: Hash;
  count: bigint;
  last: Buffer | undefined;
}

/** Memory: the longest line twice. @throws the system's errors as they are. */
export async function recoverBatches(handle: FileHandle, options: RecoverOptions): Promise<Recovered> {
  let end = options.from;
  let whole: OpenBatch | undefined;
  let batch: OpenBatch | undefined;
  for await (const { line, end: lineEnd } of lines(handle, options.from)) {
    if (line.subarray(0, BEGIN.length).equals(BEGIN)) {
      const next = openBatch(line);
      if (options.strict && (batch !== undefined || !follows(next, whole ?? options.after))) break;
      batch = next;
    } else if (batch === undefined) {
      if (options.strict) break;
    } else if (!line.subarray(0, END.length).equals(END)) {
      batch.hash.update(line).update('\n');
      batch.count += 1n;
      batch.last = line;
    } else if (closes(line, batch)) {
      whole = batch;
      end = lineEnd;
      batch = undefined;
    } else {
      batch = undefined;
      if (options.strict) break;
    }
  }
  return { end, position: whole === undefined ? undefined : positionOf(whole, options.after) };
}

function positionOf(batch: OpenBatch, after: StreamPosition | undefined): StreamPosition {
  return {
    incarnation: batch.incarnation,
    ticket: batch.ticket,
    snapshotHash: createHash('sha256').update(batch.snapshot).digest('hex'),
    complete: true,
    part: 1,
    lastSeq: lastSeqOf(batch.last) ?? after?.lastSeq ?? 0n,
    epoch: after?.epoch ?? 0n,
  };
}

/** A later ticket, or a later incarnation. */
function follows(
  batch: OpenBatch | undefined,
  before: Pick<StreamPosition, 'incarnation' | 'ticket'> | undefined,
): boolean {
  if (batch === undefined || before === undefined) return batch !== undefined;
  if (batch.incarnation !== before.incarnation) return batch.incarnation > before.incarnation;
  return batch.ticket > before.ticket;
}

function openBatch(line: Buffer): OpenBatch | undefined {
  const marker = parse(line);
  const source = identityOf(marker);
  const snapshot = member(marker, 'snapshot');
  if (source === undefined || typeof snapshot !== 'string') return undefined;
  return { ...source, snapshot, hash: createHash('sha256'), count: 0n, last: undefined };
}

function closes(line: Buffer, batch: OpenBatch): boolean {
  const marker = parse(line);
  const source = identityOf(marker);
  return (
    source !== undefined &&
    source.ticket === batch.ticket &&
    source.incarnation === batch.incarnation &&
    member(marker, 'count') === batch.count.toString() &&
    member(marker, 'checksum') === `sha256:${batch.hash.digest('hex')}`
  );
}

function identityOf(marker: unknown): { readonly incarnation: number; readonly ticket: bigint } | undefined {
  const source = member(marker, 'source');
  const incarnation = member(source, 'incarnation');
  const ticket = member(source, 'ticket');
  if (typeof incarnation !== 'number' || typeof ticket !== 'string' || !/^[0-9]{1,19}$/.test(ticket)) {
    return undefined;
  }
  return { incarnation, ticket: BigInt(ticket) };
}

function lastSeqOf(line: Buffer | undefined): bigint | undefined {
  const seq = line === undefined ? undefined : member(member(parse(line), 'source'), 'seq');
  return typeof seq === 'string' && /^[0-9]{1,19}$/.test(seq) ? BigInt(seq) : undefined;
}

function parse(line: Buffer): unknown {
  try {
    return JSON.parse(line.toString());
  } catch {
    return undefined;
  }
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

/** Whole lines without their newline; `end` is the offset behind it. A last line without one is left out. */
async function* lines(
  handle: FileHandle,
  from: number,
): AsyncGenerator<{ readonly line: Buffer; readonly end: number }> {
  let parts: Buffer[] = [];
  let at = from;
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    const { bytesRead } = await handle.read(chunk, 0, CHUNK_BYTES, at);
    if (bytesRead === 0) return;
    let start = 0;
    for (;;) {
      const stop = chunk.subarray(0, bytesRead).indexOf(NEWLINE, start);
      if (stop < 0) break;
      parts.push(chunk.subarray(start, stop));
      const [only] = parts;
      const line = parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
      parts = [];
      start = stop + 1;
      yield { line, end: at + start };
    }
    parts.push(chunk.subarray(start, bytesRead));
    at += bytesRead;
  }
}
