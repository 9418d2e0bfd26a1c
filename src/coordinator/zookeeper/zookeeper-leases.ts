/**
 * Leases at ZooKeeper. A lease is an ephemeral node beside the entries, named `~name` so that no entry can meet it;
 * its epoch is the number of the transaction that created it, which grows over all time of the ensemble and needs
 * no node of its own. It is vouched for by transactions through the leader: pings that a follower answers say
 * nothing about a leader that has lost sight of it (docs/decisions/0011).
 *
 * An ephemeral node of this session that no lease here stands for (an answer was lost, a lease was given up while
 * ZooKeeper was away) is an orphan: it is removed when the session is connected again, or taken over.
 */
import type { Stat } from 'node-zookeeper-client';
import type { LeaseHolder } from '../coordinator.js';
import type { CoordinatorLogger } from '../coordinator-logger.js';
import { HeldLease } from '../held-lease.js';
import { nameOf, parentOf } from '../operations.js';
import { ZK, ZooKeeperCallError } from './zookeeper-call-error.js';
import type { ZooKeeperSession } from './zookeeper-session.js';

/** Marks the names of leases; no part of a port's path can begin with it. */
export const LEASE_MARK = '~';

export type TakeResult =
  | { readonly kind: 'taken'; readonly lease: HeldLease }
  | { readonly kind: 'held' }
  | { readonly kind: 'parent_missing' }
  | { readonly kind: 'refused'; readonly code: number };

export interface ZooKeeperLeasesOptions {
  readonly operationTimeoutMs: number;
  readonly now: () => number;
  readonly logger: CoordinatorLogger;
}

interface Held {
  readonly lease: HeldLease;
  readonly session: ZooKeeperSession;
}

export class ZooKeeperLeases {
  readonly #options: ZooKeeperLeasesOptions;
  readonly #held = new Map<string, Held>();
  readonly #orphans = new Set<string>();
  #beat: NodeJS.Timeout | undefined;
  #order: Promise<unknown> = Promise.resolve();

  constructor(options: ZooKeeperLeasesOptions) {
    this.#options = options;
  }

  /** @throws ZooKeeperCallError */
  take(path: string, options: { owner: string; session: ZooKeeperSession }): Promise<TakeResult> {
    return this.#inOrder(() => this.#take(path, options));
  }

