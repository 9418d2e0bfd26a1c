/**
 * The process as the command line sees it: streams, environment, signals, exit. The one place that reads process.env;
 * everything below gets what it needs handed in.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseEnv } from 'node:util';
import { UsageError } from '../errors.js';

export type Variables = Readonly<Record<string, string | undefined>>;

export interface Environment {
  /** What the process was started with. */
  readonly process: Variables;
  /** What a file `.env` in the working directory says. */
  readonly file: Variables;
}

export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

export type StopSignal = 'SIGINT' | 'SIGTERM';

export interface Host {
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  readonly stdinIsTerminal: boolean;
  readStdin(): Promise<string>;
  /** @throws UsageError `env_file_unreadable` */
  readEnvironment(): Environment;
  /** Calls `stop` for every SIGINT and SIGTERM until the returned function is called. */
  onStopSignal(stop: (signal: StopSignal) => void): () => void;
  /** Calls `crashed` for what nobody caught. */
  onCrash(crashed: (error: unknown) => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
}

/** 128 + n of `128+n`. */
export const SIGNAL_EXIT: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 };

export function processHost(): Host {
  // A reader that has seen enough (`| head -1`) is no error of ours; streams to stdout notice by themselves.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', ignoreClosedPipe);
  return {
    stdout: process.stdout,
    stderr: process.stderr,
    stdinIsTerminal: process.stdin.isTTY === true,
    readStdin,
    readEnvironment: () => readProcessEnvironment(process.cwd()),
    onStopSignal(stop) {
      process.on('SIGINT', stop);
      process.on('SIGTERM', stop);
      return () => {
        process.off('SIGINT', stop);
        process.off('SIGTERM', stop);
      };
    },
    onCrash(crashed) {
      process.on('uncaughtException', crashed);
      process.on('unhandledRejection', crashed);
      return () => {
        process.off('uncaughtException', crashed);
        process.off('unhandledRejection', crashed);
      };
    },
    exit: (code) => {
      process.exit(code);
    },
  };
}

function ignoreClosedPipe(error: Error): void {
  if (!('code' in error) || error.code !== 'EPIPE') throw error;
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}

/**
 * libpq's variables are read by the PostgreSQL driver itself, from the process; so those of the file are put there,
 * where they don't stand already.
 */
function readProcessEnvironment(directory: string): Environment {
  const file = readEnvFile(join(directory, '.env'));
  for (const [name, value] of Object.entries(file)) {
    if (/^PG[A-Z]+$/.test(name) && process.env[name] === undefined) process.env[name] = value;
  }
  return { process: { ...process.env }, file };
}

function readEnvFile(path: string): Variables {
  try {
    return parseEnv(readFileSync(path, 'utf8'));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'EISDIR') return {};
    throw new UsageError('env_file_unreadable', `The file ${path} can't be read: ${String(code)}.`, {
      hint: 'It is read wherever shovel is started: mend or remove it, or start shovel in another folder.',
      cause: error,
    });
  }
}
