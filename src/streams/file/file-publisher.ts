/**
 * Publishes to files, a message's value a line, exactly once in the file. Decides when what was written counts: a
 * batch does when it is whole, on disk, and the side file says so. Anything else is cut off: at once where a write
 * fails, at the next start where the process died. So after a crash within a batch publishing begins again at that
 * batch's first part. Rotation is looked for between batches only, so no batch is spread over two files.
 *
 * Side files stand beside the path: `.position` (see position-record.ts) and `.lock`, which stays when unlocked.
 *
 *   stopped --start--> between batches <--publish--> within a batch
 *   any --error--> broken (files cut back) --start--> between batches
 *   any --stop--> stopped
 */

import type { Writable } from 'node:stream';
import { EXIT, ShovelError } from '../../errors.js';
import type { Logger } from '../../runtime/logger.js';
import type { OutgoingMessage, Publisher, StreamPosition } from '../publisher.js';
import { Turns } from '../turns.js';
import { translateFileError } from './file-errors.js';
import { OutputFile } from './output-file.js';
import { type FileExtent, readPositionRecord, writePositionRecord } from './position-record.js';
import { notOurs, reconcile } from './reconcile.js';
import { createStdoutPublisher } from './stdout-publisher.js';

export interface FilePublisherOptions {
  /** The stream's path, `-` for standard output. Where it is a template of several files, see `stateBase`. */
  readonly path: string;
  /** What side files are named after: default `path`. Needed where the messages' destinations are other paths. */
  readonly stateBase?: string;
  /** Unique to stream and node; a file of one stream is refused to another. */
  readonly stream: string;
  /** Of the stream that the file belonged to: whether it will never write again, so that this one may go on behind it. */
  readonly isRetired?: (stream: string) => boolean;
  readonly limits?: Publisher['limits'];
  readonly logger: Logger;
  /** What `-` means; default the process's standard output. */
  readonly stdout?: Writable;
}

const STOP_WITHIN_MS = 5000;
const DEFAULT_LIMITS = { messages: 10_000, bytes: 16 * 1024 * 1024 };

interface Live {
  readonly lock: OutputFile;
  /** Open files, by path. */
  readonly outputs: Map<string, OutputFile>;
  /** What the side file says. */
  committed: {
    readonly position: StreamPosition | undefined;
    readonly files: ReadonlyMap<string, FileExtent>;
  };
  /** True after a part, until its batch is whole. */
  withinBatch: boolean;
}

export function createFilePublisher(options: FilePublisherOptions): Publisher {
  if (options.path === '-') return createStdoutPublisher(options);
  return new FilePublisher(options);
}

class FilePublisher implements Publisher {
  readonly display: string;
  readonly limits: Publisher['limits'];
  readonly #options: FilePublisherOptions;
  readonly #base: string;
  #live: Live | undefined;
  readonly #turns = new Turns();

  constructor(options: FilePublisherOptions) {
    this.#options = options;
    this.#base = options.stateBase ?? options.path;
    this.display = `file ${options.path}`;
    this.limits = options.limits ?? DEFAULT_LIMITS;
  }

  start(): Promise<StreamPosition | undefined> {
    return this.#inTurn(async () => {
      await this.#close();
      const lock = await OutputFile.open(`${this.#base}.lock`);
      try {
        const { stream, isRetired = () => false } = this.#options;
        const record = await readPositionRecord(this.#recordPath(), { stream, isRetired });
        const found = await reconcile(record, { ...this.#options, base: this.#base });
        // Behind what a stream left that is no more, this one begins: the next record makes the files its own.
        const inherited = record !== undefined && record.stream !== stream;
        const committed = inherited ? { ...found, position: undefined } : found;
        const live = { lock, outputs: new Map<string, OutputFile>(), committed, withinBatch: false };
        await this.#commit(live, committed.position);
        this.#live = live;
        return committed.position;
      } catch (error) {
        await lock.close();
        throw error;
      }
    });
  }

  publish(messages: readonly OutgoingMessage[], position: StreamPosition): Promise<void> {
    return this.#inTurn(async () => {
      const live = this.#live;
      if (live === undefined) throw notStarted(this.#base);
      try {
        const lines = linesByPath(messages);
        if (!live.withinBatch) await this.#lookForRotation(live);
        for (const path of lines.keys()) {
          if (!live.outputs.has(path)) await this.#openOutput(live, path);
        }
        live.withinBatch = true;
        for (const [path, list] of lines) await write(live.outputs.get(path), list);
      } catch (error) {
        await this.#cutBack(live);
        await this.#close();
        throw error;
      }
      if (position.complete) await this.#finishBatch(live, position);
    });
  }

