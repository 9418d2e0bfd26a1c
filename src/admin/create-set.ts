/** Creates a set in one database or several: all of them, or none. */
import { RefusedError } from '../errors.js';
import type { ChangeNode } from '../model/change-records.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import { waitForActivation } from './activation.js';
import { buildChange, carryOut, joiningNode, setExists } from './carry-out.js';
import type { AdminContext } from './context.js';
import { clearLeftovers } from './leftovers.js';
import { readSet, requireCluster } from './load-set.js';
import { compareIdentity } from './node-rows.js';
import { withSessions } from './node-sessions.js';
import { type Plan, planOf } from './plan.js';
import { recoverBefore } from './recover.js';
import { closeStrays } from './strays.js';
import { surveyNodes } from './survey.js';

export interface CreateSetOptions {
  readonly configuration: SetConfiguration;
  /** Also waits until every writer that began before is gone: from then on nothing is missed. */
  readonly wait: boolean;
  readonly dryRun: boolean;
  /** Goes on where a publication would carry our tables. */
  readonly force?: boolean;
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
    if (!options.dryRun) {
      for (const node of surveyed) await closeStrays(context, { sessions, node });
    }
    await clearLeftovers(context, { sessions, surveyed, base, dryRun: options.dryRun });
    const numbered: ChangeNode[] = [];
    for (const one of surveyed) numbered.push(joiningNode(one, numbered));
    const nodes = surveyed
      .map((one, index) => ({ node: numbered[index], identity: one.identity }))
      .toSorted((a, b) => compareIdentity(a.identity, b.identity))
      .flatMap(({ node }) => (node ? [node] : []));
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
      nodes: numbered.map(({ database, nodeId }) => ({ database, nodeId })),
    };
  });
}

async function readBase(
  context: AdminContext,
  name: string,
): Promise<Awaited<ReturnType<typeof readSet>> | null> {
  try {
    return await readSet(context, name);
  } catch (error) {
    if (error instanceof RefusedError && error.code === 'set_not_found') return null;
    throw error;
  }
}
