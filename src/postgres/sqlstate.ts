/**
 * Translates what PostgreSQL and its driver throw into ShovelErrors: the one total function of this border.
 * Server messages of classes 22 and 23 may quote a row's values, so they are left out.
 */
import {
  ConfigurationError,
  type ErrorOptions,
  EXIT,
  FencedError,
  IntegrityError,
  ShovelError,
  UnreachableError,
} from '../errors.js';

/** Any other error of a statement. `sqlstate` lets a caller act on the few that it expects. */
export class PostgresError extends ShovelError {
  readonly sqlstate: string;
  constructor(sqlstate: string, message: string, options: ErrorOptions) {
    const retryable = RETRY.has(sqlstate);
    super(
      { code: 'database_error', exitCode: retryable ? EXIT.unreachable : EXIT.bug, retryable },
      message,
      options,
    );
    this.sqlstate = sqlstate;
  }
}

export const SQLSTATE = {
  lockNotAvailable: '55P03',
  undefinedTable: '42P01',
  undefinedObject: '42704',
  duplicateObject: '42710',
  duplicateTable: '42P07',
  duplicateSchema: '42P06',
  invalidSchema: '3F000',
  uniqueViolation: '23505',
  deadlock: '40P01',
  serialization: '40001',
  internal: 'XX000',
  featureNotSupported: '0A000',
  objectNotInPrerequisiteState: '55000',
} as const;

const CANCELLED = '57014';

/** Worth another try of the whole transaction. 40P01 deadlock, 40001, 55P03 lock timeout, 55006 object in use. */
const RETRY: ReadonlySet<string> = new Set(['40P01', '40001', '55P03', '55006', CANCELLED]);

interface ServerError {
  readonly code: string;
  readonly message: string;
  readonly detail: string | undefined;
}

function serverError(error: unknown): ServerError | undefined {
  if (!(error instanceof Error) || !('code' in error) || !('severity' in error)) return undefined;
  const { code } = error;
  if (typeof code !== 'string') return undefined;
  const detail = 'detail' in error && typeof error.detail === 'string' ? error.detail : undefined;
  return { code, message: error.message, detail };
}

/** `where` names the database for people, without credentials. */
export function translatePostgresError(error: unknown, where: string): ShovelError {
  if (error instanceof ShovelError) return error;
  const server = serverError(error);
  if (!server) return connectionError(error, where);
  const { code, message } = server;
  if (code === 'SHV26') {
    return new FencedError('relay_fenced', message, {
      hint: 'This relay stops; the other one goes on.',
      cause: error,
    });
  }
  if (code === 'SHV25') {
    return new IntegrityError('source_went_back', message, {
      hint: 'After a promotion with loss or a restore, take the node on again with shovel node adopt.',
      cause: error,
    });
  }
  if (code.startsWith('28')) {
    return new ConfigurationError('database_login_refused', `Database ${where} refused the login.`, {
      hint: 'Check user, password and pg_hba.conf; secrets can come from ${NAME}, PGPASSWORD or a passfile.',
      cause: error,
    });
  }
  if (code === 'SHV27') {
    return new IntegrityError('capture_suspended', `Database ${where}: ${message}.`, {
      hint: 'shovel node adopt turns capture on again; targets have to be bootstrapped after it.',
      cause: error,
    });
  }
  if (code === '3D000') {
    return new ConfigurationError('database_missing', `Database ${where} does not exist.`, {
      hint: 'Check the name at the end of the DSN.',
      cause: error,
    });
  }
  if (code === '42501') {
    return new ConfigurationError('privilege_missing', `Database ${where}: ${message}.`, {
      hint: 'docs/privileges.md has the SQL for the least that each role needs.',
      cause: error,
    });
  }
  if (code === '25006') {
    return new UnreachableError('database_read_only', `Database ${where} takes no writes: ${message}.`, {
      hint: 'Is it a standby, or was it demoted? Name all hosts in the DSN, with ?target_session_attrs=read-write at its end.',
      cause: error,
    });
  }
  // 53100: disk full, 53300: too many connections
  if (code.startsWith('08') || code.startsWith('57P') || code === '53100' || code === '53300') {
    return new UnreachableError('database_unreachable', `Database ${where}: ${message}.`, {
      hint: 'It may be starting, stopping or full; this is worth another try later.',
      cause: error,
    });
  }
  const said = code.startsWith('22') || code.startsWith('23') ? `SQLSTATE ${code}` : `${message} (${code})`;
  return new PostgresError(code, `Database ${where}: ${said}.`, { hint: hintOf(code), cause: error });
}

function hintOf(sqlstate: string): string {
  if (sqlstate === CANCELLED) return 'Somebody cancelled the statement, or a time limit did; try again.';
  return RETRY.has(sqlstate)
    ? 'Another session is in the way; try again.'
    : 'Run again with --log-level debug.';
}

function connectionError(error: unknown, where: string): ShovelError {
  const detail = error instanceof Error ? connectionDetail(error) : 'connection lost';
  return new UnreachableError('database_unreachable', `Database ${where} can't be reached: ${detail}.`, {
    hint: 'Is it running, and are host, port and firewall right?',
    cause: error,
  });
}

function connectionDetail(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return code ?? error.message.toLowerCase();
}
