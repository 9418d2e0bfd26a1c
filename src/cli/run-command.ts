/**
 * What happens around every command: options of all levels, logger, error reporter, signals, and the exit code. The
 * command itself only answers or throws.
 *
 *   working --done--> 0
 *   working --error--> its exit code
 *   working --signal--> stopping --done--> 0
 *   stopping --error--> one-shot: 128+n; commands that go on: the error's exit code
 */
import type { Command } from 'commander';
import { EXIT, RefusedError, ShovelError } from '../errors.js';
import type { ErrorReporter } from '../runtime/error-reporter.js';
import type { Logger } from '../runtime/logger.js';
import { type GlobalOptions, globalOptions } from './global-options.js';
import { type Environment, type Host, SIGNAL_EXIT, type StopSignal, type Variables } from './host.js';
import { type OptionValues, resolveOptions } from './option-values.js';
import { type Answer, createOutput, type Output, wantsColor } from './output.js';
import { printError } from './print-error.js';
import { watchStopSignals } from './stop-signals.js';

/** What a command gets. */
export interface Invocation {
  readonly options: GlobalOptions;
  /** The command's own options, by name without dashes. */
  readonly values: OptionValues;
  readonly output: Output;
  readonly logger: Logger;
  readonly host: Host;
  /** The environment, `.env` included. */
  readonly variables: Variables;
  /** Aborts when the process is told to stop. */
  readonly signal: AbortSignal;
}

export type Action = (invocation: Invocation) => Promise<Answer | undefined>;

export interface RunOptions {
  /** Whether the command goes on until it is told to stop. */
  readonly goesOn: (values: OptionValues) => boolean;
}

/** Runs commands, and keeps the exit code of the last. */
export interface Runner {
  run(command: Command, options: RunOptions, action: Action): Promise<void>;
  exitCode(): number;
}

/** For commands that do one thing. */
export const ONE_SHOT: RunOptions = { goesOn: () => false };

const REPORT_WITHIN_MS = 2_000;

export function createRunner(host: Host, environment: Environment): Runner {
  let exitCode: number = EXIT.done;
  return {
    exitCode: () => exitCode,
    async run(command, runOptions, action) {
      const values = resolveOptions(command, environment);
      const options = globalOptions(values);
      exitCode = await perform(action, {
        host,
        values,
        options,
        goesOn: runOptions.goesOn(values),
        variables: { ...environment.file, ...environment.process },
      });
    },
  };
}

interface Performance {
  readonly host: Host;
  readonly values: OptionValues;
  readonly options: GlobalOptions;
  readonly goesOn: boolean;
  readonly variables: Variables;
}

async function perform(action: Action, about: Performance): Promise<number> {
  const { host, values, options, goesOn, variables } = about;
  const { logger, reporter } = await openRuntime(about);
  const told = { host, json: options.json, debug: options.logLevel === 'debug', variables };
  const stop = watchStopSignals(host);
  const endCrashes = host.onCrash((error) => {
    reporter.report(error);
    const code = printError(error, told);
    void reporter.close(REPORT_WITHIN_MS).then(() => host.exit(code));
  });
  const output = createOutput(host, {
    json: options.json,
    variables,
    ...(options.logFormat === 'json' ? { say: (line: string) => logger.info({}, line) } : {}),
  });
  try {
    const answer = await action({ options, values, output, logger, host, variables, signal: stop.signal });
    if (answer !== undefined) output.answer(answer);
    return answer?.exitCode ?? EXIT.done;
  } catch (error) {
    const received = stop.received();
    if (received !== undefined && !goesOn) return interrupted(error, { ...told, received });
    reporter.report(error);
    return printError(error, told);
  } finally {
    stop.end();
    endCrashes();
    await reporter.close(REPORT_WITHIN_MS);
  }
}

async function openRuntime(about: Performance): Promise<{ logger: Logger; reporter: ErrorReporter }> {
  const { host, options, goesOn, variables } = about;
  const [{ createLogger }, { createErrorReporter }, { releaseVersion }] = await Promise.all([
    import('../runtime/logger.js'),
    import('../runtime/error-reporter.js'),
    import('../runtime/release.js'),
  ]);
  const terminal = host.stderr.isTTY === true;
  const logger = createLogger({
    level: options.logLevel ?? (goesOn ? 'info' : 'warn'),
    format: options.logFormat ?? (terminal ? 'pretty' : 'json'),
    color: wantsColor(host.stderr, variables),
    destination: host.stderr,
  });
  const reporter = await createErrorReporter({ dsn: options.sentryDsn, release: releaseVersion(), logger });
  return { logger, reporter };
}

/** An outcome that someone has to look at is told as it is; the exit code says that the command was interrupted. */
function interrupted(
  error: unknown,
  told: Parameters<typeof printError>[1] & { readonly received: StopSignal },
): number {
  const { received } = told;
  const grave =
    error instanceof ShovelError && (error.exitCode === EXIT.inDoubt || error.exitCode === EXIT.integrity);
  printError(
    grave
      ? error
      : new RefusedError('interrupted', `Interrupted by ${received}.`, {
          hint: 'What was begun is settled by the next command that writes, or by shovel cluster recover.',
          cause: error,
        }),
    told,
  );
  return SIGNAL_EXIT[received];
}
