/** What processes are put together from: decided by the command line, or by a program that uses the library. */
import type { CoordinatorAddress } from '../coordinator/coordinator-url.js';
import type { Logger } from '../runtime/logger.js';

/** Names to values, as in an environment. */
export type Variables = Readonly<Record<string, string | undefined>>;

export interface AppSettings {
  readonly cluster: string;
  readonly coordinator: CoordinatorAddress;
  /** How long a statement of ours waits for a lock. */
  readonly lockTimeoutMs: number;
  /** After so long without a sign of this process its leases pass on, ms. Default 15,000. */
  readonly leaseTimeMs?: number;
  /** What `${NAME}` in set files stands for. */
  readonly variables: Variables;
  readonly logger: Logger;
  /** Aborts when the process is told to stop. */
  readonly signal: AbortSignal;
}
