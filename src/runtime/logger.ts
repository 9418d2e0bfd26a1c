/**
 * Log lines: JSON for machines, pretty for terminals, always on standard error and never with a secret in them.
 * Decides form and level; what is worth a line is for others to say. Writing is synchronous, so that no line is lost
 * when the process ends.
 */
import { type Logger as PinoLogger, pino } from 'pino';
import { prettyFactory } from 'pino-pretty';
import { redactFields, redactText } from './redact.js';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** Fields hold names and numbers; an Error under any name is told as code, message and hint. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** A logger whose every line has these fields too. */
  child(fields: LogFields): Logger;
}

export interface LogDestination {
  write(text: string): void;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: 'pretty' | 'json';
  /** Only for `pretty`. */
  readonly color?: boolean;
  /** Default: standard error. */
  readonly destination?: LogDestination;
}

/** Stacks are written at level `debug` only. */
export function createLogger(options: LoggerOptions): Logger {
  const stderr = options.destination ?? pino.destination({ dest: 2, sync: true });
  const root = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      messageKey: 'message',
    },
    options.format === 'pretty' ? prettyDestination(stderr, options.color ?? false) : stderr,
  );
  return wrap(root, { stacks: options.level === 'debug' });
}

/** For tests and for library use without a log. */
export function silentLogger(): Logger {
  return createLogger({ level: 'silent', format: 'json', destination: { write: () => undefined } });
}

function prettyDestination(destination: LogDestination, color: boolean): LogDestination {
  const format = prettyFactory({
    colorize: color,
    messageKey: 'message',
    translateTime: 'SYS:HH:MM:ss.l',
    singleLine: true,
  });
  return { write: (line) => destination.write(format(line)) };
}

function wrap(log: PinoLogger, options: { readonly stacks: boolean }): Logger {
  const at =
    (level: Exclude<LogLevel, 'silent'>) =>
    (fields: LogFields, message: string): void => {
      if (log.isLevelEnabled(level)) log[level](redactFields(fields, options), redactText(message));
    };
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => wrap(log.child(redactFields(fields, options)), options),
  };
}
