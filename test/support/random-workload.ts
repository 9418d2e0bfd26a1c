/**
 * Transactions at random, from several sessions at once: savepoints that roll back, every isolation level, prepared
 * transactions that another session ends, settings of all kinds. What happens in them is told by actions, each of which
 * is committed at least once. The choice depends on the seed alone; who waits for whom does not.
 */
import { ShovelError } from '../../src/errors.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { PostgresError } from '../../src/postgres/sqlstate.js';

/** Numbers from a seed (mulberry32), and what tests make of them. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to but not 1. */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let n = this.#state;
    n = Math.imul(n ^ (n >>> 15), n | 1);
    n ^= n + Math.imul(n ^ (n >>> 7), n | 61);
    return ((n ^ (n >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** Both ends included. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.fraction() * (to - from + 1));
  }

  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  pick<T>(list: readonly T[]): T {
    const one = list[this.integer(0, list.length - 1)];
    if (one === undefined) throw new Error('nothing to pick from');
    return one;
  }

  /** An SQL literal, now and then null. */
  text(): string {
    return this.pick(TEXTS);
  }

  cents(): string {
    return `${this.integer(0, 99)}.${String(this.integer(0, 99)).padStart(2, '0')}`;
  }
}

const TEXTS = [
  "'plain'",
  "''",
  'null',
  `'it''s "quoted" \\ back'`,
  `E'tab\\tand\\nline'`,
  "'größer als 日本 \u{1f600}'",
  "'null'",
  "'{1,2}'",
  "repeat('long ', 700)",
  "(select string_agg(md5(n::text), '') from generate_series(1, 120) n)",
] as const;

/** What a transaction may do. */
export interface Action {
  readonly name: string;
  readonly sql: (random: Random) => string | readonly string[];
  /** How much more often than others. Default 1. */
  readonly weight?: number;
  /** server_version_num from which on it is there. */
  readonly since?: number;
  /** It runs in a transaction of its own, at READ COMMITTED. */
  readonly alone?: boolean;
}

export interface WorkloadOptions {
  readonly seed: number;
  readonly actions: readonly Action[];
  /** Opens a session of the application. */
  readonly session: (settings: Readonly<Record<string, string>>) => Promise<PostgresConnection>;
  readonly sessions: number;
  /** Whether transactions may be prepared; their names begin with it. */
  readonly prepared: string | undefined;
}

/** Refusals of the application's own making: unique, foreign key, check, not null, exclusion, its own; and retries. */
const REFUSALS: ReadonlySet<string> = new Set([
  '23505',
  '23503',
  '23514',
  '23502',
  '23P01',
  'P0001',
  '40001',
  '40P01',
  '55P03',
]);

const SETTINGS: Readonly<Record<string, readonly string[]>> = {
  TimeZone: ['UTC', 'Asia/Tokyo', 'America/St_Johns'],
  DateStyle: ['ISO, MDY', 'SQL, DMY', 'German'],
  IntervalStyle: ['iso_8601', 'postgres', 'sql_standard'],
  bytea_output: ['hex', 'escape'],
  extra_float_digits: ['1', '0', '-3'],
  synchronous_commit: ['on', 'off'],
};

export class RandomWorkload {
  readonly #options: WorkloadOptions;
  readonly #random: Random;
  readonly #actions: readonly Action[];
  readonly #weighted: readonly Action[];
  readonly #sessions: PostgresConnection[] = [];
  /** Names of prepared transactions that nobody has ended, with what they did. */
  readonly #open: { readonly gid: string; readonly done: readonly Action[] }[] = [];
  /** How often each action was committed, by its name. */
  readonly committed = new Map<string, number>();
  readonly outcomes = { committed: 0, rolledBack: 0, prepared: 0, refused: 0 };
  #gids = 0;

  private constructor(options: WorkloadOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#actions = options.actions;
    this.#weighted = options.actions.flatMap((action) => Array<Action>(action.weight ?? 1).fill(action));
  }

  static async open(options: WorkloadOptions): Promise<RandomWorkload> {
    const random = new Random(options.seed + 1);
    const first: PostgresConnection[] = [];
    for (let n = 0; n < options.sessions; n += 1) {
      const settings = Object.entries(SETTINGS).map(([name, values]) => [name, random.pick(values)]);
      first.push(
        await options.session({
          ...Object.fromEntries(settings),
          search_path: 'public',
          lock_timeout: '300ms',
        }),
      );
    }
    const version = first[0]?.serverVersion ?? 0;
    const actions = options.actions.filter((action) => (action.since ?? 0) <= version);
    const workload = new RandomWorkload({ ...options, actions });
    workload.#sessions.push(...first);
    return workload;
  }

