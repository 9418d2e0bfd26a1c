/**
 * A PostgreSQL data directory and the command line of a server over it: locale C, UTF-8, loopback only, no unix
 * sockets (their paths are short of room and two servers would share them).
 */

import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chown, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { UnreachableError } from '../../errors.js';
import type { Account } from './account.js';
import type { PostgresBinaries } from './binaries.js';
import { type Program, runProgram } from './launch.js';

/** How the superuser `postgres` gets in over 127.0.0.1. */
type Authentication = { readonly kind: 'trust' } | { readonly kind: 'password'; readonly password: string };

export interface ClusterOptions {
  readonly binaries: PostgresBinaries;
  readonly account?: Account | undefined;
  readonly authentication: Authentication;
  readonly signal?: AbortSignal | undefined;
  /** Told initdb's process id. */
  readonly started?: (pid: number) => void;
}

/**
 * Makes `data` a PostgreSQL data directory unless it is one. It is made under another name and renamed, so what has
 * the name is whole, whenever this process is killed.
 * @throws UnreachableError `embedded_postgres_initdb_failed`
 */
export async function initializeCluster(data: string, options: ClusterOptions): Promise<void> {
  if (existsSync(join(data, 'PG_VERSION'))) return;
  const parent = dirname(data);
  await mkdir(parent, { recursive: true, mode: 0o755 });
  const workshop = join(parent, `initdb-${randomUUID()}`);
  await mkdir(workshop, { mode: 0o700 });
  try {
    const password = await writePassword(workshop, options.authentication);
    if (options.account !== undefined) await own([workshop, ...password], options.account);
    const outcome = await runProgram(
      {
        command: join(options.binaries.native, 'bin', 'initdb'),
        args: [
          ...['-D', join(workshop, 'data'), '-U', 'postgres', '--locale=C', '--encoding=UTF8'],
          ...['--no-sync', '--no-instructions'],
          ...(options.authentication.kind === 'trust' ? ['-A', 'trust'] : ['-A', 'scram-sha-256']),
          ...password.map((file) => `--pwfile=${file}`),
        ],
        directory: workshop,
        account: options.account,
      },
      options,
    );
    options.signal?.throwIfAborted();
    if (outcome.code !== 0) {
      throw new UnreachableError(
        'embedded_postgres_initdb_failed',
        `initdb failed: ${reason(outcome.output)}`,
        {
          hint: 'See that the disk has 100 MB free and that the folder can be written.',
          details: { directory: parent },
        },
      );
    }
    await rename(join(workshop, 'data'), data);
  } finally {
    await rm(workshop, { recursive: true, force: true });
  }
}

export interface ServerOptions {
  readonly binaries: PostgresBinaries;
  readonly account?: Account | undefined;
  readonly port: number;
  /** Settings of postgresql.conf, given on the command line. */
  readonly settings: Readonly<Record<string, string>>;
}

/** The command that serves `data`. */
export function serverProgram(data: string, options: ServerOptions): Program {
  const settings = { listen_addresses: '127.0.0.1', unix_socket_directories: '', ...options.settings };
  return {
    command: join(options.binaries.native, 'bin', 'postgres'),
    args: [
      ...['-D', data, '-p', String(options.port)],
      ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    directory: data,
    account: options.account,
  };
}

async function writePassword(folder: string, authentication: Authentication): Promise<string[]> {
  if (authentication.kind === 'trust') return [];
  const file = join(folder, 'password');
  await writeFile(file, `${authentication.password}\n`, { mode: 0o600 });
  return [file];
}

async function own(paths: readonly string[], account: Account): Promise<void> {
  for (const path of paths) await chown(path, account.uid, account.gid);
}

/** What it says first of an error; the lines after that are of what it tidies up. */
function reason(output: string): string {
  const lines = output.trimEnd().split('\n');
  const said = lines.map((line) => /\b(?:error|FATAL|PANIC): +(.*)/.exec(line)?.[1]);
  return said.find((text) => text !== undefined) ?? lines.at(-1) ?? '';
}
