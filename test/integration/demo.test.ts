/** What `shovel demo` says where what was published is not what the tables hold. */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runDemo } from '../../src/app/demo/run-demo.js';
import { sha256Hex } from '../../src/runtime/hash.js';
import { silentLogger } from '../../src/runtime/logger.js';

const OURS = process.env.TMPDIR;
let place: string;
beforeEach(() => {
  place = mkdtempSync(join(tmpdir(), 'shovel-demo-test-'));
  chmodSync(place, 0o755);
  process.env.TMPDIR = place;
});
afterEach(() => {
  if (OURS === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = OURS;
  rmSync(place, { recursive: true, force: true });
});

/**
 * Takes a row that nobody touched afterwards out of what was published, as a bug that loses one would: its batch is
 * whole without it.
 */
function loseOne(trail: string): void {
  const lines = readFileSync(trail, 'utf8').split('\n').slice(0, -1);
  const messages = lines.map((line) => JSON.parse(line));
  const ops = messages.map(({ op }) => String(op));
  const lost = messages.findLastIndex(
    ({ op, source, after }) => op === 'c' && source.table === 'page_views' && after.took_ms >= 10,
  );
  if (lost === -1) throw new Error('nobody looked at a page');
  const begin = ops.lastIndexOf('b', lost);
  const end = ops.indexOf('e', lost);
  const rest = lines.slice(begin + 1, end).filter((_, i) => begin + 1 + i !== lost);
  const marker = (lines[end] ?? '')
    .replace(/"count":"\d+"/, `"count":"${rest.length}"`)
    .replace(/sha256:[0-9a-f]+/, `sha256:${sha256Hex(rest.map((line) => `${line}\n`).join(''))}`);
  const changed = [...lines.slice(0, begin + 1), ...rest, marker, ...lines.slice(end + 1)];
  writeFileSync(trail, `${changed.join('\n')}\n`);
}

it('is not satisfied with a stream that lacks a mutation', { timeout: 180_000 }, async () => {
  const demo = runDemo({
    openMs: 1_500,
    keep: false,
    logger: silentLogger(),
    signal: new AbortController().signal,
    screen: {
      step: (text) => {
        if (!text.startsWith('Replaying')) return;
        const [folder = ''] = readdirSync(place);
        loseOne(join(place, folder, 'published', 'trail.jsonl'));
      },
      show: () => undefined,
      live: () => undefined,
      kept: () => undefined,
    },
  });
  const error = await demo.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({
    code: 'demo_unequal',
    exitCode: 22,
    hint: expect.stringContaining('--keep'),
    details: { equal: false, tables: expect.any(Array) },
  });
  const tables: { missing: number; extra: number; different: number }[] = Reflect.get(
    Object(Reflect.get(Object(error), 'details')),
    'tables',
  );
  expect(tables.map(({ missing, extra, different }) => missing + extra + different).toSorted()).toEqual([
    0, 0, 0, 0, 1,
  ]);
  expect(readdirSync(place)).toEqual([]);
});
