/**
 * The coordinator on ZooKeeper. It decides how long an operation waits for a connection, which failures are tried
 * again (reads and sync; never a multi that may have been done), and that an expired session is followed by a new
 * one. The client's defects are cured in client-cures.ts; leases live in zookeeper-leases.ts.
 *
 * Entries are plain nodes: version and data are ZooKeeper's own. Nothing is created by `start`.
 */
import { RefusedError, type ShovelError } from '../../errors.js';
import type { Coordinator, Entry, Lease, LeaseHolder, MultiResult, Operation } from '../coordinator.js';
import {
  coordinatorNotAuthorized,
  coordinatorOutcomeUnknown,
  coordinatorPathMissing,
  coordinatorUnreachable,
} from '../coordinator-errors.js';
import type { CoordinatorLogger } from '../coordinator-logger.js';
import { checkOperations, checkPath, createsAtTop, parentOf } from '../operations.js';
import type { ZooKeeperTls } from './client-cures.js';
import { type TransactionCodes, ZK, ZooKeeperCallError } from './zookeeper-call-error.js';
import { parseZooKeeperHosts, type ZooKeeperHosts } from './zookeeper-hosts.js';
import { LEASE_MARK, ZooKeeperLeases } from './zookeeper-leases.js';
import type { ZooKeeperSession } from './zookeeper-session.js';
import { ZooKeeperWatches } from './zookeeper-watches.js';

export interface ZooKeeperCoordinatorOptions {
  /** `host:port,host:port/chroot`. */
  readonly hosts: string;
  /** After this long without a sign of this process its leases pass on. The server may grant another time. */
  readonly sessionTimeoutMs: number;
  /** How long `start` waits. */
  readonly connectTimeoutMs: number;
  /** How long any other operation waits at most; default: `connectTimeoutMs`. */
  readonly operationTimeoutMs?: number;
  /** With credentials (`user:password`) only their holder may read or write what is created. */
  readonly auth?: { readonly scheme: 'digest'; readonly credentials: string };
  readonly tls?: ZooKeeperTls;
  readonly logger: CoordinatorLogger;
}

/** How long `stop` waits for the server to confirm the end of the session, ms. */
const GRACE_MS = 2_000;

export function createZooKeeperCoordinator(options: ZooKeeperCoordinatorOptions): Coordinator {
  return new ZooKeeperCoordinator(options);
}

const now = () => performance.now();

class ZooKeeperCoordinator implements Coordinator {
  readonly display: string;
  readonly #options: ZooKeeperCoordinatorOptions;
  readonly #hosts: ZooKeeperHosts;
  readonly #operationTimeoutMs: number;
  readonly #leases: ZooKeeperLeases;
  readonly #watches: ZooKeeperWatches;
  readonly #waiting = new Set<() => void>();
  #session: ZooKeeperSession | undefined;
  #running = false;
  #refused: ShovelError | undefined;

  constructor(options: ZooKeeperCoordinatorOptions) {
    this.#options = options;
    this.#hosts = parseZooKeeperHosts(options.hosts);
    this.display = `zookeeper://${this.#hosts.display}`;
    this.#operationTimeoutMs = options.operationTimeoutMs ?? options.connectTimeoutMs;
    const operationTimeoutMs = this.#operationTimeoutMs;
    this.#leases = new ZooKeeperLeases({ operationTimeoutMs, now, logger: options.logger });
    this.#watches = new ZooKeeperWatches({ operationTimeoutMs });
  }

