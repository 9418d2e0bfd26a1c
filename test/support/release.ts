/** Other releases of shovel for tests: copies of the built package with another version, other SQL, as npm would install it. */
import { cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CliOptions, type CliResult, type RunningCli, runCli, startCli } from './cli.js';
import { temporaryFolder } from './temporary-folder.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

export interface ReleaseOptions {
  readonly version: string;
  /** Files beside those of the package, or instead of them: path below its root to text. */
  readonly files?: Readonly<Record<string, string>>;
  /** Files that it lacks. */
  readonly without?: readonly string[];
  /** What is put at the end of a file that it has. */
  readonly append?: Readonly<Record<string, string>>;
}

export interface OtherRelease {
  readonly folder: string;
  run(args: readonly string[], options: CliOptions): Promise<CliResult>;
  start(args: readonly string[], options: CliOptions): RunningCli;
}

/** After buildCli. */
export function makeRelease({
  version,
  files = {},
  without = [],
  append = {},
}: ReleaseOptions): OtherRelease {
  const folder = temporaryFolder('release');
  for (const part of ['bin', 'dist', 'migrations', 'sql']) {
    cpSync(join(ROOT, part), join(folder, part), { recursive: true });
  }
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ ...manifest, version }));
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  for (const path of without) rmSync(join(folder, path));
  for (const [path, text] of Object.entries(files)) writeFileSync(join(folder, path), text);
  for (const [path, text] of Object.entries(append)) {
    writeFileSync(join(folder, path), `${readFileSync(join(ROOT, path), 'utf8')}\n${text}\n`);
  }
  const bin = join(folder, 'bin', 'shovel.js');
  return {
    folder,
    run: (args, options) => runCli(args, { ...options, bin }),
    start: (args, options) => startCli(args, { ...options, bin }),
  };
}
