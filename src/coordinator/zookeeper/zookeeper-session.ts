/**
 * One session at ZooKeeper: one client of the library, cured, with promises and deadlines. It decides what a failed
 * call means: `unsent` (surely not done), `lost` (sent, no answer: nobody knows), `answered` (ZooKeeper said no).
 * A session that has ended stays ended; zookeeper-coordinator.ts opens the next one.
 *
 * States: connecting → connected ⇄ connecting → ended (expired | refused | closed).
 */
import zookeeper, {
  type ACL,
  type Client,
  type Exception,
  type Request,
  type Stat,
  type Transaction,
  type TransactionResult,
} from 'node-zookeeper-client';
import { type CuredConnection, cureClient, type ZooKeeperTls } from './client-cures.js';
import { type TransactionCodes, ZK, ZooKeeperCallError } from './zookeeper-call-error.js';
import type { ZooKeeperHosts } from './zookeeper-hosts.js';

export interface SessionOptions {
  readonly hosts: ZooKeeperHosts;
  /** What is asked for; the server may grant another, see `sessionTimeMs`. */
  readonly sessionTimeoutMs: number;
  readonly auth: { readonly scheme: 'digest'; readonly credentials: string } | undefined;
  readonly tls: ZooKeeperTls | undefined;
  /** Transactions that the session before had seen. */
  readonly seenZxid: bigint;
  readonly now: () => number;
  readonly onConnected: (session: ZooKeeperSession) => void;
  readonly onEnded: (session: ZooKeeperSession, why: 'expired' | 'refused') => void;
}

type Done<T> = (error: Exception | null | undefined, value?: T) => void;

interface Call {
  request: Request | undefined;
  readonly fail: (error: ZooKeeperCallError) => void;
}

export class ZooKeeperSession {
  readonly #client: Client;
  readonly #connection: CuredConnection;
  readonly #options: SessionOptions;
  readonly #calls = new Set<Call>();
  readonly #watchers = new Map<string, () => void>();
  #starting: Call | undefined;
  #seenZxid: bigint;
  #ended = false;

