/** What the publisher to files does beyond the contract of all publishers, on real files; file-rotation.test.ts has rotation. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, chmod, mkdir, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { usePublishedFile } from '../support/published-file.js';
import { startPublisherProcess } from '../support/publisher-process.js';
import { sampleBatch, samplePosition } from '../support/sample-batches.js';

/** Of util-linux: sets a limit of a process, at its start or while it runs. */
const LIMITER = 'prlimit';

const file = usePublishedFile();

describe('what a crash leaves behind', () => {
  /** As if the process had died: nothing of the publisher runs any more, its files are as given. */
  async function publishedThenStopped(...tickets: number[]): Promise<void> {
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, ...tickets);
    await publisher.stop();
  }

  test('an end marker newer than the side file wins', async () => {
    await publishedThenStopped(1);
    await appendFile(file.path, file.text(2, 3) + file.text(4).slice(0, -30));
    const publisher = file.open();
    expect(await publisher.start()).toMatchObject({
      ticket: 3n,
      incarnation: 1,
      complete: true,
      snapshotHash: samplePosition(3n).snapshotHash,
      lastSeq: 3_000_003n,
      epoch: 7n,
    });
    expect(await file.content()).toBe(file.text(1, 2, 3));
    await file.publish(publisher, 4);
    expect(await file.content()).toBe(file.text(1, 2, 3, 4));
  });

  test('unless what it closes is damaged, as after a power failure', async () => {
    await publishedThenStopped(1);
    const damaged = Buffer.from(file.text(2));
    damaged.fill(0, 400, 420);
    await appendFile(file.path, damaged);
    expect(await file.open().start()).toEqual(samplePosition(1n));
    expect(await file.content()).toBe(file.text(1));
  });

  test('a batch that was there before is not taken twice', async () => {
    await publishedThenStopped(1, 2);
    await appendFile(file.path, file.text(2));
    expect(await file.open().start()).toEqual(samplePosition(2n));
    expect(await file.content()).toBe(file.text(1, 2));
  });

  test('without its side file the position is the last whole batch in the file', async () => {
    await publishedThenStopped(1, 2);
    await rm(`${file.path}.position`);
    await appendFile(file.path, '{"op":"b"');
    expect(await file.open().start()).toMatchObject({
      ticket: 2n,
      snapshotHash: samplePosition(2n).snapshotHash,
    });
    expect(await file.content()).toBe(file.text(1, 2));
  });

  test('lines without markers are cut back to what the side file says', async () => {
    const publisher = file.open();
    await publisher.start();
    const line = {
      ...file.batch(1)[1],
      destination: file.path,
      partition: 0,
      key: null,
      value: '{"action":"add"}',
      headers: {},
    };
    await publisher.publish([line, line], samplePosition(1n));
    await publisher.stop();
    await appendFile(file.path, '{"action":"add"}\n{"act');
    expect(await file.open().start()).toEqual(samplePosition(1n));
    expect(await file.content()).toBe('{"action":"add"}\n{"action":"add"}\n');
  });

  test('a temporary side file that was not renamed is of no account', async () => {
    await publishedThenStopped(1);
    await writeFile(`${file.path}.position.tmp`, '{"stream":');
    expect(await file.open().start()).toEqual(samplePosition(1n));
  });
});

