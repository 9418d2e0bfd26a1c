/**
 * The arguments [NAME[@VERSION]] [FILE] of commands about a set. Decides which is which: a single argument is FILE if
 * it is `-` or has a `/` or a `.`, else NAME with the set on standard input.
 */
import { readFile } from 'node:fs/promises';
import { ConfigurationError, UsageError } from '../errors.js';
import { isName, NAME_RULE } from '../model/names.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import type { Host } from './host.js';

export interface SetReference {
  readonly name: string;
  /** A precondition: the command fails where the set is at another version. */
  readonly version: number | undefined;
}

export interface SetArguments {
  readonly reference: SetReference | undefined;
  /** A path; `-` is standard input. */
  readonly file: string;
}

/** @throws UsageError `name_invalid`, `version_invalid`, `arguments_swapped` */
export function setArguments(first: string | undefined, second: string | undefined): SetArguments {
  if (first === undefined) return { reference: undefined, file: '-' };
  if (second !== undefined) {
    if (isFile(first) && !isFile(second)) {
      throw new UsageError('arguments_swapped', `The name of the set comes first: ${second} ${first}.`, {
        hint: 'Write NAME FILE, or FILE alone where the file names the set.',
      });
    }
    return { reference: setReference(first), file: second };
  }
  return isFile(first)
    ? { reference: undefined, file: first }
    : { reference: setReference(first), file: '-' };
}

function isFile(text: string): boolean {
  return text === '-' || text.includes('/') || text.includes('.');
}

const VERSION = /^[1-9][0-9]{0,8}$/;

/** `NAME` or `NAME@VERSION`. @throws UsageError `name_invalid`, `version_invalid` */
export function setReference(text: string): SetReference {
  const at = text.indexOf('@');
  const name = setName(at === -1 ? text : text.slice(0, at));
  if (at === -1) return { name, version: undefined };
  const version = text.slice(at + 1);
  if (!VERSION.test(version)) {
    throw new UsageError(
      'version_invalid',
      `The version of ${name} is not a number from 1: ${version || 'nothing'}.`,
      {
        hint: `Write ${name}@3, or ${name} alone.`,
      },
    );
  }
  return { name, version: Number(version) };
}

/** A name alone. @throws UsageError `name_invalid` */
export function setName(text: string): string {
  if (isName(text)) return text;
  throw new UsageError('name_invalid', `${JSON.stringify(text)} can't name a set.`, {
    hint: `A name is ${NAME_RULE}.`,
  });
}

/**
 * What `work` has against tables of the file (`details.issues`) gets the places where the file names them.
 * @throws UsageError `stdin_is_terminal`, ConfigurationError `set_file_unreadable`, `set_file_invalid`; what `work` throws
 */
export async function withSetFile<T>(
  args: SetArguments,
  host: Host,
  work: (configuration: SetConfiguration) => Promise<T>,
): Promise<T> {
  const { configuration, file, tablePlaces } = await loadSetFile(args, host);
  try {
    return await work(configuration);
  } catch (error) {
    throw error instanceof ConfigurationError ? located(error, { file, tablePlaces }) : error;
  }
}

/** @throws UsageError `stdin_is_terminal`, ConfigurationError `set_file_unreadable`, `set_file_invalid` */
export async function readSetFile(args: SetArguments, host: Host): Promise<SetConfiguration> {
  return (await loadSetFile(args, host)).configuration;
}

function located(
  error: ConfigurationError,
  { file, tablePlaces }: Pick<LoadedSetFile, 'file' | 'tablePlaces'>,
): ConfigurationError {
  const { issues } = error.details;
  if (!Array.isArray(issues)) return error;
  const placed = issues.map((issue: unknown) => {
    if (typeof issue !== 'object' || issue === null || !('table' in issue)) return issue;
    const table = String(issue.table);
    const place = tablePlaces.get(table) ?? tablePlaces.get(`${table.slice(0, table.indexOf('.'))}.*`);
    return place === undefined ? issue : { ...issue, file, ...place };
  });
  const [only, ...others] = placed;
  const where = others.length === 0 && isPlaced(only) ? `${file}:${only.line}:${only.column}: ` : '';
  return new ConfigurationError(error.code, `${where}${error.message}`, {
    hint: error.hint,
    details: { ...error.details, issues: placed },
    cause: error,
  });
}

function isPlaced(issue: unknown): issue is { readonly line: number; readonly column: number } {
  return typeof issue === 'object' && issue !== null && 'line' in issue && 'column' in issue;
}

interface LoadedSetFile {
  readonly configuration: SetConfiguration;
  /** As it is called in messages. */
  readonly file: string;
  readonly tablePlaces: ReadonlyMap<string, { readonly line: number; readonly column: number }>;
}

async function loadSetFile(args: SetArguments, host: Host): Promise<LoadedSetFile> {
  const { reference } = args;
  const text = await (args.file === '-' ? readStdin(host) : readPath(args.file));
  const file = args.file === '-' ? 'stdin' : args.file;
  const { parseSetFile, setFileError } = await import('../model/set-file.js');
  const parsed = parseSetFile(text, {
    file,
    ...(reference === undefined ? {} : { name: reference.name }),
  });
  if (parsed.configuration === undefined) throw setFileError(parsed.issues);
  return { configuration: parsed.configuration, tablePlaces: parsed.tablePlaces, file };
}

function readStdin(host: Host): Promise<string> {
  if (!host.stdinIsTerminal) return host.readStdin();
  throw new UsageError('stdin_is_terminal', 'The set file is missing.', {
    hint: 'Name a file, or pipe one into standard input.',
  });
}

async function readPath(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    const why = code === 'ENOENT' ? 'it does not exist' : code === 'EISDIR' ? 'it is a directory' : code;
    throw new ConfigurationError('set_file_unreadable', `The set file ${file} can't be read: ${why}.`, {
      hint: 'Check the path; - is standard input.',
      details: { file },
      cause: error,
    });
  }
}
