/**
 * An application that never rests: sessions that write at random until they are told to stop, lose their server now and
 * then, and know nothing of shovel. Whatever an application can't be blamed for is a failure of capture.
 */
import { ShovelError } from '../../src/errors.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { PostgresError } from '../../src/postgres/sqlstate.js';
import { Random } from './random-workload.js';
import { ACTIONS, alteration, type TortureAction } from './torture-database.js';
import { until } from './until.js';

export interface WritersOptions {
  readonly url: string;
  readonly seed: number;
  readonly sessions: number;
  readonly prepared: boolean;
}

/**
 * Of the application's own making: unique, serialization, deadlock, lock timeout, rows that a trigger or the statement
 * itself has changed already, in use, a partition that would cut off rows.
 */
const REFUSALS: ReadonlySet<string> = new Set([
  '23505',
  '40001',
  '40P01',
  '55P03',
  '27000',
  '21000',
  '55006',
  '23514',
]);

const PREPARED = 'torture';
const WEIGHTED: readonly TortureAction[] = ACTIONS.flatMap((action) =>
  Array<TortureAction>(action.weight).fill(action),
);

export class TortureWriters {
  readonly #options: WritersOptions;
  readonly #failures: string[] = [];
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>[] = [];
  readonly counts = { committed: 0, refused: 0, rolledBack: 0, prepared: 0, lost: 0, altered: 0 };
  #gids = 0;

  private constructor(options: WritersOptions) {
    this.#options = options;
  }

  static start(options: WritersOptions): TortureWriters {
    const writers = new TortureWriters(options);
    const loop = (n: number, work: (session: PostgresConnection, random: Random) => Promise<void>) => {
      writers.#running.push(writers.#loop(new Random(options.seed * 31 + n), work));
    };
    for (let n = 0; n < options.sessions; n += 1)
      loop(n, (session, random) => writers.#transaction(session, random));
    loop(100, (session, random) => writers.#long(session, random));
    loop(101, (session, random) => writers.#alter(session, random));
    if (options.prepared) loop(102, (session, random) => writers.#endPrepared(session, random));
    return writers;
  }

  /** What happened that no application has to expect. */
  get failures(): readonly string[] {
    return this.#failures;
  }

  /** Nothing is under way after it, and nothing prepared. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#running);
    const session = await this.#connect();
    for (const gid of await preparedOf(session)) await session.script(`commit prepared '${gid}'`);
    await session.end();
  }

  get #stopped(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #loop(
    random: Random,
    work: (session: PostgresConnection, random: Random) => Promise<void>,
  ): Promise<void> {
    let session: PostgresConnection | undefined;
    while (!this.#stopped) {
      try {
        session ??= await this.#connect();
        await work(session, random);
      } catch (error) {
        if (isAway(error)) {
          this.counts.lost += 1;
          await session?.end().catch(() => undefined);
          session = undefined;
          await until('the server may be back', () => this.#stopped || this.#answers(), {
            timeoutMs: 60_000,
            everyMs: 50,
          });
          continue;
        }
        this.#judge(error);
        await session?.script('rollback').catch(() => undefined);
      }
    }
    await session?.end().catch(() => undefined);
  }

  async #answers(): Promise<boolean> {
    try {
      await (await this.#connect()).end();
      return true;
    } catch {
      return false;
    }
  }

  #connect(): Promise<PostgresConnection> {
    return openConnection({
      dsn: this.#options.url,
      name: 'of the application',
      applicationName: 'application',
      settings: { search_path: 'public', lock_timeout: '300ms', TimeZone: 'Asia/Tokyo', DateStyle: 'German' },
    });
  }

  #judge(error: unknown): void {
    this.counts.refused += 1;
    if (!isRefusal(error) && this.#failures.length < 20) this.#failures.push(describe(error));
  }

  async #begin(session: PostgresConnection, random: Random, isolation?: string): Promise<void> {
    const level =
      isolation ?? random.pick(['read committed', 'read committed', 'repeatable read', 'serializable']);
    await session.script(
      `begin isolation level ${level}; set local synchronous_commit = ${random.pick(['on', 'off'])}`,
    );
  }

  async #transaction(session: PostgresConnection, random: Random): Promise<void> {
    const first = random.pick(WEIGHTED);
    if (first.alone || random.chance(0.3)) {
      await session.script(`set synchronous_commit = ${random.pick(['on', 'off'])}`);
      await session.script(first.sql(random));
      this.counts.committed += 1;
      return;
    }
    await this.#begin(session, random);
    await act(session, random, first);
    while (random.chance(0.6)) await act(session, random, chosen(random));
    await this.#finish(session, random);
  }

  async #finish(session: PostgresConnection, random: Random): Promise<void> {
    const dice = random.fraction();
    if (dice < 0.1) {
      await session.script('rollback');
      this.counts.rolledBack += 1;
    } else if (dice < 0.18 && this.#options.prepared) {
      this.#gids += 1;
      await session.script(`prepare transaction '${PREPARED} ${this.#options.seed} ${this.#gids}'`);
      this.counts.prepared += 1;
    } else {
      await session.script('commit');
      this.counts.committed += 1;
    }
  }

  /** Open across many tickets of others. */
  async #long(session: PostgresConnection, random: Random): Promise<void> {
    await this.#begin(session, random);
    await act(session, random, chosen(random));
    const from = this.counts.committed;
    const many = random.integer(5, 60);
    await until(
      'others have committed',
      () => this.#stopped || this.counts.committed - from >= many || session.lost.aborted,
      {
        timeoutMs: 60_000,
        everyMs: 20,
      },
    );
    await act(session, random, chosen(random));
    await this.#finish(session, random);
  }

  /** One change of the tables after another, with some writes of others between them. */
  async #alter(session: PostgresConnection, random: Random): Promise<void> {
    const from = this.counts.committed;
    await until('others have committed', () => this.#stopped || this.counts.committed - from >= 15, {
      timeoutMs: 60_000,
      everyMs: 20,
    });
    await session.script(`begin; ${alteration(random)}; commit`);
    this.counts.altered += 1;
  }

  async #endPrepared(session: PostgresConnection, random: Random): Promise<void> {
    const gids = await preparedOf(session);
    const limit = random.integer(0, 3);
    if (gids.length <= limit) {
      const from = this.counts.committed;
      await until('others have committed', () => this.#stopped || this.counts.committed > from, {
        timeoutMs: 60_000,
        everyMs: 20,
      });
      return;
    }
    await session.script(`${random.chance(0.8) ? 'commit' : 'rollback'} prepared '${random.pick(gids)}'`);
  }
}

