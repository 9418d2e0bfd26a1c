/** Creates a set in one database or several: all of them, or none. */

import { randomUUID } from 'node:crypto';
import { planGround } from '../capture/ground.js';
import type { Operation } from '../coordinator/coordinator.js';
import { RefusedError } from '../errors.js';
import type { ChangePlan } from '../model/change-protocol.js';
import type { ChangeNode, SetDocument } from '../model/change-records.js';
import { clearNode } from '../model/change-recovery.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import { planNodeSchema } from '../postgres/migrate.js';
import { planRoles } from '../postgres/roles.js';
import { waitForActivation } from './activation.js';
import { buildChange, carryOut, joiningNode, nodeError, setExists } from './carry-out.js';
import { type AdminContext, GIVE_UP_MS, namesOf, pathsOf } from './context.js';
import { readDocument, readSet, requireCluster } from './load-set.js';
import { activation } from './node-install.js';
import { type NodeSessions, withSessions } from './node-sessions.js';
import { recoverBefore } from './recover.js';
import { type SurveyedNode, surveyNodes } from './survey.js';
import { World } from './world.js';

export interface CreateSetOptions {
  readonly configuration: SetConfiguration;
  /** Also waits until every writer that began before is gone: from then on nothing is missed. */
  readonly wait: boolean;
  readonly dryRun: boolean;
  /** Goes on where a publication would carry our tables. */
  readonly force?: boolean;
}

/** What a command would do: SQL per database in order, then the decision in the coordinator. */
export interface Plan {
  readonly kind: 'plan';
  readonly name: string;
  readonly version: number;
  readonly nodes: readonly { readonly database: string; readonly statements: readonly string[] }[];
  readonly operations: readonly Operation[];
}

export interface Created {
  readonly kind: 'created';
  readonly name: string;
  readonly version: number;
  readonly nodes: readonly { readonly database: string; readonly nodeId: string }[];
}

/**
 * @throws RefusedError `cluster_missing`, `set_exists`, `set_busy`, `publication_carries_log`, `table_busy`, …;
 * ConfigurationError for what the catalog lacks; UnreachableError; InDoubtError
 */
export async function createSet(context: AdminContext, options: CreateSetOptions): Promise<Created | Plan> {
  const { configuration } = options;
  return withSessions(context, async (sessions) => {
    const { cluster, entryVersion } = await requireCluster(context);
    let base = await readBase(context, configuration.name);
    if (base?.record.state === 'live') throw setExists(configuration.name, base.record.version);
    if (!options.dryRun) {
      await recoverBefore(context, { sessions, set: configuration.name });
      base = await readBase(context, configuration.name);
      if (base?.record.state === 'live') throw setExists(configuration.name, base.record.version);
    }
    const surveyed = await surveyNodes(context, sessions, {
      configuration,
      clusterId: cluster.id,
      force: options.force ?? false,
    });
    await clearLeftovers(context, { sessions, surveyed, base, dryRun: options.dryRun });
    const nodes: ChangeNode[] = [];
    for (const one of surveyed) nodes.push(joiningNode(one, nodes));
    const plan = buildChange(context, {
      configuration,
      state: 'live',
      nodes,
      cluster: { id: cluster.id, entryVersion },
      base,
    });
    if (options.dryRun) return planOf(context, { plan, surveyed });
    await carryOut(context, { sessions, plan });
    if (options.wait) await waitForActivation(context, surveyed);
    return {
      kind: 'created',
      name: configuration.name,
      version: plan.document.version,
      nodes: nodes.map(({ database, nodeId }) => ({ database, nodeId })),
    };
  });
}

type Base = Awaited<ReturnType<typeof readSet>>;

async function readBase(context: AdminContext, name: string): Promise<Base | null> {
  try {
    return await readSet(context, name);
  } catch (error) {
    if (error instanceof RefusedError && error.code === 'set_not_found') return null;
    throw error;
  }
}

/** A set that was dropped by force while a database could not be reached left its part there. */
async function clearLeftovers(
  context: AdminContext,
  {
    sessions,
    surveyed,
    base,
    dryRun,
  }: { sessions: NodeSessions; surveyed: readonly SurveyedNode[]; base: Base | null; dryRun: boolean },
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
    const document = await readDocument(context, { name: row.set, version: base.record.version });
    const change = buildChange(context, {
      configuration: document.configuration,
      state: 'dropped',
      nodes: [{ database, dsn, nodeId: row.nodeId, incarnation: row.incarnation, number: 0, role: 'leave' }],
      cluster: { id: document.clusterId, entryVersion: 0 },
      base,
    });
    const fence = randomUUID();
    const lease = await context.coordinator.tryLease(
      pathsOf(context).admin(fence),
      context.owner ?? 'shovel',
    );
    try {
      const failure = await new World(context, sessions).run(clearNode({ change: change.intent, fence }));
      if (failure) throw nodeError(failure);
    } finally {
      await lease?.release();
    }
  }
}

/** For --dry-run: what would be run, from what stands there now. */
export async function planOf(
  context: AdminContext,
  { plan, surveyed }: { plan: ChangePlan & { document: SetDocument }; surveyed: readonly SurveyedNode[] },
): Promise<Plan> {
  const names = namesOf(context);
  const nodes = await Promise.all(
    plan.intent.nodes
      .flatMap((node) => {
        const found = surveyed.find((one) => one.database === node.database);
        return found ? [{ node, ...found }] : [];
      })
      .map(async ({ node, connection, tables }) => ({
        database: node.database,
        statements: [
          ...(await planRoles(connection, names)),
          ...(await planNodeSchema(connection, names)),
          ...(await planGround(connection, {
            names,
            set: plan.document.set,
            tables,
            lockTimeoutMs: context.lockTimeoutMs,
            giveUpMs: context.giveUpMs ?? GIVE_UP_MS,
            waiting: context.say,
          })),
          ...activation({ node, document: plan.document }, { names, tables }),
        ],
      })),
  );
  return {
    kind: 'plan',
    name: plan.document.set,
    version: plan.document.version,
    nodes,
    operations: decisionOf(plan),
  };
}

/** What the coordinator would be told, for people: the entries and their data. */
export function decisionOf(plan: ChangePlan & { document: SetDocument }): readonly Operation[] {
  const { paths, intent } = plan;
  const path = paths.set(intent.set);
  return [
    { kind: 'check', path: paths.cluster, version: plan.clusterVersion },
    ...(plan.recordVersion === null
      ? ([{ kind: 'create', path, data: '' }] as const)
      : ([{ kind: 'set', path, version: plan.recordVersion, data: '' }] as const)),
    { kind: 'create', path: paths.version(intent.set, intent.to), data: intent.document },
  ];
}
