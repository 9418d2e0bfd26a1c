/**
 * A DSN taken apart: libpq's URL with one or more hosts. Secrets stay inside; only `display` is for people.
 * libpq's variables (PGHOST, PGUSER, PGPASSWORD, PGPASSFILE, …) fill what the URL leaves out, as `pg` does it.
 */
import { ConfigurationError } from '../errors.js';

export interface Dsn {
  /** A URL per host, in the order of the DSN, ready for the driver. Holds the password: never print it. */
  readonly urls: readonly string[];
  /** `host:port` of each URL, as the DSN has it. */
  readonly hosts: readonly string[];
  /** `read-write`: only a server that takes writes will do. */
  readonly targetSessionAttributes: 'any' | 'read-write';
  /** `user@host:port,host:port/database`, no password, no parameters. */
  readonly display: string;
}

const PATTERN = /^postgres(?:ql)?:\/\/(?:([^@/?]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/;

/** @throws ConfigurationError `dsn_invalid` (the DSN itself is never in the message) */
export function parseDsn(dsn: string, name: string): Dsn {
  const match = PATTERN.exec(dsn);
  if (!match) {
    throw new ConfigurationError('dsn_invalid', `The DSN of ${name} is not a postgres:// URL.`, {
      hint: 'Write it as postgres://user@host:port/database, or postgres://user@host1,host2/database?target_session_attrs=read-write.',
    });
  }
  const [, userInfo = '', hostList = '', database = '', query = ''] = match;
  const parameters = new URLSearchParams(query);
  const attributes = parameters.get('target_session_attrs') ?? 'any';
  parameters.delete('target_session_attrs');
  if (attributes !== 'any' && attributes !== 'read-write' && attributes !== 'primary') {
    throw new ConfigurationError('dsn_invalid', `The DSN of ${name} has an unknown target_session_attrs.`, {
      hint: 'shovel needs a server that takes writes: use read-write, primary or any.',
    });
  }
  const rest = parameters.toString();
  const prefix = userInfo === '' ? '' : `${userInfo}@`;
  const hosts = hostList.split(',');
  const urls = hosts.map((host) => `postgres://${prefix}${host}/${database}${rest === '' ? '' : `?${rest}`}`);
  const user = userInfo.split(':')[0] ?? '';
  return {
    urls,
    hosts,
    targetSessionAttributes: attributes === 'any' ? 'any' : 'read-write',
    display: `${user === '' ? '' : `${user}@`}${hostList}/${database}`,
  };
}
