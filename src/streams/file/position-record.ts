/**
 * The side file of a file stream, `<path>.position`: how far the stream is, and how long each of its files was then.
 * Always replaced as a whole, after what it speaks of is on disk, so that after any crash it is either the old or the
 * new one. Whatever lies beyond the sizes in it is not part of the stream (recovery may say otherwise).
 */

import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { IntegrityError, RefusedError } from '../../errors.js';
import { decodePositionValue, encodePosition } from '../position-json.js';
import type { StreamPosition } from '../publisher.js';
import { errnoOf } from './file-errors.js';

/** A file as it was when the record was written. `inode` is a decimal string. */
export interface FileExtent {
  readonly inode: string;
  /** In bytes. */
  readonly size: number;
}

export interface PositionRecord {
  readonly stream: string;
  readonly position: StreamPosition | undefined;
  /** By path. */
  readonly files: ReadonlyMap<string, FileExtent>;
}

/** Durable when it resolves. */
export async function writePositionRecord(path: string, record: PositionRecord): Promise<void> {
  const position = record.position === undefined ? 'null' : encodePosition(record.position);
  const files = JSON.stringify(Object.fromEntries(record.files));
  const text = `{"stream":${JSON.stringify(record.stream)},"position":${position},"files":${files}}\n`;
  const temporary = `${path}.tmp`;
  const handle = await open(temporary, 'w', 0o640);
  try {
    await handle.writeFile(text);
    await handle.datasync();
  } finally {
    await handle.close();
  }
  await rename(temporary, path);
  await syncDirectory(dirname(path));
}

/**
 * Undefined where there is none. That of another stream is an error unless `isRetired` says that it is gone for good.
 * @throws RefusedError `file_of_another_stream`; IntegrityError `position_unreadable`.
 */
export async function readPositionRecord(
  path: string,
  { stream, isRetired }: { readonly stream: string; readonly isRetired: (stream: string) => boolean },
): Promise<PositionRecord | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  const record = decodeRecord(text);
  if (record === undefined) {
    throw new IntegrityError('position_unreadable', `${path} is not what a file stream writes`, {
      hint: 'Restore it; or remove it, if the file beside it ends with an end marker, which then tells the position.',
      details: { path },
    });
  }
  if (record.stream !== stream && !isRetired(record.stream)) {
    throw new RefusedError('file_of_another_stream', `${path} belongs to stream ${record.stream}`, {
      hint: 'Give each stream a path of its own, or move the file and its side files away.',
      details: { path, stream: record.stream },
    });
  }
  return record;
}

/** Makes entries of a directory (made, renamed) durable. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function decodeRecord(text: string): PositionRecord | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof json !== 'object' || json === null) return undefined;
  const stream: unknown = Reflect.get(json, 'stream');
  const positionValue: unknown = Reflect.get(json, 'position');
  const filesValue: unknown = Reflect.get(json, 'files');
  if (typeof stream !== 'string' || typeof filesValue !== 'object' || filesValue === null) return undefined;
  const position = positionValue === null ? undefined : decodePositionValue(positionValue);
  if (positionValue !== null && position === undefined) return undefined;
  const files = new Map<string, FileExtent>();
  for (const [path, extent] of Object.entries(filesValue)) {
    if (typeof extent !== 'object' || extent === null) return undefined;
    const inode: unknown = Reflect.get(extent, 'inode');
    const size: unknown = Reflect.get(extent, 'size');
    if (typeof inode !== 'string' || typeof size !== 'number' || !Number.isSafeInteger(size))
      return undefined;
    files.set(path, { inode, size });
  }
  return { stream, position, files };
}