function chosen(random: Random): TortureAction {
  for (;;) {
    const action = random.pick(WEIGHTED);
    if (!action.alone) return action;
  }
}

/** Inside of a savepoint it happens as a whole or not at all. */
async function act(session: PostgresConnection, random: Random, action: TortureAction): Promise<void> {
  const sql = action.sql(random);
  if (!random.chance(0.4)) {
    await session.script(sql);
    return;
  }
  await session.script('savepoint inside');
  try {
    await session.script(sql);
  } catch (error) {
    const doomed = error instanceof PostgresError && ['40001', '40P01'].includes(error.sqlstate);
    if (doomed || !isRefusal(error)) throw error;
    await session.script('rollback to savepoint inside');
    return;
  }
  await session.script(`${random.chance(0.6) ? 'release' : 'rollback to'} savepoint inside`);
}

async function preparedOf(session: PostgresConnection): Promise<readonly string[]> {
  const rows = await session.arrays(
    `select gid from pg_prepared_xacts where database = current_database() and gid like '${PREPARED} %' order by gid`,
  );
  return rows.map(([gid]) => gid ?? '');
}

function isAway(error: unknown): boolean {
  return error instanceof ShovelError && error.code === 'database_unreachable';
}

/** Not where capture is the one that was refused; a transaction that is doomed anyway may hear of it anywhere. */
function isRefusal(error: unknown): boolean {
  if (!(error instanceof PostgresError) || !REFUSALS.has(error.sqlstate)) return false;
  return error.sqlstate === '40001' || !/function shovel/.test(whereOf(error));
}

function describe(error: unknown): string {
  return `${error instanceof Error ? error.message : String(error)} ${whereOf(error)}`;
}

function whereOf(error: unknown): string {
  const cause = error instanceof ShovelError ? error.cause : undefined;
  const where = typeof cause === 'object' && cause !== null ? Reflect.get(cause, 'where') : undefined;
  return typeof where === 'string' ? where : '';
}
