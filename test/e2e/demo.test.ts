/** `shovel demo`: the verdict, nothing left behind, and what --keep keeps. */
import { chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openConnection } from '../../src/postgres/connect.js';
import { buildCli, runCli, startCli } from '../support/cli.js';
import { until } from '../support/until.js';

beforeAll(buildCli);

const places: string[] = [];
afterAll(() => {
  for (const folder of places) rmSync(folder, { recursive: true, force: true });
});

/** A folder for temporary files of its own, so that what is left behind can be seen; anyone may pass through it. */
function place(): string {
  const folder = mkdtempSync(join(tmpdir(), 'shovel-demo-test-'));
  chmodSync(folder, 0o755);
  places.push(folder);
  return folder;
}

it('ends with a verdict of equality, and leaves nothing behind', { timeout: 180_000 }, async () => {
  const TMPDIR = place();
  const result = await runCli(['demo', '--json'], { env: { TMPDIR }, timeoutMs: 120_000 });
  expect(result.code, result.stderr).toBe(0);
  const document = JSON.parse(result.stdout);
  expect(document).toMatchObject({ equal: true });
  expect(document.mutations).toBeGreaterThan(100);
  expect(document.tables.map((table: { table: string }) => table.table)).toHaveLength(5);
  expect(readdirSync(TMPDIR)).toEqual([]);
});

it('--keep says how to connect, and cleans up when told to stop', { timeout: 180_000 }, async () => {
  const TMPDIR = place();
  const demo = startCli(['demo', '--keep'], { env: { TMPDIR }, timeoutMs: 150_000 });
  const url = await until(
    'the demo says how to connect',
    async () => /psql '([^']+)'/.exec(demo.stderr())?.[1] ?? false,
    { timeoutMs: 120_000 },
  );
  const connection = await openConnection({ dsn: url, name: 'the demo', applicationName: 'test' });
  const rows = await connection.query('select count(*) as n from public.products');
  expect(rows[0]?.n).toBe('100');
  await connection.end();
  demo.child.kill('SIGTERM');
  expect((await demo.done).code).toBe(0);
  expect(readdirSync(TMPDIR)).toEqual([]);
});
