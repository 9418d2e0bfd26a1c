/**
 * Starts programs of a server's installation: with an environment of their own (no PG*, LC_* or JAVA_* of the
 * caller), a session of their own (Ctrl-C in a terminal does not reach them), and none of the caller's open files.
 * What the programs mean is left to the callers.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, closeSync, constants, openSync, readFileSync } from 'node:fs';
import type { Account } from './account.js';

export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  /** Working directory; must be open to `account`. */
  readonly directory: string;
  readonly account?: Account | undefined;
  /** Beside PATH, LC_ALL and TZ. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** Word 0 of a program that is about to become a server: tells our processes from a person's. */
export const LAUNCH_WORD = 'shovel-launch';

/**
 * Node closes its own files in a child, but not those that it inherited from its caller above a low number: a lock
 * that a shell holds through one of them would stay held as long as the server lives.
 */
const CLOSE_INHERITED = `for f in /dev/fd/*; do n=\${f##*/}; if [ "$n" -gt 2 ] 2>/dev/null; then eval "exec $n>&-"; fi; done; exec "$@"`;

function hasBash(): boolean {
  try {
    accessSync('/bin/bash', constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Starts a server whose output goes to the end of `log`. It goes on when this process ends.
 * The child's `error` event tells when it could not be started.
 */
export function launchServer(program: Program, log: string): ChildProcess {
  const output = openSync(log, 'a', 0o644);
  try {
    const [command, args] = hasBash()
      ? ['/bin/bash', ['-c', CLOSE_INHERITED, LAUNCH_WORD, program.command, ...program.args]]
      : [program.command, [...program.args]];
    const child = spawn(command, args, {
      cwd: program.directory,
      detached: true,
      env: environmentOf(program),
      stdio: ['ignore', output, output],
      ...program.account,
    });
    child.unref();
    return child;
  } finally {
    closeSync(output);
  }
}

export interface Outcome {
  /** Exit code, or -1 when a signal ended it or it could not be started. */
  readonly code: number;
  /** Standard output and error, in the order they came. */
  readonly output: string;
}

export interface RunOptions {
  /** Told the process id as soon as there is one. */
  readonly started?: (pid: number) => void;
  /** Ends the program by SIGTERM. */
  readonly signal?: AbortSignal | undefined;
}

/** Runs a program to its end. Never rejects. */
export function runProgram(program: Program, options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = spawn(program.command, [...program.args], {
      cwd: program.directory,
      detached: true,
      env: environmentOf(program),
      stdio: ['ignore', 'pipe', 'pipe'],
      ...program.account,
    });
    const chunks: Buffer[] = [];
    const stop = () => child.kill('SIGTERM');
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
    options.signal?.addEventListener('abort', stop, { once: true });
    if (options.signal?.aborted === true) stop();
    if (child.pid !== undefined) options.started?.(child.pid);
    const end = (code: number, more: string) => {
      options.signal?.removeEventListener('abort', stop);
      resolve({ code, output: Buffer.concat(chunks).toString('utf8') + more });
    };
    child.once('error', (error) => end(-1, error.message));
    child.once('close', (code) => end(code ?? -1, ''));
  });
}

/** The last lines of a log, for an error's message; empty when there is none. */
export function lastLines(log: string, count: number): string[] {
  try {
    return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-count);
  } catch {
    return [];
  }
}

function environmentOf(program: Program): Record<string, string> {
  return { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', ...program.environment };
}
