/**
 * Reports bugs and integrity errors to Sentry, where a DSN is given; else does nothing and loads nothing. What goes
 * out is the kind of error, its code, its frames and a message without secrets: no variables, no requests, no
 * environment, no host name.
 */
import { EXIT, ShovelError } from '../errors.js';
import type { Logger } from './logger.js';
import { redactText, safeMessage } from './redact.js';

export interface ErrorReporter {
  /** Tells of errors that someone has to look at: bugs, in doubt, integrity. Of all others it is silent. */
  report(error: unknown): void;
  /** Waits until all is sent, `timeoutMs` at most; never throws. */
  close(timeoutMs: number): Promise<void>;
}

export interface ErrorReporterOptions {
  /** Undefined: nothing is reported. */
  readonly dsn: string | undefined;
  /** Version of this program. */
  readonly release: string;
  readonly logger: Logger;
}

/** `https://key@host/project` */
const SENTRY_DSN = /^https?:\/\/\w+(?::\w+)?@[\w.-]+(?::\d+)?\/(?:[\w./-]+\/)?\d+$/;

const REPORTED: ReadonlySet<number> = new Set([EXIT.bug, EXIT.inDoubt, EXIT.integrity]);

function isReported(error: unknown): boolean {
  return error instanceof ShovelError ? REPORTED.has(error.exitCode) : true;
}

/** Never throws: a reporter that can't start says so in the log, and the work goes on. */
export async function createErrorReporter(options: ErrorReporterOptions): Promise<ErrorReporter> {
  if (options.dsn === undefined) return { report: () => undefined, close: async () => undefined };
  try {
    return await sentryReporter({ ...options, dsn: options.dsn });
  } catch (error) {
    options.logger.warn({ error }, 'errors are not reported: the error reporter did not start');
    return { report: () => undefined, close: async () => undefined };
  }
}

async function sentryReporter(
  options: ErrorReporterOptions & { readonly dsn: string },
): Promise<ErrorReporter> {
  // Sentry would print a DSN that it can't read.
  if (!SENTRY_DSN.test(options.dsn)) throw new TypeError('the Sentry DSN is not valid');
  const sentry = await import('@sentry/node');
  sentry.init({
    dsn: options.dsn,
    release: `shovel@${options.release}`,
    defaultIntegrations: false,
    integrations: [],
    skipOpenTelemetrySetup: true,
    sendDefaultPii: false,
    sendClientReports: false,
    beforeSend: (event) => {
      delete event.server_name;
      delete event.contexts;
      return event;
    },
  });
  return {
    report: (error) => {
      if (!isReported(error)) return;
      sentry.captureException(reportable(error), {
        tags: error instanceof ShovelError ? { code: error.code, exit_code: error.exitCode } : {},
      });
    },
    close: async (timeoutMs) => {
      await sentry.close(timeoutMs).catch(() => false);
    },
  };
}

/** An error of the same kind and place whose message is safe to send; causes stay here. */
function reportable(error: unknown): Error {
  if (!(error instanceof Error)) return new Error(`a ${typeof error} was thrown`);
  const safe = new Error(safeMessage(error));
  safe.name = redactText(error.name);
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  safe.stack = [`${safe.name}: ${safe.message}`, ...frames].join('\n');
  return safe;
}
