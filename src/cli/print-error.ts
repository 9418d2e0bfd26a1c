/**
 * An error as users see it: one line saying what is wrong, one line saying what to do; with --json the same as a
 * document on standard output. A stack only for bugs and at --log-level debug.
 */

import pc from 'picocolors';
import { EXIT, ShovelError } from '../errors.js';
import { redactFields, redactText, safeMessage, safeStack } from '../runtime/redact.js';
import type { Host, Variables } from './host.js';
import { jsonText, wantsColor } from './output.js';

export interface PrintErrorOptions {
  readonly host: Host;
  readonly json: boolean;
  readonly debug: boolean;
  readonly variables: Variables;
}

/** @returns the exit code that goes with the error */
export function printError(error: unknown, options: PrintErrorOptions): number {
  const told = asTold(error);
  const { host, json, debug, variables } = options;
  if (json) {
    const { code, message, hint, details } = told;
    host.stdout.write(`${jsonText({ error: { code, message, hint, details } })}\n`);
  } else {
    const colors = pc.createColors(wantsColor(host.stderr, variables));
    const issues = issueLines(told.details.issues);
    const lines = issues.length > 1 ? issues : [told.message];
    for (const line of lines) host.stderr.write(`${colors.red('error:')} ${oneLine(line)}\n`);
    host.stderr.write(`${colors.cyan('hint:')}  ${oneLine(told.hint)}\n`);
  }
  if ((debug || told.exitCode === EXIT.bug) && error instanceof Error) {
    host.stderr.write(`${safeStack(error)}\n`);
  }
  return told.exitCode;
}

interface Told {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly exitCode: number;
}

function asTold(error: unknown): Told {
  if (error instanceof ShovelError) {
    return {
      code: error.code,
      message: redactText(error.message),
      hint: redactText(error.hint),
      details: redactFields(error.details, { stacks: false }),
      exitCode: error.exitCode,
    };
  }
  return {
    code: 'bug',
    message: `This is a bug in shovel: ${error instanceof Error ? safeMessage(error) : `a ${typeof error} was thrown`}`,
    hint: 'Please report it with the lines below; run shovel cluster status to see where things stand.',
    details: {},
    exitCode: EXIT.bug,
  };
}

/** The lines of `details.issues`: those of a set file with their places, those of a catalog as they are. */
function issueLines(issues: unknown): readonly string[] {
  if (!Array.isArray(issues)) return [];
  return issues.flatMap((issue: unknown) => {
    if (typeof issue !== 'object' || issue === null || !('message' in issue)) return [];
    const field = (name: string): string | undefined => {
      const value: unknown = Reflect.get(issue, name);
      return typeof value === 'string' || typeof value === 'number' ? String(value) : undefined;
    };
    const place = field('line') === undefined ? '' : `${field('file')}:${field('line')}:${field('column')}: `;
    const path = field('path') ? ` (${field('path')})` : '';
    const hint = field('hint');
    const message = `${field('message') ?? ''}${path}`;
    return [`${place}${hint === undefined ? message : `${message.replace(/\.$/, '')}; ${hint}`}`];
  });
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim();
}
