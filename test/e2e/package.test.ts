/** What npm would publish, installed as users install it: into an empty folder, without optional packages or scripts. */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildCli } from '../support/cli.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const run = promisify(execFile);

let folder: string;

beforeAll(async () => {
  await buildCli();
  folder = await mkdtemp(join(tmpdir(), 'shovel-package-'));
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], {
    cwd: ROOT,
  });
  const [packed] = JSON.parse(stdout);
  const app = join(folder, 'app');
  await run('mkdir', [app]);
  await writeFile(join(app, 'package.json'), '{ "name": "app", "private": true, "type": "module" }');
  const options = ['--omit=optional', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline'];
  await run('npm', ['install', ...options, join(folder, packed.filename)], { cwd: app });
});

afterAll(async () => {
  if (folder) await rm(folder, { recursive: true, force: true });
});

function inApp(command: string, args: readonly string[]) {
  return run(command, [...args], { cwd: join(folder, 'app') });
}

it('has a command that runs', async () => {
  const { stdout } = await inApp('npx', ['--no-install', 'shovel', '--help']);
  expect(stdout).toContain('shovel set create example.yaml');
});

it('holds what runs and what explains, no sources and no tests', async () => {
  const names = await readdir(join(folder, 'app', 'node_modules', 'shovel'));
  expect(names.sort()).toEqual(
    ['CHANGELOG.md', 'LICENSE', 'README.md', 'bin', 'dist', 'migrations', 'package.json', 'sql'].sort(),
  );
});

it('is a library with types', async () => {
  const script = `
    import { EXIT, parseSetFile } from 'shovel';
    const { configuration, issues } = parseSetFile('name: x', { file: 'x.yaml' });
    console.log(JSON.stringify({ done: EXIT.done, configuration, issues: issues.length }));`;
  const { stdout } = await inApp(process.execPath, ['--input-type=module', '--eval', script]);
  expect(JSON.parse(stdout)).toMatchObject({ done: 0, issues: expect.any(Number) });
  await writeFile(
    join(folder, 'app', 'use.ts'),
    "import { type SetConfiguration, ShovelError } from 'shovel';\nexport type Use = [SetConfiguration['name'], ShovelError['code']];\n",
  );
  const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const options = [
    '--noEmit',
    '--strict',
    '--skipLibCheck',
    '--module',
    'nodenext',
    '--target',
    'es2023',
    'use.ts',
  ];
  await inApp(process.execPath, [tsc, ...options]);
});

it('loads its coordinator, and says where that is not', async () => {
  const zooKeeper = ['--zookeeper-hosts', '127.0.0.1:1', '--json'];
  const failure: unknown = await inApp('npx', ['--no-install', 'shovel', 'set', 'list', ...zooKeeper]).catch(
    (error: unknown) => error,
  );
  expect(failure).toMatchObject({ code: 23, stdout: expect.stringContaining('coordinator_unreachable') });
});