  constructor(options: SessionOptions) {
    const { hosts, sessionTimeoutMs } = options;
    this.#options = options;
    this.#seenZxid = options.seenZxid;
    this.#client = zookeeper.createClient(`placeholder:1${hosts.chroot}`, {
      sessionTimeout: sessionTimeoutMs,
      spinDelay: 200,
      retries: 0,
    });
    this.#connection = cureClient(this.#client, {
      servers: hosts.servers,
      sessionTimeoutMs,
      handshakeTimeoutMs: handshakeTimeout(sessionTimeoutMs, hosts.servers.length),
      tls: options.tls,
      seenZxid: () => this.#seenZxid,
      closed: () => this.#failSent(),
      now: options.now,
    });
    this.#rememberRequests();
    if (options.auth) this.#client.addAuthInfo(options.auth.scheme, Buffer.from(options.auth.credentials));
    this.#client.on('state', (state: object) => this.#onState(state));
  }

  connect(): void {
    this.#client.connect();
  }

  get connected(): boolean {
    return this.#connection.connected();
  }

  /** As the server granted it, ms. */
  get sessionTimeMs(): number {
    return this.#client.connectionManager.sessionTimeout;
  }

  get seenZxid(): bigint {
    return this.#seenZxid;
  }

  /** Why it is not connected, for people. */
  get trouble(): string {
    return this.#connection.lastError() ?? 'no answer';
  }

  /** Whether a node of this stat lives as long as this session. */
  owns(stat: Stat): boolean {
    return stat.ephemeralOwner.equals(this.#client.getSessionId());
  }

  get(path: string, timeoutMs: number): Promise<{ data: Buffer; stat: Stat } | undefined> {
    return this.#unlessMissing(
      this.#call<{ data: Buffer; stat: Stat }>(timeoutMs, (done) =>
        this.#client.getData(path, (error, data, stat) =>
          done(error, stat && { data: data ?? Buffer.alloc(0), stat }),
        ),
      ),
    );
  }

  children(path: string, timeoutMs: number): Promise<readonly string[] | undefined> {
    return this.#unlessMissing(
      this.#call<readonly string[]>(timeoutMs, (done) =>
        this.#client.getChildren(path, (error, names) => done(error, names)),
      ),
    );
  }

  /** Arms a watch that fires `changed` once, at the next change of the node; it is gone when the connection is. */
  async watch(path: string, changed: () => void, timeoutMs: number): Promise<void> {
    this.#watchers.set(path, changed);
    const fire = () => this.#watchers.get(path)?.();
    await this.#call<true>(timeoutMs, (done) =>
      this.#client.exists(path, fire, (error) => done(error, true)),
    );
  }

  /** Makes one lasting node. False where it exists. */
  async create(path: string, timeoutMs: number): Promise<boolean> {
    try {
      await this.#call<true>(timeoutMs, (done) =>
        this.#client.create(path, Buffer.alloc(0), this.acls, zookeeper.CreateMode.PERSISTENT, (error) =>
          done(error, true),
        ),
      );
      return true;
    } catch (error) {
      if (error instanceof ZooKeeperCallError && error.code === ZK.nodeExists) return false;
      throw error;
    }
  }

  /** With credentials only their holder may read or write what is created; without, everybody. */
  get acls() {
    return this.#options.auth ? zookeeper.ACL.CREATOR_ALL_ACL : zookeeper.ACL.OPEN_ACL_UNSAFE;
  }

  /** `count` is the number of operations that `fill` adds. */
  async transaction(
    count: number,
    timeoutMs: number,
    fill: (transaction: CheckedTransaction) => void,
  ): Promise<TransactionCodes> {
    const transaction = this.#client.transaction();
    fill(new CheckedTransaction(transaction));
    const results = await this.#call<readonly TransactionResult[]>(timeoutMs, (done) =>
      transaction.commit((error, answer) => (answer ? done(null, answer) : done(error))),
    );
    const codes = results.map((result) => result.err ?? ZK.ok);
    return codes.length === count ? codes : Array.from({ length: count }, (_, i) => codes[i] ?? ZK.ok);
  }

  /** Goes through the leader, writes nothing, and leaves this session at least as new as the leader was. */
  async sync(timeoutMs: number): Promise<void> {
    const codes = await this.transaction(1, timeoutMs, (transaction) => transaction.exists('/'));
    const code = codes[0] ?? ZK.ok;
    if (code !== ZK.ok && code !== ZK.noNode) throw new ZooKeeperCallError('answered', code);
  }

  /** Ends the session at the server where it is reached, so that its ephemeral nodes are gone at once. */
  async close(graceMs: number): Promise<void> {
    this.#ended = true;
    await this.#connection.close(graceMs);
    this.#failSent();
  }

  #onState(state: object): void {
    if (this.#ended) return;
    if (state === zookeeper.State.SYNC_CONNECTED) {
      this.#options.onConnected(this);
    } else if (state === zookeeper.State.EXPIRED || state === zookeeper.State.AUTH_FAILED) {
      this.#ended = true;
      // The client is in the middle of reading a frame; its socket is closed after that.
      setImmediate(() => this.#connection.close(0).catch(() => undefined));
      this.#options.onEnded(this, state === zookeeper.State.EXPIRED ? 'expired' : 'refused');
    }
  }

  /** Every request passes through the manager's queue: the one that a call hands in is remembered with it. */
  #rememberRequests(): void {
    const manager = this.#client.connectionManager;
    const queue = manager.queue.bind(manager);
    manager.queue = (request, callback) => {
      if (this.#starting) this.#starting.request = request;
      queue(request, callback);
    };
  }

  #call<T>(timeoutMs: number, start: (done: Done<T>) => void): Promise<T> {
    if (!this.connected || this.#ended) {
      return Promise.reject(new ZooKeeperCallError('unsent', ZK.connectionLoss));
    }
    return new Promise<T>((resolve, reject) => {
      const settle = (end: () => void) => {
        clearTimeout(deadline);
        this.#calls.delete(call);
        end();
      };
      const call: Call = { request: undefined, fail: (error) => settle(() => reject(error)) };
      const deadline = setTimeout(() => {
        const unsent = call.request !== undefined && this.#connection.takeBack(call.request);
        call.fail(new ZooKeeperCallError(unsent ? 'unsent' : 'lost', ZK.connectionLoss));
      }, timeoutMs);
      this.#calls.add(call);
      this.#starting = call;
      try {
        start((error, value) => {
          this.#noteZxid();
          if (value !== undefined && !error) settle(() => resolve(value));
          else call.fail(callError(error));
        });
      } catch (error) {
        settle(() => reject(error));
      } finally {
        this.#starting = undefined;
      }
    });
  }

  /** The socket has closed: what it had taken will never be answered, whatever the client made of it. */
  #failSent(): void {
    for (const call of [...this.#calls]) {
      const unsent = call.request !== undefined && this.#connection.takeBack(call.request);
      call.fail(new ZooKeeperCallError(unsent ? 'unsent' : 'lost', ZK.connectionLoss));
    }
  }

  /** The client takes any answer's number, also those of errors, which can be lower. */
  #noteZxid(): void {
    const zxid = this.#client.connectionManager.zxid.readBigInt64BE();
    if (zxid > this.#seenZxid) this.#seenZxid = zxid;
  }

  async #unlessMissing<T>(result: Promise<T>): Promise<T | undefined> {
    try {
      return await result;
    } catch (error) {
      if (error instanceof ZooKeeperCallError && error.kind === 'answered' && error.code === ZK.noNode) {
        return undefined;
      }
      throw error;
    }
  }
}

/** A transaction whose versions are what they say: the library turns version 0 into "any version". */
export class CheckedTransaction {
  readonly #transaction: Transaction;
  constructor(transaction: Transaction) {
    this.#transaction = transaction;
  }
  create(path: string, data: string, options: { acls: readonly ACL[]; ephemeral: boolean }): void {
    const { EPHEMERAL, PERSISTENT } = zookeeper.CreateMode;
    const mode = options.ephemeral ? EPHEMERAL : PERSISTENT;
    this.#transaction.create(path, Buffer.from(data), options.acls, mode);
  }
  set(path: string, data: string, version: number): void {
    this.#transaction.setData(path, Buffer.from(data), version);
    this.#pin(version);
  }
  remove(path: string, version: number): void {
    this.#transaction.remove(path, version);
    this.#pin(version);
  }
  check(path: string, version: number): void {
    this.#transaction.check(path, version);
    this.#pin(version);
  }
  /** The node is there, at whatever version. */
  exists(path: string): void {
    this.#transaction.check(path, -1);
  }
  #pin(version: number): void {
    const operation = this.#transaction.ops.at(-1);
    if (operation) operation.version = version;
  }
}

/** A session that expires while a call waits may have done it before: that is a lost answer too. */
function callError(error: Exception | null | undefined): ZooKeeperCallError {
  const code = error?.code ?? ZK.connectionLoss;
  const lost = code === ZK.connectionLoss || code === ZK.sessionExpired;
  return new ZooKeeperCallError(lost ? 'lost' : 'answered', code);
}

/** Time to try several servers within a session, but never less than a slow handshake takes. */
function handshakeTimeout(sessionTimeoutMs: number, servers: number): number {
  return Math.min(3_000, Math.max(500, Math.floor(sessionTimeoutMs / (2 * servers))));
}
