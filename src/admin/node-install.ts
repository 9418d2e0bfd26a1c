/**
 * What a change does on a node on its way to the decision and right after it: open, ground, prepare, commit, apply
 * (see NodeAction). Everything here may be cut off at any point and be tried again, or be taken back by node-undo.ts.
 */
import { activationStatements } from '../capture/activate.js';
import { describeTables } from '../capture/describe.js';
import { planGround, prepareGround } from '../capture/ground.js';
import { readStandingTables } from '../capture/renumber.js';
import type { TableDescription } from '../capture/table-description.js';
import { RefusedError } from '../errors.js';
import type { NodeAnswer } from '../model/change-effects.js';
import type { ChangeNode, Intent, SetDocument } from '../model/change-records.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { ensureNodeSchema } from '../postgres/migrate.js';
import { nodeSchemaExists } from '../postgres/node-level.js';
import {
  commitPrepared,
  maxPreparedTransactions,
  prepareTransaction,
} from '../postgres/prepared-transaction.js';
import { ensureRoles } from '../postgres/roles.js';
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';
import { PostgresError, SQLSTATE } from '../postgres/sqlstate.js';
import { transaction } from '../postgres/transaction.js';
import { withRetries } from '../postgres/with-retries.js';
import { sha256Hex } from '../runtime/hash.js';
import { catalogError } from './catalog-error.js';
import { type AdminContext, GIVE_UP_MS, namesOf } from './context.js';
import { behindFence, holdFence } from './node-fence.js';
import { gidOf, insertNodeRow, type NodeWrite, readIdentity, updateNodeRow } from './node-rows.js';

/** One node's part in one step of a change. */
export interface NodeTask {
  readonly context: AdminContext;
  readonly connection: PostgresConnection;
  readonly node: ChangeNode;
  readonly intent: Intent;
  /** `intent.document`, decoded when it is needed: what is only taken back may have none. */
  readonly document: () => SetDocument;
  readonly fence: string;
}

/** How long our own rows are waited for: they block nobody, and another administrator needs a moment. */
const OWN_ROWS_TIMEOUT = '5s';

export async function openNodeFence({
  context,
  connection,
  node,
  intent,
  fence,
}: NodeTask): Promise<NodeAnswer> {
  const names = namesOf(context);
  const own = fence === intent.intent;
  return withRetries(async () => {
    if (own && node.role === 'join') await ensureNodeSchema(connection, names);
    else if (own && node.role !== 'leave') await ensureRoles(connection, names);
    if (!(await nodeSchemaExists(connection, names))) return { kind: 'absent' };
    await connection.query(
      `insert into ${quoteIdentifier(names.schema)}.intent (intent_id, set_name, state) values ($1, $2, 'open')
       on conflict (intent_id) do nothing`,
      [fence, intent.set],
    );
    return { kind: 'done' };
  });
}

export async function groundNode(task: NodeTask): Promise<NodeAnswer> {
  const { context, connection, fence } = task;
  const behind = behindFence(connection, { names: namesOf(context), fence });
  await groundTables(task, behind);
  return { kind: 'done' };
}

/**
 * Partitions come and go, and another administrator may make the same log and functions at this moment: every try
 * looks again at what there is and what is missing.
 */
function groundTables(task: NodeTask, connection: PostgresConnection): Promise<readonly TableDescription[]> {
  return withRetries(async () => {
    const tables = await tablesOf(task);
    await prepareGround(connection, groundOptions(task, tables));
    return tables;
  });
}

/** @throws ConfigurationError that lists what the catalog has against the set file */
async function tablesOf({
  context,
  connection,
  document,
}: Pick<NodeTask, 'context' | 'connection' | 'document'>): Promise<readonly TableDescription[]> {
  const found = await describeTables(connection, document().configuration, { names: namesOf(context) });
  if (found.issues.length > 0) throw catalogError(found.issues, connection.display);
  return found.tables;
}

function groundOptions(
  { context, intent }: Pick<NodeTask, 'context'> & { readonly intent: { readonly set: string } },
  tables: readonly TableDescription[],
) {
  return {
    names: namesOf(context),
    set: intent.set,
    tables,
    lockTimeoutMs: context.lockTimeoutMs,
    giveUpMs: context.giveUpMs ?? GIVE_UP_MS,
    waiting: context.say,
    signal: context.signal,
  };
}

