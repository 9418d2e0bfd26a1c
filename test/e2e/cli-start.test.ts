/** What the command line loads: only what it is about to use, so that help is there at once. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, expect, it } from 'vitest';
import { buildCli } from '../support/cli.js';

const BIN = fileURLToPath(new URL('../../bin/shovel.js', import.meta.url));

/** Prints every module that is imported, on standard error. */
const HOOKS = `
import { writeSync } from 'node:fs';
export async function resolve(specifier, context, next) {
  const resolved = await next(specifier, context);
  writeSync(2, 'loaded ' + resolved.url + '\\n');
  return resolved;
}`;
const dataUrl = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
const REGISTER = `import { register } from 'node:module'; register(${JSON.stringify(dataUrl(HOOKS))});`;

async function packagesOf(...args: readonly string[]): Promise<ReadonlySet<string>> {
  const run = promisify(execFile)(process.execPath, ['--import', dataUrl(REGISTER), BIN, ...args]);
  const { stderr } = await run.catch((error: { stderr: string }) => error);
  const names = stderr.matchAll(/^loaded file:.*?\/node_modules\/((?:@[^/]+\/)?[^/]+)/gm);
  return new Set([...names].map(([, name]) => name ?? ''));
}

beforeAll(() => buildCli());

it.each([[['--help']], [['set', 'create', '--help']], [['set', 'crate']], [['--version']]])(
  '%j loads commander, and nothing that is heavy',
  async (args) => {
    const packages = await packagesOf(...args);
    expect(packages).toContain('commander');
    for (const heavy of ['kafkajs', 'node-zookeeper-client', '@sentry/node', 'pg', 'pino', 'zod', 'yaml']) {
      expect(packages).not.toContain(heavy);
    }
  },
);

it('a command loads the coordinator that is asked for, no other, and no broker', async () => {
  const zooKeeper = await packagesOf('set', 'list', '--zookeeper-hosts', '127.0.0.1:1');
  expect(zooKeeper).toContain('node-zookeeper-client');
  for (const other of ['kafkajs', '@sentry/node', 'pg-listen']) expect(zooKeeper).not.toContain(other);
  const postgres = await packagesOf('set', 'list', '--coordinator', 'postgres://127.0.0.1:1/x');
  expect(postgres).toContain('pg');
  for (const other of ['kafkajs', '@sentry/node', 'node-zookeeper-client'])
    expect(postgres).not.toContain(other);
});