  async start(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    this.#refused = undefined;
    await this.#open(0n);
    try {
      await this.#connected(now() + this.#options.connectTimeoutMs);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    const session = this.#session;
    this.#running = false;
    this.#session = undefined;
    this.#leases.loseAll();
    this.#watches.clear();
    this.#wakeAll();
    await session?.close(GRACE_MS);
  }

  async sync(): Promise<void> {
    await this.#run('again', (session, timeoutMs) => session.sync(timeoutMs));
  }

  async read(path: string): Promise<Entry | undefined> {
    checkPath(path);
    const found = await this.#run('again', (session, timeoutMs) => session.get(path, timeoutMs), path);
    return found && { data: found.data.toString('utf8'), version: found.stat.version };
  }

  async list(path: string): Promise<readonly string[] | undefined> {
    checkPath(path);
    const names = await this.#run('again', (session, timeoutMs) => session.children(path, timeoutMs), path);
    return names?.filter((name) => !name.startsWith(LEASE_MARK)).sort();
  }

  async multi(operations: readonly Operation[]): Promise<MultiResult> {
    checkOperations(operations, Buffer.byteLength(this.#hosts.chroot));
    if (operations.length === 0) return { kind: 'done' };
    const result = await this.#multi(operations);
    const placeMissing =
      this.#hosts.chroot !== '' &&
      result.kind === 'conflict' &&
      result.reason === 'missing' &&
      createsAtTop(operations) &&
      (await this.read('/')) === undefined;
    if (!placeMissing) return result;
    await this.#makeChroot();
    return this.#multi(operations);
  }

  async watch(path: string, changed: () => void, signal: AbortSignal): Promise<void> {
    checkPath(path);
    if (signal.aborted) return;
    this.#watches.add(path, { changed, signal });
    await this.#run('again', (session) => this.#watches.arm(session, path), path);
  }

  async tryLease(path: string, owner: string): Promise<Lease | undefined> {
    checkPath(path);
    const result = await this.#run('once', (session) => this.#leases.take(path, { owner, session }), path);
    switch (result.kind) {
      case 'taken':
        return result.lease;
      case 'held':
        return undefined;
      case 'parent_missing':
        throw coordinatorPathMissing(this.display, parentOf(path));
      case 'refused':
        throw this.#answered(result.code, path);
    }
  }

  async leaseHolder(path: string): Promise<LeaseHolder | undefined> {
    checkPath(path);
    return this.#run('again', (session) => this.#leases.holder(path, session), path);
  }

  async #multi(operations: readonly Operation[]): Promise<MultiResult> {
    const codes = await this.#run(
      'once',
      (session, timeoutMs) =>
        session.transaction(operations.length, timeoutMs, (transaction) => {
          for (const operation of operations) {
            switch (operation.kind) {
              case 'create':
                transaction.create(operation.path, operation.data, { acls: session.acls, ephemeral: false });
                break;
              case 'set':
                transaction.set(operation.path, operation.data, operation.version);
                break;
              case 'remove':
                transaction.remove(operation.path, operation.version);
                break;
              case 'check':
                transaction.check(operation.path, operation.version);
                break;
            }
          }
        }),
      operations[0]?.path,
    );
    return this.#multiResult(codes, operations);
  }

  /** The first operation that failed bears its reason; those behind it only say that they were not tried. */
  #multiResult(codes: TransactionCodes, operations: readonly Operation[]): MultiResult {
    const index = codes.findIndex((code) => code !== ZK.ok && code !== ZK.runtimeInconsistency);
    if (index === -1) return { kind: 'done' };
    switch (codes[index]) {
      case ZK.nodeExists:
        return { kind: 'conflict', index, reason: 'exists' };
      case ZK.noNode:
        return { kind: 'conflict', index, reason: 'missing' };
      case ZK.badVersion:
        return { kind: 'conflict', index, reason: 'version' };
      case ZK.notEmpty:
        return { kind: 'conflict', index, reason: 'not_empty' };
      default:
        throw this.#answered(codes[index] ?? ZK.runtimeInconsistency, operations[index]?.path);
    }
  }

