/** What the publisher to standard output does beyond the contract of all publishers. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { usePublishedFile } from '../support/published-file.js';

const file = usePublishedFile();

describe('standard output', () => {
  test('lines in order, no position', async () => {
    const stdout = new PassThrough();
    const publisher = file.open({ path: '-', stdout });
    expect(await publisher.start()).toBeUndefined();
    await file.publish(publisher, 1, 2);
    await publisher.stop();
    stdout.end();
    const pieces: Buffer[] = [];
    for await (const piece of stdout) pieces.push(piece);
    expect(Buffer.concat(pieces).toString()).toBe(file.text(1, 2));
    expect(await publisher.start()).toBeUndefined();
  });

  test('waits for a slow reader', async () => {
    const stdout = new PassThrough({ highWaterMark: 16 });
    const publisher = file.open({ path: '-', stdout });
    await publisher.start();
    let done = false;
    const publishing = file.publish(publisher, 1).then(() => {
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
    const publisher = file.open({ path: '-', stdout: reader.stdin });
    await publisher.start();
    await expect(file.publish(publisher, 1, 2, 3)).rejects.toMatchObject(closed);
    await expect(file.publish(publisher, 4)).rejects.toMatchObject(closed);
    reader.kill();
    await once(reader, 'exit');
  });

  test('so is one that has ended', async () => {
    const reader = spawn('true', [], { stdio: ['pipe', 'ignore', 'ignore'] });
    await once(reader, 'close');
    const publisher = file.open({ path: '-', stdout: reader.stdin });
    await publisher.start();
    await expect(file.publish(publisher, 1)).rejects.toMatchObject(closed);
  });
});
