/**
 * What a file stream does with its files when it starts: makes each of them end where the position says, whatever
 * a crash has left behind. Decides what belongs to the stream; the publisher writes the outcome down.
 *
 * - What the side file speaks of is on disk and stays.
 * - Beyond it, whole batches (markers, count and checksum right) stay too and move the position: a reader may have
 *   seen them. The rest is cut off. Only a stream of one file has markers.
 * - A file that was rotated away meanwhile is looked for by its inode in the same directory, and treated alike.
 */

import { readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { RefusedError } from '../../errors.js';
import type { Logger } from '../../runtime/logger.js';
import type { StreamPosition } from '../publisher.js';
import { errnoOf } from './file-errors.js';
import { foreignBytes, inodeAt, OutputFile } from './output-file.js';
import type { FileExtent, PositionRecord } from './position-record.js';
import { recoverBatches } from './recover.js';

export interface Reconciled {
  readonly position: StreamPosition | undefined;
  /** By path: what every file of the stream holds now; those that were rotated away are gone from it. */
  readonly files: ReadonlyMap<string, FileExtent>;
}

const NOTHING: Reconciled = { position: undefined, files: new Map() };

/**
 * `base` is what side files are named after.
 * @throws IntegrityError `file_foreign_bytes` for a file shorter than the side file says, but not empty.
 * @throws RefusedError `file_not_ours` for a file that has no side file and holds no whole batch.
 */
export async function reconcile(
  record: PositionRecord | undefined,
  options: { readonly path: string; readonly base: string; readonly logger: Logger },
): Promise<Reconciled> {
  if (record === undefined) return options.base === options.path ? adopt(options.path) : NOTHING;
  const files = new Map<string, FileExtent>();
  let { position } = record;
  for (const [path, extent] of record.files) {
    const place =
      (await inodeAt(path)) === extent.inode ? path : await findInode(dirname(path), extent.inode);
    if (place === undefined) {
      options.logger.info({ path }, 'file was rotated away while nobody wrote it');
      continue;
    }
    const { size } = await stat(place);
    if (size === 0 && extent.size > 0)
      options.logger.info({ path }, 'file was emptied while nobody wrote it');
    else if (size < extent.size) throw foreignBytes(place, { expected: extent.size, found: size });
    let end = size;
    if (size > extent.size) {
      const markers = record.files.size === 1;
      const recovered = await cut(place, { from: extent.size, after: record.position, markers });
      end = recovered.end;
      position = recovered.position ?? position;
      options.logger.info({ path: place, cut_bytes: size - end }, 'cut back what was not finished');
    }
    if (place === path) files.set(path, { inode: extent.inode, size: end });
  }
  return { position, files };
}

/** A file without a side file: ours if it holds a whole batch. */
async function adopt(path: string): Promise<Reconciled> {
  const size = await sizeAt(path);
  if (size === undefined || size === 0) return NOTHING;
  const file = await OutputFile.open(path);
  try {
    const recovered = await recoverBatches(file.handle, { from: 0, after: undefined, strict: false });
    if (recovered.position === undefined) throw notOurs(path);
    await file.cutBack(recovered.end);
    return {
      position: recovered.position,
      files: new Map([[path, { inode: file.inode, size: recovered.end }]]),
    };
  } finally {
    await file.close();
  }
}

/** Only called for what lies behind what the side file vouches for. */
async function cut(
  path: string,
  options: { readonly from: number; readonly after: StreamPosition | undefined; readonly markers: boolean },
): Promise<{ readonly end: number; readonly position: StreamPosition | undefined }> {
  const file = await OutputFile.open(path);
  try {
    const recovered = options.markers
      ? await recoverBatches(file.handle, { ...options, strict: true })
      : { end: options.from, position: undefined };
    await file.cutBack(recovered.end);
    return recovered;
  } finally {
    await file.close();
  }
}

export function notOurs(path: string): RefusedError {
  return new RefusedError('file_not_ours', `${path} exists and holds nothing that this stream has written`, {
    hint: 'Move it away; a stream begins with a file of its own, or an empty one.',
    details: { path },
  });
}

async function findInode(directory: string, inode: string): Promise<string | undefined> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  for (const name of names) {
    const path = join(directory, name);
    if ((await inodeAt(path)) === inode) return path;
  }
  return undefined;
}

async function sizeAt(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
