/**
 * The command line's way in: arguments in, exit code out. Decides nothing but what is an error of usage and what is
 * help; commands are in commands/, what surrounds them in run-command.ts.
 */
import { CommanderError } from 'commander';
import { EXIT } from '../errors.js';
import { type Environment, type Host, processHost } from './host.js';
import { printError } from './print-error.js';
import { buildProgram } from './program.js';
import { createRunner } from './run-command.js';

/** Where the environment itself can't be read. */
const NOTHING_READ: Environment = { process: {}, file: {} };

/** `argv` without node and script. Never throws; the exit codes are those of errors.ts. */
export async function main(argv: readonly string[], host: Host = processHost()): Promise<number> {
  let environment = NOTHING_READ;
  try {
    environment = host.readEnvironment();
    const runner = createRunner(host, environment);
    const program = buildProgram(runner, host);
    await program.parseAsync(asOptions(argv), { from: 'user' });
    return runner.exitCode();
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done;
    const variables = { ...environment.file, ...environment.process };
    const json = argv.includes('--json') || /^(?:1|true|yes|on)$/i.test(variables.SHOVEL_JSON ?? '');
    return printError(error, { host, json, debug: false, variables });
  }
}

/** `shovel` alone and `shovel help set create` are --help in other words. */
function asOptions(argv: readonly string[]): string[] {
  if (argv.length === 0) return ['--help'];
  return argv[0] === 'help' ? [...argv.slice(1), '--help'] : [...argv];
}
