/**
 * The port to where set configurations and decisions live. ZooKeeper and PostgreSQL stand behind it and pass
 * one contract suite (test/contract/coordinator.ts). Paths are absolute, `/`-separated, of [a-z0-9_.-] parts.
 *
 * Invariants that every implementation keeps:
 * - `multi` is atomic and linearizable: all of its checks held when all of its writes happened.
 * - A version starts at 0 with `create` and grows by 1 with every `set`; 0 is a version like any other.
 * - Absence is only ever reported by the store, never assumed from an error or an empty answer.
 */

/** Bytes of data in one multi, and so in one entry. */
export const MAX_DATA_BYTES = 1_000_000;

/** What a node holds. `data` is UTF-8 text of at most MAX_DATA_BYTES. */
export interface Entry {
  readonly data: string;
  /** Number of `set`s since it was created. */
  readonly version: number;
}

export type Operation =
  | { readonly kind: 'create'; readonly path: string; readonly data: string }
  | { readonly kind: 'set'; readonly path: string; readonly data: string; readonly version: number }
  | { readonly kind: 'remove'; readonly path: string; readonly version: number }
  | { readonly kind: 'check'; readonly path: string; readonly version: number };

/**
 * How a multi ended when the store answered. `conflict` names the first operation that did not hold. Where the
 * answer was lost the call throws an UnreachableError with code `coordinator_outcome_unknown`: it may or may not
 * have happened, and only a compare-and-set can tell. Where it surely did not happen the code is
 * `coordinator_unreachable`.
 */
export type MultiResult =
  | { readonly kind: 'done' }
  | {
      readonly kind: 'conflict';
      readonly index: number;
      readonly reason: 'exists' | 'missing' | 'version' | 'not_empty';
    };

export interface Lease {
  /** Grows with every holder of this lease, over all time. */
  readonly epoch: bigint;
  /** Aborts as soon as the lease can no longer be vouched for, before it can pass to another; also on `release`. */
  readonly lost: AbortSignal;
  /** Gives it back; where the store can't be reached it runs out by itself. Never throws for that. */
  release(): Promise<void>;
}

export interface LeaseHolder {
  readonly epoch: bigint;
  /** What the holder said of itself, e.g. `host:pid`. */
  readonly owner: string;
  readonly sinceMs: number;
}

export interface Coordinator {
  /** For people: kind and address, without credentials. */
  readonly display: string;

  /** Connects. @throws UnreachableError after `connectTimeoutMs`. */
  start(): Promise<void>;
  /** Waits until nothing is under way; may be called twice, or before start. Leases are given up. */
  stop(): Promise<void>;

  /**
   * Makes every later read of this connection see all that was decided before the call. Without it a read may be
   * stale (ZooKeeper followers lag).
   */
  sync(): Promise<void>;
  /** `undefined` only where the store said that there is no such node. */
  read(path: string): Promise<Entry | undefined>;
  /** Names of the children, sorted; empty for a node without any; undefined where the node itself is missing. */
  list(path: string): Promise<readonly string[] | undefined>;
  /**
   * Sizes are checked beforehand: more than MAX_DATA_BYTES in one multi is a RefusedError. A parent must exist.
   * Where the place itself is missing (chroot, schema), a multi that creates an entry at the top makes it first.
   */
  multi(operations: readonly Operation[]): Promise<MultiResult>;

  /**
   * Calls `changed` after every change of the node's data, its creation or removal, and after every reconnect
   * (changes may have been missed): a hint to read again, never the change itself. Resolves as soon as it is armed,
   * so that what is read after that can't be missed; ends with the signal.
   */
  watch(path: string, changed: () => void, signal: AbortSignal): Promise<void>;

  /**
   * Takes the lease at `path` (its parent must exist), or returns undefined when another holds it now.
   * `owner` is shown to people. Leases are no entries: `read` and `list` don't show them, yet the parent can't be
   * removed while one is held. The lease ends with `release`, with `stop`, or when this process is silent for
   * longer than the implementation's session time.
   */
  tryLease(path: string, owner: string): Promise<Lease | undefined>;
  leaseHolder(path: string): Promise<LeaseHolder | undefined>;
}
