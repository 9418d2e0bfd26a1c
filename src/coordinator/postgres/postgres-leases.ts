/**
 * Leases in PostgreSQL: a row with holder, epoch and the time, by the server's clock, after which it holds nothing.
 * It is renewed at a third of that time, on a connection of its own, so that no waiting multi delays it. Whoever
 * takes a lease locks its parent first, and only then draws the epoch: so epochs grow in the order of taking.
 */
import { randomUUID } from 'node:crypto';
import type { PostgresConnection } from '../../postgres/connect.js';
import { PostgresError } from '../../postgres/sqlstate.js';
import type { LeaseHolder } from '../coordinator.js';
import { coordinatorOutcomeUnknown } from '../coordinator-errors.js';
import type { CoordinatorLogger } from '../coordinator-logger.js';
import { HeldLease } from '../held-lease.js';
import { parentOf } from '../operations.js';
import type { DatabaseSession } from './database-session.js';
import { isMissingSchema, textArray } from './run-multi.js';

export interface PostgresLeasesOptions {
  readonly session: DatabaseSession;
  readonly display: string;
  /** How long a lease lives without a renewal. */
  readonly leaseTimeMs: number;
  readonly operationTimeoutMs: number;
  readonly now: () => number;
  readonly logger: CoordinatorLogger;
}

export type TakeResult =
  | { readonly kind: 'taken'; readonly lease: HeldLease }
  | { readonly kind: 'held' }
  | { readonly kind: 'parent_missing' };

/**
 * $1 path, $2 parent, $3 owner, $4 holder, $5 ms. A row of our own that no lease here stands for (its answer was lost)
 * is taken over like one that ran out.
 */
const TAKE = `
with parent as materialized (
  select path from shovel_coordinator.entry where path = $2 for no key update
)
insert into shovel_coordinator.lease as held (path, parent, owner, holder, epoch, since, expires_at)
select $1, parent.path, $3, $4::uuid, nextval('shovel_coordinator.lease_epoch'), clock_timestamp(),
       clock_timestamp() + make_interval(secs => $5::double precision / 1000)
  from parent
on conflict (path) do update
   set owner = excluded.owner, holder = excluded.holder, epoch = nextval('shovel_coordinator.lease_epoch'),
       since = clock_timestamp(),
       expires_at = clock_timestamp() + make_interval(secs => $5::double precision / 1000)
 where held.expires_at <= clock_timestamp() or held.holder = excluded.holder
returning epoch`;

const RENEW = `
update shovel_coordinator.lease
   set expires_at = clock_timestamp() + make_interval(secs => $3::double precision / 1000)
 where holder = $1::uuid and epoch = any ($2::bigint[]) and expires_at > clock_timestamp()
returning epoch`;

export class PostgresLeases {
  readonly #options: PostgresLeasesOptions;
  readonly #holder = randomUUID();
  readonly #held = new Map<string, HeldLease>();
  #beat: NodeJS.Timeout | undefined;
  #order: Promise<unknown> = Promise.resolve();

  constructor(options: PostgresLeasesOptions) {
    this.#options = options;
  }

  /** @throws UnreachableError */
  take(path: string, owner: string): Promise<TakeResult> {
    return this.#inOrder(async () => {
      if (this.#held.has(path)) return { kind: 'held' };
      const { session, operationTimeoutMs } = this.#options;
      return await session.run(operationTimeoutMs, (connection) => this.#take(connection, { path, owner }));
    });
  }

  /** @throws UnreachableError */
  async holder(path: string): Promise<LeaseHolder | undefined> {
    const { session, operationTimeoutMs } = this.#options;
    const rows = await session.run(operationTimeoutMs, async (connection) => {
      try {
        return await connection.query(
          `select epoch, owner, floor(extract(epoch from since) * 1000)::bigint as since_ms
             from shovel_coordinator.lease where path = $1 and expires_at > clock_timestamp()`,
          [path],
        );
      } catch (error) {
        if (isMissingSchema(error)) return [];
        throw error;
      }
    });
    const row = rows[0];
    return row && { epoch: BigInt(row.epoch ?? 0), owner: row.owner ?? '', sinceMs: Number(row.since_ms) };
  }

