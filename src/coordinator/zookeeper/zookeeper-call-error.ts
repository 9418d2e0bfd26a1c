/** How a call to ZooKeeper can fail, for the files of this folder; it never leaves them. */

/** ZooKeeper's own numbers of those errors that are told apart. */
export const ZK = {
  ok: 0,
  runtimeInconsistency: -2,
  connectionLoss: -4,
  noNode: -101,
  noAuth: -102,
  badVersion: -103,
  nodeExists: -110,
  notEmpty: -111,
  sessionExpired: -112,
  invalidAcl: -114,
  authFailed: -115,
} as const;

/** Never leaves the coordinator. */
export class ZooKeeperCallError extends Error {
  readonly kind: 'unsent' | 'lost' | 'answered';
  /** One of ZK's, for `answered`. */
  readonly code: number;
  constructor(kind: 'unsent' | 'lost' | 'answered', code: number) {
    super(`${kind} ${code}`);
    this.name = 'ZooKeeperCallError';
    this.kind = kind;
    this.code = code;
  }
}

/** Outcome of a transaction that ZooKeeper answered: the codes of its operations, all 0 where it was done. */
export type TransactionCodes = readonly number[];
