/** A process for the command line within a test: its own environment, streams that are kept, signals on demand. */
import type { Host, StopSignal } from '../../src/cli/host.js';

export interface TestHost extends Host {
  readonly printed: { stdout: string; stderr: string };
  /** Codes of `exit`: what ends a real process at once. */
  readonly exits: readonly number[];
  raise(signal: StopSignal): void;
  crash(error: unknown): void;
  /** Handlers that are still there. */
  listeners(): number;
}

export interface TestHostOptions {
  readonly process?: Readonly<Record<string, string>>;
  readonly file?: Readonly<Record<string, string>>;
  /** Standard input; undefined is a terminal. */
  readonly stdin?: string;
  readonly terminal?: boolean;
}

export function testHost(options: TestHostOptions = {}): TestHost {
  const printed = { stdout: '', stderr: '' };
  const exits: number[] = [];
  const stops = new Set<(signal: StopSignal) => void>();
  const crashes = new Set<(error: unknown) => void>();
  const isTTY = options.terminal ?? false;
  return {
    printed,
    exits,
    stdout: {
      isTTY,
      write: (text) => {
        printed.stdout += text;
      },
    },
    stderr: {
      isTTY,
      write: (text) => {
        printed.stderr += text;
      },
    },
    stdinIsTerminal: options.stdin === undefined,
    readStdin: async () => options.stdin ?? '',
    readEnvironment: () => ({ process: options.process ?? {}, file: options.file ?? {} }),
    onStopSignal(stop) {
      stops.add(stop);
      return () => stops.delete(stop);
    },
    onCrash(crashed) {
      crashes.add(crashed);
      return () => crashes.delete(crashed);
    },
    exit: (code) => {
      exits.push(code);
    },
    raise: (signal) => {
      for (const stop of stops) stop(signal);
    },
    crash: (error) => {
      for (const crashed of crashes) crashed(error);
    },
    listeners: () => stops.size + crashes.size,
  };
}
