/** Exactly once in the file, whatever moment the publisher's process is killed at. */

import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import {
  createPublisher,
  endlessStep,
  type PublisherRecipe,
  partsOf,
  startPublisherProcess,
} from '../support/publisher-process.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const KILLS = 20;

test(`killed ${KILLS} times at random points: nothing lost, nothing twice, order kept`, async () => {
  const directory = temporaryFolder('file');
  const path = join(directory, 'trail.jsonl');
  const recipe: PublisherRecipe = { kind: 'file', options: { path, stream: randomUUID() } };
  let last = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    const process = startPublisherProcess({ recipe, destination: path, steps: 'endless' });
    const lines = Math.floor(Math.random() * 20);
    for (let line = 0; line <= lines; line += 1) {
      last = Math.max(last, Number(/^published ([0-9]+)$/.exec(await process.line())?.[1] ?? 0));
    }
    await delay(Math.random() * 10);
    await process.kill();
  }
  const publisher = createPublisher(recipe);
  const position = await publisher.start();
  await publisher.stop();
  const ticket = Number(position?.ticket ?? 0n);
  expect(ticket).toBeGreaterThanOrEqual(last);
  const expected = Array.from({ length: ticket }, (_, index) => endlessStep(index + 1))
    .flatMap((step) => partsOf(step, path).flat())
    .map(({ value }) => `${value}\n`);
  expect(await readFile(path, 'utf8')).toBe(expected.join(''));
});
