/** Files that are renamed, emptied or taken away under the publisher that writes them. */
import { appendFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { usePublishedFile } from '../support/published-file.js';
import { samplePosition } from '../support/sample-batches.js';

const file = usePublishedFile();

describe('rotation', () => {
  test('a file renamed between batches: the next batch begins a new one', async () => {
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, 1, 2);
    await rename(file.path, `${file.path}.1`);
    await file.publish(publisher, 3);
    expect(await file.content(`${file.path}.1`)).toBe(file.text(1, 2));
    expect(await file.content()).toBe(file.text(3));
    await publisher.stop();
    expect(await file.open().start()).toEqual(samplePosition(3n));
  });

  test('a file renamed within a batch keeps the whole batch', async () => {
    const publisher = file.open();
    await publisher.start();
    const messages = file.batch(1);
    await publisher.publish(messages.slice(0, 2), samplePosition(1n, { complete: false }));
    await rename(file.path, `${file.path}.1`);
    await publisher.publish(messages.slice(2), samplePosition(1n, { part: 2 }));
    await file.publish(publisher, 2);
    expect(await file.content(`${file.path}.1`)).toBe(file.text(1));
    expect(await file.content()).toBe(file.text(2));
  });

  test('renamed, and a new file made in its place (logrotate create)', async () => {
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, 1);
    await rename(file.path, `${file.path}.1`);
    await writeFile(file.path, '');
    await file.publish(publisher, 2);
    expect(await file.content()).toBe(file.text(2));
  });

  test('emptied in place (logrotate copytruncate), even if a crash follows', async () => {
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, 1, 2);
    await truncate(file.path, 0);
    await publisher.publish(file.batch(3).slice(0, 2), samplePosition(3n, { complete: false }));
    await publisher.stop();
    const next = file.open();
    expect(await next.start()).toEqual(samplePosition(2n));
    await file.publish(next, 3);
    expect(await file.content()).toBe(file.text(3));
  });

  test('renamed while nobody wrote it, with an unfinished batch at its end: that is cut off there', async () => {
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, 1);
    await publisher.stop();
    await appendFile(file.path, file.text(2).slice(0, 200));
    await rename(file.path, `${file.path}.1`);
    const next = file.open();
    expect(await next.start()).toEqual(samplePosition(1n));
    await file.publish(next, 2);
    expect(await file.content(`${file.path}.1`)).toBe(file.text(1));
    expect(await file.content()).toBe(file.text(2));
  });

  test('gone altogether: the position stays', async () => {
    const publisher = file.open();
    await publisher.start();
    await file.publish(publisher, 1);
    await publisher.stop();
    await rm(file.path);
    const next = file.open();
    expect(await next.start()).toEqual(samplePosition(1n));
    await file.publish(next, 2);
    expect(await file.content()).toBe(file.text(2));
  });
});
