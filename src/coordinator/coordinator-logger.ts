/**
 * What coordinators ask of a logger: the subset of pino that they use, so that any logger of that shape will do.
 * Fields hold names and numbers; never data of an entry, never credentials.
 */

export interface CoordinatorLogger {
  debug(fields: Readonly<Record<string, unknown>>, message: string): void;
  info(fields: Readonly<Record<string, unknown>>, message: string): void;
  warn(fields: Readonly<Record<string, unknown>>, message: string): void;
}
