/** The node that a relay serves: how it is reached, whether the set is still its own, and what it says of itself. */
import { RefusedError, ShovelError } from '../errors.js';
import type { DatabaseConfiguration } from '../model/set-configuration.js';
import { nodeOf } from './follow-node.js';
import { hasOwner } from './head.js';
import { type NodeSession, openNodeSession } from './node-session.js';
import type { RelayOptions } from './relay-options.js';
import type { LogNames, RelaySet } from './relay-set.js';

type Options = Pick<RelayOptions, 'set' | 'database' | 'feed' | 'once' | 'openNode'>;

export class RelayNode {
  readonly #options: Options;
  readonly #log: LogNames;

  constructor(options: Options, log: LogNames) {
    this.#options = options;
    this.#log = log;
  }

  /** @throws RefusedError `database_not_in_set` */
  get own(): RelaySet['nodes'][number] {
    const { set, database } = this.#options;
    const node = set.nodes.find((one) => one.database === database);
    if (node === undefined) {
      throw new RefusedError('database_not_in_set', `Set ${set.name} has no database ${database}.`, {
        hint: `Its databases are ${set.nodes.map((one) => one.database).join(', ')}.`,
      });
    }
    return node;
  }

  /** How it is reached by the newest version that is known. */
  get database(): DatabaseConfiguration | undefined {
    const { feed, set, database } = this.#options;
    return feed?.decided?.configuration.databases[database] ?? set.configuration.databases[database];
  }

  /** The newest version that is decided has it no more. */
  isOut(): boolean {
    const { feed } = this.#options;
    return feed !== undefined && nodeOf(feed.decided, this.own.nodeId) === undefined;
  }

  /** Where the set is not in it, it has lost that only where nothing says that it is to have it. */
  mayBeGone(): boolean {
    return this.#options.once || this.#options.feed === undefined || this.isOut();
  }

  /** Undefined where the set is not in it. */
  readonly open = (): Promise<NodeSession | undefined> => {
    const { openNode, database } = this.#options;
    return openNodeSession({
      openNode: () => openNode(this.database),
      database,
      log: this.#log,
      nodeId: this.own.nodeId,
    });
  };

  /** Undefined where it can't be asked. */
  async version(): Promise<number | 'gone' | undefined> {
    try {
      const session = await this.open();
      if (session === undefined) return 'gone';
      await session.connection.end();
      return session.facts.version;
    } catch {
      return undefined;
    }
  }

  /**
   * Whether an epoch ended without another relay: by `cluster upgrade`, where this release may still be new enough.
   * @throws RefusedError `schema_newer` where it is not
   */
  async isFree(): Promise<boolean> {
    try {
      const session = await this.open();
      if (session === undefined) return false;
      try {
        return !(await hasOwner(session.connection, this.#log));
      } finally {
        await session.connection.end();
      }
    } catch (error) {
      if (error instanceof ShovelError && error.retryable) return false;
      throw error;
    }
  }
}
