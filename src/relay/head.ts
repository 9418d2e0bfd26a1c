/**
 * The set's head row in the node: who draws. Taking over raises the epoch, and every later write of a relay is tied
 * to it, so that one which was replaced without noticing can do no harm.
 */
import { FencedError, IntegrityError, RefusedError } from '../errors.js';
import type { Snapshot } from '../model/snapshot.js';
import type { Ticket } from '../model/ticket.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { LogNames } from './relay-set.js';

/** Code of the error that says that the node does not hold the set any more. */
export const SET_GONE = 'set_gone';

/** Returns the epoch that is ours from now on. */
export async function takeOver(
  connection: PostgresConnection,
  { log, owner }: { readonly log: LogNames; readonly owner: string },
): Promise<bigint> {
  const rows = await connection.query(
    `update ${log.schema}.set_head h set epoch = h.epoch + 1, relay_owner = $2,
       relay_since = pg_catalog.clock_timestamp(), relay_seen_at = pg_catalog.clock_timestamp()
     where h.set_name = $1 returning h.epoch`,
    [log.set, owner],
  );
  const epoch = rows[0]?.epoch;
  if (epoch === undefined || epoch === null) throw setGone(log);
  return BigInt(epoch);
}

/** False where the epoch was raised by nobody who draws: see postgres/migrate.ts. */
export async function hasOwner(connection: PostgresConnection, log: LogNames): Promise<boolean> {
  const rows = await connection.query(
    `select h.relay_owner is not null as owned from ${log.schema}.set_head h where h.set_name = $1`,
    [log.set],
  );
  return rows[0]?.owned === 't';
}

/** For whoever counts what is pending: at `snapshot` nothing was, beyond `ticket`. */
export interface Settled {
  readonly ticket: Ticket;
  readonly snapshot: Snapshot;
  readonly floorSeq: bigint;
}

/** Says that the relay is alive, and what it knows. @throws FencedError `relay_fenced`, IntegrityError `source_went_back` */
export async function refreshSeen(
  connection: PostgresConnection,
  { log, epoch, settled }: { readonly log: LogNames; readonly epoch: bigint; readonly settled: Settled },
): Promise<void> {
  const rows = await connection.query(
    `update ${log.schema}.set_head h set relay_seen_at = pg_catalog.clock_timestamp(),
       settled_ticket = $3, settled_snapshot = $4, settled_floor = $5
     where h.set_name = $1 and h.epoch = $2 returning 1 as seen`,
    [
      log.set,
      epoch.toString(),
      settled.ticket.toString(),
      settled.snapshot.text,
      settled.floorSeq.toString(),
    ],
  );
  if (rows.length === 0) await throwFenced(connection, { log, epoch });
}

/** @throws FencedError `relay_fenced`, IntegrityError `source_went_back` */
export async function checkEpoch(
  connection: PostgresConnection,
  { log, epoch }: { readonly log: LogNames; readonly epoch: bigint },
): Promise<void> {
  const found = await readEpoch(connection, log);
  if (found !== epoch) throw fenced(log, { epoch, found });
}

/** For a write that found another epoch than ours. */
export async function throwFenced(
  connection: PostgresConnection,
  { log, epoch }: { readonly log: LogNames; readonly epoch: bigint },
): Promise<never> {
  throw fenced(log, { epoch, found: await readEpoch(connection, log) });
}

async function readEpoch(connection: PostgresConnection, log: LogNames): Promise<bigint> {
  const rows = await connection.query(`select h.epoch from ${log.schema}.set_head h where h.set_name = $1`, [
    log.set,
  ]);
  const epoch = rows[0]?.epoch;
  if (epoch === undefined || epoch === null) throw setGone(log);
  return BigInt(epoch);
}

function setGone(log: LogNames): RefusedError {
  return new RefusedError(SET_GONE, `Set ${log.set} is gone from the node.`, {
    hint: 'It was dropped, or the schema was changed by hand: shovel set list shows the sets that there are.',
    details: { set: log.set },
  });
}

function fenced(log: LogNames, { epoch, found }: { epoch: bigint; found: bigint }): Error {
  const details = { set: log.set, epoch: epoch.toString(), found: found.toString() };
  if (found < epoch) {
    return new IntegrityError(
      'source_went_back',
      `Set ${log.set}: the database has forgotten that this relay took over (epoch ${found}, it was ${epoch}).`,
      {
        hint: 'Was a standby promoted that lacked the last transactions? Take the node on again with shovel node adopt.',
        details,
      },
    );
  }
  return new FencedError('relay_fenced', `Another relay has taken over set ${log.set}.`, {
    hint: 'This relay stops; the other one goes on.',
    details,
  });
}
