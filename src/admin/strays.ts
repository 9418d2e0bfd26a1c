/**
 * Changes that a node knows of and the coordinator does not: begun by administrators who died before they announced
 * them, or prepared when the coordinator was another. Closed wherever a writing command comes by.
 */
import { randomUUID } from 'node:crypto';
import type { Lease } from '../coordinator/coordinator.js';
import type { ChangeNode } from '../model/change-records.js';
import { closeOrphans } from '../model/change-recovery.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { nodeSchemaExists } from '../postgres/node-level.js';
import { listPrepared } from '../postgres/prepared-transaction.js';
import { quoteIdentifier } from '../postgres/sql-files.js';
import { nodeError } from './carry-out.js';
import { type AdminContext, isoTime, namesOf, ownerOf, pathsOf } from './context.js';
import { gidPrefix, parseGid } from './node-rows.js';
import type { NodeSessions } from './node-sessions.js';
import { World } from './world.js';

interface Stray {
  readonly id: string;
  readonly set: string;
  readonly nodeId: string;
}

/** Returns how many were closed. @throws ShovelError where one could not be closed */
export async function closeStrays(
  context: AdminContext,
  { sessions, node }: { sessions: NodeSessions; node: { readonly database: string; readonly dsn: string } },
): Promise<number> {
  const paths = pathsOf(context);
  const strays = await findStrays(context, await sessions.connection(node));
  let closed = 0;
  for (const { id, set, nodeId } of strays) {
    // Whoever holds its lease lives; whoever gets it may close it.
    const lease = await context.coordinator.tryLease(paths.admin(id), ownerOf(context));
    if (!lease) continue;
    const fence = randomUUID();
    let own: Lease | undefined;
    try {
      own = await context.coordinator.tryLease(paths.admin(fence), ownerOf(context));
      const part: ChangeNode = { ...node, nodeId, incarnation: 1, number: 0, role: 'leave' };
      const result = await new World(context, sessions).run(
        closeOrphans({
          paths,
          node: part,
          change: {
            schema: 1,
            intent: fence,
            set,
            state: 'aborted',
            base: null,
            to: 1,
            nodes: [part],
            owner: ownerOf(context),
            startedAt: isoTime(context),
            document: '',
          },
          ids: [id],
          fence,
        }),
      );
      if (result.kind === 'failed') throw nodeError(result.failure);
      closed += result.count;
      if (result.count > 0)
        context.logger.warn({ set, database: node.database, change: id }, 'closed a stray change');
    } finally {
      await own?.release();
      await lease.release();
    }
  }
  return closed;
}

/** How many `closeStrays` would close. `known`: changes that the coordinator knows of. */
export async function countStrays(
  context: AdminContext,
  {
    sessions,
    node,
    known,
  }: {
    sessions: NodeSessions;
    node: { readonly database: string; readonly dsn: string };
    known: readonly string[];
  },
): Promise<number> {
  let count = 0;
  for (const { id } of await findStrays(context, await sessions.connection(node))) {
    const isLeft = !(await context.coordinator.leaseHolder(pathsOf(context).admin(id)));
    if (isLeft && !known.includes(id)) count += 1;
  }
  return count;
}

async function findStrays(context: AdminContext, connection: PostgresConnection): Promise<readonly Stray[]> {
  const names = namesOf(context);
  const found = new Map<string, Stray>();
  if (await nodeSchemaExists(connection, names)) {
    const schema = quoteIdentifier(names.schema);
    const rows = await connection.query(
      `select i.intent_id, i.set_name from ${schema}.intent i
       union select s.intent_id, s.set_name from ${schema}.staged_version s`,
    );
    for (const row of rows) {
      const id = row.intent_id ?? '';
      found.set(id, { id, set: row.set_name ?? '', nodeId: id });
    }
  }
  for (const { gid } of await listPrepared(connection, gidPrefix(context.cluster))) {
    const parsed = parseGid(context.cluster, gid);
    if (!parsed) continue;
    found.set(parsed.intent, {
      set: '',
      ...found.get(parsed.intent),
      id: parsed.intent,
      nodeId: parsed.nodeId,
    });
  }
  return [...found.values()];
}
