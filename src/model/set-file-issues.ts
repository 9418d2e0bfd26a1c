/**
 * What the schema found, in our words: one finding per mistake, said of the key or value that a person would mend,
 * with the nearest right spelling. Decides the words; places in the file are found elsewhere.
 */
import type { z } from 'zod';
import type { IssueParams } from './set-file-schema.js';
import type { Path } from './set-file-source.js';
import { suggest } from './set-file-suggest.js';

/** A mistake before it has a place. `at` says whether the key or the value at `path` is meant. */
export interface Finding {
  readonly path: Path;
  readonly at: 'key' | 'value';
  /** UTF-16 units into the value's text. */
  readonly offset?: number;
  readonly message: string;
  readonly hint?: string;
  /** Something is not there: may be untrue where part of the text could not be read. */
  readonly missing?: boolean;
}

type SchemaIssue = z.core.$ZodIssue;

/** The schema's issues as findings; `data` is what was validated. */
export function schemaFindings(issues: readonly SchemaIssue[], data: unknown): readonly Finding[] {
  return issues.flatMap((issue) => findings(issue, { data, prefix: [] }));
}

interface Context {
  readonly data: unknown;
  readonly prefix: Path;
}

function findings(issue: SchemaIssue, context: Context): readonly Finding[] {
  const path = [...context.prefix, ...issue.path.map(step)];
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => unknownKey(key, { path, known: issue.message.split(' ') }));
    case 'invalid_union':
      return unionFindings(issue.errors, { path, data: context.data });
    case 'invalid_key': {
      const [first] = issue.issues;
      return [{ path, at: 'key', ...(first === undefined ? { message: issue.message } : words(first)) }];
    }
    case 'invalid_type':
      return [typeFinding(path, { issue, data: context.data })];
    case 'invalid_value':
      return [choiceFinding(path, { words: issue.values.map(String), data: context.data })];
    default:
      return [{ path, at: 'value', ...words(issue) }];
  }
}

function step(key: PropertyKey): string | number {
  return typeof key === 'number' ? key : String(key);
}

function words(issue: SchemaIssue): { message: string; hint?: string; offset?: number } {
  const params = issue.code === 'custom' ? issueParams(issue.params) : undefined;
  return params === undefined
    ? { message: issue.message }
    : { message: issue.message, hint: params.hint, offset: params.offset };
}

function issueParams(params: Readonly<Record<string, unknown>> | undefined): IssueParams | undefined {
  const { hint, offset } = params ?? {};
  return typeof hint === 'string' && typeof offset === 'number' ? { hint, offset } : undefined;
}

function unknownKey(key: string, where: { readonly path: Path; readonly known: readonly string[] }): Finding {
  const near = suggest(key, where.known);
  return {
    path: [...where.path, key],
    at: 'key',
    message: `unknown key ${key}`,
    hint: near === undefined ? `known keys: ${where.known.join(', ')}` : `did you mean ${near}?`,
  };
}

function typeFinding(
  path: Path,
  context: { readonly issue: z.core.$ZodIssueInvalidType; readonly data: unknown },
): Finding {
  const value = valueAt(context.data, path);
  if (value === undefined) {
    const key = String(path.at(-1) ?? '');
    return {
      path: path.slice(0, -1),
      at: 'value',
      message: `missing key ${key}`,
      hint: `add ${key}: it is required`,
      missing: true,
    };
  }
  const expected = typeWord(context.issue.expected);
  if (!context.issue.message.startsWith('Invalid input')) {
    return { path, at: 'value', message: context.issue.message };
  }
  return {
    path,
    at: 'value',
    message: `expected ${expected}, found ${found(value)}`,
    ...typeHint(expected, value),
  };
}

function typeHint(expected: string, value: unknown): { hint?: string } {
  if (expected === 'a text' && (typeof value === 'number' || typeof value === 'boolean')) {
    return { hint: 'put it into quotes' };
  }
  return expected === 'a list' && typeof value !== 'object' ? { hint: 'put it into brackets: [ … ]' } : {};
}

function choiceFinding(
  path: Path,
  context: { readonly words: readonly string[]; readonly data: unknown },
): Finding {
  const value = valueAt(context.data, path);
  const [only] = context.words;
  const expected =
    context.words.length === 1 && only !== undefined ? only : `one of ${context.words.join(', ')}`;
  const near = typeof value === 'string' ? suggest(value, context.words) : undefined;
  return {
    path,
    at: 'value',
    message: `expected ${expected}, found ${typeof value === 'string' ? shortText(value) : found(value)}`,
    ...(near === undefined ? {} : { hint: `did you mean ${near}?` }),
  };
}

/** Of a union, the branch whose kind the value is, so that the mistake inside it is told; else all that would do. */
function unionFindings(
  branches: ReadonlyArray<readonly SchemaIssue[]>,
  context: { readonly path: Path; readonly data: unknown },
): readonly Finding[] {
  const near = branches.find((issues) => issues.every((issue) => issue.path.length > 0 || !isKind(issue)));
  if (near !== undefined) {
    return near.flatMap((issue) => findings(issue, { data: context.data, prefix: context.path }));
  }
  const choices: string[] = [];
  const kinds: string[] = [];
  for (const issue of branches.flat()) {
    if (issue.code === 'invalid_value') {
      choices.push(...issue.values.map(String));
    } else if (issue.code === 'invalid_type' && issue.path.length === 0) {
      kinds.push(typeWord(issue.expected));
    }
  }
  const value = valueAt(context.data, context.path);
  const hint = typeof value === 'string' ? suggest(value, choices) : undefined;
  const seen = typeof value === 'string' && choices.length > 1 ? shortText(value) : found(value);
  return [
    {
      path: context.path,
      at: 'value',
      message: `expected ${[...choices, ...kinds].join(' or ')}, found ${seen}`,
      ...(hint === undefined ? {} : { hint: `did you mean ${hint}?` }),
    },
  ];
}

function isKind(issue: SchemaIssue): boolean {
  return issue.code === 'invalid_type' || issue.code === 'invalid_value';
}

function typeWord(expected: string): string {
  switch (expected) {
    case 'string':
      return 'a text';
    case 'boolean':
      return 'true or false';
    case 'array':
      return 'a list';
    case 'object':
    case 'record':
      return 'a map';
    case 'int':
    case 'number':
      return 'a whole number';
    default:
      return expected;
  }
}

function found(value: unknown): string {
  if (value === null) {
    return 'nothing';
  }
  if (Array.isArray(value)) {
    return 'a list';
  }
  switch (typeof value) {
    case 'string':
      return 'a text';
    case 'number':
      return Number.isSafeInteger(value) ? 'a number' : 'a number that is not whole';
    case 'boolean':
      return value ? 'true' : 'false';
    default:
      return 'a map';
  }
}

/** Only for values of a closed choice, where no secret belongs; long ones are not repeated. */
function shortText(value: string): string {
  return /^[\w.-]{1,30}$/.test(value) ? value : 'another text';
}

function valueAt(data: unknown, path: Path): unknown {
  let value: unknown = data;
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) {
      return undefined;
    }
    value = Reflect.get(value, key);
  }
  return value;
}
