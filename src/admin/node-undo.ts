/**
 * What a change does on a node to take itself, or another that nobody finishes, back, and to tidy up after the
 * decision: abort, takeover, unground, clean, forget (see NodeAction).
 */
import { type KeptTable, removeCapture } from '../capture/remove.js';
import { ConfigurationError, RefusedError } from '../errors.js';
import { decodeCapturedTable } from '../model/captured-table.js';
import type { NodeAnswer } from '../model/change-effects.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { dropNodeSchema } from '../postgres/migrate.js';
import { nodeSchemaExists } from '../postgres/node-level.js';
import { rollbackPrepared } from '../postgres/prepared-transaction.js';
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';
import { PostgresError } from '../postgres/sqlstate.js';
import { transaction } from '../postgres/transaction.js';
import { GIVE_UP_MS, namesOf } from './context.js';
import { behindFence } from './node-fence.js';
import { groundNode, type NodeTask } from './node-install.js';
import { deleteNodeRow, gidOf, readNodeRows } from './node-rows.js';

/** One wait for a row that somebody holds; in between it is asked who that is. */
const ROW_TIMEOUT_MS = 1_000;

export async function abortNode(task: NodeTask): Promise<NodeAnswer> {
  const { context, connection, node, intent, fence } = task;
  const names = namesOf(context);
  const schema = quoteIdentifier(names.schema);
  const gid = gidOf({ cluster: context.cluster, intent: intent.intent, nodeId: node.nodeId });
  return patientWithRows(task, async () => {
    await rollbackPrepared(connection, { gid, role: names.owner });
    if (!(await nodeSchemaExists(connection, names))) return { kind: 'absent' };
    // Who prepares holds this row from before until after, so nothing can be prepared once it is ours.
    await transaction(connection, async () => {
      await connection.script(`set local lock_timeout = '${ROW_TIMEOUT_MS}ms'`);
      await connection.query(
        `update ${schema}.intent i set state = case when i.intent_id = $2 then i.state else 'aborted' end where i.intent_id = $1`,
        [intent.intent, fence],
      );
      await connection.query(`delete from ${schema}.staged_version s where s.intent_id = $1`, [
        intent.intent,
      ]);
    });
    return { kind: 'done' };
  });
}

export async function takeOverNode(task: NodeTask): Promise<NodeAnswer> {
  const { context, connection, intent, fence } = task;
  const schema = quoteIdentifier(namesOf(context).schema);
  if (!(await nodeSchemaExists(connection, namesOf(context)))) return { kind: 'absent' };
  return patientWithRows(task, async () => {
    await transaction(behindFence(connection, { names: namesOf(context), fence }), async () => {
      await connection.script(`set local lock_timeout = '${ROW_TIMEOUT_MS}ms'`);
      await connection.query(
        `update ${schema}.intent i set state = 'aborted' where i.set_name = $1 and i.intent_id <> $2 and i.state = 'open'`,
        [intent.set, fence],
      );
    });
    return { kind: 'done' };
  });
}

/** Again and again while somebody holds our rows; sessions that hang in a transaction there are ended. */
async function patientWithRows(
  { context, connection, intent, node }: NodeTask,
  work: () => Promise<NodeAnswer>,
): Promise<NodeAnswer> {
  const begunMs = context.clock.now();
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const held = error instanceof PostgresError && error.retryable;
      if (!held) throw error;
      if (context.clock.now() - begunMs > (context.giveUpMs ?? GIVE_UP_MS)) {
        throw new RefusedError(
          'set_busy',
          `The rows of set ${intent.set} in database ${node.database} are held by another session.`,
          { hint: 'Try again when it has ended: see pg_locks for schema shovel.', cause: error },
        );
      }
      await endHangingSessions(connection, namesOf(context));
      await context.clock.sleep(20 + Math.random() * 100);
    }
  }
}

/** Ours alone, by the name that they carry, and only those that have done nothing for seconds within a transaction. */
async function endHangingSessions(connection: PostgresConnection, names: NodeNames): Promise<void> {
  await connection
    .query(
      `select pg_catalog.pg_terminate_backend(a.pid) from pg_catalog.pg_stat_activity a
       where a.state = 'idle in transaction' and a.application_name = 'shovel admin'
         and a.state_change < pg_catalog.clock_timestamp() - interval '5 seconds' and a.pid <> pg_catalog.pg_backend_pid()
         and exists (select from pg_catalog.pg_locks l where l.pid = a.pid and l.granted
           and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
           and l.relation = pg_catalog.to_regclass($1)::oid)`,
      [`${quoteIdentifier(names.schema)}.intent`],
    )
    .catch((error: unknown) => {
      // Without the right to end them there is still their own time limit.
      if (!(error instanceof Error && 'code' in error && error.code === 'privilege_missing')) throw error;
    });
}