  /** Gives everything back; what can't be reached runs out by itself. */
  async stop(): Promise<void> {
    clearTimeout(this.#beat);
    this.#beat = undefined;
    await Promise.all([...this.#held.values()].map((lease) => lease.release()));
  }

  async #take(
    connection: PostgresConnection,
    { path, owner }: { path: string; owner: string },
  ): Promise<TakeResult> {
    const { display, leaseTimeMs, now } = this.#options;
    const sentAtMs = now();
    let rows: Awaited<ReturnType<PostgresConnection['query']>>;
    try {
      rows = await connection.query(TAKE, [path, parentOf(path), owner, this.#holder, String(leaseTimeMs)]);
    } catch (error) {
      if (isMissingSchema(error)) return { kind: 'parent_missing' };
      if (error instanceof PostgresError) throw error;
      throw coordinatorOutcomeUnknown(display, error);
    }
    const epoch = rows[0]?.epoch;
    if (epoch) return { kind: 'taken', lease: this.#hold(path, { sentAtMs, epoch: BigInt(epoch) }) };
    const parents = await connection.query('select path from shovel_coordinator.entry where path = $1', [
      parentOf(path),
    ]);
    return { kind: parents.length === 0 ? 'parent_missing' : 'held' };
  }

  #hold(path: string, { sentAtMs, epoch }: { sentAtMs: number; epoch: bigint }): HeldLease {
    const { leaseTimeMs, now } = this.#options;
    const lease = new HeldLease(sentAtMs, {
      epoch,
      now,
      sessionTimeMs: leaseTimeMs,
      giveBack: () => this.#inOrder(() => this.#giveBack(path, epoch)),
    });
    const forget = () => {
      if (this.#held.get(path) === lease) this.#held.delete(path);
    };
    this.#held.set(path, lease);
    if (lease.lost.aborted) forget();
    else lease.lost.addEventListener('abort', forget, { once: true });
    this.#beat ??= setTimeout(() => void this.#renew(), leaseTimeMs / 3);
    return lease;
  }

  /** One statement for all leases of this process. After a failure sooner than after a success. */
  async #renew(): Promise<void> {
    const { session, leaseTimeMs, now, logger } = this.#options;
    const leases = [...this.#held.values()];
    this.#beat = undefined;
    if (leases.length === 0) return;
    let sentAtMs = now();
    let nextMs = leaseTimeMs / 3;
    try {
      const epochs = leases.map((lease) => String(lease.epoch));
      const rows = await session.run(leaseTimeMs / 3, (connection) => {
        sentAtMs = now();
        return connection.query(RENEW, [this.#holder, textArray(epochs), String(leaseTimeMs)]);
      });
      const renewed = new Set(rows.map((row) => row.epoch));
      for (const lease of leases) {
        if (renewed.has(String(lease.epoch))) lease.vouch(sentAtMs);
        else lease.lose();
      }
      nextMs -= now() - sentAtMs;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      logger.debug({ code, leases: leases.length }, 'leases were not renewed');
      nextMs = leaseTimeMs / 30;
    }
    if (this.#held.size > 0) this.#beat ??= setTimeout(() => void this.#renew(), Math.max(10, nextMs));
  }

  async #giveBack(path: string, epoch: bigint): Promise<void> {
    const { session, operationTimeoutMs, logger } = this.#options;
    try {
      await session.run(operationTimeoutMs, (connection) =>
        connection.query(
          'delete from shovel_coordinator.lease where path = $1 and holder = $2::uuid and epoch = $3::bigint',
          [path, this.#holder, String(epoch)],
        ),
      );
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      logger.debug({ path, code }, 'a lease could not be given back and runs out by itself');
    }
  }

  /** Taking and giving back never overlap. */
  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#order.then(work);
    this.#order = result.catch(() => undefined);
    return result;
  }
}
