/** What the checks of one database are given, and how each is made: short, reading, never waiting for a lock. */
import type { SetDocument } from '../../model/change-records.js';
import type { PostgresConnection } from '../../postgres/connect.js';
import type { NodeNames } from '../../postgres/sql-files.js';
import type { DatabaseIdentity, NodeRow } from '../node-rows.js';
import type { Finding } from './finding.js';
import type { CoordinatorView } from './look-coordinator.js';

export interface Thresholds {
  /** A transaction open for longer is told; default 15 min. */
  readonly transactionMs: number;
  /** A relay silent for longer while mutations are pending; default 1 min. */
  readonly relayMs: number;
  /** Transactions by which a slot or a standby may hold back vacuum; default 10 million. */
  readonly xmins: number;
  /** Updates of a table before advice on wide columns is given; default 1000. */
  readonly updates: number;
}

export interface NodeProbe {
  readonly connection: PostgresConnection;
  readonly names: NodeNames;
  readonly cluster: string;
  /** Of the set file, else of the database itself. */
  readonly database: string;
  readonly identity: DatabaseIdentity;
  /** What stands in it. */
  readonly rows: readonly NodeRow[];
  /** Sets that were decided to be in it, with those that stand in it and are decided. */
  readonly decided: readonly SetDocument[];
  /** Undefined where the coordinator can't be asked. */
  readonly coordinator: CoordinatorView | undefined;
  readonly thresholds: Thresholds;
}

/** A set that captures here, by the database's own document of it. */
export interface SetProbe extends NodeProbe {
  readonly row: NodeRow;
  readonly document: SetDocument;
  /** `example/main` */
  readonly object: string;
}

export type NodeCheck = (probe: NodeProbe) => Promise<readonly Finding[]>;
export type SetCheck = (probe: SetProbe) => Promise<readonly Finding[]>;

/** `3 h`, `15 min`, `20 s` */
export function ageText(seconds: number): string {
  if (seconds >= 2 * 86_400) return `${Math.floor(seconds / 86_400)} d`;
  if (seconds >= 2 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return seconds >= 120 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds)} s`;
}
