/** How a kind of service becomes processes: what every recipe gives, and what it is given. */

import type { Program } from '../../../src/postgres/embedded/launch.js';

/** One process, ready to be launched. */
export interface ServerPlan {
  /** `member-1`, `member-2`, …: also the name in the state. */
  readonly name: string;
  readonly program: Program;
  /** Absolute path of its log. */
  readonly log: string;
  /** Whether it serves; one exchange of its own protocol, at most 250 ms. Never rejects. */
  probe(): Promise<boolean>;
}

interface PlanOptions {
  /** As many as the service takes: the members' client ports and what else they need, member by member. */
  readonly ports: readonly number[];
  /** Settings of the server on top of the recipe's own, in its own words. */
  readonly settings: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** Everything that had to be installed is. */
export interface Recipe {
  /**
   * Writes configuration and first data into `directory` (whose path marks the processes) and says what to launch.
   * Where the data is there already it is kept.
   */
  plan(directory: string, options: PlanOptions): Promise<readonly ServerPlan[]>;
}
