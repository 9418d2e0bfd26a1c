/**
 * Keeps the log small: turns writers to the next of three segments when the active one is large or old enough, and
 * truncates a segment as a whole once nobody needs it.
 *
 * Maintained invariant: a mutation is removed only when every stream has published its batch. No transaction from
 * `closed_xmax` on has written into a closed segment; so when the snapshot of a published ticket (or a later one that
 * shows nothing beyond the newest ticket) has all transactions below it ended, all that the segment holds is
 * published. Where some old transaction stays open for long, the rows themselves are asked: the lock shows that
 * nobody who wrote into the segment is still under way, and each row must be in the snapshot. The row of the ticket
 * that streams stand at is always kept: the next batch begins at its snapshot.
 */
import { parseSnapshot, type Snapshot } from '../model/snapshot.js';
import { type Ticket, ticketOf } from '../model/ticket.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { quoteLiteral } from '../postgres/sql-files.js';
import { PostgresError, SQLSTATE } from '../postgres/sqlstate.js';
import { transaction } from '../postgres/transaction.js';
import type { Clock } from '../runtime/clock.js';
import { throwFenced } from './head.js';
import { decodeRecord } from './node-record.js';
import type { LogNames, SegmentNames } from './relay-set.js';
import { readTicket } from './tickets.js';

export interface TrimLimits {
  /** The active segment is left when it is as large as this; TOAST included, indexes not. */
  readonly rotateBytes: number;
  /** … or when it has been active for so long and holds at least `idleBytes`. */
  readonly rotateAgeMs: number;
  readonly idleBytes: number;
  /** How often the rows of a segment are asked that an open transaction keeps from being truncated otherwise. */
  readonly pinnedMs: number;
}

const ROTATE_BYTES = 64 * 1024 * 1024;
const IDLE_BYTES = 1024 * 1024;
/** A healthy log holds an active segment and one or two closed ones, with their indexes: well below the limit. */
const SHARE = 8;

/** For a set whose log may have that many bytes: `limits.log_bytes`. */
export function trimLimits(logBytes: number): TrimLimits {
  const rotateBytes = Math.min(ROTATE_BYTES, Math.floor(logBytes / SHARE));
  return {
    rotateBytes,
    rotateAgeMs: 60_000,
    idleBytes: Math.min(IDLE_BYTES, Math.floor(rotateBytes / 2)),
    pinnedMs: 15_000,
  };
}

export interface TrimOptions {
  readonly log: LogNames;
  readonly epoch: bigint;
  readonly clock: Clock;
  readonly limits: TrimLimits;
}

export interface TrimFacts {
  readonly newest: Ticket;
  /** At which nothing was pending beyond the newest ticket. */
  readonly settled: Snapshot;
  /** There may be no later step: ask rows now, where an open transaction leaves no other way. */
  readonly last?: boolean;
}

/** `busy`: someone reads the segment (a dump, say); later will do. */
export interface TrimResult {
  readonly rotated: boolean;
  readonly truncated: readonly number[];
  readonly busy: readonly number[];
  /** Nothing is left to do before another mutation is captured. */
  readonly idle: boolean;
}

interface Segment {
  readonly number: number;
  readonly names: SegmentNames;
  readonly closedXmax: bigint | undefined;
  readonly bytes: number;
  readonly empty: boolean;
}

interface State {
  readonly active: number;
  readonly segments: readonly Segment[];
}

const relations = (...names: readonly string[]) =>
  `pg_catalog.unnest(array[${names.map(quoteLiteral).join(', ')}]::regclass[]) as r`;

export class Trimmer {
  readonly #connection: PostgresConnection;
  readonly #options: TrimOptions;
  #active: number | undefined;
  #activeSinceMs: number;
  /** When a segment's rows were asked last. */
  readonly #askedMs = new Map<number, number>();

  constructor(connection: PostgresConnection, options: TrimOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#activeSinceMs = options.clock.now();
  }