export async function prepareNode(task: NodeTask): Promise<NodeAnswer> {
  const { connection, context, node, intent } = task;
  const document = task.document();
  const identity = await readIdentity(connection);
  // The catalog is read before the transaction begins: what stays prepared must hold no lock of a user's table.
  const tables = node.role === 'leave' ? [] : await tablesOf(task);
  const write: Preparation = { names: namesOf(context), node, intent, document, identity, tables };
  const wanted = document.configuration.commit;
  const staged =
    wanted === 'staged' || (wanted === 'auto' && (await maxPreparedTransactions(connection)) === 0);
  if (staged) return rehearse(task, write);
  try {
    return await prepare(task, write);
  } catch (error) {
    // 53400: all of max_prepared_transactions are taken; 55000: there are none.
    const none = error instanceof PostgresError && ['53400', '55000', '53200'].includes(error.sqlstate);
    if (wanted === 'auto' && none) return rehearse(task, write);
    throw error;
  }
}

interface Preparation extends NodeWrite {
  readonly tables: readonly TableDescription[];
}

async function prepare(task: NodeTask, write: Preparation): Promise<NodeAnswer> {
  const { connection, context, node, intent } = task;
  await connection.script('begin');
  try {
    const refused = await lockForChange(task, write);
    if (refused) {
      await connection.script('rollback');
      return refused;
    }
    await activate(task, write);
    const gid = gidOf({ cluster: context.cluster, intent: intent.intent, nodeId: node.nodeId });
    await prepareTransaction(connection, gid);
    return { kind: 'done' };
  } catch (error) {
    await connection.script('rollback').catch(() => undefined);
    throw busyError(error, task);
  }
}

/** The same, executed and rolled back; the version is stored for when it is decided. */
async function rehearse(task: NodeTask, write: Preparation): Promise<NodeAnswer> {
  const { connection, intent } = task;
  const { document } = write;
  try {
    return await transaction(connection, async () => {
      await connection.script('savepoint rehearsal');
      const refused = await lockForChange(task, write);
      if (!refused) await activate(task, write);
      await connection.script('rollback to savepoint rehearsal');
      if (refused) return refused;
      // The savepoint took the locks along, so the fence is held and looked at again.
      await holdFence(connection, { names: write.names, fence: intent.intent });
      await connection.query(
        `insert into ${quoteIdentifier(write.names.schema)}.staged_version
           (intent_id, set_name, set_version, content_hash, document) values ($1, $2, $3, $4, $5)
         on conflict (intent_id) do nothing`,
        [intent.intent, intent.set, String(intent.to), document.hash, intent.document],
      );
      return { kind: 'done' };
    });
  } catch (error) {
    throw busyError(error, task);
  }
}

/** Our own rows are held by another change of the set. */
function busyError(error: unknown, { intent, node }: NodeTask): unknown {
  if (!(error instanceof PostgresError) || error.sqlstate !== SQLSTATE.lockNotAvailable) return error;
  return new RefusedError(
    'set_busy',
    `Another administrator is changing set ${intent.set} in database ${node.database}.`,
    {
      hint: 'Try again in a moment; what nobody finishes is settled by shovel cluster recover.',
      cause: error,
    },
  );
}

