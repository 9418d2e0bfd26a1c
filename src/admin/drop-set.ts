/**
 * Drops a set: a version of its own that no database is part of. What was captured and not published goes with it;
 * with the last set of a cluster in a database goes everything of ours.
 */
import { planRemoval } from '../capture/remove.js';
import { UnreachableError } from '../errors.js';
import type { ChangeNode } from '../model/change-records.js';
import { buildChange, carryOut } from './carry-out.js';
import { type AdminContext, GIVE_UP_MS, namesOf } from './context.js';

import { readDecided, readSet, requireCluster, requireVersion, setNotFound } from './load-set.js';
import { readNodeRows } from './node-rows.js';
import { withSessions } from './node-sessions.js';
import { decisionOf, type Plan } from './plan.js';
import { recoverBefore } from './recover.js';
import { closeStrays } from './strays.js';

export interface DropSetOptions {
  readonly name: string;
  /** Precondition. */
  readonly version?: number | undefined;
  /** Leaves behind databases that can't be reached, or are not what they were. */
  readonly force: boolean;
  readonly dryRun: boolean;
}

export interface Dropped {
  readonly kind: 'dropped';
  readonly name: string;
  readonly version: number;
  /** Databases that `force` left behind; they are tidied when a set of that name is created there again. */
  readonly left: readonly string[];
}

/** @throws RefusedError `cluster_missing`, `set_not_found`, `version_mismatch`, `set_busy`, `change_lost`; … */
export async function dropSet(context: AdminContext, options: DropSetOptions): Promise<Dropped | Plan> {
  const { name, force } = options;
  return withSessions(context, async (sessions) => {
    const { cluster, entryVersion } = await requireCluster(context);
    const check = async () => {
      const found = await readSet(context, name);
      if (found.record.state === 'dropped') throw setNotFound(context, name);
      requireVersion(name, { is: found.record.version, wanted: options.version });
      return found;
    };
    await check();
    if (!options.dryRun) await recoverBefore(context, { sessions, set: name, lenient: force });
    const base = await check();
    const document = await readDecided(context, { name, record: base.record });
    const nodes: ChangeNode[] = [];
    const left: string[] = [];
    const removals: { database: string; statements: readonly string[] }[] = [];
    for (const node of document.nodes) {
      const dsn = document.configuration.databases[node.database]?.dsn ?? '';
      try {
        const connection = await sessions.connection({ database: node.database, dsn });
        const [row] = await readNodeRows(connection, { names: namesOf(context), set: name });
        if (force && row?.nodeId !== node.nodeId) {
          left.push(node.database);
          continue;
        }
        nodes.push({ ...node, dsn, role: 'leave' });
        if (!options.dryRun) continue;
        const statements = await planRemoval(connection, {
          names: namesOf(context),
          set: name,
          keep: [],
          lockTimeoutMs: context.lockTimeoutMs,
          giveUpMs: context.giveUpMs ?? GIVE_UP_MS,
          waiting: context.say,
        });
        removals.push({ database: node.database, statements });
      } catch (error) {
        if (!force || !(error instanceof UnreachableError)) throw error;
        context.say(`database ${node.database} is left behind: ${error.message}`);
        left.push(node.database);
      }
    }
    const plan = buildChange(context, {
      configuration: document.configuration,
      state: 'dropped',
      nodes,
      cluster: { id: cluster.id, entryVersion },
      base,
    });
    if (options.dryRun) {
      return {
        kind: 'plan',
        name,
        version: plan.document.version,
        nodes: removals,
        operations: decisionOf(plan),
      };
    }
    for (const node of nodes) await closeStrays(context, { sessions, node });
    await carryOut(context, { sessions, plan });
    return { kind: 'dropped', name, version: plan.document.version, left };
  });
}