  /** The nodes of the chroot, outermost first, through a session that stands above it. */
  async #makeChroot(): Promise<void> {
    const above = new ZooKeeperCoordinator({
      ...this.#options,
      hosts: this.#hosts.display.slice(0, -this.#hosts.chroot.length),
    });
    await above.start();
    try {
      let path = '';
      for (const part of this.#hosts.chroot.slice(1).split('/')) {
        path += `/${part}`;
        const node = path;
        await above.#run('again', (session, timeoutMs) => session.create(node, timeoutMs), node);
      }
    } finally {
      await above.stop();
    }
  }

  async #open(seenZxid: bigint): Promise<void> {
    // The client is loaded when it is used first: commands without ZooKeeper don't pay for it.
    const { ZooKeeperSession } = await import('./zookeeper-session.js');
    if (!this.#running) return;
    const session: ZooKeeperSession = new ZooKeeperSession({
      hosts: this.#hosts,
      seenZxid,
      sessionTimeoutMs: this.#options.sessionTimeoutMs,
      auth: this.#options.auth,
      tls: this.#options.tls,
      now,
      onConnected: () => this.#onConnected(session),
      onEnded: (_, why) => this.#onEnded(session, why),
    });
    this.#session = session;
    session.connect();
  }

  #onConnected(session: ZooKeeperSession): void {
    if (session !== this.#session) return;
    this.#options.logger.debug({ coordinator: this.display }, 'connected to ZooKeeper');
    this.#leases.onConnected(session);
    this.#watches.onConnected(session);
    this.#wakeAll();
  }

  #onEnded(session: ZooKeeperSession, why: 'expired' | 'refused'): void {
    this.#leases.onEnded(session);
    if (session !== this.#session) return;
    if (why === 'refused') {
      this.#refused = coordinatorNotAuthorized(this.display, 'the login');
      this.#wakeAll();
      return;
    }
    this.#options.logger.info(
      { coordinator: this.display },
      'the ZooKeeper session expired; opening a new one',
    );
    void this.#open(session.seenZxid);
  }

  #wakeAll(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  /** @throws UnreachableError at the deadline, or at once when stopped */
  async #connected(deadlineMs: number): Promise<ZooKeeperSession> {
    for (;;) {
      if (this.#refused) throw this.#refused;
      const session = this.#session;
      if (!session) throw coordinatorUnreachable(this.display, 'this connection is stopped');
      if (session.connected) return session;
      const leftMs = deadlineMs - now();
      if (leftMs <= 0) throw coordinatorUnreachable(this.display, session.trouble);
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer);
          this.#waiting.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, leftMs);
        this.#waiting.add(wake);
      });
    }
  }

  /**
   * Runs `work` on a connected session. What surely did not happen is tried again until the time is over; what may
   * have happened only where doing it `again` is harmless.
   */
  async #run<T>(
    repeat: 'again' | 'once',
    work: (session: ZooKeeperSession, timeoutMs: number) => Promise<T>,
    path?: string,
  ): Promise<T> {
    const deadlineMs = now() + this.#operationTimeoutMs;
    for (;;) {
      const session = await this.#connected(deadlineMs);
      try {
        return await work(session, Math.max(1, deadlineMs - now()));
      } catch (error) {
        if (!(error instanceof ZooKeeperCallError)) throw error;
        if (error.kind === 'answered') throw this.#answered(error.code, path);
        if (error.kind === 'lost' && repeat === 'once') throw coordinatorOutcomeUnknown(this.display, error);
        if (now() >= deadlineMs) {
          const seconds = Math.round(this.#operationTimeoutMs / 100) / 10;
          throw coordinatorUnreachable(this.display, `no answer within ${seconds} s`, error);
        }
      }
    }
  }

  /** Total: every code that ZooKeeper can answer and that is no result. */
  #answered(code: number, path: string | undefined): ShovelError {
    const what = path === undefined ? 'the request' : path;
    switch (code) {
      case ZK.noAuth:
        return coordinatorNotAuthorized(this.display, what);
      case ZK.invalidAcl:
      case ZK.authFailed:
        return coordinatorNotAuthorized(this.display, 'the login');
      case ZK.noNode:
        return coordinatorPathMissing(this.display, what);
      default:
        return new RefusedError(
          'coordinator_refused',
          `Coordinator ${this.display} refused ${what}: ZooKeeper error ${code}.`,
          { hint: "See ZooKeeper's own log for what it means.", details: { zookeeper_error: code } },
        );
    }
  }
}