/** Takes the fence and the set's row, and sees that the node is where the change starts from. */
async function lockForChange(task: NodeTask, write: Preparation): Promise<NodeAnswer | undefined> {
  const { connection, intent, node, fence } = task;
  const schema = quoteIdentifier(write.names.schema);
  await connection.script(`set local lock_timeout = '${OWN_ROWS_TIMEOUT}'`);
  await connection.script(`set local role ${quoteIdentifier(write.names.owner)}`);
  const rows = await connection.query(
    `select i.state from ${schema}.intent i where i.intent_id = $1 for update`,
    [fence],
  );
  if (rows[0]?.state !== 'open') return { kind: 'fenced' };
  if (node.role === 'join') {
    if (!(await insertNodeRow(connection, write))) {
      return { kind: 'moved', version: await lockedVersion(connection, { schema, intent }) };
    }
  } else {
    const version = await lockedVersion(connection, { schema, intent });
    // A restored database may be at any version that there was before.
    const fits =
      node.role === 'adopt'
        ? (version ?? 0) <= (intent.base?.version ?? 0)
        : version === intent.base?.version;
    if (version === null || !fits) return { kind: 'moved', version };
    await updateNodeRow(connection, write);
  }
  if (node.role === 'leave') return undefined;
  // Nobody may have taken the ground away since it was prepared: from here on our locks keep it.
  const missing = await planGround(connection, groundOptions(task, write.tables));
  if (missing.length === 0) return undefined;
  throw new RefusedError(
    'ground_lost',
    `Tables of set ${intent.set} in ${connection.display} changed while the set was being changed: a trigger or the log went away, or a partition came.`,
    {
      hint: 'Another administrator, or DDL, was at work on its tables: try again.',
      details: { missing },
    },
  );
}

/** The version of the set's row, which is locked; null where there is none, or it is not what the base's intent made. */
async function lockedVersion(
  connection: PostgresConnection,
  { schema, intent }: { schema: string; intent: Intent },
): Promise<number | null> {
  const rows = await connection.query(
    `select r.set_version, r.intent_id from ${schema}.replication_set r where r.set_name = $1 for update`,
    [intent.set],
  );
  const [row] = rows;
  if (!row) return null;
  return intent.base &&
    row.intent_id !== intent.base.intent &&
    Number(row.set_version) === intent.base.version
    ? null
    : Number(row.set_version);
}

/** The version's functions, tables and streams; touches our own rows and functions alone. */
async function activate(task: NodeTask, write: Preparation): Promise<void> {
  const { connection, node } = task;
  const { document } = write;
  const leaving = node.role === 'leave';
  const statements = await activation({ connection, node, document }, write);
  for (const script of inScripts(statements)) await connection.script(script);
  if (node.role === 'adopt') await beginIncarnation(task, write);
  const streams = leaving ? [] : Object.keys(document.configuration.streams);
  await connection.query(
    `delete from ${quoteIdentifier(write.names.schema)}.stream s where s.set_name = $1
       and s.stream_name not in (select pg_catalog.json_array_elements_text($2::json))`,
    [document.set, JSON.stringify(streams)],
  );
}

/** Many tables in few round trips, none of them larger than what a server takes with ease. */
function inScripts(statements: readonly string[]): readonly string[] {
  const scripts: string[][] = [];
  let length = Number.POSITIVE_INFINITY;
  for (const statement of statements) {
    if (length + statement.length > 500_000) {
      scripts.push([]);
      length = 0;
    }
    scripts.at(-1)?.push(statement);
    length += statement.length;
  }
  return scripts.map((script) => script.join(';\n'));
}

/**
 * The new incarnation begins with an empty ticket. It has the snapshot of the newest one, so that the first batch after it
 * holds what was committed since and drawn by nobody; or that of now, where transaction ids of before mean nothing in this
 * history (a dump restored into another server) or the log has a gap (capture was suspended): what is there by now is in
 * no batch then. The head row is locked, so that nobody draws a ticket of the old incarnation meanwhile. The floor is read
 * before the snapshot is taken, as when a ticket is drawn. Streams' records are sequences, which a dump reads later than
 * the tickets: one that is ahead of them would have this incarnation's batches trimmed before they are published.
 */
