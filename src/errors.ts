/**
 * What can go wrong, in the words a supervisor needs: every error that leaves a module is a ShovelError with a
 * stable code, an exit code, and whether trying again can help. Adapters (PostgreSQL, ZooKeeper, Kafka, …)
 * translate at their border; loops look at `retryable` alone. Anything else that is thrown is a bug (exit 1).
 *
 * Exit codes: 0 done, 1 bug, 2 usage, 20 configuration, 21 refused, 22 check found something, 23 unreachable,
 * 24 in doubt, 25 integrity, 26 fenced. 3 to 14 are Node's own.
 */

export const EXIT = {
  done: 0,
  bug: 1,
  usage: 2,
  configuration: 20,
  refused: 21,
  found: 22,
  unreachable: 23,
  inDoubt: 24,
  integrity: 25,
  fenced: 26,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export interface ErrorOptions {
  /** What to do about it: one line, printed below the message. */
  readonly hint: string;
  /** Names and numbers for `--json`; never row data, never credentials. 64-bit numbers as decimal strings. */
  readonly details?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** `code` is snake_case and stable, e.g. `set_exists`; `message` is one line that names the thing. */
export class ShovelError extends Error {
  readonly code: string;
  readonly exitCode: ExitCode;
  readonly retryable: boolean;
  readonly hint: string;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    kind: { readonly code: string; readonly exitCode: ExitCode; readonly retryable: boolean },
    message: string,
    options: ErrorOptions,
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = kind.code;
    this.exitCode = kind.exitCode;
    this.retryable = kind.retryable;
    this.hint = options.hint;
    this.details = options.details ?? {};
  }
}

/** Exit 2: the command line is wrong. */
export class UsageError extends ShovelError {
  constructor(code: string, message: string, options: ErrorOptions) {
    super({ code, exitCode: EXIT.usage, retryable: false }, message, options);
  }
}

/** Exit 20: the set file, or what it names in a database, is wrong. */
export class ConfigurationError extends ShovelError {
  constructor(code: string, message: string, options: ErrorOptions) {
    super({ code, exitCode: EXIT.configuration, retryable: false }, message, options);
  }
}

/** Exit 21: the request can't be granted as things stand: exists, not found, version precondition, in use. */
export class RefusedError extends ShovelError {
  constructor(code: string, message: string, options: ErrorOptions) {
    super({ code, exitCode: EXIT.refused, retryable: false }, message, options);
  }
}

/** Exit 22: verify or doctor found something. */
export class CheckFoundError extends ShovelError {
  constructor(code: string, message: string, options: ErrorOptions) {
    super({ code, exitCode: EXIT.found, retryable: false }, message, options);
  }
}

/** Exit 23: a database, coordinator or broker can't be reached now. The only class that is worth a retry. */
export class UnreachableError extends ShovelError {
  constructor(code: string, message: string, options: ErrorOptions) {
    super({ code, exitCode: EXIT.unreachable, retryable: true }, message, options);
  }
}

/** Exit 24: a change was begun whose outcome this process can't know. */
export class InDoubtError extends ShovelError {
  constructor(code: string, message: string, options: ErrorOptions) {
    super({ code, exitCode: EXIT.inDoubt, retryable: false }, message, options);
  }
}

/** Exit 25: going on would lose, repeat or reorder data. */
export class IntegrityError extends ShovelError {
  constructor(code: string, message: string, options: ErrorOptions) {
    super({ code, exitCode: EXIT.integrity, retryable: false }, message, options);
  }
}

/** Exit 26: another relay has taken over. */
export class FencedError extends ShovelError {
  constructor(code: string, message: string, options: ErrorOptions) {
    super({ code, exitCode: EXIT.fenced, retryable: false }, message, options);
  }
}
