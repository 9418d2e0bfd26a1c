/**
 * Applications at work on the tables of a set while administrators come, die and go: a session per table that inserts
 * rows numbered without a gap, a session per database that holds a table for a while again and again, and a look-out
 * that knows who waits for whom. What was published is held against what was written.
 */

import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { systemClock } from '../../src/runtime/clock.js';

export interface Place {
  readonly database: string;
  readonly url: string;
}

/** How far the writer of a table is: `begun` is `done`, or one more while it is under way. */
export interface Progress {
  readonly done: number;
  readonly begun: number;
}

export interface Bystanders {
  /** What applications were told; none is right. */
  readonly failures: readonly string[];
  /** Sessions that waited for ours longer than one attempt to lock, or for what stays prepared. */
  readonly waits: readonly string[];
  /** How often it was looked who waits. */
  looks(): number;
  /** Waits for an attempt of ours that were seen: a run without any has proven little. */
  met(): number;
  progress(database: string, table: string): Progress;
  stop(): Promise<void>;
}

const PAUSE_MS = 10;
const HOLD = `begin; lock table public.accounts in row exclusive mode; select pg_sleep(0.07); commit`;
const HOLD_EVERY_MS = 150;

/** Tables have a column `id` that takes an int; all places are on one server. */
export async function startBystanders(
  places: readonly Place[],
  tables: readonly string[],
): Promise<Bystanders> {
  const failures: string[] = [];
  const progress = new Map<string, { done: number; begun: number }>();
  const connections: PostgresConnection[] = [];
  const connect = async ({ database, url }: Place, applicationName: string) => {
    const connection = await openConnection({ dsn: url, name: database, applicationName });
    connections.push(connection);
    return connection;
  };
  const stopping = new AbortController();
  const again = async (pauseMs: number, work: () => Promise<void>) => {
    while (!stopping.signal.aborted) {
      try {
        await work();
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error));
        return;
      }
      // How busy they are; nothing is waited for.
      await systemClock.sleep(pauseMs, stopping.signal);
    }
  };
  const running: Promise<void>[] = [];
  const pids: string[] = [];
  for (const place of places) {
    const holder = await connect(place, 'holder');
    running.push(again(HOLD_EVERY_MS, () => holder.script(HOLD)));
    for (const table of tables) {
      const writer = await connect(place, 'application');
      pids.push((await writer.query('select pg_backend_pid() as pid'))[0]?.pid ?? '');
      const own = { done: 0, begun: 0 };
      progress.set(`${place.database}.${table}`, own);
      running.push(
        again(PAUSE_MS, async () => {
          own.begun += 1;
          await writer.query(`insert into public.${table} (id) values ($1)`, [String(own.begun)]);
          own.done = own.begun;
        }),
      );
    }
  }
  const [first] = places;
  if (!first) throw new Error('no place');
  const watch = new Watch(await connect(first, 'look-out'), pids);
  running.push(again(PAUSE_MS, () => watch.look()));
  return {
    failures,
    waits: watch.violations,
    looks: () => watch.looks,
    met: () => watch.met,
    progress(database, table) {
      const own = progress.get(`${database}.${table}`);
      if (!own) throw new Error(`nobody writes ${database}.${table}`);
      return { ...own };
    },
    async stop() {
      stopping.abort();
      await Promise.all(running);
      await Promise.all(connections.map((connection) => connection.end()));
    },
  };
}

/**
 * Who stands in whose way, from one view of all locks: asking pg_blocking_pids and then what those sessions do would
 * mix two moments. Only what is stronger than a writer's own lock stands in its way. A transaction that is ending has lost
 * its number before its locks.
 */
const LOOK = `with l as materialized (select * from pg_locks)
select w.pid || ' since ' || w.waitstart as wait, w.mode || ' of ' || coalesce(w.relation::text, w.locktype) as what,
  a.application_name as name, o.virtualtransaction as attempt
from l w join l o on o.pid is distinct from w.pid and o.locktype = w.locktype
  and (o.database, o.relation, o.page, o.tuple, o.transactionid, o.virtualxid, o.classid, o.objid)
    is not distinct from (w.database, w.relation, w.page, w.tuple, w.transactionid, w.virtualxid, w.classid, w.objid)
  and o.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
left join pg_stat_activity a on a.pid = o.pid
where not w.granted and w.waitstart is not null and o.virtualtransaction !~ '/0$' and w.pid in (select (json_array_elements_text($1::json))::int)`;

/**
 * A wait is one statement waiting for one lock. Who blocks it is told by its virtual transaction, which is one attempt
 * of ours: if a second one is seen to block the same wait, it was longer than one attempt, on any machine.
 */
class Watch {
  readonly violations: string[] = [];
  looks = 0;
  met = 0;
  readonly #connection: PostgresConnection;
  readonly #pids: readonly string[];
  readonly #attempts = new Map<string, Set<string>>();

  constructor(connection: PostgresConnection, pids: readonly string[]) {
    this.#connection = connection;
    this.#pids = pids;
  }

  async look(): Promise<void> {
    const rows = await this.#connection.query(LOOK, [JSON.stringify(this.#pids)]);
    this.looks += 1;
    for (const { wait, what, name, attempt } of rows) {
      if (!wait || !attempt) continue;
      if (attempt.startsWith('-1/'))
        this.violations.push(`${wait}: ${what} waits for a prepared transaction`);
      if (!name?.startsWith('shovel')) continue;
      const attempts = this.#attempts.get(wait) ?? new Set<string>();
      if (attempts.size === 0) this.met += 1;
      this.#attempts.set(wait, attempts.add(attempt));
      if (attempts.size > 1) this.violations.push(`${wait}: ${what} waits for ${[...attempts].join(', ')}`);
    }
  }
}

/** A time in which a table was captured, or was not, all the while; numbers of writes wholly within. */
export interface Stage {
  readonly from: number;
  readonly to: number;
  readonly captured: boolean;
  /** What happened to capture before it, since the stage before. */
  readonly after: 'kept' | 'changed' | 'changed twice';
}

/** What is wrong with what was published of a table, in words; numbers in the order of publishing. */
export function auditTable(published: readonly number[], stages: readonly Stage[]): readonly string[] {
  const problems: string[] = [];
  for (const [index, number] of published.entries()) {
    const before = published[index - 1] ?? 0;
    if (number <= before) problems.push(`${number} was published after ${before}`);
  }
  const there = new Set(published);
  const numbers = (from: number, to: number) =>
    Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => from + index);
  const missing = (from: number, to: number) => numbers(from, to).filter((number) => !there.has(number));
  for (const [index, stage] of stages.entries()) {
    const { from, to, captured } = stage;
    const lost = captured ? missing(from, to) : [];
    if (lost.length > 0) problems.push(`lost: ${lost.join(', ')} of ${from} to ${to}`);
    const extra = captured ? [] : numbers(from, to).filter((number) => there.has(number));
    if (extra.length > 0) problems.push(`not captured, and published: ${extra.join(', ')}`);
    const last = stages[index - 1];
    if (!last) continue;
    const between = numbers(last.to + 1, from - 1);
    const seen = between.map((number) => there.has(number));
    if (stage.after === 'kept' && captured && seen.includes(false)) {
      problems.push(`lost in passing: ${missing(last.to + 1, from - 1).join(', ')}`);
    }
    const steps = seen.filter((one, at) => one !== (seen[at - 1] ?? last.captured)).length;
    const allowed = { kept: 0, changed: 1, 'changed twice': 2 }[stage.after];
    if (steps > allowed) problems.push(`a hole between ${last.to} and ${from}`);
  }
  return problems;
}