  /** Does what is due. @throws FencedError `relay_fenced`, UnreachableError */
  async step(facts: TrimFacts): Promise<TrimResult> {
    const state = await this.#read();
    if (state.active !== this.#active) {
      this.#active = state.active;
      this.#activeSinceMs = this.#options.clock.now();
    }
    const truncated: number[] = [];
    const busy: number[] = [];
    for (const segment of state.segments) {
      if (segment.number === state.active || segment.empty) continue;
      // Left by a relay that died between turning the switch and saying so: closing it later is as good.
      const closedXmax = segment.closedXmax ?? (await this.#close(segment.number));
      const outcome = await this.#trim({ ...segment, closedXmax }, { active: state.active, facts });
      if (outcome === 'truncated') truncated.push(segment.number);
      if (outcome === 'busy') busy.push(segment.number);
    }
    const rotated = await this.#rotate(state, truncated);
    const left = state.segments.some(({ number, bytes, empty }) =>
      number === state.active
        ? bytes >= this.#options.limits.idleBytes
        : !empty && !truncated.includes(number),
    );
    return { rotated, truncated, busy, idle: !rotated && !left };
  }

  async #read(): Promise<State> {
    const { log } = this.#options;
    const sizes = log.segments.map(
      ({ log: table, more, ticket }, k) =>
        `select ${k} as segment, (select pg_catalog.sum(pg_catalog.pg_table_size(r)) from ${relations(table, more)}) as bytes,
           (select pg_catalog.sum(pg_catalog.pg_relation_size(r)) from ${relations(table, more)}) = 0
             and not exists (select from ${ticket}) as empty`,
    );
    const rows = await this.#connection.query(
      `select s.segment, s.closed_xmax, z.bytes, z.empty, (select w.last_value & 3 from ${log.switch} w) as active
       from ${log.segment} s join (${sizes.join(' union all ')}) z on z.segment = s.segment order by s.segment`,
    );
    const segments = rows.flatMap((row): readonly Segment[] => {
      const number = Number(row.segment);
      const names = log.segments[number];
      const closed = row.closed_xmax ?? null;
      if (names === undefined) return [];
      const closedXmax = closed === null ? undefined : BigInt(closed);
      return [{ number, names, closedXmax, bytes: Number(row.bytes), empty: row.empty === 't' }];
    });
    return { active: Number(rows[0]?.active ?? 0), segments };
  }

  /** The id is given out after the switch was turned, in a transaction that had none before. */
  async #close(segment: number): Promise<bigint> {
    const rows = await this.#connection.query(
      `update ${this.#options.log.segment} set closed_xmax = pg_catalog.pg_current_xact_id()
       where segment = $1 returning closed_xmax`,
      [String(segment)],
    );
    return BigInt(rows[0]?.closed_xmax ?? '0');
  }

  async #rotate(state: State, truncated: readonly number[]): Promise<boolean> {
    const { limits, clock, log, epoch } = this.#options;
    const active = state.segments[state.active];
    const next = state.segments[(state.active + 1) % state.segments.length];
    if (active === undefined || next === undefined || !(next.empty || truncated.includes(next.number)))
      return false;
    const old = clock.now() - this.#activeSinceMs >= limits.rotateAgeMs;
    if (active.bytes < limits.rotateBytes && !(old && active.bytes >= limits.idleBytes)) return false;
    await this.#connection.query(`select ${log.turn}($1, 3, $2)`, [epoch.toString(), String(next.number)]);
    await this.#close(active.number);
    this.#active = next.number;
    this.#activeSinceMs = clock.now();
    return true;
  }

  async #trim(
    segment: Segment & { readonly closedXmax: bigint },
    { active, facts }: { readonly active: number; readonly facts: TrimFacts },
  ): Promise<'kept' | 'truncated' | 'busy'> {
    const completed = await this.#completed(facts.newest);
    const ticket = await readTicket(this.#connection, this.#options.log, completed);
    const snapshot = parseSnapshot(ticket?.snapshot ?? '');
    if (snapshot === undefined) return 'kept';
    const published = completed === facts.newest ? facts.settled : snapshot;
    const ended = published.xmin >= segment.closedXmax;
    if (!ended && !(await this.#isShown(segment, published, facts.last ?? false))) return 'kept';
    const rows = ended ? undefined : published;
    try {
      return await transaction(this.#connection, () => this.#truncate(segment, { active, completed, rows }));
    } catch (error) {
      if (error instanceof PostgresError && error.sqlstate === SQLSTATE.lockNotAvailable) return 'busy';
      throw error;
    }
  }

  /** Whether every row is in the snapshot; asked only now and then, for it reads the whole segment. */
  async #isShown(segment: Segment, snapshot: Snapshot, now: boolean): Promise<boolean> {
    const { clock, limits } = this.#options;
    if (!now && clock.now() - (this.#askedMs.get(segment.number) ?? this.#activeSinceMs) < limits.pinnedMs)
      return false;
    this.#askedMs.set(segment.number, clock.now());
    return this.#allShown(segment, snapshot);
  }

  async #allShown({ names }: Segment, snapshot: Snapshot): Promise<boolean> {
    const rows = await this.#connection.query(
      `select not exists (
         select from ${names.log} l where not pg_catalog.pg_visible_in_snapshot(l.xid, $1::pg_snapshot)) as shown`,
      [snapshot.text],
    );
    return rows[0]?.shown === 't';
  }

  /** All is looked at again under the locks: the head's, which positions are written with, and the segment's own. */
  async #truncate(
    segment: Segment & { readonly closedXmax: bigint },
    {
      active,
      completed,
      rows: asked,
    }: { readonly active: number; readonly completed: Ticket; readonly rows: Snapshot | undefined },
  ): Promise<'kept' | 'truncated'> {
    const { log, epoch } = this.#options;
    const connection = this.#connection;
    const { log: rows, ticket: tickets, order } = segment.names;
    const held = await connection.query(
      `select from ${log.schema}.set_head h where h.set_name = $1 and h.epoch = $2::bigint for update`,
      [log.set, epoch.toString()],
    );
    if (held.length === 0) await throwFenced(connection, { log, epoch });
    await connection.script(`lock table ${rows}, ${tickets}, ${order} in access exclusive mode nowait`);
    const found = await connection.query(
      `select (select w.last_value & 3 from ${log.switch} w) as active,
         (select s.closed_xmax from ${log.segment} s where s.segment = $1) as closed_xmax,
         (select pg_catalog.max(t.ticket) from ${tickets} t) as newest`,
      [String(segment.number)],
    );
    const [now] = found;
    const newest = ticketOf(now?.newest ?? '-1');
    const unchanged = now?.active === String(active) && now.closed_xmax === segment.closedXmax.toString();
    if (!unchanged || newest > completed || (await this.#completed(completed)) < completed) return 'kept';
    if (asked !== undefined && !(await this.#allShown(segment, asked))) return 'kept';
    const keeper = log.segments[active];
    if (newest === completed && keeper !== undefined) {
      await connection.query(`insert into ${keeper.ticket} select * from ${tickets} t where t.ticket = $1`, [
        completed.toString(),
      ]);
    }
    await connection.script(`truncate ${rows}, ${tickets}, ${order}`);
    await connection.query(`update ${log.segment} set closed_xmax = null where segment = $1`, [
      String(segment.number),
    ]);
    return 'truncated';
  }

  /** The newest ticket that every stream has published; `newest` where there is no stream. */
  async #completed(newest: Ticket): Promise<Ticket> {
    const { log } = this.#options;
    const rows = await this.#connection.query(
      `select s.first_ticket, coalesce(pg_catalog.pg_sequence_last_value(
         pg_catalog.format('%I.%I', $2::text, s.position_name)::regclass), 0) as value
       from ${log.schema}.stream s where s.set_name = $1`,
      [log.set, log.names.schema],
    );
    return rows
      .map((row) => decodeRecord(BigInt(row.value ?? '0'), ticketOf(row.first_ticket ?? '1')).completed)
      .reduce((least, one) => (one < least ? one : least), newest);
  }
}
