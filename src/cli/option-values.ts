/**
 * What an option is, wherever it was said: on the command line, in the environment, in `.env`, or nowhere. Every
 * option has a variable: `--zookeeper-hosts` is SHOVEL_ZOOKEEPER_HOSTS. A flag beats the environment, that beats
 * `.env`, that beats the default; an empty variable says nothing.
 */
import { type Command, InvalidArgumentError, type Option } from 'commander';
import { UsageError } from '../errors.js';
import type { Environment } from './host.js';

export type OptionLevel = 'flag' | 'environment' | '.env' | 'default';

export interface OptionValues {
  text(name: string): string | undefined;
  flag(name: string): boolean;
  level(name: string): OptionLevel;
}

/** The options that no variable stands for. */
const WITHOUT_VARIABLE: ReadonlySet<string> = new Set(['help', 'version']);

/** `SHOVEL_ZOOKEEPER_HOSTS` for `--zookeeper-hosts`; undefined for --help and --version. */
export function variableOf(option: Option): string | undefined {
  const name = option.name();
  return WITHOUT_VARIABLE.has(name) ? undefined : `SHOVEL_${name.replaceAll('-', '_').toUpperCase()}`;
}

interface Resolved {
  readonly value: unknown;
  readonly level: OptionLevel;
}

/**
 * The options of a command and of those above it. Names are as on the command line, without dashes.
 * @throws UsageError `option_invalid`, naming the variable
 */
export function resolveOptions(command: Command, environment: Environment): OptionValues {
  const resolved = new Map<string, Resolved>();
  for (let at: Command | null = command; at !== null; at = at.parent) {
    for (const option of at.options)
      resolved.set(option.name(), resolve(option, { command: at, environment }));
  }
  return {
    text: (name) => {
      const value = resolved.get(name)?.value;
      return typeof value === 'string' ? value : undefined;
    },
    flag: (name) => resolved.get(name)?.value === true,
    level: (name) => resolved.get(name)?.level ?? 'default',
  };
}

function resolve(
  option: Option,
  context: { readonly command: Command; readonly environment: Environment },
): Resolved {
  const { command, environment } = context;
  const attribute = option.attributeName();
  const value: unknown = command.getOptionValue(attribute);
  if (command.getOptionValueSource(attribute) === 'cli') return { value, level: 'flag' };
  const variable = variableOf(option);
  if (variable !== undefined) {
    const levels = [
      ['environment', environment.process],
      ['.env', environment.file],
    ] as const;
    for (const [level, variables] of levels) {
      const text = variables[variable];
      if (text !== undefined && text !== '') return { value: parsed(option, { variable, text }), level };
    }
  }
  return { value, level: 'default' };
}

function parsed(option: Option, said: { readonly variable: string; readonly text: string }): unknown {
  const { variable, text } = said;
  if (option.isBoolean()) return parseBoolean(variable, text);
  if (option.optional && SWITCH.test(text)) return parseBoolean(variable, text);
  try {
    return option.parseArg === undefined ? text : option.parseArg(text, undefined);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new UsageError('option_invalid', `The variable ${variable} is not valid. ${error.message}`, {
      hint: `It stands for ${option.flags}: ${option.description}.`,
    });
  }
}

const SWITCH = /^(?:1|true|yes|on|0|false|no|off)$/i;

function parseBoolean(variable: string, text: string): boolean {
  if (/^(?:1|true|yes|on)$/i.test(text)) return true;
  if (/^(?:0|false|no|off)$/i.test(text)) return false;
  throw new UsageError('option_invalid', `The variable ${variable} is neither true nor false.`, {
    hint: 'Write true or false, or leave it empty.',
  });
}