/** Only where no other change and no set relies on it: `fenced` says that somebody does. */
export async function ungroundNode({
  context,
  connection,
  node,
  intent,
  fence,
}: NodeTask): Promise<NodeAnswer> {
  const names = namesOf(context);
  if (!(await nodeSchemaExists(connection, names))) return { kind: 'absent' };
  // A prepared transaction that nobody knows anything of: there is no set to take away.
  if (intent.set === '') return { kind: 'done' };
  const keep = node.role === 'stay' ? await capturedTables({ context, connection, intent }) : [];
  // Without tables to keep the log itself would go.
  if (node.role === 'stay' && keep.length === 0) return { kind: 'done' };
  const upTo = node.role === 'stay' ? (intent.base?.version ?? 0) : 0;
  await removeCapture(behindFence(connection, { names, fence, alone: { set: intent.set, upTo } }), {
    ...removal({ context }),
    set: intent.set,
    keep,
  });
  return { kind: 'done' };
}

function removal({ context }: Pick<NodeTask, 'context'>) {
  return {
    names: namesOf(context),
    lockTimeoutMs: context.lockTimeoutMs,
    giveUpMs: context.giveUpMs ?? GIVE_UP_MS,
    waiting: context.say,
  };
}

export async function cleanNode(task: NodeTask): Promise<NodeAnswer> {
  const { context, connection, node, intent, fence } = task;
  const names = namesOf(context);
  if (!(await nodeSchemaExists(connection, names))) return { kind: 'absent' };
  const schema = quoteIdentifier(names.schema);
  const behind = behindFence(connection, { names, fence });
  if (node.role === 'leave') {
    const [row] = await readNodeRows(connection, { names, set: intent.set });
    if (row && row.version > intent.to) return { kind: 'done' };
    const alone = behindFence(connection, { names, fence, alone: { set: intent.set, upTo: intent.to } });
    await removeCapture(alone, { ...removal(task), set: intent.set, keep: [] });
    await transaction(behind, () => deleteNodeRow(connection, { names, set: intent.set, upTo: intent.to }));
    return { kind: 'done' };
  }
  // A decided version stands on its ground, whoever took some of it away meanwhile. What DDL did to its tables since
  // is drift, and no reason to leave the rest untidy.
  await groundNode(task).catch((error: unknown) => {
    if (!(error instanceof ConfigurationError)) throw error;
    context.logger.warn(
      { set: intent.set, database: node.database, error },
      'the tables of the set have changed',
    );
  });
  await removeCapture(behind, { ...removal(task), set: intent.set, keep: await capturedTables(task) });
  await transaction(behind, async () => {
    await connection.script(`set local role ${quoteIdentifier(names.owner)}`);
    for (const sequence of await unusedPositions(connection, { names, set: intent.set })) {
      await connection.script(`drop sequence if exists ${schema}.${quoteIdentifier(sequence)}`);
    }
  });
  return { kind: 'done' };
}

/** What the decided version captures here, as it was made: the catalog may have changed since. */
async function capturedTables({
  context,
  connection,
  intent,
}: Pick<NodeTask, 'context' | 'connection' | 'intent'>): Promise<readonly KeptTable[]> {
  const rows = await connection.query(
    `select c.relid, c.definition from ${quoteIdentifier(namesOf(context).schema)}.captured_table c
     where c.set_name = $1 and c.set_version = (
       select r.set_version from ${quoteIdentifier(namesOf(context).schema)}.replication_set r where r.set_name = $1)
     order by c.rel`,
    [intent.set],
  );
  return rows.map((row) => ({
    relid: Number(row.relid),
    captured: decodeCapturedTable(row.definition ?? ''),
  }));
}

/** Position sequences of streams that the set has no longer. */
async function unusedPositions(
  connection: PostgresConnection,
  { names, set }: { names: NodeNames; set: string },
): Promise<readonly string[]> {
  const rows = await connection.query(
    `select c.relname from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where n.nspname = $1 and c.relkind = 'S' and c.relname ~ $2
       and not exists (select from ${quoteIdentifier(names.schema)}.stream s where s.position_name = c.relname)`,
    [names.schema, `^position_${set}_[0-9a-f]{8}$`],
  );
  return rows.map((row) => row.relname ?? '');
}

/** With the last set and the last change the schema goes too. */
export async function forgetNode({ context, connection, intent, fence }: NodeTask): Promise<NodeAnswer> {
  const names = namesOf(context);
  const schema = quoteIdentifier(names.schema);
  if (!(await nodeSchemaExists(connection, names))) return { kind: 'absent' };
  await transaction(connection, async () => {
    await connection.query(`delete from ${schema}.intent i where i.intent_id in ($1, $2)`, [
      intent.intent,
      fence,
    ]);
    await connection.query(`delete from ${schema}.staged_version s where s.intent_id = $1`, [intent.intent]);
  });
  const left = await connection.query(
    `select exists (select from ${schema}.replication_set) or exists (select from ${schema}.intent) as used`,
  );
  if (left[0]?.used === 'f')
    await dropNodeSchema(connection, { names, lockTimeoutMs: context.lockTimeoutMs });
  return { kind: 'done' };
}
