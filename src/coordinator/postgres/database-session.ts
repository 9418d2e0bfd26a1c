/**
 * One connection to the coordinator's database, used by one task at a time, opened when needed and again when lost.
 * It decides how long a task may take in all (waiting, connecting, its statements), and gives up a connection that
 * does not answer: nothing that is sent later can then come from it.
 */
import { ShovelError, UnreachableError } from '../../errors.js';
import { openConnection, type PostgresConnection } from '../../postgres/connect.js';
import { PostgresError, SQLSTATE } from '../../postgres/sqlstate.js';
import { coordinatorUnreachable } from '../coordinator-errors.js';

export interface DatabaseSessionOptions {
  readonly dsn: string;
  /** For people, without credentials. */
  readonly display: string;
  readonly applicationName: string;
  readonly connectTimeoutMs: number;
  readonly now: () => number;
}

/** Worth the same task again: nothing of it was kept. */
const AGAIN: ReadonlySet<string> = new Set([SQLSTATE.deadlock, SQLSTATE.serialization]);
const RETRY_MS = 100;

/** What a decision rests on must be durable, whatever the database's default is, and read where it was made. */
const PREPARE_SESSION = `
  select pg_is_in_recovery()::text as standby,
         case when current_setting('synchronous_commit') in ('off', 'local')
              then set_config('synchronous_commit', 'on', false) end as durable`;

export class DatabaseSession {
  readonly #options: DatabaseSessionOptions;
  #connection: PostgresConnection | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #stopped = false;
  #interrupt: () => void = () => undefined;

  constructor(options: DatabaseSessionOptions) {
    this.#options = options;
  }

  /** Connects now. @throws UnreachableError, ConfigurationError; no second attempt */
  async connect(timeoutMs: number): Promise<void> {
    this.#stopped = false;
    const deadlineMs = this.#options.now() + timeoutMs;
    await this.#exclusively(deadlineMs, () => this.#open(deadlineMs));
  }

  /**
   * Runs `work`. Where it fails because the database can't be reached it is run again until the time is over: so it
   * must be harmless to repeat, or throw `coordinator_outcome_unknown` once it no longer is.
   * @throws UnreachableError, or what `work` throws
   */
  async run<T>(timeoutMs: number, work: (connection: PostgresConnection) => Promise<T>): Promise<T> {
    const deadlineMs = this.#options.now() + timeoutMs;
    for (;;) {
      try {
        return await this.#exclusively(deadlineMs, () => this.#attempt(deadlineMs, work));
      } catch (error) {
        const again =
          error instanceof PostgresError
            ? AGAIN.has(error.sqlstate)
            : isCode(error, 'coordinator_unreachable');
        if (!again || this.#stopped || this.#options.now() + RETRY_MS >= deadlineMs) throw error;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  /** Waits for the task under way, at most its own time; not for a connection that it waits for. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#interrupt();
    await this.#turn;
    this.#giveUp();
  }

  async #attempt<T>(deadlineMs: number, work: (connection: PostgresConnection) => Promise<T>): Promise<T> {
    const connection = await this.#open(deadlineMs);
    const working = work(connection);
    try {
      return await this.#within(deadlineMs, working);
    } catch (error) {
      // Late: the connection is cut, which ends `working`; only then is it known how far it came.
      if (error === LATE) {
        this.#giveUp();
        return await working.catch((cause: unknown) => {
          throw this.#translated(cause, 'no answer in time');
        });
      }
      throw this.#translated(error);
    }
  }

  async #open(deadlineMs: number): Promise<PostgresConnection> {
    if (this.#stopped) throw coordinatorUnreachable(this.#options.display, 'this connection is stopped');
    if (this.#connection && !this.#connection.lost.aborted) return this.#connection;
    this.#giveUp();
    const { dsn, display, applicationName, connectTimeoutMs, now } = this.#options;
    const timeoutMs = Math.max(1, Math.min(connectTimeoutMs, Math.ceil(deadlineMs - now())));
    const settings = {
      // A server that lost us must not keep our locks, and one of ours must not wait for ever.
      statement_timeout: '30s',
      idle_in_transaction_session_timeout: '30s',
    };
    const name = 'the coordinator';
    const opening = openConnection({ dsn, name, applicationName, connectTimeoutMs: timeoutMs, settings });
    try {
      const interrupted = new Promise<never>((_, reject) => {
        this.#interrupt = () => reject(coordinatorUnreachable(display, 'this connection is stopped'));
      });
      const connection = await this.#within(deadlineMs, Promise.race([opening, interrupted]));
      this.#connection = connection;
      const facts = await this.#within(deadlineMs, connection.query(PREPARE_SESSION));
      if (facts[0]?.standby === 'true') throw coordinatorUnreachable(display, 'it is a standby');
      return connection;
    } catch (error) {
      this.#giveUp();
      opening.then(
        (connection) => connection.end(),
        () => undefined,
      );
      if (error === LATE) throw coordinatorUnreachable(display, 'no answer in time');
      throw this.#translated(error);
    }
  }

  #giveUp(): void {
    this.#connection?.end().catch(() => undefined);
    this.#connection = undefined;
  }

  /** In the order of the calls; who waits longer than its time never begins. */
  async #exclusively<T>(deadlineMs: number, work: () => Promise<T>): Promise<T> {
    const turn = this.#turn;
    let done: () => void = () => undefined;
    const mine = new Promise<void>((resolve) => {
      done = resolve;
    });
    this.#turn = turn.then(() => mine);
    try {
      await this.#within(deadlineMs, turn);
      return await work();
    } catch (error) {
      if (error === LATE)
        throw coordinatorUnreachable(this.#options.display, 'it is busy with what came before');
      throw error;
    } finally {
      done();
    }
  }

  async #within<T>(deadlineMs: number, promise: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(LATE), Math.max(0, deadlineMs - this.#options.now()));
    });
    try {
      return await Promise.race([promise, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #translated(error: unknown, why?: string): unknown {
    if (!(error instanceof UnreachableError) || error.code.startsWith('coordinator_')) return error;
    return coordinatorUnreachable(this.#options.display, why ?? reason(error), error);
  }
}

/** The driver's own word for it, without the address that the message names anyway. */
function reason(error: UnreachableError): string {
  const { cause } = error;
  if (!(cause instanceof Error)) return 'the connection was lost';
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
}

const LATE = new Error('late');

function isCode(error: unknown, code: string): boolean {
  return error instanceof ShovelError && error.code === code;
}