describe('files that are not ours to touch', () => {
  test('one with foreign content is refused and left as it is', async () => {
    await writeFile(file.path, 'precious\n');
    await expect(file.open().start()).rejects.toMatchObject({ code: 'file_not_ours', exitCode: 21 });
    expect(await file.content()).toBe('precious\n');
  });

  test('so is a second destination with foreign content', async () => {
    const other = join(file.directory, 'other.jsonl');
    await writeFile(other, 'precious\n');
    const publisher = file.open();
    await publisher.start();
    const messages = sampleBatch({ destination: other, ticket: 1n, count: 1 });
    await expect(publisher.publish(messages, samplePosition(1n))).rejects.toMatchObject({
      code: 'file_not_ours',
      message: expect.stringContaining(other),
    });
    expect(await file.content(other)).toBe('precious\n');
  });

  test('one of another stream is refused', async () => {
    await file.open().start();
    await file.end();
    await expect(file.open({ stream: 'another' }).start()).rejects.toMatchObject({
      code: 'file_of_another_stream',
    });
  });

  test('bytes that something else has written are noticed', async () => {
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, 1);
    await appendFile(file.path, 'from elsewhere\n');
    await expect(file.publish(publisher, 2)).rejects.toMatchObject({
      code: 'file_foreign_bytes',
      exitCode: 25,
    });
  });

  test('so is a file that has become shorter while nobody wrote it', async () => {
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, 1, 2);
    await publisher.stop();
    await truncate(file.path, 100);
    await expect(file.open().start()).rejects.toMatchObject({ code: 'file_foreign_bytes', exitCode: 25 });
  });

  test('a damaged side file is an error, not the beginning', async () => {
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, 1);
    await publisher.stop();
    await writeFile(`${file.path}.position`, '{}');
    await expect(file.open().start()).rejects.toMatchObject({ code: 'position_unreadable', exitCode: 25 });
    expect(await file.content()).toBe(file.text(1));
  });

  test('a file.directory, a missing directory and a device are configuration errors', async () => {
    await mkdir(file.path);
    await expect(file.open().start()).rejects.toMatchObject({ code: 'file_path_wrong', exitCode: 20 });
    const missing = join(file.directory, 'missing', 'trail.jsonl');
    await expect(file.open({ path: missing }).start()).rejects.toMatchObject({ code: 'file_path_wrong' });
    const device = file.open({ path: '/dev/null', stateBase: join(file.directory, 'device') });
    await device.start();
    const messages = sampleBatch({ destination: '/dev/null', ticket: 1n, count: 1 });
    await expect(device.publish(messages, samplePosition(1n))).rejects.toMatchObject({
      code: 'file_not_regular',
    });
  });
});

describe('many files', () => {
  test('a stream of one file a table: side files under the base, all cut back together', async () => {
    const stateBase = join(file.directory, 'tables');
    const template = join(file.directory, '{table}.jsonl');
    const options = { path: template, stateBase };
    const tables = ['a', 'b', 'c'].map((name) => join(file.directory, `${name}.jsonl`));
    const lines = (ticket: number) =>
      tables.map((destination) => ({
        destination,
        partition: 'by-key' as const,
        key: null,
        value: `{"ticket":"${ticket}"}`,
        headers: {},
      }));
    const publisher = file.open(options);
    await publisher.start();
    await publisher.publish(lines(1), samplePosition(1n));
    await publisher.publish(lines(2).slice(0, 2), samplePosition(2n));
    await publisher.stop();
    for (const table of tables) await appendFile(table, '{"ticket":"3"}\n');
    expect(await file.open(options).start()).toEqual(samplePosition(2n));
    const contents = await Promise.all(tables.map((table) => file.content(table)));
    expect(contents).toEqual([
      '{"ticket":"1"}\n{"ticket":"2"}\n',
      '{"ticket":"1"}\n{"ticket":"2"}\n',
      '{"ticket":"1"}\n',
    ]);
    const names = await readdir(file.directory);
    expect(names.filter((name) => name.startsWith('tables')).sort()).toEqual([
      'tables.lock',
      'tables.position',
    ]);
  });

  test('a tombstone is a line of its own', async () => {
    const publisher = file.open();
    await publisher.start();
    const tombstone = { destination: file.path, partition: 0, key: '{"id":1}', value: null, headers: {} };
    await publisher.publish([tombstone], samplePosition(1n));
    expect(await file.content()).toBe('null\n');
  });

  test('a raw line break in a value is refused', async () => {
    const publisher = file.open();
    await publisher.start();
    const broken = { destination: file.path, partition: 0, key: null, value: '{\n}', headers: {} };
    await expect(publisher.publish([broken], samplePosition(1n))).rejects.toMatchObject({
      code: 'message_has_line_break',
    });
  });

  test('files are for owner and group only', async () => {
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, 1);
    const modes = await Promise.all(
      [file.path, `${file.path}.position`].map(async (file) => (await stat(file)).mode & 0o007),
    );
    expect(modes).toEqual([0, 0]);
  });
});

