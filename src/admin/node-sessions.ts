/**
 * An administrator's connections to nodes: one per database and address, opened when first needed, opened again when
 * lost. Sessions that hang in the middle of a transaction end by themselves, so that a stopped administrator can't
 * hold the rows of a set for ever; commits are durable whatever the role's default is.
 */
import type { PostgresConnection } from '../postgres/connect.js';
import { requireReadableNode } from '../postgres/node-level.js';
import type { NodeNames } from '../postgres/sql-files.js';
import { type AdminContext, namesOf } from './context.js';

/** Longer than any pause between two statements of ours. */
const IDLE_IN_TRANSACTION = '20s';
/** For whatever sets no shorter one of its own: nothing of ours waits for ever. */
const LOCK_TIMEOUT = '30s';

export class NodeSessions {
  readonly #open: AdminContext['openNode'];
  readonly #names: NodeNames;
  readonly #sessions = new Map<string, Promise<PostgresConnection>>();

  constructor(context: Pick<AdminContext, 'openNode' | 'cluster'>) {
    this.#open = context.openNode;
    this.#names = namesOf(context);
  }

  /** @throws UnreachableError, ConfigurationError; RefusedError `schema_newer`: it asks for a newer release */
  async connection(node: { readonly database: string; readonly dsn: string }): Promise<PostgresConnection> {
    const key = JSON.stringify([node.database, node.dsn]);
    const known = await this.#sessions.get(key)?.catch(() => undefined);
    if (known && !known.lost.aborted) return known;
    const opening = this.#begin(node);
    this.#sessions.set(key, opening);
    return opening;
  }

  async #begin(node: { readonly database: string; readonly dsn: string }): Promise<PostgresConnection> {
    const connection = await this.#open(node.database, { dsn: node.dsn });
    await connection.query(
      `select pg_catalog.set_config('idle_in_transaction_session_timeout', $1, false),
         pg_catalog.set_config('lock_timeout', $2, false),
         case when pg_catalog.current_setting('synchronous_commit') in ('off', 'local')
              then pg_catalog.set_config('synchronous_commit', 'on', false) end`,
      [IDLE_IN_TRANSACTION, LOCK_TIMEOUT],
    );
    try {
      await requireReadableNode(connection, this.#names);
    } catch (error) {
      await connection.end();
      throw error;
    }
    return connection;
  }

  async close(): Promise<void> {
    const sessions = [...this.#sessions.values()];
    this.#sessions.clear();
    await Promise.all(sessions.map(async (session) => (await session.catch(() => undefined))?.end()));
  }
}

/** Runs `work` with sessions of its own and closes them whatever happens. */
export async function withSessions<T>(
  context: Pick<AdminContext, 'openNode' | 'cluster'>,
  work: (sessions: NodeSessions) => Promise<T>,
): Promise<T> {
  const sessions = new NodeSessions(context);
  try {
    return await work(sessions);
  } finally {
    await sessions.close();
  }
}
