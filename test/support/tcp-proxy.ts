/**
 * A TCP proxy on loopback that breaks connections in the ways that networks do. It knows nothing of the protocol
 * that passes through; a test tells it which bytes to wait for.
 */
import net from 'node:net';

export interface TcpProxyTarget {
  readonly host: string;
  readonly port: number;
}

/**
 * forward: as if it were not there. refuse: new connections are reset at once. half-open: new connections are
 * accepted and nothing ever passes, and nothing more passes on those that exist (no FIN, no RST).
 */
type TcpProxyMode = 'forward' | 'refuse' | 'half-open';

export interface TcpProxy {
  readonly host: '127.0.0.1';
  readonly port: number;
  /** Connections open now. */
  readonly connections: number;
  /** Chunks that came out at either end so far. */
  readonly passed: number;
  /** For connections to come, and those of now. After half-open, what it spoiled is reset. */
  setMode(mode: TcpProxyMode): void;
  /** Delays every chunk, in both directions, by this many ms; 0 ends it. Order is kept. */
  setDelay(delayMs: number): void;
  /** Resets all connections of now (RST). */
  cut(): void;
  /** Ends all connections of now in order (FIN). */
  drop(): void;
  /**
   * The next time that a client sends `bytes`: they are forwarded, and when the server answers, its answer is thrown
   * away and the connection reset. Resolves after that.
   */
  loseAnswerTo(bytes: string | Buffer): Promise<void>;
  /** The next time that a client sends `bytes`: they are not forwarded and the connection is reset. Resolves then. */
  loseRequest(bytes: string | Buffer): Promise<void>;
  close(): Promise<void>;
}

interface Trap {
  readonly bytes: Buffer;
  readonly forward: boolean;
  readonly sprung: () => void;
}

interface Pair {
  readonly client: net.Socket;
  readonly server: net.Socket;
  trap: Trap | undefined;
  /** Bytes were kept back: nothing that passes after them would make sense. */
  spoiled: boolean;
}

export async function startTcpProxy(target: TcpProxyTarget): Promise<TcpProxy> {
  const pairs = new Set<Pair>();
  const traps: Trap[] = [];
  let mode: TcpProxyMode = 'forward';
  let delayMs = 0;
  let passed = 0;

  const reset = (pair: Pair) => {
    pairs.delete(pair);
    pair.client.resetAndDestroy();
    pair.server.destroy();
  };

  /** Chunks leave in order, each no earlier than its delay says; while half-open they are kept from the other side. */
  const pipe = (pair: Pair, from: net.Socket, act: (data: Buffer) => void) => {
    let last = Promise.resolve();
    from.on('data', (data: Buffer) => {
      const wait = delayMs;
      last = last.then(async () => {
        if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
        if (mode === 'half-open') pair.spoiled = true;
        if (pair.spoiled) return;
        act(data);
        passed += 1;
      });
    });
  };

  const server = net.createServer({ allowHalfOpen: false }, (client) => {
    client.on('error', () => undefined);
    if (mode === 'refuse') {
      client.resetAndDestroy();
      return;
    }
    const upstream = mode === 'half-open' ? new net.Socket() : net.connect(target);
    const pair: Pair = { client, server: upstream, trap: undefined, spoiled: mode === 'half-open' };
    pairs.add(pair);
    client.setNoDelay();
    upstream.setNoDelay();
    pipe(pair, client, (data) => {
      const at = traps.findIndex(({ bytes }) => data.includes(bytes));
      const trap = at === -1 ? undefined : traps.splice(at, 1)[0];
      if (trap && !trap.forward) {
        reset(pair);
        trap.sprung();
        return;
      }
      if (trap) pair.trap = trap;
      if (upstream.writable) upstream.write(data);
    });
    pipe(pair, upstream, (data) => {
      if (pair.trap) {
        reset(pair);
        pair.trap.sprung();
      } else if (client.writable) client.write(data);
    });
    const over = () => {
      if (mode === 'half-open') return;
      pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    upstream.on('error', over);
    upstream.on('close', over);
    client.on('close', () => {
      pairs.delete(pair);
      upstream.destroy();
    });
  });

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');

  const setTrap = (bytes: string | Buffer, forward: boolean) =>
    new Promise<void>((sprung) =>
      traps.push({ bytes: typeof bytes === 'string' ? Buffer.from(bytes) : bytes, forward, sprung }),
    );

  return {
    host: '127.0.0.1',
    port: address.port,
    get connections() {
      return pairs.size;
    },
    get passed() {
      return passed;
    },
    setMode(next) {
      mode = next;
      if (mode !== 'half-open') for (const pair of [...pairs]) if (pair.spoiled) reset(pair);
    },
    setDelay(next) {
      delayMs = next;
    },
    cut() {
      for (const pair of [...pairs]) reset(pair);
    },
    drop() {
      for (const { client, server: upstream } of [...pairs]) {
        client.end();
        upstream.end();
      }
    },
    loseAnswerTo: (bytes) => setTrap(bytes, true),
    loseRequest: (bytes) => setTrap(bytes, false),
    async close() {
      for (const pair of [...pairs]) reset(pair);
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