describe('two streams on one file', () => {
  test('the second is refused, whether the first writes it or not', async () => {
    const first = file.open();
    await first.start();
    await file.publish(first, 1);
    const second = file.open({ stream: 'second', stateBase: join(file.directory, 'second') });
    const other = sampleBatch({ destination: file.path, ticket: 1n, count: 1 });
    await second.start();
    await expect(second.publish(other, samplePosition(1n))).rejects.toMatchObject({ code: 'file_locked' });
    await file.publish(first, 2);
    await first.stop();
    expect(await second.start()).toBeUndefined();
    await expect(second.publish(other, samplePosition(1n))).rejects.toMatchObject({ code: 'file_not_ours' });
    expect(await file.content()).toBe(file.text(1, 2));
  });
});

describe('a file that can not be locked', () => {
  afterEach(() => vi.unstubAllEnvs());

  /** A folder of programs that exit as flock and perl do where a file system has no locks. */
  async function failing(...names: readonly string[]): Promise<string> {
    for (const name of names)
      await writeFile(join(file.directory, name), '#!/bin/sh\nexit 71\n', { mode: 0o755 });
    return file.directory;
  }

  test.each([
    ['there is nothing to lock it with', []],
    ['the file system has no locks', ['flock', 'perl']],
  ])('is not written, for %s', async (_, names) => {
    vi.stubEnv('PATH', await failing(...names));
    for (let time = 0; time < 2; time += 1) {
      await expect(file.open().start()).rejects.toMatchObject({
        code: 'file_lock_unavailable',
        exitCode: 20,
        retryable: false,
        message: expect.stringContaining(file.directory),
        hint: expect.stringContaining('flock'),
        details: { path: expect.stringContaining(file.path) },
      });
    }
    expect((await readdir(file.directory)).filter((name) => /jsonl$|position$/.test(name))).toEqual([]);
  });

  test('is not one that flock alone can not lock: perl does it', async () => {
    vi.stubEnv('PATH', `${await failing('flock')}:${process.env.PATH}`);
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, 1);
    expect(await file.content()).toBe(file.text(1));
    await expect(file.open().start()).rejects.toMatchObject({ code: 'file_locked', exitCode: 21 });
  });
});

describe('a full disk', () => {
  test('what was written is cut back, and after room was made the stream goes on without a gap', async () => {
    // The limit of the process stands for the disk: the kernel refuses to let the file grow, in the middle of a write.
    const limit = 64 * 1024;
    const process = startPublisherProcess(
      {
        recipe: { kind: 'file', options: { path: file.path, stream: file.stream } },
        destination: file.path,
        steps: 'endless',
      },
      [LIMITER, `--fsize=${limit}:unlimited`],
    );
    let line = await process.line();
    for (; line.startsWith('started') || line.startsWith('published'); ) line = await process.line();
    expect(line).toBe('failed file_disk_full');
    const full = await file.content();
    expect(full.length).toBeLessThanOrEqual(limit);
    expect(full.endsWith('\n')).toBe(true);
    expect(full.trimEnd().split('\n').at(-1)).toMatch(/^\{"op":"e"/);

    const wider = spawn(LIMITER, ['--pid', `${process.child.pid}`, '--fsize=unlimited'], {
      stdio: 'ignore',
    });
    await once(wider, 'exit');
    const size = async () => (await stat(file.path)).size;
    await expect.poll(size, { timeout: 60_000 }).toBeGreaterThan(2 * limit);
    await process.kill();
    const position = await file.open().start();
    const seen = (await file.content()).match(/"op":"e","source":\{[^}]*"ticket":"[0-9]+"/g) ?? [];
    const tickets = seen.map((marker) => Number(/"ticket":"([0-9]+)"/.exec(marker)?.[1]));
    expect(tickets).toEqual(Array.from({ length: Number(position?.ticket ?? 0) }, (_, index) => index + 1));
  });
});

test('a directory that may not be written is named', async () => {
  if (process.getuid?.() === 0) {
    // Root may write everywhere but into an immutable or read-only place: /proc is one.
    await expect(file.open({ path: '/proc/trail.jsonl' }).start()).rejects.toMatchObject({ exitCode: 20 });
    return;
  }
  await chmod(file.directory, 0o500);
  await expect(file.open().start()).rejects.toMatchObject({ code: 'file_denied', exitCode: 20 });
  await chmod(file.directory, 0o700);
});
