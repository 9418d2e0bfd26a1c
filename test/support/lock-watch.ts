/**
 * Watches who waits for locks behind sessions of ours, by looking at the server's lock table again and again. One look
 * is one call of pg_lock_status, which stops the lock manager for a moment, so a look is true in itself; who waits for
 * whom is worked out from it as pg_blocking_pids does (which would look a second time, at another moment): whoever holds
 * a lock that conflicts, or waits in front with a wish that does.
 *
 * A wait is told by its session and the moment it began, an attempt of ours by its virtual transaction. So "nobody waits
 * longer than one attempt" needs no stopwatch: no wait has ever two attempts in front of it.
 */
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';

interface Lock {
  /** What is locked, as one text. */
  readonly tag: string;
  readonly table: string;
  readonly pid: string;
  readonly transaction: string;
  readonly mode: string;
  readonly granted: boolean;
  /** Null for what is held, and for a moment before a wait is noted. */
  readonly since: string | null;
  readonly ours: boolean;
  readonly idle: boolean;
  readonly who: string;
}

interface Wait {
  readonly table: string;
  /** The waiting session's application_name. */
  readonly who: string;
  /** Of ours that were seen in front. */
  readonly attempts: Set<string>;
}

export interface LockWatch {
  readonly looks: number;
  /** Waits of others behind ours. */
  readonly waits: ReadonlyMap<string, Wait>;
  /** Our attempts: at how many places each was seen waiting. */
  readonly attempts: ReadonlyMap<string, ReadonlySet<string>>;
  /** Tables of schema public that one of ours held strongly in two looks running, idle in a transaction in between. */
  readonly idleHolds: readonly string[];
  stop(): Promise<void>;
}

const STRONG = new Set(['ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock']);

/** Weakest first. */
const MODES = [
  'AccessShareLock',
  'RowShareLock',
  'RowExclusiveLock',
  'ShareUpdateExclusiveLock',
  'ShareLock',
  'ShareRowExclusiveLock',
  'ExclusiveLock',
  'AccessExclusiveLock',
] as const;
type Mode = (typeof MODES)[number];

const from = (mode: Mode): readonly Mode[] => MODES.slice(MODES.indexOf(mode));

/** Table 13.2 of PostgreSQL's manual, by the mode that is asked for. */
const CONFLICTS: Readonly<Record<string, readonly string[]>> = {
  AccessShareLock: from('AccessExclusiveLock'),
  RowShareLock: from('ExclusiveLock'),
  RowExclusiveLock: from('ShareLock'),
  ShareUpdateExclusiveLock: from('ShareUpdateExclusiveLock'),
  // Not with itself.
  ShareLock: ['RowExclusiveLock', 'ShareUpdateExclusiveLock', ...from('ShareRowExclusiveLock')],
  ShareRowExclusiveLock: from('RowExclusiveLock'),
  ExclusiveLock: from('RowShareLock'),
  AccessExclusiveLock: from('AccessShareLock'),
};

/** `ours`: the pids of sessions whose application_name begins with it. */
export async function startLockWatch({ url, ours }: { url: string; ours: string }): Promise<LockWatch> {
  const session = await openConnection({ dsn: url, name: 'of the watch', applicationName: 'watch' });
  const waits = new Map<string, Wait>();
  const attempts = new Map<string, Set<string>>();
  const idleHolds: string[] = [];
  let looks = 0;
  let going = true;
  const running = (async () => {
    let before: readonly Lock[] = [];
    while (going) {
      const locks = await look(session, ours);
      note(locks, { waits, attempts });
      // Idle between two looks that show it holding the table.
      const held = new Set(before.filter((lock) => isStrongHold(lock) && lock.idle).map(holdOf));
      for (const lock of locks.filter(isStrongHold)) if (held.has(holdOf(lock))) idleHolds.push(lock.table);
      before = locks;
      looks += 1;
    }
  })();
  return {
    waits,
    attempts,
    idleHolds,
    get looks() {
      return looks;
    },
    async stop() {
      going = false;
      await running;
      await session.end();
    },
  };
}

/** Of an application's table: what is ours alone, we may hold as we like. */
const isStrongHold = (lock: Lock) =>
  lock.ours && lock.granted && STRONG.has(lock.mode) && lock.table.startsWith('public.');
/** The number goes as the transaction ends, a moment before its locks do. */
const isEnding = (lock: Lock) => lock.transaction.endsWith('/0');
const holdOf = (lock: Lock) => `${lock.transaction} ${lock.tag}`;

/** Relations that are not of the catalog, row and transaction locks: all that a session can wait for. */
async function look(session: PostgresConnection, ours: string): Promise<readonly Lock[]> {
  const rows = await session.query(
    `with l as materialized (select * from pg_locks)
     select concat_ws(' ', l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid,
         l.classid, l.objid, l.objsubid) as tag,
       coalesce(l.relation::regclass::text, l.locktype) as "table", l.pid, l.virtualtransaction, l.mode, l.granted,
       l.waitstart, starts_with(coalesce(a.application_name, ''), $1) as ours, a.state = 'idle in transaction' as idle,
       a.application_name as who
     from l left join pg_stat_activity a on a.pid = l.pid
     where not l.fastpath and l.pid <> pg_backend_pid() and (l.database is null or l.database in
       (0, (select d.oid from pg_database d where d.datname = current_database())))
       and (l.relation is null or l.relation >= 16384)`,
    [ours],
  );
  return rows.map((row) => ({
    tag: row.tag ?? '',
    table: row.table ?? '',
    pid: row.pid ?? 'prepared',
    transaction: row.virtualtransaction ?? '',
    mode: row.mode ?? '',
    granted: row.granted === 't',
    since: row.waitstart ?? null,
    ours: row.ours === 't',
    idle: row.idle === 't',
    who: row.who ?? '',
  }));
}

function note(
  locks: readonly Lock[],
  { waits, attempts }: { waits: Map<string, Wait>; attempts: Map<string, Set<string>> },
): void {
  for (const lock of locks) {
    if (lock.granted || lock.since === null) continue;
    const wait = `${lock.pid} ${lock.since}`;
    if (lock.ours) {
      const places = attempts.get(lock.transaction) ?? new Set();
      attempts.set(lock.transaction, places.add(`${lock.table} ${lock.since}`));
      continue;
    }
    for (const other of locks) {
      if (!other.ours || other.tag !== lock.tag || isEnding(other)) continue;
      if (!(CONFLICTS[lock.mode] ?? []).includes(other.mode)) continue;
      const inFront = other.granted || (other.since !== null && other.since < lock.since);
      if (!inFront) continue;
      const seen = waits.get(wait) ?? { table: lock.table, who: lock.who, attempts: new Set() };
      seen.attempts.add(other.transaction);
      waits.set(wait, seen);
    }
  }
}
