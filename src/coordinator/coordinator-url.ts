/**
 * Where the coordinator is, as people say it: `--zookeeper-hosts` or `--coordinator URL`. It decides the kind and
 * takes credentials out; which source of options counts, and reading the files that a URL names, is the caller's.
 *
 *     zookeeper://user:password@host:2181,host2:2181/chroot?tls=true&ca=FILE&cert=FILE&key=FILE
 *     postgres://user:password@host,host2/database?sslmode=require
 */
import { ConfigurationError, UsageError } from '../errors.js';
import { parseDsn } from '../postgres/dsn.js';
import { parseZooKeeperHosts } from './zookeeper/zookeeper-hosts.js';

export type CoordinatorAddress =
  | {
      readonly kind: 'zookeeper';
      /** `host:port,host:port/chroot`, without credentials. */
      readonly hosts: string;
      /** `user:password`; secret. */
      readonly auth: { readonly scheme: 'digest'; readonly credentials: string } | undefined;
      /** Names of PEM files; undefined: no TLS. */
      readonly tls: ZooKeeperTlsFiles | undefined;
      /** For people: no credentials. */
      readonly display: string;
    }
  | {
      readonly kind: 'postgres';
      /** Secret. */
      readonly dsn: string;
      readonly display: string;
    };

export interface ZooKeeperTlsFiles {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export const DEFAULT_ZOOKEEPER_HOSTS = '127.0.0.1:2181';

/**
 * Both of the same level (command line, environment) at once are refused; neither is ZooKeeper on this machine.
 * No message holds any part of a text that may be a secret.
 * @throws UsageError `coordinator_ambiguous`, `coordinator_url_invalid`, `zookeeper_hosts_invalid`
 */
export function parseCoordinatorAddress(options: {
  readonly zookeeperHosts?: string | undefined;
  readonly coordinator?: string | undefined;
}): CoordinatorAddress {
  const { zookeeperHosts, coordinator } = options;
  if (zookeeperHosts !== undefined && coordinator !== undefined) {
    throw new UsageError('coordinator_ambiguous', 'Both --zookeeper-hosts and --coordinator are given.', {
      hint: 'Give one of them: --coordinator takes zookeeper:// and postgres:// URLs.',
    });
  }
  if (coordinator === undefined) {
    const { display } = parseZooKeeperHosts(zookeeperHosts ?? DEFAULT_ZOOKEEPER_HOSTS);
    return {
      kind: 'zookeeper',
      hosts: display,
      auth: undefined,
      tls: undefined,
      display: `zookeeper://${display}`,
    };
  }
  if (coordinator.startsWith('zookeeper://'))
    return parseZooKeeperUrl(coordinator.slice('zookeeper://'.length));
  if (/^postgres(ql)?:\/\//.test(coordinator)) return parsePostgresUrl(coordinator);
  throw invalid('The URL of --coordinator is of no kind that can coordinate.');
}

function parseZooKeeperUrl(rest: string): CoordinatorAddress {
  const question = rest.indexOf('?');
  const address = question === -1 ? rest : rest.slice(0, question);
  // The last @ ends the credentials: a password may hold another.
  const at = address.lastIndexOf('@');
  const { display } = parseZooKeeperHosts(address.slice(at + 1));
  return {
    kind: 'zookeeper',
    hosts: display,
    auth: at === -1 ? undefined : { scheme: 'digest', credentials: decodeCredentials(address.slice(0, at)) },
    tls: parseTls(new URLSearchParams(question === -1 ? '' : rest.slice(question + 1))),
    display: `zookeeper://${display}`,
  };
}

function decodeCredentials(text: string): string {
  const colon = text.indexOf(':');
  if (colon < 1 || colon === text.length - 1) {
    throw invalid('The zookeeper:// URL of --coordinator lacks a user or a password before the @.');
  }
  try {
    return `${decodeURIComponent(text.slice(0, colon))}:${decodeURIComponent(text.slice(colon + 1))}`;
  } catch {
    throw invalid('User or password in the zookeeper:// URL of --coordinator are not percent-encoded.');
  }
}

function parseTls(parameters: URLSearchParams): ZooKeeperTlsFiles | undefined {
  for (const name of parameters.keys()) {
    if (!['tls', 'ca', 'cert', 'key'].includes(name)) {
      throw invalid(
        `The zookeeper:// URL of --coordinator has an unknown parameter ${JSON.stringify(name)}.`,
      );
    }
  }
  const wanted = parameters.get('tls');
  if (wanted !== null && wanted !== 'true' && wanted !== 'false') {
    throw invalid('Parameter tls in the zookeeper:// URL of --coordinator is neither true nor false.');
  }
  const [ca, cert, key] = ['ca', 'cert', 'key'].map((name) => parameters.get(name) ?? undefined);
  if ((cert === undefined) !== (key === undefined)) {
    throw invalid('The zookeeper:// URL of --coordinator has one of cert and key without the other.');
  }
  const files = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
  if (wanted === 'true') return files;
  if (Object.keys(files).length === 0) return undefined;
  throw invalid('The zookeeper:// URL of --coordinator names files for TLS without tls=true.');
}

function parsePostgresUrl(url: string): CoordinatorAddress {
  try {
    const { display } = parseDsn(url, 'the coordinator');
    return {
      kind: 'postgres',
      dsn: url,
      display: `postgres://${display.slice(display.lastIndexOf('@') + 1)}`,
    };
  } catch (error) {
    if (error instanceof ConfigurationError)
      throw invalid('The postgres:// URL of --coordinator can not be read.');
    throw error;
  }
}

function invalid(message: string): UsageError {
  return new UsageError('coordinator_url_invalid', message, {
    // No credentials in it: what looks like a password is never printed.
    hint: 'Write zookeeper://host:2181,host2:2181/chroot or postgres://host/database; user:password@ goes before the hosts, percent-encoded.',
  });
}
