/**
 * What a set that was dropped by force left in a database that could not be reached then: taken away before a set
 * of that name begins there anew.
 */
import { randomUUID } from 'node:crypto';
import { RefusedError } from '../errors.js';
import type { SetRecord } from '../model/change-records.js';
import { clearNode } from '../model/change-recovery.js';
import { buildChange, nodeError } from './carry-out.js';
import { type AdminContext, ownerOf, pathsOf } from './context.js';
import { readDecided } from './load-set.js';
import type { NodeSessions } from './node-sessions.js';
import type { SurveyedNode } from './survey.js';
import { World } from './world.js';

/** `surveyed`: databases that are to join. @throws RefusedError `set_in_database` where the row is no leftover */
export async function clearLeftovers(
  context: AdminContext,
  {
    sessions,
    surveyed,
    base,
    dryRun,
  }: {
    sessions: NodeSessions;
    surveyed: readonly SurveyedNode[];
    base: { readonly record: SetRecord; readonly entryVersion: number } | null;
    dryRun: boolean;
  },
): Promise<void> {
  for (const { database, dsn, row } of surveyed) {
    if (!row) continue;
    if (!base || row.version > base.record.version) {
      throw new RefusedError(
        'set_in_database',
        `Database ${database} holds version ${row.version} of set ${row.set}, which the coordinator does not know.`,
        {
          hint: 'If the coordinator lost it: shovel cluster recover --from-nodes. Otherwise drop it there first.',
          details: { set: row.set, database, version: row.version },
        },
      );
    }
    if (dryRun) continue;
    const document = await readDecided(context, { name: row.set, record: base.record });
    const change = buildChange(context, {
      configuration: document.configuration,
      state: 'dropped',
      nodes: [{ database, dsn, nodeId: row.nodeId, incarnation: row.incarnation, number: 0, role: 'leave' }],
      cluster: { id: document.clusterId, entryVersion: 0 },
      base,
    });
    const fence = randomUUID();
    const lease = await context.coordinator.tryLease(pathsOf(context).admin(fence), ownerOf(context));
    try {
      const failure = await new World(context, sessions).run(clearNode({ change: change.intent, fence }));
      if (failure) throw nodeError(failure);
    } finally {
      await lease?.release();
    }
  }
}
