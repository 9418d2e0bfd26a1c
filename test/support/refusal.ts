/** What users see of a command that refuses: one line that says what is wrong, one that says what to do, and no change. */
import { expect } from 'vitest';
import type { CliResult } from './cli.js';

export interface BadInput {
  readonly what: string;
  readonly args: readonly string[];
  readonly input?: () => string;
  readonly exit: number;
  readonly code: string;
  /** What the line says has to hold these names. */
  readonly names: readonly (string | (() => string))[];
  readonly advice: RegExp;
  /** Each on a line; default 1. */
  readonly mistakes?: number;
}

export interface RefusalOptions {
  shovel(args: readonly string[], input: string): Promise<CliResult>;
  /** Everything that the command could change, as one text. */
  state(): Promise<string>;
  /** What is never to be printed. */
  readonly secrets: readonly string[];
}

/** Runs the command for people and with --json, and expects of both what `bad` says. */
export function refusal({ shovel, state, secrets }: RefusalOptions): (bad: BadInput) => Promise<void> {
  return async (bad) => {
    const names = bad.names.map((name) => (typeof name === 'string' ? name : name()));
    const input = bad.input?.() ?? '';
    const before = await state();

    const told = await shovel(bad.args, input);
    expect(told, `${bad.what}: ${told.stderr}`).toMatchObject({ code: bad.exit, stdout: '' });
    const lines = told.stderr.trimEnd().split('\n');
    const hint = lines.at(-1);
    expect(lines.length).toBe(bad.mistakes === undefined ? 2 : bad.mistakes + 1);
    for (const line of lines.slice(0, -1)) expect(line).toMatch(/^error: /);
    const errors = lines.slice(0, -1).join('\n');
    for (const name of names) expect(errors).toContain(name);
    expect(hint).toMatch(/^hint: {2}/);
    expect(hint).toMatch(bad.advice);

    const document = await shovel([...bad.args, '--json'], input);
    expect(document).toMatchObject({ code: bad.exit, stderr: '' });
    expect(document.stdout.trimEnd().split('\n')).toHaveLength(1);
    const json = JSON.parse(document.stdout);
    expect(json.error.code).toBe(bad.code);
    expect(Object.keys(json.error).sort()).toEqual(['code', 'details', 'hint', 'message']);

    const printed = told.stderr + document.stdout;
    for (const secret of secrets) expect(printed).not.toContain(secret);
    expect(printed).not.toMatch(/:\/\/[^\s"/@]*:[^\s"/@]*@|\n\s+at /);
    expect(await state()).toBe(before);
  };
}
