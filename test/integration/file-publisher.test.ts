/** What the publishers to files and standard output do beyond the contract of all publishers, on real files. */

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFile,
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../../src/runtime/logger.js';
import { createFilePublisher, type FilePublisherOptions } from '../../src/streams/file/file-publisher.js';
import type { Publisher } from '../../src/streams/publisher.js';
import { startPublisherProcess } from '../support/publisher-process.js';
import { sampleBatch, samplePosition } from '../support/sample-batches.js';
import { temporaryFolder } from '../support/temporary-folder.js';

/** Of util-linux: sets a limit of a process, at its start or while it runs. */
const LIMITER = 'prlimit';

let directory: string;
let path: string;
const stream = randomUUID();
const opened: Publisher[] = [];

function open(extra: Partial<FilePublisherOptions> = {}): Publisher {
  const publisher = createFilePublisher({ path, stream, logger: silentLogger(), ...extra });
  opened.push(publisher);
  return publisher;
}

beforeEach(async () => {
  directory = temporaryFolder('file');
  path = join(directory, 'trail.jsonl');
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((publisher) => publisher.stop()));
});

function batch(ticket: number, count = 3): ReturnType<typeof sampleBatch> {
  return sampleBatch({ destination: path, ticket: BigInt(ticket), count });
}
function text(...tickets: number[]): string {
  return tickets.flatMap((ticket) => batch(ticket).map(({ value }) => `${value}\n`)).join('');
}
async function publish(publisher: Publisher, ...tickets: number[]): Promise<void> {
  for (const ticket of tickets) await publisher.publish(batch(ticket), samplePosition(BigInt(ticket)));
}
async function content(file = path): Promise<string> {
  return readFile(file, 'utf8');
}

describe('what a crash leaves behind', () => {
  /** As if the process had died: nothing of the publisher runs any more, its files are as given. */
  async function publishedThenStopped(...tickets: number[]): Promise<void> {
    const publisher = open();
    await publisher.start();
    await publish(publisher, ...tickets);
    await publisher.stop();
  }

  test('an end marker newer than the side file wins', async () => {
    await publishedThenStopped(1);
    await appendFile(path, text(2, 3) + text(4).slice(0, -30));
    const publisher = open();
    expect(await publisher.start()).toMatchObject({
      ticket: 3n,
      incarnation: 1,
      complete: true,
      snapshotHash: samplePosition(3n).snapshotHash,
      lastSeq: 3_000_003n,
      epoch: 7n,
    });
    expect(await content()).toBe(text(1, 2, 3));
    await publish(publisher, 4);
    expect(await content()).toBe(text(1, 2, 3, 4));
  });

  test('unless what it closes is damaged, as after a power failure', async () => {
    await publishedThenStopped(1);
    const damaged = Buffer.from(text(2));
    damaged.fill(0, 400, 420);
    await appendFile(path, damaged);
    expect(await open().start()).toEqual(samplePosition(1n));
    expect(await content()).toBe(text(1));
  });

  test('a batch that was there before is not taken twice', async () => {
    await publishedThenStopped(1, 2);
    await appendFile(path, text(2));
    expect(await open().start()).toEqual(samplePosition(2n));
    expect(await content()).toBe(text(1, 2));
  });

  test('without its side file the position is the last whole batch in the file', async () => {
    await publishedThenStopped(1, 2);
    await rm(`${path}.position`);
    await appendFile(path, '{"op":"b"');
    expect(await open().start()).toMatchObject({ ticket: 2n, snapshotHash: samplePosition(2n).snapshotHash });
    expect(await content()).toBe(text(1, 2));
  });

  test('lines without markers are cut back to what the side file says', async () => {
    const publisher = open();
    await publisher.start();
    const line = {
      ...batch(1)[1],
      destination: path,
      partition: 0,
      key: null,
      value: '{"action":"add"}',
      headers: {},
    };
    await publisher.publish([line, line], samplePosition(1n));
    await publisher.stop();
    await appendFile(path, '{"action":"add"}\n{"act');
    expect(await open().start()).toEqual(samplePosition(1n));
    expect(await content()).toBe('{"action":"add"}\n{"action":"add"}\n');
  });

  test('a temporary side file that was not renamed is of no account', async () => {
    await publishedThenStopped(1);
    await writeFile(`${path}.position.tmp`, '{"stream":');
    expect(await open().start()).toEqual(samplePosition(1n));
  });
});

