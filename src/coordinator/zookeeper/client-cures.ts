/**
 * Cures the defects of node-zookeeper-client 1.1.3 from outside, on one client's own connection manager: nothing
 * shared is patched. Each cure is named below and has a test in test/faults/coordinator-client.test.ts.
 * What an operation's failure means is decided by zookeeper-session.ts.
 */
import net from 'node:net';
import tls from 'node:tls';
import type { Client, Request } from 'node-zookeeper-client';
import type { ZooKeeperServer } from './zookeeper-hosts.js';

export interface ZooKeeperTls {
  /** PEM texts. Without `ca` the system's authorities are trusted. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** The name that the certificate must have; default: the host connected to. */
  readonly servername?: string;
}

export interface CureOptions {
  readonly servers: readonly ZooKeeperServer[];
  readonly sessionTimeoutMs: number;
  /** From opening the socket until the server has confirmed the session, per server. */
  readonly handshakeTimeoutMs: number;
  readonly tls: ZooKeeperTls | undefined;
  /** Highest transaction that this process has seen: a server that is behind it refuses the connection. */
  readonly seenZxid: () => bigint;
  /** Called when a socket has closed, after the client has failed what was pending. */
  readonly closed: () => void;
  /** Monotonic ms. */
  readonly now: () => number;
}

export interface CuredConnection {
  /** Why the last connection ended, e.g. ECONNREFUSED; undefined where nothing is known. */
  readonly lastError: () => string | undefined;
  readonly connected: () => boolean;
  /** Takes a request out that was not handed to a socket yet. False: it was, or is not known. */
  readonly takeBack: (request: Request) => boolean;
  /** Ends the session at the server if it can within `graceMs`, and the socket in any case. */
  readonly close: (graceMs: number) => Promise<void>;
}

const CONNECTING = 1;
const CONNECTED = 2;
const CLOSING = -1;
const CLOSED = -2;
const PING = 11;
const AUTH = 100;
const SET_WATCHES = 101;

export function cureClient(client: Client, options: CureOptions): CuredConnection {
  const manager = client.connectionManager;
  const own = {
    onSocketConnected: manager.onSocketConnected.bind(manager),
    onSocketData: manager.onSocketData.bind(manager),
    onSocketClosed: manager.onSocketClosed.bind(manager),
  };
  let closing = false;
  let lastError: string | undefined;
  let heardAtMs = 0;
  let handshake: NodeJS.Timeout | undefined;
  let silence: NodeJS.Timeout | undefined;

  // Hosts: the client can't parse IPv6 literals.
  manager.servers = shuffled(options.servers);
  const updateTimeout = manager.updateTimeout.bind(manager);
  manager.updateTimeout = (sessionTimeoutMs) => {
    updateTimeout(sessionTimeoutMs);
    manager.pingTimeout = Math.floor(sessionTimeoutMs / 6);
  };
  manager.updateTimeout(options.sessionTimeoutMs);

  const drop = (socket: net.Socket | undefined, why: string): void => {
    lastError = why;
    socket?.destroy();
  };

  // No read timeout: a server that says nothing for a third of the session is left, which leaves a lease the time
  // to be vouched for through another. Pings go out every sixth; the library's own third would be too late.
  const leftOfSilence = (): number => manager.sessionTimeout / 3 - (options.now() - heardAtMs);
  const watchSilence = (): void => {
    const { socket } = manager;
    const leftMs = leftOfSilence();
    if (leftMs > 0) {
      silence = setTimeout(watchSilence, leftMs);
      return;
    }
    // It may be this process that slept: what has arrived meanwhile is read first.
    setImmediate(() =>
      setImmediate(() => {
        if (socket !== manager.socket || socket?.destroyed) return;
        if (leftOfSilence() > 0) watchSilence();
        else drop(socket, 'the server fell silent');
      }),
    );
  };

  // No handshake timeout, no TLS, and bytes of the connection before that spoil the next handshake.
  manager.connect = () => {
    if (closing) return;
    manager.setState(CONNECTING);
    manager.findNextServer((server) => {
      if (closing) return;
      manager.pendingBuffer = null;
      const socket = openSocket(server, options.tls);
      manager.socket = socket;
      handshake = setTimeout(() => drop(socket, 'no answer to the handshake'), options.handshakeTimeoutMs);
      socket.setNoDelay();
      socket.on(options.tls ? 'secureConnect' : 'connect', () => manager.onSocketConnected());
      socket.on('data', (data: Buffer) => {
        heardAtMs = options.now();
        manager.onSocketData(data);
      });
      socket.on('drain', () => manager.onSocketDrain());
      socket.on('error', (error) => {
        lastError = 'code' in error && typeof error.code === 'string' ? error.code : error.message;
      });
      socket.on('close', (hadError) => manager.onSocketClosed(hadError));
    });
  };

  // What waited goes out before the authentication, and a failed handshake leaves its own packets in the queue.
  manager.onSocketConnected = () => {
    const { queue } = manager.packetQueue;
    const waiting = queue.splice(0).filter(({ request }) => {
      const type = request.header?.type;
      return type !== AUTH && type !== SET_WATCHES && type !== PING;
    });
    manager.zxid.writeBigInt64BE(options.seenZxid());
    own.onSocketConnected();
    queue.push(...waiting);
  };

  // A frame that can't be read, or an error code that the client does not know, throws out of the socket's event.
  manager.onSocketData = (data) => {
    try {
      own.onSocketData(data);
    } catch {
      drop(manager.socket, 'the server sent what the client can not read');
    }
  };

  // Watches are armed again by the session itself; the client's own way forgets some and has no size limit.
  manager.onSocketClosed = (hadError) => {
    clearTimeout(handshake);
    clearTimeout(silence);
    manager.watcherManager.dataWatchers = {};
    manager.watcherManager.childWatchers = {};
    manager.watcherManager.existenceWatchers = {};
    own.onSocketClosed(hadError);
    options.closed();
  };

  manager.prependListener('state', (state: number) => {
    if (state !== CONNECTED) return;
    clearTimeout(handshake);
    lastError = undefined;
    heardAtMs = options.now();
    watchSilence();
  });

  // close() during the handshake is an uncaught exception, and one on a dead connection never ends.
  const close = async (graceMs: number): Promise<void> => {
    closing = true;
    const { socket } = manager;
    const gone =
      socket === undefined || socket.destroyed
        ? Promise.resolve()
        : new Promise<void>((resolve) => socket.once('close', () => resolve()));
    if (manager.state === CONNECTED && socket !== undefined) {
      manager.close();
      const patience = setTimeout(() => socket.destroy(), graceMs);
      await gone;
      clearTimeout(patience);
      return;
    }
    if (manager.state === CONNECTING) manager.setState(CLOSING);
    socket?.destroy();
    await gone;
    manager.setState(CLOSED);
  };

  return {
    lastError: () => lastError,
    connected: () => manager.state === CONNECTED && !closing,
    takeBack: (request) => {
      const { queue } = manager.packetQueue;
      const at = queue.findIndex((packet) => packet.request === request);
      if (at >= 0) queue.splice(at, 1);
      return at >= 0;
    },
    close,
  };
}

function openSocket(server: ZooKeeperServer, options: ZooKeeperTls | undefined): net.Socket {
  if (!options) return net.connect(server);
  const name = net.isIP(server.host) ? {} : { servername: server.host };
  return tls.connect({ ...name, ...options, ...server });
}

function shuffled(servers: readonly ZooKeeperServer[]): { host: string; port: number }[] {
  return servers
    .map((server) => ({ server: { ...server }, order: Math.random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ server }) => server);
}
