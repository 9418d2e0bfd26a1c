/** What every administrative function is given. Built in src/app; nothing here is global. */
import type { Coordinator } from '../coordinator/coordinator.js';
import { type ClusterPaths, clusterPaths } from '../model/change-paths.js';
import type { DatabaseConfiguration } from '../model/set-configuration.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { type NodeNames, nodeNames } from '../postgres/sql-files.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/logger.js';

export interface AdminContext {
  readonly cluster: string;
  /** Started. */
  readonly coordinator: Coordinator;
  /** Fills in `${NAME}`; application_name `shovel admin`. */
  readonly openNode: (database: string, configuration: DatabaseConfiguration) => Promise<PostgresConnection>;
  readonly logger: Logger;
  /** How long a statement waits for a lock of a user's table before it stands back; default of the command line: 40. */
  readonly lockTimeoutMs: number;
  /** How long a busy table is tried in all; default 30,000. */
  readonly giveUpMs?: number;
  readonly clock: Clock;
  /** Progress for people, on standard error. */
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
  /** Shown to other administrators, e.g. `host:pid`; default `shovel`. */
  readonly owner?: string;
  /** Called before and after every effect on a node or the coordinator; tests kill the process there. */
  readonly failpoint?: (name: string) => Promise<void>;
}

/** What it takes to read from a cluster. */
export type ClusterReader = Pick<AdminContext, 'cluster' | 'coordinator'>;

export const GIVE_UP_MS = 30_000;

export function pathsOf(context: Pick<AdminContext, 'cluster'>): ClusterPaths {
  return clusterPaths(context.cluster);
}

export function namesOf(context: Pick<AdminContext, 'cluster'>): NodeNames {
  return nodeNames(context.cluster);
}

export function ownerOf(context: Pick<AdminContext, 'owner'>): string {
  return context.owner ?? 'shovel';
}

/** Milliseconds since the epoch as ISO 8601. */
export function isoTime(context: Pick<AdminContext, 'clock'>): string {
  return new Date(context.clock.now()).toISOString();
}
