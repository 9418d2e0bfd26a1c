/**
 * A commander Command with our manners: a wrong command line is a UsageError (exit 2) that suggests, never an exit or
 * a print of commander's; help names the variable of each option, lists the global ones too, and ends with examples.
 */
import { Command, type ErrorOptions, type Help, type Option } from 'commander';
import { UsageError } from '../errors.js';
import { variableOf } from './option-values.js';

/** One line of a command's help: what to type, and what it does where that is not plain. */
export type Example = readonly [command: string, comment?: string];

export class ShovelCommand extends Command {
  override createCommand(name?: string): ShovelCommand {
    return new ShovelCommand(name);
  }

  /** Like `command`, typed as ours. */
  subcommand(nameAndArguments: string): ShovelCommand {
    const [name = '', ...rest] = nameAndArguments.split(' ');
    const command = this.createCommand(name);
    if (rest.length > 0) command.arguments(rest.join(' '));
    command.copyInheritedSettings(this);
    this.addCommand(command);
    return command;
  }

  /** Everything that commander finds wrong comes here. */
  override error(message: string, options?: ErrorOptions): never {
    const [first = '', ...rest] = message.replace(/^error: /, '').split('\n');
    const suggestion = /Did you mean (.*?)\?/.exec(rest.join(' '))?.[1];
    const see = `see ${fullName(this)} --help`;
    throw new UsageError(snakeCase(options?.code ?? 'usage'), sentence(first), {
      hint: suggestion === undefined ? sentence(see) : `Did you mean ${suggestion}? Or ${see}.`,
    });
  }

  /** Ends the help with what people can copy. */
  examples(...examples: readonly Example[]): this {
    const width = Math.max(...examples.map(([command]) => command.length));
    const lines = examples.map(([command, comment]) =>
      comment === undefined ? `  $ ${command}` : `  $ ${command.padEnd(width)}   # ${comment}`,
    );
    return this.addHelpText(
      'after',
      `\n${examples.length > 1 ? 'Examples' : 'Example'}:\n${lines.join('\n')}`,
    );
  }
}

/** The error of a group without its verb: `shovel set`. */
export function commandMissing(group: Command): UsageError {
  const verbs = group.commands.map((command) => command.name()).join(', ');
  return new UsageError('command_missing', `${fullName(group)} needs a command.`, {
    hint: `One of: ${verbs}; see ${fullName(group)} --help.`,
  });
}

/** `shovel set create` */
export function fullName(command: Command): string {
  const names: string[] = [];
  for (let at: Command | null = command; at !== null; at = at.parent) names.unshift(at.name());
  return names.join(' ');
}

/** What `configureHelp` gets; inherited by every command below. */
export const HELP = {
  showGlobalOptions: true,
  helpWidth: 100,
  optionDescription(option: Option): string {
    const extra: string[] = [];
    if (option.defaultValue !== undefined || option.defaultValueDescription !== undefined) {
      extra.push(`default: ${option.defaultValueDescription ?? String(option.defaultValue)}`);
    }
    const variable = variableOf(option);
    if (variable !== undefined) extra.push(variable);
    return extra.length === 0 ? option.description : `${option.description} (${extra.join('; ')})`;
  },
} satisfies Partial<Help>;

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`.replace(/\.?$/, '.');
}

/** `commander.unknownOption` → `unknown_option` */
function snakeCase(code: string): string {
  return code.replace(/^commander\./, '').replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
