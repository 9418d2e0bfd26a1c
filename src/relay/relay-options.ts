/** What a relay of one set and node is given, and what it says of itself when it has ended. */
import type { Coordinator } from '../coordinator/coordinator.js';
import type { ShovelError } from '../errors.js';
import type { DatabaseConfiguration, StreamConfiguration } from '../model/set-configuration.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/logger.js';
import type { Publisher } from '../streams/publisher.js';
import type { DatabaseWatch } from './database-watch.js';
import type { ChunkLimits } from './log-rows.js';
import type { PaceOptions } from './pace.js';
import type { RelaySet } from './relay-set.js';
import type { SetFeed } from './set-feed.js';
import type { LeaseShare } from './share-leases.js';
import type { StreamStats } from './stream-state.js';
import type { TrimLimits } from './trim.js';

export interface RelayTuning {
  readonly pace?: PaceOptions;
  readonly trim?: TrimLimits;
  /** Default 1 s. */
  readonly trimEveryMs?: number;
  /** Default 1 min. */
  readonly limitsEveryMs?: number;
  /** How often capture is looked at; default 5 min. */
  readonly captureEveryMs?: number;
  readonly chunks?: ChunkLimits;
  /** How long the batch in hand may go on after a stop; default 3 s. */
  readonly graceMs?: number;
  /** `once`: how long a lease is waited for, and errors are tried again; default 30 s. */
  readonly giveUpMs?: number;
}

export interface RelayOptions {
  readonly cluster: string;
  /** As decided when the relay is made. */
  readonly set: RelaySet;
  readonly database: string;
  /** What is decided later; none: the relay learns of a new version from the node's tickets. */
  readonly feed?: SetFeed;
  /** Started. */
  readonly coordinator: Coordinator;
  /** A new connection to the node each time; undefined where no version is known that has its address. */
  readonly openNode: (configuration: DatabaseConfiguration | undefined) => Promise<PostgresConnection>;
  /** A new publisher of the stream each time, not started. `fill` was called before. */
  readonly createPublisher: (stream: string, configuration: StreamConfiguration) => Promise<Publisher>;
  /** Fills in the variables of a stream's texts; default: they hold none. */
  readonly fill?: (stream: string, configuration: StreamConfiguration) => StreamConfiguration;
  /** Who of several relays has which sets; none: whoever comes first keeps them. */
  readonly share?: LeaseShare;
  /** Shared by all relays of the database at that address; none: one of its own, which hears no bell. */
  readonly watch?: (configuration: DatabaseConfiguration | undefined) => DatabaseWatch;
  /** Publish what has committed by now, then end. */
  readonly once: boolean;
  /** Publish again from this ticket on. */
  readonly fromTicket?: bigint;
  /** Shown to people, e.g. `host:pid`. */
  readonly owner: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends the relay within 10 s, at the end of a batch where that comes soon enough. */
  readonly signal: AbortSignal;
  readonly stats?: (stats: StreamStats) => void;
  /** Called before and after effects on the node that tests let it die at. */
  readonly failpoint?: (name: string) => Promise<void>;
  readonly tuning?: RelayTuning;
}

export interface RelaySummary {
  readonly set: string;
  readonly database: string;
  /** `dropped`: the node no longer holds the set. */
  readonly ended: 'stopped' | 'published' | 'dropped';
  readonly streams: readonly StreamStats[];
  /** Why streams failed; with `once` its exit code is the command's. */
  readonly error: ShovelError | undefined;
}

/** How long leases are waited for and errors tried again where a relay is to come to an end by itself. */
export const GIVE_UP_MS = 30_000;
