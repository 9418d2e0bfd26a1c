/**
 * One connection to one database. Every value travels as text, exactly as PostgreSQL prints it: no number, date or
 * json is ever parsed on the way. A connection serves one task at a time; callers queue nothing.
 */
import pg from 'pg';
import { ConfigurationError, type ShovelError, UnreachableError } from '../errors.js';
import { type Dsn, parseDsn } from './dsn.js';
import { PostgresError, SQLSTATE, translatePostgresError } from './sqlstate.js';

export type Row = Readonly<Record<string, string | null>>;

export interface PostgresConnection {
  /** `user@host:port/database`, no password. */
  readonly display: string;
  /** As `server_version_num`, e.g. 150018. */
  readonly serverVersion: number;
  /** Aborts when the connection is gone, whoever ended it. */
  readonly lost: AbortSignal;
  query(text: string, values?: readonly (string | null)[]): Promise<readonly Row[]>;
  /** Rows as arrays, columns in the order of the select list: cheaper where there are many. */
  arrays(text: string, values?: readonly (string | null)[]): Promise<readonly (readonly (string | null)[])[]>;
  /** Several statements without parameters. */
  script(text: string): Promise<void>;
  end(): Promise<void>;
}

export interface ConnectOptions {
  /** Variables already filled in. */
  readonly dsn: string;
  /** For errors: `database main of set example`. */
  readonly name: string;
  readonly applicationName: string;
  /** Default 5 s. */
  readonly connectTimeoutMs?: number;
  /** Settings for the session, e.g. { lock_timeout: '40ms' }. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** What every session of ours has, whatever the role's or database's defaults are. */
const SESSION: Readonly<Record<string, string>> = {
  search_path: 'pg_catalog',
  TimeZone: 'UTC',
  DateStyle: 'ISO',
  IntervalStyle: 'iso_8601',
  bytea_output: 'hex',
  extra_float_digits: '1',
  lc_monetary: 'C',
  quote_all_identifiers: 'off',
  client_encoding: 'UTF8',
  standard_conforming_strings: 'on',
  row_security: 'off',
  default_transaction_isolation: 'read committed',
  default_transaction_read_only: 'off',
  default_transaction_deferrable: 'off',
  statement_timeout: '0',
  idle_in_transaction_session_timeout: '0',
  jit: 'off',
};

const RAW_TEXT = { getTypeParser: () => (value: unknown) => value };

/**
 * Connects to the first host of the DSN that answers (and takes writes, where the DSN asks for that).
 * @throws UnreachableError, ConfigurationError
 */
export async function openConnection(options: ConnectOptions): Promise<PostgresConnection> {
  const dsn = parseDsn(options.dsn, options.name);
  const writable = dsn.targetSessionAttributes !== 'any';
  const failures: unknown[] = [];
  for (const url of dsn.urls) {
    try {
      const connection = await openHost(url, dsn.display, { options, writable });
      if (connection !== STANDBY) return connection;
      failures.push(STANDBY);
    } catch (error) {
      if (error instanceof ConfigurationError) throw error;
      failures.push(error);
    }
  }
  throw failures.includes(STANDBY) ? noWriter(dsn, failures) : failures.at(-1);
}

const STANDBY = 'is a standby';

/** After a failover what counts is which host is what. `failures`: one of each host, in the order of the DSN. */
function noWriter({ display, hosts }: Dsn, failures: readonly unknown[]): UnreachableError {
  const each = hosts.map((host, i) => `${host} ${failures[i] === STANDBY ? STANDBY : 'does not answer'}`);
  return new UnreachableError(
    'database_read_only',
    `Database ${display} takes no writes: ${each.join(', ')}.`,
    {
      hint: 'The DSN asks for a host that does (target_session_attrs): promote one, or add the promoted one to the DSN.',
      cause: failures.find((failure) => failure !== STANDBY),
    },
  );
}

async function openHost(
  url: string,
  display: string,
  { options, writable }: { options: ConnectOptions; writable: boolean },
): Promise<PostgresConnection | typeof STANDBY> {
  const client = new pg.Client({
    connectionString: url,
    application_name: options.applicationName,
    connectionTimeoutMillis: options.connectTimeoutMs ?? 5_000,
    keepAlive: true,
    types: RAW_TEXT,
  });
  const lost = new AbortController();
  client.on('error', () => lost.abort());
  client.on('end', () => lost.abort());
  const fail = (error: unknown) => translatePostgresError(error, display);
  try {
    await client.connect().catch((error: unknown) => {
      throw closedDatabase(fail(error));
    });
    const settings = Object.entries({ ...SESSION, ...options.settings });
    const chosen = settings.map((_, i) => `pg_catalog.set_config($${2 * i + 1}, $${2 * i + 2}, false)`);
    await client.query(`select ${chosen.join(', ')}`, settings.flat());
    const facts = await client.query<{ version: string; read_only: string }>(
      `select pg_catalog.current_setting('server_version_num') as version,
              pg_catalog.pg_is_in_recovery()::text as read_only`,
    );
    const fact = facts.rows[0];
    if (writable && fact?.read_only === 'true') {
      client.end().catch(() => undefined);
      return STANDBY;
    }
    return wrap(client, { display, serverVersion: Number(fact?.version), lost: lost.signal, fail });
  } catch (error) {
    client.end().catch(() => undefined);
    throw fail(error);
  }
}

/** A database that lets nobody in (`alter database … allow_connections false`) is away, as far as we can tell. */
function closedDatabase(error: ShovelError): ShovelError {
  if (!(error instanceof PostgresError) || error.sqlstate !== SQLSTATE.objectNotInPrerequisiteState)
    return error;
  return new UnreachableError('database_unreachable', error.message, {
    hint: 'Somebody closed it: alter database … allow_connections true opens it again.',
    cause: error,
  });
}

function wrap(
  client: pg.Client,
  shared: {
    display: string;
    serverVersion: number;
    lost: AbortSignal;
    fail: (error: unknown) => Error;
  },
): PostgresConnection {
  const { display, serverVersion, lost, fail } = shared;
  let ended = false;
  return {
    display,
    serverVersion,
    lost,
    async query(text, values = []) {
      try {
        return (await client.query<Record<string, string | null>>(text, [...values])).rows;
      } catch (error) {
        throw fail(error);
      }
    },
    async arrays(text, values = []) {
      try {
        const result = await client.query<(string | null)[]>({ text, values: [...values], rowMode: 'array' });
        return result.rows;
      } catch (error) {
        throw fail(error);
      }
    },
    async script(text) {
      try {
        await client.query(text);
      } catch (error) {
        throw fail(error);
      }
    },
    async end() {
      if (ended) return;
      ended = true;
      await client.end().catch(() => undefined);
    },
  };
}
