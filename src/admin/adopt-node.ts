/**
 * Takes a node on again whose history may have changed (restored, upgraded by pg_upgrade, copied on purpose), or whose
 * capture was suspended, as a new incarnation of itself: a version of the set like any other, decided for all of its
 * databases.
 */
import { RefusedError } from '../errors.js';
import { buildChange, carryOut } from './carry-out.js';
import { type AdminContext, namesOf } from './context.js';
import { readDecided, readSet, requireCluster, setNotFound } from './load-set.js';
import { readNodeRows } from './node-rows.js';
import { withSessions } from './node-sessions.js';
import { type Plan, planOf } from './plan.js';
import { recoverIntents } from './recover.js';
import { planResume, resumeCapture } from './resume-capture.js';
import { closeStrays } from './strays.js';
import { surveyNodes } from './survey.js';

export interface AdoptedNode {
  readonly kind: 'adopted';
  readonly name: string;
  readonly database: string;
  readonly version: number;
  readonly nodeId: string;
  readonly incarnation: number;
}

/**
 * @throws RefusedError `set_not_found`, `database_not_in_set`, `node_unknown` where the database holds nothing of that
 * node; what any change throws
 */
export async function adoptNode(
  context: AdminContext,
  {
    name,
    database,
    dryRun = false,
  }: { readonly name: string; readonly database: string; readonly dryRun?: boolean },
): Promise<AdoptedNode | Plan> {
  return withSessions(context, async (sessions) => {
    const { cluster, entryVersion } = await requireCluster(context);
    if (!dryRun) await recoverIntents(context, { sessions, waitFor: { set: name } });
    const base = await readSet(context, name);
    if (base.record.state === 'dropped') throw setNotFound(context, name);
    const document = await readDecided(context, { name, record: base.record });
    const known = document.nodes.find((node) => node.database === database);
    if (!known) {
      throw new RefusedError('database_not_in_set', `Set ${name} has no database ${database}.`, {
        hint: `It has ${document.nodes.map((node) => node.database).join(', ')}.`,
        details: { set: name, database },
      });
    }
    const dsnOf = (one: string) => document.configuration.databases[one]?.dsn ?? '';
    const connection = await sessions.connection({ database, dsn: dsnOf(database) });
    const [row] = await readNodeRows(connection, { names: namesOf(context), set: name });
    if (row?.nodeId !== known.nodeId) {
      throw new RefusedError(
        'node_unknown',
        `Database ${database} holds nothing of this node of set ${name}.`,
        {
          hint: `Check its DSN. If it lost it for good, let it join as a new node: under another name in the set file, shovel set upgrade ${name} FILE --force.`,
          details: { set: name, database },
        },
      );
    }
    if (!dryRun) {
      for (const node of document.nodes) {
        await closeStrays(context, {
          sessions,
          node: { database: node.database, dsn: dsnOf(node.database) },
        });
      }
      await resumeCapture(context, { connection, set: name, database });
    }
    const incarnation = Math.max(known.incarnation, row.incarnation) + 1;
    const plan = buildChange(context, {
      configuration: document.configuration,
      state: 'live',
      nodes: document.nodes.map((node) =>
        node.database === database
          ? { ...node, dsn: dsnOf(database), incarnation, role: 'adopt' }
          : { ...node, dsn: dsnOf(node.database), role: 'stay' },
      ),
      cluster: { id: cluster.id, entryVersion },
      base,
    });
    if (dryRun) {
      const { configuration } = document;
      const surveyed = await surveyNodes(context, sessions, {
        configuration,
        clusterId: cluster.id,
        force: true,
      });
      const planned = await planOf(context, { plan, surveyed });
      const resuming = await planResume(context, { connection, set: name });
      return {
        ...planned,
        nodes: planned.nodes.map((node) =>
          node.database === database ? { ...node, statements: [...resuming, ...node.statements] } : node,
        ),
      };
    }
    await carryOut(context, { sessions, plan });
    return {
      kind: 'adopted',
      name,
      database,
      version: plan.document.version,
      nodeId: known.nodeId,
      incarnation,
    };
  });
}
