/**
 * Holds a set's log in one database against the set's limits, and stops capture where the policy says so. A running
 * relay does it once a minute; `shovel doctor` only looks, and capture itself never does.
 *
 * Maintained invariant: no ticket holds half a transaction. The last one is drawn and recorded first (sql/set/suspend.sql),
 * so that nothing that was written after it is ever published as if nothing were missing.
 */
import { IntegrityError } from '../errors.js';
import { formatDuration } from '../model/duration.js';
import type { LimitsConfiguration } from '../model/set-configuration.js';
import { formatSize } from '../model/size.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { type NodeNames, quoteIdentifier, quoteLiteral } from '../postgres/sql-files.js';

export type LimitName = 'log_bytes' | 'lag';

/** What one look found. */
export interface LimitReading {
  /** Of all segments and what belongs to them, indexes and TOAST included. */
  readonly logBytes: bigint;
  /** Age of the oldest mutation that not every stream has published; undefined where that can't be read now. */
  readonly lagMs: number | undefined;
  /** Limits that were passed, and those that are nearly reached (four fifths). */
  readonly over: readonly LimitName[];
  readonly near: readonly LimitName[];
  /** A sentence's end for people: `its log has 12.1 GB (limits.log_bytes is 10GB)`; of what is over, else of what is near. */
  readonly words: string;
}

/** Capture is off, and what was written since is in no log. Ends when the node is taken on again (`shovel node adopt`). */
export interface Suspension {
  /** As PostgreSQL prints it. */
  readonly at: string;
  readonly reason: string;
  /** The last one: everything up to it is whole, nothing after it is drawn. */
  readonly ticket: bigint;
  /** `shovel node adopt` has turned capture on again and has not ended. */
  readonly resuming: boolean;
  /** Recorded, but the switch is not turned yet: see `suspendCapture`. */
  readonly capturing: boolean;
}

export interface NodeSet {
  readonly names: NodeNames;
  readonly set: string;
}

export interface CheckLimitsOptions extends NodeSet {
  readonly limits: LimitsConfiguration;
  /** A relay's; without one anybody's. A relay that was replaced suspends nothing. */
  readonly epoch?: bigint;
  /**
   * How long a limit must have been passed before capture is suspended, so at two looks at least; default 1 min. Who
   * starts a relay again after a long pause is given that time to publish.
   */
  readonly patienceMs?: number | undefined;
  /** Only looks: records nothing and suspends nothing. */
  readonly readOnly?: boolean;
  /** Called before and after each step of a suspension; tests kill the process there. */
  readonly failpoint?: ((name: string) => Promise<void>) | undefined;
}

export interface LimitCheck {
  readonly reading: LimitReading;
  /** Also where this check has suspended capture itself. */
  readonly suspension: Suspension | undefined;
}

/** From four fifths of a limit on it is worth a word. */
const NEAR = 0.8;

/**
 * Looks, records what it found in the node, and suspends capture where a limit stays passed and the policy is `suspend`.
 * @throws FencedError `relay_fenced`, UnreachableError
 */
export async function checkLimits(
  connection: PostgresConnection,
  options: CheckLimitsOptions,
): Promise<LimitCheck> {
  const reading = await readLimits(connection, options);
  if (options.readOnly === true) {
    return { reading, suspension: await readSuspension(connection, options) };
  }
  const lasting = await record(connection, { ...options, reading });
  const found = await readSuspension(connection, options);
  const due = lasting && options.limits.policy === 'suspend';
  if (found === undefined ? !due : found.resuming || !found.capturing) return { reading, suspension: found };
  return {
    reading,
    suspension: await suspendCapture(connection, { ...options, reason: found?.reason ?? reading.words }),
  };
}

async function readLimits(
  connection: PostgresConnection,
  { names, set, limits }: CheckLimitsOptions,
): Promise<LimitReading> {
  const schema = quoteIdentifier(names.schema);
  const tables = ['log', 'more', 'ticket', 'order'].flatMap((kind) =>
    [0, 1, 2].map((k) => quoteLiteral(`${schema}.${kind}_${k}_${set}`)),
  );
  const rows = await connection.query(
    `select (select pg_catalog.sum(pg_catalog.pg_total_relation_size(pg_catalog.to_regclass(t)))
         from pg_catalog.unnest(array[${tables.join(', ')}]) as t)::bigint as bytes,
       (select pg_catalog.floor(extract(epoch from pg_catalog.max(f.lag)) * 1000)::bigint
         from ${schema}.set_figures($1) f) as lag_ms`,
    [set],
  );
  const bytes = BigInt(rows[0]?.bytes ?? '0');
  const lag = rows[0]?.lag_ms ?? null;
  return judge({ logBytes: bytes, lagMs: lag === null ? undefined : Number(lag) }, limits);
}

