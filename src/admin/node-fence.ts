/**
 * The fence of a change in a node: a row of `intent` that says open while nobody has taken the work over. Every
 * transaction that changes a node on behalf of a change starts by looking at it and holds it until it ends, so that an
 * administrator who slept through a take-over can do nothing any more.
 */
import { RefusedError } from '../errors.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';
import { PostgresError, SQLSTATE } from '../postgres/sqlstate.js';

export interface Fence {
  readonly names: NodeNames;
  /** Id of the row. */
  readonly fence: string;
  /**
   * With it the fence also wants to be the only open one of that set, the set to have no row here of a later version
   * than `upTo`, and nobody to begin anything meanwhile: for taking away what others might come to rely on.
   */
  readonly alone?: { readonly set: string; readonly upTo: number };
}

/** Thrown inside of a transaction whose fence does not hold. */
export class FenceError extends RefusedError {
  constructor(database: string) {
    super('change_taken_over', `Another administrator has taken over the change in ${database}.`, {
      hint: 'Look at the set with shovel set inspect, then try again.',
    });
  }
}

/** Inside of a transaction, or at its `begin`, which goes along in the first message. @throws FenceError */
export async function holdFence(
  connection: PostgresConnection,
  fence: Fence,
  begin: readonly 'begin'[] = [],
): Promise<void> {
  try {
    await takeFence(connection, fence, begin);
  } catch (error) {
    // Somebody took the schema away with all that was in it.
    const gone =
      error instanceof PostgresError &&
      (error.sqlstate === SQLSTATE.undefinedTable || error.sqlstate === SQLSTATE.invalidSchema);
    throw gone ? new FenceError(connection.display) : error;
  }
}

async function takeFence(
  connection: PostgresConnection,
  fence: Fence,
  begin: readonly 'begin'[],
): Promise<void> {
  const schema = quoteIdentifier(fence.names.schema);
  const lock = fence.alone === undefined ? [] : [`lock table ${schema}.intent in share row exclusive mode`];
  await connection.script([...begin, `set local lock_timeout = '1s'`, ...lock].join('; '));
  const rows = await connection.query(
    `select i.state from ${schema}.intent i where i.intent_id = $1 for share`,
    [fence.fence],
  );
  if (rows[0]?.state !== 'open') throw new FenceError(connection.display);
  if (fence.alone === undefined) return;
  const others = await connection.query(
    `select 1 as other from ${schema}.intent i where i.set_name = $1 and i.state = 'open' and i.intent_id <> $2
     union all select 1 from ${schema}.replication_set r where r.set_name = $1 and r.set_version > $3`,
    [fence.alone.set, fence.fence, String(fence.alone.upTo)],
  );
  if (others.length > 0) throw new FenceError(connection.display);
}

/** A connection whose every transaction begins by taking the fence. */
export function behindFence(connection: PostgresConnection, fence: Fence): PostgresConnection {
  return {
    ...connection,
    async script(text) {
      if (text !== 'begin') {
        await connection.script(text);
        return;
      }
      try {
        await holdFence(connection, fence, [text]);
      } catch (error) {
        await connection.script('rollback').catch(() => undefined);
        throw error;
      }
    },
  };
}
