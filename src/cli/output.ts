/**
 * What a command says: its answer on standard output, for people or as one JSON document; what it is doing, and log
 * lines, on standard error. Decides where and in which form, never what; takes
 * passwords out.
 */
import pc from 'picocolors';
import type { ExitCode } from '../errors.js';
import { redactDocument, redactText } from '../runtime/redact.js';
import type { Host, OutputStream, Variables } from './host.js';

export type Colors = ReturnType<typeof pc.createColors>;

export interface Answer {
  /** For --json; bigints become decimal strings. */
  readonly document: unknown;
  /** For people. */
  readonly lines: (colors: Colors) => readonly string[];
  /** For commands whose answer may be that something is wrong; default 0. */
  readonly exitCode?: ExitCode;
}

export interface Output {
  readonly json: boolean;
  readonly colors: Colors;
  /** Prints a command's answer; commands that go on may give many. */
  answer(answer: Answer): void;
  /** A line for people while work is under way, on standard error. */
  say(line: string): void;
}

export function createOutput(
  host: Host,
  options: {
    readonly json: boolean;
    readonly variables: Variables;
    /** Default: a line on standard error. */
    readonly say?: (line: string) => void;
  },
): Output {
  const colors = pc.createColors(!options.json && wantsColor(host.stdout, options.variables));
  return {
    json: options.json,
    colors,
    answer: ({ document, lines }) => {
      const text = options.json
        ? `${jsonText(redactDocument(document))}\n`
        : lines(colors)
            .map((line) => `${redactText(line)}\n`)
            .join('');
      host.stdout.write(text);
    },
    say: options.say ?? ((line) => host.stderr.write(`${line}\n`)),
  };
}

/** https://no-color.org: any value that is not empty turns colour off. */
export function wantsColor(stream: OutputStream, variables: Variables): boolean {
  return stream.isTTY === true && !variables.NO_COLOR && variables.TERM !== 'dumb';
}

export function jsonText(document: unknown): string {
  return JSON.stringify(document, (_, value: unknown) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
}