describe('files that are not ours to touch', () => {
  test('one with foreign content is refused and left as it is', async () => {
    await writeFile(path, 'precious\n');
    await expect(open().start()).rejects.toMatchObject({ code: 'file_not_ours', exitCode: 21 });
    expect(await content()).toBe('precious\n');
  });

  test('so is a second destination with foreign content', async () => {
    const other = join(directory, 'other.jsonl');
    await writeFile(other, 'precious\n');
    const publisher = open();
    await publisher.start();
    const messages = sampleBatch({ destination: other, ticket: 1n, count: 1 });
    await expect(publisher.publish(messages, samplePosition(1n))).rejects.toMatchObject({
      code: 'file_not_ours',
      message: expect.stringContaining(other),
    });
    expect(await content(other)).toBe('precious\n');
  });

  test('one of another stream is refused', async () => {
    await open().start();
    await Promise.all(opened.splice(0).map((publisher) => publisher.stop()));
    await expect(open({ stream: 'another' }).start()).rejects.toMatchObject({
      code: 'file_of_another_stream',
    });
  });

  test('bytes that something else has written are noticed', async () => {
    const publisher = open();
    await publisher.start();
    await publish(publisher, 1);
    await appendFile(path, 'from elsewhere\n');
    await expect(publish(publisher, 2)).rejects.toMatchObject({ code: 'file_foreign_bytes', exitCode: 25 });
  });

  test('so is a file that has become shorter while nobody wrote it', async () => {
    const publisher = open();
    await publisher.start();
    await publish(publisher, 1, 2);
    await publisher.stop();
    await truncate(path, 100);
    await expect(open().start()).rejects.toMatchObject({ code: 'file_foreign_bytes', exitCode: 25 });
  });

  test('a damaged side file is an error, not the beginning', async () => {
    const publisher = open();
    await publisher.start();
    await publish(publisher, 1);
    await publisher.stop();
    await writeFile(`${path}.position`, '{}');
    await expect(open().start()).rejects.toMatchObject({ code: 'position_unreadable', exitCode: 25 });
    expect(await content()).toBe(text(1));
  });

  test('a directory, a missing directory and a device are configuration errors', async () => {
    await mkdir(path);
    await expect(open().start()).rejects.toMatchObject({ code: 'file_path_wrong', exitCode: 20 });
    const missing = join(directory, 'missing', 'trail.jsonl');
    await expect(open({ path: missing }).start()).rejects.toMatchObject({ code: 'file_path_wrong' });
    const device = open({ path: '/dev/null', stateBase: join(directory, 'device') });
    await device.start();
    const messages = sampleBatch({ destination: '/dev/null', ticket: 1n, count: 1 });
    await expect(device.publish(messages, samplePosition(1n))).rejects.toMatchObject({
      code: 'file_not_regular',
    });
  });
});