/** What a look means beside the limits. */
export function judge(
  { logBytes, lagMs }: Pick<LimitReading, 'logBytes' | 'lagMs'>,
  limits: LimitsConfiguration,
): LimitReading {
  const shares: readonly [LimitName, number, string][] = [
    [
      'log_bytes',
      Number(logBytes) / limits.logBytes,
      `its log has ${peopleBytes(logBytes)} (limits.log_bytes is ${formatSize(limits.logBytes)})`,
    ],
    [
      'lag',
      (lagMs ?? 0) / limits.lagMs,
      `a mutation has waited for ${peopleTime(lagMs ?? 0)} (limits.lag is ${formatDuration(limits.lagMs)})`,
    ],
  ];
  const over = shares.filter(([, share]) => share > 1);
  const near = shares.filter(([, share]) => share >= NEAR && share <= 1);
  const told = over.length > 0 ? over : near;
  return {
    logBytes,
    lagMs,
    over: over.map(([name]) => name),
    near: near.map(([name]) => name),
    words: told.map(([, , words]) => words).join(', and '),
  };
}

function peopleBytes(bytes: bigint): string {
  const units = ['kB', 'MB', 'GB', 'TB'];
  let value = Number(bytes) / 1000;
  let unit = 0;
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}

function peopleTime(ms: number): string {
  const minutes = ms / 60_000;
  if (minutes < 2) return `${Math.floor(ms / 1000)} s`;
  return minutes < 120 ? `${Math.floor(minutes)} min` : `${Math.floor(minutes / 60)} h`;
}

/** Whether a limit has been passed for long enough; the time in which capture was suspended does not count. */
async function record(
  connection: PostgresConnection,
  { names, set, reading, patienceMs = 60_000 }: CheckLimitsOptions & { readonly reading: LimitReading },
): Promise<boolean> {
  const rows = await connection.query(
    `update ${quoteIdentifier(names.schema)}.set_head h
     set watched_at = pg_catalog.clock_timestamp(), log_bytes = $2, lag = $3::bigint * interval '1 millisecond',
       over_limits = nullif($4::text[], '{}'),
       over_since = case when $4::text[] <> '{}' and not coalesce(h.suspended_incarnation >= r.incarnation, false)
         then coalesce(h.over_since, pg_catalog.clock_timestamp()) end
     from ${quoteIdentifier(names.schema)}.replication_set r
     where h.set_name = $1 and r.set_name = h.set_name
     returning h.over_since <= pg_catalog.clock_timestamp() - $5::bigint * interval '1 millisecond' as lasting`,
    [
      set,
      reading.logBytes.toString(),
      reading.lagMs === undefined ? null : String(reading.lagMs),
      `{${reading.over.join(',')}}`,
      String(patienceMs),
    ],
  );
  return rows[0]?.lasting === 't';
}

/** Undefined where capture is not suspended. */
export async function readSuspension(
  connection: PostgresConnection,
  { names, set }: NodeSet,
): Promise<Suspension | undefined> {
  const schema = quoteIdentifier(names.schema);
  const rows = await connection.query(
    `select h.suspended_at, h.suspended_reason, h.suspended_ticket, h.resuming_since is not null as resuming,
       (select s.last_value & 8 = 0 from ${schema}.switch_${set} s) as capturing
     from ${schema}.set_head h join ${schema}.replication_set r on r.set_name = h.set_name
     where h.set_name = $1 and h.suspended_incarnation >= r.incarnation`,
    [set],
  );
  const [row] = rows;
  if (row === undefined) return undefined;
  return {
    at: row.suspended_at ?? '',
    reason: row.suspended_reason ?? '',
    ticket: BigInt(row.suspended_ticket ?? '0'),
    resuming: row.resuming === 't',
    capturing: row.capturing === 't',
  };
}

/**
 * Stops capture: one transaction draws and records the last ticket, another turns the switch. No function is replaced
 * and no table locked. Where the process dies between the two the next check turns the switch.
 * @throws FencedError `relay_fenced`, IntegrityError `source_went_back`
 */
export async function suspendCapture(
  connection: PostgresConnection,
  {
    names,
    set,
    epoch,
    reason,
    failpoint,
  }: NodeSet & Pick<CheckLimitsOptions, 'epoch' | 'failpoint'> & { readonly reason: string },
): Promise<Suspension | undefined> {
  const call = `select s.capturing from ${quoteIdentifier(names.schema)}.suspend_${set}($1, $2) s`;
  const values = [epoch?.toString() ?? null, reason];
  await failpoint?.('suspend.record.before');
  const [recorded] = await connection.query(call, values);
  await failpoint?.('suspend.record.after');
  if (recorded?.capturing === 't') {
    await connection.query(call, values);
    await failpoint?.('suspend.turn.after');
  }
  return readSuspension(connection, { names, set });
}

/** For whoever comes to the end of what is whole. */
export function captureSuspended(
  { set, database }: { readonly set: string; readonly database: string },
  suspension: Suspension,
): IntegrityError {
  return new IntegrityError(
    'capture_suspended',
    `Capture of set ${set} in database ${database} was suspended at ${suspension.at}: ${suspension.reason}. What was written since is in no log; the last whole batch is ticket ${suspension.ticket}.`,
    {
      hint: `Mend what held the streams up, then run shovel node adopt ${set} ${database}; targets need a bootstrap after it.`,
      details: { set, database, ticket: suspension.ticket.toString(), suspended_at: suspension.at },
    },
  );
}
