/** The tutorial of README.md, typed as it stands into a fresh clone. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const run = promisify(execFile);

/** Every block that opens with ```sh tutorial, in order. */
async function tutorial(): Promise<readonly string[]> {
  const readme = await readFile('README.md', 'utf8');
  return [...readme.matchAll(/^```sh tutorial\n(.*?)^```$/gms)].map(([, block]) => block ?? '');
}

async function bash(script: string, directory: string): Promise<{ code: number; output: string }> {
  const { TEST_PG_URL: _pg, TEST_ZK_HOSTS: _zk, TEST_KAFKA_BROKERS: _kafka, ...env } = process.env;
  const child = spawn('bash', ['-eu', '-c', script], {
    cwd: directory,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
  const [code] = await once(child, 'close');
  return { code: Number(code), output: Buffer.concat(chunks).toString('utf8') };
}

it('works as written, from a fresh clone', { timeout: 600_000 }, async () => {
  const blocks = await tutorial();
  expect(blocks.length).toBeGreaterThan(3);
  const directory = await mkdtemp(join(tmpdir(), 'shovel-readme-'));
  try {
    await run('git', ['clone', '--quiet', '--no-hardlinks', process.cwd(), directory]);
    const { code, output } = await bash(blocks.join('\n'), directory);
    expect(code, output).toBe(0);
    expect(output).toContain('Set bank is created, at version 1.');
    expect(output).toContain('Set bank is dropped.');
  } finally {
    await run('npm', ['run', '-s', 'services', '--', 'down'], { cwd: directory }).catch(() => undefined);
    await rm(directory, { recursive: true, force: true });
  }
});
