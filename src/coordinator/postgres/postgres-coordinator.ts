/**
 * The coordinator in a PostgreSQL database, for those who run no ZooKeeper. It decides which of its three connections
 * serves what: operations one after another on the first, leases on the second, LISTEN on the third, the last two
 * opened when they are first needed. Nothing is written by `start`.
 */
import { UnreachableError } from '../../errors.js';
import type { PostgresConnection, Row } from '../../postgres/connect.js';
import { parseDsn } from '../../postgres/dsn.js';
import { type Listener, openListener } from '../../postgres/listen.js';
import type { Coordinator, Entry, Lease, LeaseHolder, MultiResult, Operation } from '../coordinator.js';
import { coordinatorPathMissing, coordinatorUnreachable } from '../coordinator-errors.js';
import type { CoordinatorLogger } from '../coordinator-logger.js';
import { checkOperations, checkPath, createsAtTop, nameOf, parentOf } from '../operations.js';
import { Subscribers } from '../subscribers.js';
import { CHANNEL } from './coordinator-schema.js';
import { DatabaseSession } from './database-session.js';
import { PostgresLeases } from './postgres-leases.js';
import { createSchema, isMissingSchema, runMulti } from './run-multi.js';

export interface PostgresCoordinatorOptions {
  /** Variables already filled in. */
  readonly dsn: string;
  /** After this long without a sign of this process its leases pass on. */
  readonly leaseTimeMs: number;
  readonly connectTimeoutMs: number;
  /** How long any operation waits at most; default: `connectTimeoutMs`. */
  readonly operationTimeoutMs?: number;
  readonly logger: CoordinatorLogger;
}

export function createPostgresCoordinator(options: PostgresCoordinatorOptions): Coordinator {
  return new PostgresCoordinator(options);
}

const now = () => performance.now();

class PostgresCoordinator implements Coordinator {
  readonly display: string;
  readonly #options: PostgresCoordinatorOptions;
  readonly #operationTimeoutMs: number;
  readonly #subscribers = new Subscribers();
  #session: DatabaseSession | undefined;
  #leaseSession: DatabaseSession | undefined;
  #leases: PostgresLeases | undefined;
  #listener: Promise<Listener> | undefined;

  constructor(options: PostgresCoordinatorOptions) {
    this.#options = options;
    this.#operationTimeoutMs = options.operationTimeoutMs ?? options.connectTimeoutMs;
    this.display = displayOf(options.dsn);
  }

  async start(): Promise<void> {
    if (this.#session) return;
    const session = this.#openSession('shovel coordinator');
    const leaseSession = this.#openSession('shovel coordinator leases');
    this.#session = session;
    this.#leaseSession = leaseSession;
    this.#leases = new PostgresLeases({
      now,
      session: leaseSession,
      display: this.display,
      leaseTimeMs: this.#options.leaseTimeMs,
      operationTimeoutMs: this.#operationTimeoutMs,
      logger: this.#options.logger,
    });
    try {
      await session.connect(this.#options.connectTimeoutMs);
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async stop(): Promise<void> {
    const listener = this.#listener;
    const sessions = [this.#session, this.#leaseSession];
    const leases = this.#leases;
    this.#session = undefined;
    this.#leaseSession = undefined;
    this.#leases = undefined;
    this.#listener = undefined;
    this.#subscribers.clear();
    await leases?.stop();
    await Promise.all(sessions.map((session) => session?.stop()));
    await listener?.then(
      (opened) => opened.stop(),
      () => undefined,
    );
  }

  /** The primary itself is asked, so every read sees what was decided: it only must still be one. */
  async sync(): Promise<void> {
    const rows = await this.#query('select pg_is_in_recovery()::text as standby', []);
    if (rows[0]?.standby === 'true') throw this.#unreachable('it is a standby');
  }

  async read(path: string): Promise<Entry | undefined> {
    checkPath(path);
    const rows = await this.#query('select data, version from shovel_coordinator.entry where path = $1', [
      path,
    ]);
    const row = rows[0];
    return row && { data: row.data ?? '', version: Number(row.version) };
  }

  async list(path: string): Promise<readonly string[] | undefined> {
    checkPath(path);
    const rows = await this.#query(
      `select child.path
         from shovel_coordinator.entry node
         left join shovel_coordinator.entry child on child.parent = node.path
        where node.path = $1`,
      [path],
    );
    if (rows.length === 0) return undefined;
    const names = rows.flatMap((row) => (row.path ? [nameOf(row.path)] : []));
    return names.sort();
  }

  async multi(operations: readonly Operation[]): Promise<MultiResult> {
    checkOperations(operations, 0);
    if (operations.length === 0) return { kind: 'done' };
    const { display } = this;
    const attempt = () => this.#run((connection) => runMulti(connection, { operations, display }));
    let result = await attempt();
    if (result.kind === 'no_schema' && createsAtTop(operations)) {
      await this.#run((connection) => createSchema(connection, { display }));
      result = await attempt();
    }
    return result.kind === 'no_schema' ? { kind: 'conflict', index: 0, reason: 'missing' } : result;
  }

  async watch(path: string, changed: () => void, signal: AbortSignal): Promise<void> {
    checkPath(path);
    if (signal.aborted) return;
    this.#subscribers.add(path, { changed, signal });
    this.#listener ??= this.#listen();
    try {
      await this.#listener;
    } catch (error) {
      this.#listener = undefined;
      throw error;
    }
  }

  async tryLease(path: string, owner: string): Promise<Lease | undefined> {
    checkPath(path);
    if (!this.#leases) throw this.#unreachable('this connection is stopped');
    const result = await this.#leases.take(path, owner);
    if (result.kind === 'parent_missing') throw coordinatorPathMissing(this.display, parentOf(path));
    return result.kind === 'taken' ? result.lease : undefined;
  }

  async leaseHolder(path: string): Promise<LeaseHolder | undefined> {
    checkPath(path);
    if (!this.#leases) throw this.#unreachable('this connection is stopped');
    return this.#leases.holder(path);
  }

  async #listen(): Promise<Listener> {
    try {
      return await openListener({
        dsn: this.#options.dsn,
        name: 'the coordinator',
        applicationName: 'shovel coordinator watches',
        channel: CHANNEL,
        connectTimeoutMs: this.#operationTimeoutMs,
        onNotification: (path) => this.#subscribers.call(path),
        onReconnected: () => this.#subscribers.callAll(),
      });
    } catch (error) {
      throw error instanceof UnreachableError
        ? coordinatorUnreachable(this.display, 'it lets nobody listen', error)
        : error;
    }
  }

  async #query(text: string, values: readonly string[]): Promise<readonly Row[]> {
    return this.#run(async (connection) => {
      try {
        return await connection.query(text, values);
      } catch (error) {
        if (isMissingSchema(error)) return [];
        throw error;
      }
    });
  }

  #run<T>(work: (connection: PostgresConnection) => Promise<T>): Promise<T> {
    if (!this.#session) return Promise.reject(this.#unreachable('this connection is stopped'));
    return this.#session.run(this.#operationTimeoutMs, work);
  }

  #openSession(applicationName: string): DatabaseSession {
    const { dsn, connectTimeoutMs } = this.#options;
    return new DatabaseSession({ dsn, applicationName, connectTimeoutMs, display: this.display, now });
  }

  #unreachable(why: string) {
    return coordinatorUnreachable(this.display, why);
  }
}

/** Without user, password and parameters. */
function displayOf(dsn: string): string {
  const { display } = parseDsn(dsn, 'the coordinator');
  return `postgres://${display.slice(display.lastIndexOf('@') + 1)}`;
}
