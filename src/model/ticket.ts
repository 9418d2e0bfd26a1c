/**
 * A ticket: the number that fixes a batch. What its batch holds is for the database to say (sql/set/draw.sql); this
 * is what the ticket's row says of it.
 */

declare const brand: unique symbol;

/** +1 each time, per set and node; 0 is the state before the first mutation and has no batch. */
export type Ticket = bigint & { readonly [brand]: 'ticket' };

export function ticketOf(value: bigint | string | number): Ticket {
  return BigInt(value) as Ticket;
}

export interface DrawnTicket {
  readonly ticket: Ticket;
  /** As pg_snapshot prints it: `xmin:xmax:xip,xip`. */
  readonly snapshot: string;
  /** Every transaction that had no xid yet when it was drawn has only higher numbers. */
  readonly floorSeq: bigint;
  /** Lowest and highest number in the batch; undefined where it is empty. */
  readonly firstSeq: bigint | undefined;
  readonly lastSeq: bigint | undefined;
  /** Log rows in the batch, application context included. */
  readonly mutations: bigint;
  /** The set's version by which the batch is filtered and formatted. */
  readonly setVersion: number;
  /** Nested writes were logged in another order than they happened in. */
  readonly nested: boolean;
  /** Milliseconds since the epoch, the database's clock. */
  readonly drawnAtMs: string;
}