  /** So many transactions of each session, all sessions at once; nothing stays open. */
  async run(transactions: number): Promise<void> {
    await Promise.all(
      this.#sessions.map(async (session) => {
        const random = new Random(this.#random.integer(0, 2 ** 31));
        for (let n = 0; n < transactions; n += 1) {
          await this.#endOne(session, random);
          await this.#transaction(session, random);
        }
      }),
    );
    const [session] = this.#sessions;
    if (session === undefined) return;
    while (this.#open.length > 0) await this.#endOne(session, this.#random);
  }

  /** Commits what chance has left out so far. */
  async completeActions(): Promise<void> {
    const [session] = this.#sessions;
    if (session === undefined) return;
    for (const action of this.#actions) {
      for (let attempt = 0; !this.committed.has(action.name); attempt += 1) {
        if (attempt === 40) throw new Error(`${action.name} was refused whatever was tried`);
        await this.#perform(session, { random: this.#random, chosen: [action], end: 'commit' });
      }
    }
  }

  async #transaction(session: PostgresConnection, random: Random): Promise<void> {
    const first = this.#next(random);
    const chosen = [first];
    while (!first.alone && random.chance(0.5)) {
      const another = this.#next(random);
      if (!another.alone) chosen.push(another);
    }
    const dice = random.fraction();
    const prepare = this.#options.prepared !== undefined && dice > 0.85;
    await this.#perform(session, {
      random,
      chosen,
      end: dice < 0.12 ? 'rollback' : prepare ? 'prepare' : 'commit',
    });
  }

  #next(random: Random): Action {
    const missing = this.#actions.filter((action) => !this.committed.has(action.name));
    return missing.length > 0 && random.chance(0.4) ? random.pick(missing) : random.pick(this.#weighted);
  }

  async #perform(
    session: PostgresConnection,
    {
      random,
      chosen,
      end,
    }: { random: Random; chosen: readonly Action[]; end: 'commit' | 'rollback' | 'prepare' },
  ): Promise<void> {
    const isolation = chosen.some((action) => action.alone)
      ? 'read committed'
      : random.pick(['read committed', 'read committed', 'repeatable read', 'serializable']);
    const done: Action[] = [];
    try {
      await session.script(`begin isolation level ${isolation}`);
      for (const action of chosen) {
        if (random.chance(0.35)) {
          if (await this.#insideSavepoint(session, { random, action })) done.push(action);
        } else {
          await act(session, { random, action });
          done.push(action);
        }
      }
      if (end === 'prepare') {
        this.#gids += 1;
        const gid = `${this.#options.prepared ?? ''} ${this.#gids}`;
        await session.script(`prepare transaction '${gid}'`);
        this.#open.push({ gid, done });
        this.outcomes.prepared += 1;
        return;
      }
      await session.script(end);
      if (end === 'rollback') this.outcomes.rolledBack += 1;
      else this.#count(done);
    } catch (error) {
      await session.script('rollback');
      refusal(error);
      this.outcomes.refused += 1;
    }
  }

  async #insideSavepoint(
    session: PostgresConnection,
    { random, action }: { random: Random; action: Action },
  ): Promise<boolean> {
    await session.script('savepoint inside');
    try {
      await act(session, { random, action });
    } catch (error) {
      refusal(error);
      await session.script('rollback to savepoint inside');
      return false;
    }
    const kept = random.chance(0.6);
    await session.script(`${kept ? 'release' : 'rollback to'} savepoint inside`);
    return kept;
  }

  async #endOne(session: PostgresConnection, random: Random): Promise<void> {
    const one = this.#open.shift();
    if (one === undefined) return;
    const kept = random.chance(0.8);
    await session.script(`${kept ? 'commit' : 'rollback'} prepared '${one.gid}'`);
    if (kept) this.#count(one.done);
  }

  #count(done: readonly Action[]): void {
    this.outcomes.committed += 1;
    for (const { name } of done) this.committed.set(name, (this.committed.get(name) ?? 0) + 1);
  }
}

async function act(
  session: PostgresConnection,
  { random, action }: { random: Random; action: Action },
): Promise<void> {
  const sql = action.sql(random);
  for (const statement of typeof sql === 'string' ? [sql] : sql) {
    try {
      await session.script(statement);
    } catch (error) {
      throw new RefusedAction(action.name, error);
    }
  }
}

class RefusedAction extends Error {
  constructor(action: string, cause: unknown) {
    super(`${action}: ${cause instanceof Error ? cause.message : cause}`, { cause });
  }
}

/** Throws what is no refusal of the application's own making: capture must never be the reason. */
function refusal(error: unknown): void {
  const cause = error instanceof RefusedAction ? error.cause : error;
  const server = cause instanceof ShovelError ? cause.cause : undefined;
  const where = property(server, 'where');
  const code = cause instanceof PostgresError ? cause.sqlstate : property(server, 'code');
  if (typeof code !== 'string' || !REFUSALS.has(code)) throw error;
  // A transaction that is doomed anyway may hear of it anywhere.
  if (code !== '40001' && typeof where === 'string' && /function shovel\./.test(where)) throw error;
}

function property(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
