/**
 * The connection string of ZooKeeper, `host:port,host:port/chroot`, taken apart. The client's own parser can't read
 * IPv6 literals and takes any text for a port, so it never sees the hosts.
 */
import { UsageError } from '../../errors.js';

export interface ZooKeeperServer {
  readonly host: string;
  /** 1 to 65535; default 2181. */
  readonly port: number;
}

export interface ZooKeeperHosts {
  readonly servers: readonly ZooKeeperServer[];
  /** `/a/b`, or empty. */
  readonly chroot: string;
  /** Normal form, for people and for a connection: `host:port,[::1]:port/chroot`. */
  readonly display: string;
}

const SERVER = /^(?:\[([0-9a-fA-F:.]+(?:%[\w.]+)?)\]|([^:[\]@\s/?#]+))(?::(\d{1,5}))?$/;
const CHROOT = /^(?:\/[^/\s?#]+)+$/;

/** @throws UsageError `zookeeper_hosts_invalid`, naming the part that is wrong */
export function parseZooKeeperHosts(text: string): ZooKeeperHosts {
  const slash = text.indexOf('/');
  const hostList = slash === -1 ? text : text.slice(0, slash);
  const chroot = slash === -1 || slash === text.length - 1 ? '' : text.slice(slash);
  if (chroot !== '' && !CHROOT.test(chroot)) throw invalid(`chroot ${JSON.stringify(chroot)}`);
  if (chroot.split('/').some((part) => part === '.' || part === '..')) {
    throw invalid(`chroot ${JSON.stringify(chroot)}`);
  }
  const servers = hostList
    .split(',')
    .map((part) => part.trim())
    .map((part, index) => {
      const match = SERVER.exec(part);
      const host = match?.[1] ?? match?.[2];
      const port = Number(match?.[3] ?? 2181);
      if (host === undefined || port < 1 || port > 65_535) throw invalid(`server ${index + 1}`);
      return { host, port };
    });
  const display = `${servers.map(displayServer).join(',')}${chroot}`;
  return { servers, chroot, display };
}

function displayServer({ host, port }: ZooKeeperServer): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** What stood there is left out: it may hold a password. */
function invalid(part: string): UsageError {
  return new UsageError('zookeeper_hosts_invalid', `The ${part} of the ZooKeeper hosts can't be read.`, {
    hint: 'Write host:port,host:port/chroot, an IPv6 address as [::1]:2181.',
  });
}