describe('rotation', () => {
  test('a file renamed between batches: the next batch begins a new one', async () => {
    const publisher = open();
    await publisher.start();
    await publish(publisher, 1, 2);
    await rename(path, `${path}.1`);
    await publish(publisher, 3);
    expect(await content(`${path}.1`)).toBe(text(1, 2));
    expect(await content()).toBe(text(3));
    await publisher.stop();
    expect(await open().start()).toEqual(samplePosition(3n));
  });

  test('a file renamed within a batch keeps the whole batch', async () => {
    const publisher = open();
    await publisher.start();
    const messages = batch(1);
    await publisher.publish(messages.slice(0, 2), samplePosition(1n, { complete: false }));
    await rename(path, `${path}.1`);
    await publisher.publish(messages.slice(2), samplePosition(1n, { part: 2 }));
    await publish(publisher, 2);
    expect(await content(`${path}.1`)).toBe(text(1));
    expect(await content()).toBe(text(2));
  });

  test('renamed, and a new file made in its place (logrotate create)', async () => {
    const publisher = open();
    await publisher.start();
    await publish(publisher, 1);
    await rename(path, `${path}.1`);
    await writeFile(path, '');
    await publish(publisher, 2);
    expect(await content()).toBe(text(2));
  });

  test('emptied in place (logrotate copytruncate), even if a crash follows', async () => {
    const publisher = open();
    await publisher.start();
    await publish(publisher, 1, 2);
    await truncate(path, 0);
    await publisher.publish(batch(3).slice(0, 2), samplePosition(3n, { complete: false }));
    await publisher.stop();
    const next = open();
    expect(await next.start()).toEqual(samplePosition(2n));
    await publish(next, 3);
    expect(await content()).toBe(text(3));
  });

  test('renamed while nobody wrote it, with an unfinished batch at its end: that is cut off there', async () => {
    const publisher = open();
    await publisher.start();
    await publish(publisher, 1);
    await publisher.stop();
    await appendFile(path, text(2).slice(0, 200));
    await rename(path, `${path}.1`);
    const next = open();
    expect(await next.start()).toEqual(samplePosition(1n));
    await publish(next, 2);
    expect(await content(`${path}.1`)).toBe(text(1));
    expect(await content()).toBe(text(2));
  });

  test('gone altogether: the position stays', async () => {
    const publisher = open();
    await publisher.start();
    await publish(publisher, 1);
    await publisher.stop();
    await rm(path);
    const next = open();
    expect(await next.start()).toEqual(samplePosition(1n));
    await publish(next, 2);
    expect(await content()).toBe(text(2));
  });
});

describe('many files', () => {
  test('a stream of one file a table: side files under the base, all cut back together', async () => {
    const stateBase = join(directory, 'tables');
    const template = join(directory, '{table}.jsonl');
    const options = { path: template, stateBase };
    const tables = ['a', 'b', 'c'].map((name) => join(directory, `${name}.jsonl`));
    const lines = (ticket: number) =>
      tables.map((destination) => ({
        destination,
        partition: 'by-key' as const,
        key: null,
        value: `{"ticket":"${ticket}"}`,
        headers: {},
      }));
    const publisher = open(options);
    await publisher.start();
    await publisher.publish(lines(1), samplePosition(1n));
    await publisher.publish(lines(2).slice(0, 2), samplePosition(2n));
    await publisher.stop();
    for (const table of tables) await appendFile(table, '{"ticket":"3"}\n');
    expect(await open(options).start()).toEqual(samplePosition(2n));
    const contents = await Promise.all(tables.map((table) => content(table)));
    expect(contents).toEqual([
      '{"ticket":"1"}\n{"ticket":"2"}\n',
      '{"ticket":"1"}\n{"ticket":"2"}\n',
      '{"ticket":"1"}\n',
    ]);
    const names = await readdir(directory);
    expect(names.filter((name) => name.startsWith('tables')).sort()).toEqual([
      'tables.lock',
      'tables.position',
    ]);
  });

  test('a tombstone is a line of its own', async () => {
    const publisher = open();
    await publisher.start();
    const tombstone = { destination: path, partition: 0, key: '{"id":1}', value: null, headers: {} };
    await publisher.publish([tombstone], samplePosition(1n));
    expect(await content()).toBe('null\n');
  });

  test('a raw line break in a value is refused', async () => {
    const publisher = open();
    await publisher.start();
    const broken = { destination: path, partition: 0, key: null, value: '{\n}', headers: {} };
    await expect(publisher.publish([broken], samplePosition(1n))).rejects.toMatchObject({
      code: 'message_has_line_break',
    });
  });

  test('files are for owner and group only', async () => {
    const publisher = open();
    await publisher.start();
    await publish(publisher, 1);
    const modes = await Promise.all(
      [path, `${path}.position`].map(async (file) => (await stat(file)).mode & 0o007),
    );
    expect(modes).toEqual([0, 0]);
  });
});

describe('two streams on one file', () => {
  test('the second is refused, whether the first writes it or not', async () => {
    const first = open();
    await first.start();
    await publish(first, 1);
    const second = open({ stream: 'second', stateBase: join(directory, 'second') });
    const other = sampleBatch({ destination: path, ticket: 1n, count: 1 });
    await second.start();
    await expect(second.publish(other, samplePosition(1n))).rejects.toMatchObject({ code: 'file_locked' });
    await publish(first, 2);
    await first.stop();
    expect(await second.start()).toBeUndefined();
    await expect(second.publish(other, samplePosition(1n))).rejects.toMatchObject({ code: 'file_not_ours' });
    expect(await content()).toBe(text(1, 2));
  });
});

