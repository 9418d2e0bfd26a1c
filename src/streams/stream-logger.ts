/**
 * What publishers ask of a logger: the subset of pino that they use, so that any logger of that shape will do.
 * Fields hold names and numbers; never row data, never credentials.
 */

export interface StreamLogger {
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}
