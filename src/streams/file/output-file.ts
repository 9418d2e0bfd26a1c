/**
 * One open, locked file of a stream, written at its end only. Knows how long it is supposed to be, and so notices
 * when it was renamed away (rotation), emptied, or written by someone else. When to look, and when to cut, is the
 * publisher's to decide.
 */

import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ConfigurationError, IntegrityError } from '../../errors.js';
import { errnoOf } from './file-errors.js';
import { lockHandle } from './file-lock.js';
import { syncDirectory } from './position-record.js';

const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_APPEND;
/** Rows are nobody's but the owner's and the group's to read. */
const MODE = 0o640;
const CHUNK_BYTES = 1024 * 1024;

export class OutputFile {
  readonly path: string;
  /** Decimal. */
  readonly inode: string;
  readonly handle: FileHandle;
  #size: number;

  private constructor(path: string, file: { handle: FileHandle; inode: string; size: number }) {
    this.path = path;
    this.handle = file.handle;
    this.inode = file.inode;
    this.#size = file.size;
  }

  /**
   * Makes the file where it is missing.
   * @throws a retryable ShovelError `file_locked`; ConfigurationError `file_not_regular`; the system's errors as they are.
   */
  static async open(path: string): Promise<OutputFile> {
    const handle = await open(path, FLAGS, MODE);
    try {
      const info = await handle.stat({ bigint: true });
      if (!info.isFile()) {
        throw new ConfigurationError('file_not_regular', `${path} is not a regular file`, {
          hint: 'A file stream needs a file that can be cut back; for a pipe use path "-".',
          details: { path },
        });
      }
      await lockHandle(handle, path);
      // Looked at again under the lock: another publisher may have cut or filled it.
      const { size } = await handle.stat();
      await syncDirectory(dirname(path));
      return new OutputFile(path, { handle, inode: info.ino.toString(), size });
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** In bytes, what was written through this object included. */
  get size(): number {
    return this.#size;
  }

  /** Lines of text, a newline behind each; on disk only after `sync`. */
  async append(lines: readonly string[]): Promise<void> {
    let pending: string[] = [];
    let length = 0;
    for (const line of lines) {
      pending.push(line, '\n');
      length += line.length + 1;
      if (length < CHUNK_BYTES) continue;
      await this.#write(Buffer.from(pending.join('')));
      pending = [];
      length = 0;
    }
    if (length > 0) await this.#write(Buffer.from(pending.join('')));
  }

  async sync(): Promise<void> {
    await this.handle.datasync();
  }

  /** Durable when it resolves. */
  async cutBack(size: number): Promise<void> {
    await this.handle.truncate(size);
    await this.handle.sync();
    this.#size = size;
  }

  /**
   * How the file is now: `rotated` where the path leads to another file or none, `emptied` where it was truncated
   * (copytruncate), else `same`.
   * @throws IntegrityError `file_foreign_bytes` where something else wrote into it.
   */
  async look(): Promise<'same' | 'rotated' | 'emptied'> {
    const here = await inodeAt(this.path);
    if (here !== this.inode) return 'rotated';
    const { size } = await this.handle.stat();
    if (size === this.#size) return 'same';
    if (size === 0) {
      this.#size = 0;
      return 'emptied';
    }
    throw foreignBytes(this.path, { expected: this.#size, found: size });
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  async #write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const { bytesWritten } = await this.handle.write(bytes, at, bytes.length - at);
      at += bytesWritten;
      this.#size += bytesWritten;
    }
  }
}

export function foreignBytes(path: string, sizes: { expected: number; found: number }): IntegrityError {
  return new IntegrityError(
    'file_foreign_bytes',
    `${path} has ${sizes.found} bytes, the stream wrote ${sizes.expected}: something else changed it`,
    {
      hint: 'Nothing but the stream may write its file. Move the file away to begin a new one where this one ends.',
      details: { path, ...sizes },
    },
  );
}

/** Decimal; undefined where there is no such file. */
export async function inodeAt(path: string): Promise<string | undefined> {
  try {
    return (await stat(path, { bigint: true })).ino.toString();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