  /** Where this fails the side file may be the old or the new one: only a start can tell what to cut. */
  async #finishBatch(live: Live, position: StreamPosition): Promise<void> {
    try {
      await this.#commit(live, position);
      live.withinBatch = false;
    } catch (error) {
      await this.#close();
      throw error;
    }
  }

  async stop(): Promise<void> {
    this.#inTurn(async () => {
      if (this.#live?.withinBatch === true) await this.#cutBack(this.#live);
      await this.#close();
    }).catch((error: unknown) => {
      const { code } = translateFileError(error, this.#base);
      this.#options.logger.warn({ path: this.#base, code }, 'files could not be closed');
    });
    await this.#turns.idle(STOP_WITHIN_MS);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#turns.take(work).catch((error: unknown) => {
      throw translateFileError(error, this.#base);
    });
  }

  #recordPath(): string {
    return `${this.#base}.position`;
  }

  /** What is in the open files now is the stream up to `position`. */
  async #commit(live: Live, position: StreamPosition | undefined): Promise<void> {
    const files = new Map(live.committed.files);
    for (const [path, { inode, size }] of live.outputs) files.set(path, { inode, size });
    await writePositionRecord(this.#recordPath(), { stream: this.#options.stream, position, files });
    live.committed = { position, files };
  }

  /** The side file names a file, and its length, before the first byte is written into it. */
  async #openOutput(live: Live, path: string): Promise<void> {
    const output = await OutputFile.open(path);
    const known = live.committed.files.get(path);
    const ours = output.size === 0 || (known?.inode === output.inode && known.size === output.size);
    if (!ours) {
      await output.close();
      throw notOurs(path);
    }
    const files = new Map(live.committed.files).set(path, { inode: output.inode, size: output.size });
    const { position } = live.committed;
    await writePositionRecord(this.#recordPath(), { stream: this.#options.stream, position, files });
    live.committed = { position, files };
    live.outputs.set(path, output);
  }

  async #lookForRotation(live: Live): Promise<void> {
    for (const [path, output] of live.outputs) {
      const state = await output.look();
      if (state === 'same') continue;
      this.#options.logger.info({ path, state }, 'file was rotated');
      if (state === 'emptied') {
        await this.#commit(live, live.committed.position);
        continue;
      }
      live.outputs.delete(path);
      await output.close();
    }
  }

  /** Best effort: the next start does it again. */
  async #cutBack(live: Live): Promise<void> {
    for (const [path, output] of live.outputs) {
      const size = live.committed.files.get(path)?.size;
      if (size === undefined || output.size <= size) continue;
      await output.cutBack(size).catch((error: unknown) => {
        const { code } = translateFileError(error, path);
        this.#options.logger.warn({ path, code }, 'what was not finished could not be cut back yet');
      });
    }
  }

  async #close(): Promise<void> {
    const live = this.#live;
    this.#live = undefined;
    if (live === undefined) return;
    for (const output of live.outputs.values()) await output.close();
    await live.lock.close();
  }
}

/** On disk when it resolves. */
async function write(output: OutputFile | undefined, lines: readonly string[]): Promise<void> {
  try {
    await output?.append(lines);
    await output?.sync();
  } catch (error) {
    throw translateFileError(error, output?.path ?? '');
  }
}

/** Lines in order, by path. A tombstone is the line `null`. */
function linesByPath(messages: readonly OutgoingMessage[]): Map<string, string[]> {
  const lines = new Map<string, string[]>();
  for (const { destination, value } of messages) {
    const line = value ?? 'null';
    if (line.includes('\n')) throw lineBreak(destination);
    const list = lines.get(destination);
    if (list === undefined) lines.set(destination, [line]);
    else list.push(line);
  }
  return lines;
}

function lineBreak(path: string): ShovelError {
  return new ShovelError(
    { code: 'message_has_line_break', exitCode: EXIT.bug, retryable: false },
    `a message for ${path} holds a raw line break`,
    { hint: 'This is a bug of the message format: please report it.', details: { path } },
  );
}

function notStarted(base: string): ShovelError {
  return new ShovelError(
    { code: 'stream_not_started', exitCode: EXIT.bug, retryable: false },
    `the publisher of ${base} was used before start, or after an error without another start`,
    { hint: 'This is a bug: please report it.' },
  );
}
