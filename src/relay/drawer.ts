/**
 * Draws tickets on its own clock, whether or not streams keep up: looks whether anything was committed since the
 * newest ticket, draws one if so, and announces it. What a ticket holds is decided in the database (sql/set/).
 *
 * Maintained invariant: nothing that has committed stays unseen while the drawer rests. A number that was seen moving
 * may belong to a transaction that commits later, and its commit moves nothing; see `canRest`.
 */
import { IntegrityError } from '../errors.js';
import { parseSnapshot, type Snapshot } from '../model/snapshot.js';
import type { DrawnTicket, Ticket } from '../model/ticket.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { canRest, type Mark } from './pace.js';
import type { LogNames } from './relay-set.js';
import { decodeTicket, newestTicket, TICKET_COLUMNS } from './tickets.js';

/** The newest ticket, and the latest snapshot at which nothing was pending beyond it. */
interface Base {
  readonly ticket: Ticket;
  readonly before: Snapshot;
  /** Whoever `before` neither shows nor names has only higher numbers. */
  readonly floorSeq: bigint;
}

export type Look =
  | { readonly kind: 'drawn'; readonly ticket: DrawnTicket }
  /** `quiet`: nothing can become pending without the sequence moving. */
  | { readonly kind: 'nothing'; readonly quiet: boolean };

export class Drawer {
  readonly #connection: PostgresConnection;
  readonly #log: LogNames;
  readonly #epoch: bigint;
  #base: Base;
  #mark: Mark | undefined;
  /** The snapshot of the last look that saw nothing. */
  #seen: Snapshot | undefined;

  private constructor(connection: PostgresConnection, options: { log: LogNames; epoch: bigint; base: Base }) {
    this.#connection = connection;
    this.#log = options.log;
    this.#epoch = options.epoch;
    this.#base = options.base;
  }

  /** @throws IntegrityError `tickets_missing` */
  static async open(
    connection: PostgresConnection,
    { log, epoch }: { readonly log: LogNames; readonly epoch: bigint },
  ): Promise<Drawer> {
    const newest = await newestTicket(connection, log);
    if (newest === undefined) {
      throw new IntegrityError('tickets_missing', `Set ${log.display}: no ticket is left in the log.`, {
        hint: `Was the log changed by hand? shovel node adopt ${log.set} DATABASE begins it anew from then on; bootstrap the targets.`,
        details: { set: log.set },
      });
    }
    return new Drawer(connection, { log, epoch, base: baseOf(newest, log) });
  }

  get newest(): Ticket {
    return this.#base.ticket;
  }

  /** At which everything committed is in the newest ticket or an older one. */
  get settled(): Snapshot {
    return this.#base.before;
  }

  /** A floor for that snapshot. */
  get settledFloor(): bigint {
    return this.#base.floorSeq;
  }

  /** Where the sequence stands while it is quiet. */
  get restingSeq(): bigint {
    return this.#mark?.floorSeq ?? 0n;
  }

  /**
   * Looks once, and draws a ticket if something is pending.
   * @throws FencedError `relay_fenced`, IntegrityError `source_went_back`, UnreachableError
   */
  async look(): Promise<Look> {
    const now = await this.#glance();
    const seen = this.#seen;
    if (seen !== undefined && this.#mark !== undefined) {
      const quiet = canRest(this.#mark, { look: seen, seq: now.seq });
      // No transaction has ended since, so looking again would see the same.
      if (quiet || seen.text === now.snapshot) return { kind: 'nothing', quiet };
    }
    const mark = await this.#markAt(now.seq);
    if (!(await this.#peek(mark))) {
      const quiet = this.#seen !== undefined && canRest(mark, { look: this.#seen, seq: now.seq });
      return { kind: 'nothing', quiet };
    }
    const ticket = await this.#draw(mark);
    return ticket === undefined ? { kind: 'nothing', quiet: false } : { kind: 'drawn', ticket };
  }

  /** Draws a ticket of all that had committed before the call, without looking first; undefined where it is nothing. */
  async drawNow(): Promise<DrawnTicket | undefined> {
    return this.#draw(await this.#markAt(undefined));
  }

  async #glance(): Promise<{ readonly seq: bigint; readonly snapshot: string }> {
    const rows = await this.#connection.query(
      `select case when s.is_called then s.last_value else 0 end as seq, pg_catalog.pg_current_snapshot() as snapshot
       from ${this.#log.seq} s`,
    );
    return { seq: BigInt(rows[0]?.seq ?? '0'), snapshot: rows[0]?.snapshot ?? '' };
  }

  /** A mark costs a transaction id, so one is made only where the sequence has moved since the last. */
  async #markAt(seq: bigint | undefined): Promise<Mark> {
    if (this.#mark !== undefined && this.#mark.floorSeq === seq) return this.#mark;
    const rows = await this.#connection.query(`select m.floor_seq, m.xid from ${this.#log.mark}() m`);
    const mark = { floorSeq: BigInt(rows[0]?.floor_seq ?? '0'), xid: BigInt(rows[0]?.xid ?? '0') };
    this.#mark = mark;
    return mark;
  }

  async #peek(mark: Mark): Promise<boolean> {
    const rows = await this.#connection.query(
      `select p.pending, p.snapshot from ${this.#log.peek}($1, $2) p`,
      [this.#base.before.text, this.#base.floorSeq.toString()],
    );
    const [row] = rows;
    if (row?.pending === 't') return true;
    const snapshot = decodeSnapshot(row?.snapshot, this.#log);
    const floorSeq = mark.xid < snapshot.xmax ? mark.floorSeq : this.#base.floorSeq;
    this.#base = { ...this.#base, before: snapshot, floorSeq };
    this.#seen = snapshot;
    return false;
  }

  async #draw(mark: Mark): Promise<DrawnTicket | undefined> {
    const { ticket, before, floorSeq } = this.#base;
    const rows = await this.#connection.query(
      `select ${TICKET_COLUMNS} from ${this.#log.draw}($1, $2, $3, $4, $5, $6) t`,
      [this.#epoch, ticket, before.text, floorSeq, mark.floorSeq, mark.xid].map(String),
    );
    const [row] = rows;
    if (row === undefined) return undefined;
    const drawn = decodeTicket(row);
    this.#base = baseOf(drawn, this.#log);
    this.#seen = undefined;
    return drawn;
  }
}

function baseOf(ticket: DrawnTicket, log: LogNames): Base {
  return {
    ticket: ticket.ticket,
    before: decodeSnapshot(ticket.snapshot, log),
    floorSeq: ticket.floorSeq,
  };
}

function decodeSnapshot(text: string | null | undefined, log: LogNames): Snapshot {
  const snapshot = parseSnapshot(text ?? '');
  if (snapshot === undefined) {
    throw new IntegrityError('tickets_damaged', `Set ${log.display}: the newest ticket holds no snapshot.`, {
      hint: `Was the log changed by hand? shovel node adopt ${log.set} DATABASE begins it anew from then on; bootstrap the targets.`,
      details: { set: log.set },
    });
  }
  return snapshot;
}