describe('a full disk', () => {
  test('what was written is cut back, and after room was made the stream goes on without a gap', async () => {
    // The limit of the process stands for the disk: the kernel refuses to let the file grow, in the middle of a write.
    const limit = 64 * 1024;
    const process = startPublisherProcess(
      { recipe: { kind: 'file', options: { path, stream } }, destination: path, steps: 'endless' },
      [LIMITER, `--fsize=${limit}:unlimited`],
    );
    let line = await process.line();
    for (; line.startsWith('started') || line.startsWith('published'); ) line = await process.line();
    expect(line).toBe('failed file_disk_full');
    const full = await content();
    expect(full.length).toBeLessThanOrEqual(limit);
    expect(full.endsWith('\n')).toBe(true);
    expect(full.trimEnd().split('\n').at(-1)).toMatch(/^\{"op":"e"/);

    const wider = spawn(LIMITER, ['--pid', `${process.child.pid}`, '--fsize=unlimited'], {
      stdio: 'ignore',
    });
    await once(wider, 'exit');
    const size = async () => (await stat(path)).size;
    await expect.poll(size, { timeout: 20_000 }).toBeGreaterThan(2 * limit);
    await process.kill();
    const position = await open().start();
    const seen = (await content()).match(/"op":"e","source":\{[^}]*"ticket":"[0-9]+"/g) ?? [];
    const tickets = seen.map((marker) => Number(/"ticket":"([0-9]+)"/.exec(marker)?.[1]));
    expect(tickets).toEqual(Array.from({ length: Number(position?.ticket ?? 0) }, (_, index) => index + 1));
  });
});

describe('standard output', () => {
  test('lines in order, no position', async () => {
    const stdout = new PassThrough();
    const publisher = open({ path: '-', stdout });
    expect(await publisher.start()).toBeUndefined();
    await publish(publisher, 1, 2);
    await publisher.stop();
    stdout.end();
    const pieces: Buffer[] = [];
    for await (const piece of stdout) pieces.push(piece);
    expect(Buffer.concat(pieces).toString()).toBe(text(1, 2));
    expect(await publisher.start()).toBeUndefined();
  });

  test('waits for a slow reader', async () => {
    const stdout = new PassThrough({ highWaterMark: 16 });
    const publisher = open({ path: '-', stdout });
    await publisher.start();
    let done = false;
    const publishing = publish(publisher, 1).then(() => {
      done = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(done).toBe(false);
    stdout.resume();
    await publishing;
    expect(done).toBe(true);
  });

  const closed = { code: 'stdout_closed', exitCode: 21, retryable: false };

  test('a reader that has closed its end is an error that says so', async () => {
    const reader = spawn('sh', ['-c', 'exec 0<&-; echo closed; exec sleep 60'], {
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    await once(reader.stdout, 'data');
    const publisher = open({ path: '-', stdout: reader.stdin });
    await publisher.start();
    await expect(publish(publisher, 1, 2, 3)).rejects.toMatchObject(closed);
    await expect(publish(publisher, 4)).rejects.toMatchObject(closed);
    reader.kill();
    await once(reader, 'exit');
  });

  test('so is one that has ended', async () => {
    const reader = spawn('true', [], { stdio: ['pipe', 'ignore', 'ignore'] });
    await once(reader, 'close');
    const publisher = open({ path: '-', stdout: reader.stdin });
    await publisher.start();
    await expect(publish(publisher, 1)).rejects.toMatchObject(closed);
  });
});

test('a directory that may not be written is named', async () => {
  if (process.getuid?.() === 0) {
    // Root may write everywhere but into an immutable or read-only place: /proc is one.
    await expect(open({ path: '/proc/trail.jsonl' }).start()).rejects.toMatchObject({ exitCode: 20 });
    return;
  }
  await chmod(directory, 0o500);
  await expect(open().start()).rejects.toMatchObject({ code: 'file_denied', exitCode: 20 });
  await chmod(directory, 0o700);
});