async function beginIncarnation({ connection, intent }: NodeTask, { names }: NodeWrite): Promise<void> {
  const schema = quoteIdentifier(names.schema);
  const { set } = intent;
  await connection.query(`select from ${schema}.set_head h where h.set_name = $1 for update`, [set]);
  const [at] = await connection.query(
    `select (select case when s.is_called then s.last_value else 0 end from ${schema}.seq_${set} s) as floor,
       (select s.last_value & 3 from ${schema}.switch_${set} s) as segment`,
  );
  const segment = Number(at?.segment ?? 0);
  await connection.query(
    `insert into ${schema}.ticket_${segment}_${set} (ticket, snapshot, floor_seq, mutations, set_version, drawn_at)
     select coalesce(t.ticket, 0) + 1, case when t.goes_on then t.snapshot else c.snapshot end,
       case when t.goes_on then t.floor_seq else $1 end, 0, $2, pg_catalog.clock_timestamp()
     from (select pg_catalog.pg_current_snapshot() as snapshot) c
     left join lateral (
       select n.ticket, n.snapshot, n.floor_seq,
         pg_catalog.pg_snapshot_xmin(n.snapshot) <= pg_catalog.pg_snapshot_xmin(c.snapshot)
         and pg_catalog.pg_snapshot_xmax(n.snapshot) <= pg_catalog.pg_snapshot_xmax(c.snapshot)
         and not exists (
           select from ${schema}.set_head h where h.set_name = $3 and h.suspended_ticket = n.ticket) as goes_on
       from ${schema}.ticket_${set} n order by n.ticket desc limit 1) t on true`,
    [at?.floor ?? '0', String(intent.to), set],
  );
  await connection.query(
    `select pg_catalog.setval(r.record, 2 * (t.newest - 1) + 1)
     from (select max(t.ticket) as newest from ${schema}.ticket_${set} t) t,
       lateral (select pg_catalog.format('%I.%I', $2::text, s.position_name)::regclass as record
                from ${schema}.stream s where s.set_name = $1) r
     where pg_catalog.pg_sequence_last_value(r.record) >= 2 * t.newest`,
    [set, names.schema],
  );
}

/** The statements of a version, for one node as it is now. */
export async function activation(
  {
    connection,
    node,
    document,
  }: {
    readonly connection: PostgresConnection;
    readonly node: ChangeNode;
    readonly document: SetDocument;
  },
  { names, tables }: { names: NodeNames; tables: readonly TableDescription[] },
): Promise<readonly string[]> {
  const { set, version } = document;
  // A node that joins may have no schema yet, and holds nothing of the set that could stand.
  const reads = node.role !== 'join' && tables.length > 0;
  return activationStatements({
    names,
    set,
    version,
    tables,
    rowBytes: document.configuration.limits.rowBytes,
    streams: node.role === 'leave' ? [] : Object.keys(document.configuration.streams),
    hash: sha256Hex,
    ...(reads ? { standing: await readStandingTables(connection, { names, set, version }) } : {}),
  });
}

/** `absent` where nothing is prepared: staged, finished already, or finished by hand. */
export async function commitNode({ context, connection, node, intent }: NodeTask): Promise<NodeAnswer> {
  const gid = gidOf({ cluster: context.cluster, intent: intent.intent, nodeId: node.nodeId });
  return { kind: await commitPrepared(connection, { gid, role: namesOf(context).owner }) };
}

export async function applyNode(task: NodeTask): Promise<NodeAnswer> {
  const { context, connection, node, intent, fence } = task;
  const document = task.document();
  const names = namesOf(context);
  const schema = quoteIdentifier(names.schema);
  const identity = await readIdentity(connection);
  const behind = behindFence(connection, { names, fence });
  const done = async () => {
    const rows = await connection.query(
      `select r.set_version, r.intent_id from ${schema}.replication_set r where r.set_name = $1 for update`,
      [intent.set],
    );
    const [row] = rows;
    if (!row) return node.role === 'leave';
    return Number(row.set_version) > intent.to || row.intent_id === intent.intent;
  };
  const unstage = () =>
    connection.query(`delete from ${schema}.staged_version s where s.intent_id = $1`, [intent.intent]);
  const already = await transaction(behind, async () => {
    const found = await done();
    if (found) await unstage();
    return found;
  });
  if (already) return { kind: 'done' };
  const tables = node.role === 'leave' ? [] : await groundTables(task, behind);
  await transaction(behind, async () => {
    await connection.script(`set local lock_timeout = '${OWN_ROWS_TIMEOUT}'`);
    await connection.script(`set local role ${quoteIdentifier(names.owner)}`);
    if (!(await done())) {
      const write: Preparation = { names, node, intent, document, identity, tables };
      if (!(await insertNodeRow(connection, write))) await updateNodeRow(connection, write);
      await activate(task, write);
    }
    await unstage();
  });
  return { kind: 'done' };
}