  /** @throws ZooKeeperCallError */
  async holder(path: string, session: ZooKeeperSession): Promise<LeaseHolder | undefined> {
    const found = await session.get(leaseNode(path), this.#options.operationTimeoutMs);
    if (!found) return undefined;
    return {
      epoch: epochOf(found.stat),
      owner: found.data.toString('utf8'),
      sinceMs: Number(found.stat.ctime.readBigInt64BE()),
    };
  }

  /** Connected, for the first time or again: what is held is vouched for at once, orphans are removed. */
  onConnected(session: ZooKeeperSession): void {
    if (this.#held.size > 0) this.#vouch();
    if (this.#orphans.size > 0) void this.#inOrder(() => this.#removeOrphans(session));
  }

  /** The session is no more: its leases are lost, and its nodes go by themselves. */
  onEnded(session: ZooKeeperSession): void {
    this.#orphans.clear();
    for (const held of [...this.#held.values()]) if (held.session === session) held.lease.lose();
  }

  /** The nodes go with the session, which the caller closes next. */
  loseAll(): void {
    for (const { lease } of [...this.#held.values()]) lease.lose();
    this.#orphans.clear();
    clearTimeout(this.#beat);
    this.#beat = undefined;
  }

  async #take(
    path: string,
    { owner, session }: { owner: string; session: ZooKeeperSession },
  ): Promise<TakeResult> {
    if (this.#held.has(path)) return { kind: 'held' };
    const { operationTimeoutMs, now } = this.#options;
    const node = leaseNode(path);
    const acls = session.acls;
    this.#orphans.add(path);
    const sentAtMs = now();
    const [created] = await session.transaction(1, operationTimeoutMs, (transaction) =>
      transaction.create(node, owner, { acls, ephemeral: true }),
    );
    if (created === ZK.nodeExists) {
      const found = await session.get(node, operationTimeoutMs);
      if (!found || !session.owns(found.stat)) {
        this.#orphans.delete(path);
        return { kind: 'held' };
      }
      const retaken = await session.transaction(2, operationTimeoutMs, (transaction) => {
        transaction.remove(node, found.stat.version);
        transaction.create(node, owner, { acls, ephemeral: true });
      });
      if (retaken.some((code) => code !== ZK.ok)) return { kind: 'held' };
    } else if (created !== ZK.ok) {
      this.#orphans.delete(path);
      if (created === ZK.noNode) return { kind: 'parent_missing' };
      return { kind: 'refused', code: created ?? ZK.runtimeInconsistency };
    }
    const found = await session.get(node, operationTimeoutMs);
    if (!found || !session.owns(found.stat)) return { kind: 'held' };
    this.#orphans.delete(path);
    return { kind: 'taken', lease: this.#hold(path, { session, sentAtMs, epoch: epochOf(found.stat) }) };
  }

  #hold(
    path: string,
    { session, sentAtMs, epoch }: { session: ZooKeeperSession; sentAtMs: number; epoch: bigint },
  ): HeldLease {
    const lease = new HeldLease(sentAtMs, {
      epoch,
      sessionTimeMs: session.sessionTimeMs,
      now: this.#options.now,
      giveBack: () => this.#inOrder(() => this.#removeOrphans(session)),
    });
    this.#held.set(path, { lease, session });
    const forget = () => {
      this.#held.delete(path);
      this.#orphans.add(path);
      if (session.connected) void this.#inOrder(() => this.#removeOrphans(session));
    };
    if (lease.lost.aborted) forget();
    else lease.lost.addEventListener('abort', forget, { once: true });
    this.#beat ??= this.#nextBeat(session);
    return lease;
  }

  #nextBeat(session: ZooKeeperSession): NodeJS.Timeout {
    return setTimeout(() => this.#vouch(), session.sessionTimeMs / 6);
  }

  /** One transaction through the leader vouches for every lease of its session. */
  #vouch(): void {
    clearTimeout(this.#beat);
    this.#beat = undefined;
    const sessions = new Set([...this.#held.values()].map(({ session }) => session));
    for (const session of sessions) {
      this.#beat = this.#nextBeat(session);
      const sentAtMs = this.#options.now();
      session.sync((session.sessionTimeMs * 2) / 3).then(
        () => {
          for (const held of this.#held.values()) if (held.session === session) held.lease.vouch(sentAtMs);
        },
        (error: unknown) => {
          const why = error instanceof ZooKeeperCallError ? error.kind : 'unknown';
          this.#options.logger.debug({ why, leases: this.#held.size }, 'a lease was not vouched for');
        },
      );
    }
  }

  /** Best effort: what can't be removed now goes at the next connection, or with the session. */
  async #removeOrphans(session: ZooKeeperSession): Promise<void> {
    const { operationTimeoutMs, logger } = this.#options;
    for (const path of [...this.#orphans]) {
      try {
        const found = await session.get(leaseNode(path), operationTimeoutMs);
        if (found && session.owns(found.stat)) {
          await session.transaction(1, operationTimeoutMs, (transaction) =>
            transaction.remove(leaseNode(path), found.stat.version),
          );
        }
        this.#orphans.delete(path);
      } catch (error) {
        const why = error instanceof ZooKeeperCallError ? error.kind : 'unknown';
        logger.debug({ path, why }, 'a lease could not be given back and runs out by itself');
        return;
      }
    }
  }

  /** Taking and removing never overlap. */
  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#order.then(work);
    this.#order = result.catch(() => undefined);
    return result;
  }
}

function leaseNode(path: string): string {
  const parent = parentOf(path);
  return `${parent === '/' ? '' : parent}/${LEASE_MARK}${nameOf(path)}`;
}

function epochOf(stat: Stat): bigint {
  return stat.czxid.readBigInt64BE();
}
