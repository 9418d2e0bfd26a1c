/** A publisher's file for tests, in a folder of the test's own, and what a publisher of batches should make of it. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { silentLogger } from '../../src/runtime/logger.js';
import { createFilePublisher, type FilePublisherOptions } from '../../src/streams/file/file-publisher.js';
import type { Publisher } from '../../src/streams/publisher.js';
import { sampleBatch, samplePosition } from './sample-batches.js';
import { temporaryFolder } from './temporary-folder.js';

/** To be called once in a test file: every test has a folder of its own, and its publishers are stopped after it. */
export function usePublishedFile(): PublishedFile {
  const file = new PublishedFile();
  beforeEach(() => file.begin());
  afterEach(() => file.end());
  return file;
}

class PublishedFile {
  readonly stream = randomUUID();
  directory = '';
  path = '';
  readonly #opened: Publisher[] = [];

  begin(): void {
    this.directory = temporaryFolder('file');
    this.path = join(this.directory, 'trail.jsonl');
  }

  /** Stops all that were opened. */
  async end(): Promise<void> {
    await Promise.all(this.#opened.splice(0).map((publisher) => publisher.stop()));
  }

  /** Not started. */
  open(extra: Partial<FilePublisherOptions> = {}): Publisher {
    const publisher = createFilePublisher({
      path: this.path,
      stream: this.stream,
      logger: silentLogger(),
      ...extra,
    });
    this.#opened.push(publisher);
    return publisher;
  }

  batch(ticket: number, count = 3): ReturnType<typeof sampleBatch> {
    return sampleBatch({ destination: this.path, ticket: BigInt(ticket), count });
  }

  /** What the batches of the tickets are in a file. */
  text(...tickets: number[]): string {
    return tickets.flatMap((ticket) => this.batch(ticket).map(({ value }) => `${value}\n`)).join('');
  }

  async publish(publisher: Publisher, ...tickets: number[]): Promise<void> {
    for (const ticket of tickets) await publisher.publish(this.batch(ticket), samplePosition(BigInt(ticket)));
  }

  content(path = this.path): Promise<string> {
    return readFile(path, 'utf8');
  }
}
