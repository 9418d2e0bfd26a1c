/**
 * Brings every node of a cluster to this release: its schema, then the functions of each set's log, then, once no
 * node is left, the cluster's record. Each is a transaction of its own and looks at what is there, so that whoever
 * comes after a crash goes on where it ended, and two at once end the same. Takes no lock of a user's table; capture
 * and relays go on. Only ever forward: where anything is newer than this release, nothing is changed anywhere.
 */
import { planSetFunctions } from '../capture/set-functions.js';
import type { Operation } from '../coordinator/coordinator.js';
import { RefusedError, ShovelError, UnreachableError } from '../errors.js';
import { type ClusterRecord, encodeCluster } from '../model/change-records.js';
import { compareReleases } from '../model/release-order.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { ensureNodeSchema, planNodeSchema } from '../postgres/migrate.js';
import { nodeSchemaExists } from '../postgres/node-level.js';
import { planRoles } from '../postgres/roles.js';
import { quoteIdentifier } from '../postgres/sql-files.js';
import { transaction } from '../postgres/transaction.js';
import { withRetries } from '../postgres/with-retries.js';
import { releaseVersion } from '../runtime/release.js';
import { type ClusterPlace, clusterPlaces, loadIntents } from './cluster-places.js';
import { releasesOf } from './cluster-release.js';
import { type AdminContext, namesOf, pathsOf } from './context.js';
import { loadSets } from './list-sets.js';
import { clusterNewer, requireCluster } from './load-set.js';
import { type NodeSessions, withSessions } from './node-sessions.js';

/** Names as in the JSON of `cluster upgrade`. */
export interface UpgradedNode {
  readonly database: string;
  readonly sets: readonly string[];
  /** `absent`: shovel has nothing there. */
  readonly outcome: 'upgraded' | 'current' | 'absent';
}

export interface UpgradedCluster {
  readonly kind: 'upgraded';
  readonly cluster: string;
  readonly release: string;
  readonly nodes: readonly UpgradedNode[];
}

export interface UpgradeClusterPlan {
  readonly kind: 'plan';
  readonly cluster: string;
  readonly release: string;
  readonly nodes: readonly { readonly database: string; readonly statements: readonly string[] }[];
  readonly operations: readonly Operation[];
}

interface FailedNode {
  readonly place: ClusterPlace;
  readonly error: ShovelError;
}

/**
 * @throws RefusedError `cluster_missing`, `cluster_newer`, `schema_newer`: nothing was changed; `schema_busy` and
 * ConfigurationError of a node: the others are done; UnreachableError `upgrade_incomplete`: likewise
 */
export async function upgradeCluster(
  context: AdminContext,
  { dryRun }: { readonly dryRun: boolean },
): Promise<UpgradedCluster | UpgradeClusterPlan> {
  return withSessions(context, async (sessions) => {
    await requireOlder(context);
    const places = clusterPlaces(await loadSets(context), await loadIntents(context));
    const plans = await lookAt(context, { sessions, places });
    const release = releaseVersion();
    const { cluster } = context;
    if (dryRun) {
      const away = plans.find((plan) => plan.kind === 'failed');
      if (away?.kind === 'failed') throw away.failure.error;
      const nodes = plans.flatMap((plan) =>
        plan.kind === 'found' ? [{ database: plan.place.database, statements: plan.statements }] : [],
      );
      const operation = await recordOperation(context);
      return { kind: 'plan', cluster, release, nodes, operations: operation ? [operation] : [] };
    }
    const nodes: UpgradedNode[] = [];
    const failures: FailedNode[] = [];
    for (const plan of plans) {
      context.signal.throwIfAborted();
      if (plan.kind === 'failed') {
        failures.push(plan.failure);
        continue;
      }
      const { database, sets } = plan.place;
      try {
        nodes.push({ database, sets, outcome: await upgradeNode(context, { sessions, place: plan.place }) });
      } catch (error) {
        if (!(error instanceof ShovelError)) throw error;
        failures.push({ place: plan.place, error });
      }
    }
    if (failures.length > 0) throw incomplete(context, { nodes, failures });
    await record(context);
    return { kind: 'upgraded', cluster, release, nodes };
  });
}

async function requireOlder(
  context: AdminContext,
): Promise<{ readonly cluster: ClusterRecord; readonly entryVersion: number }> {
  const found = await requireCluster(context);
  const { release } = found.cluster;
  if (release !== undefined && compareReleases(release, releaseVersion()) > 0) {
    throw clusterNewer(context, found.cluster);
  }
  return found;
}

type NodePlan =
  | { readonly kind: 'found'; readonly place: ClusterPlace; readonly statements: readonly string[] }
  | { readonly kind: 'failed'; readonly failure: FailedNode };

/** Reads only. What is newer than this release ends it all, before anything is written. @throws RefusedError */
async function lookAt(
  context: AdminContext,
  { sessions, places }: { sessions: NodeSessions; places: readonly ClusterPlace[] },
): Promise<readonly NodePlan[]> {
  const plans = await Promise.all(
    places.map(async (place): Promise<NodePlan> => {
      try {
        const connection = await sessions.connection(place);
        return { kind: 'found', place, statements: await planNode(context, connection) };
      } catch (error) {
        if (!(error instanceof ShovelError)) throw error;
        return { kind: 'failed', failure: { place, error } };
      }
    }),
  );
  for (const plan of plans) {
    if (plan.kind === 'failed' && plan.failure.error.code === 'schema_newer') throw plan.failure.error;
  }
  return plans;
}

async function planNode(context: AdminContext, connection: PostgresConnection): Promise<readonly string[]> {
  const names = namesOf(context);
  if (!(await nodeSchemaExists(connection, names))) return [];
  const statements = [...(await planRoles(connection, names)), ...(await planNodeSchema(connection, names))];
  for (const set of await setsOf(context, connection)) {
    const functions = await planSetFunctions(connection, { names, set });
    if (functions.length > 0) statements.push(`set local role ${quoteIdentifier(names.owner)}`, ...functions);
  }
  return statements;
}

/** Sets that have a log in the node, whatever the coordinator says of them. */
async function setsOf(context: AdminContext, connection: PostgresConnection): Promise<readonly string[]> {
  const rows = await connection.query(
    `select h.set_name from ${quoteIdentifier(namesOf(context).schema)}.set_head h order by 1`,
  );
  return rows.map((row) => row.set_name ?? '');
}

async function upgradeNode(
  context: AdminContext,
  { sessions, place }: { sessions: NodeSessions; place: ClusterPlace },
): Promise<UpgradedNode['outcome']> {
  const { failpoint, logger } = context;
  const { database } = place;
  const names = namesOf(context);
  const connection = await sessions.connection(place);
  if (!(await nodeSchemaExists(connection, names))) return 'absent';
  await failpoint?.(`schema.${database}.before`);
  let changed = await ensureNodeSchema(connection, names, { lockTimeoutMs: context.lockTimeoutMs });
  await failpoint?.(`schema.${database}.after`);
  for (const set of await setsOf(context, connection)) {
    const done = await withRetries(() => replaceFunctions(context, { connection, set }));
    changed ||= done;
    if (done) await failpoint?.(`functions.${database}.${set}.after`);
  }
  logger.info({ database, changed, release: releaseVersion() }, 'the node is at this release');
  return changed ? 'upgraded' : 'current';
}

/** Replacing a function makes nobody wait who calls it; the head row keeps the set from being dropped meanwhile. */
async function replaceFunctions(
  context: AdminContext,
  { connection, set }: { connection: PostgresConnection; set: string },
): Promise<boolean> {
  const names = namesOf(context);
  if ((await planSetFunctions(connection, { names, set })).length === 0) return false;
  return transaction(connection, async () => {
    await connection.script(`set local lock_timeout = '1s'`);
    await connection.script(`set local role ${quoteIdentifier(names.owner)}`);
    const rows = await connection.query(
      `select 1 as held from ${quoteIdentifier(names.schema)}.set_head h where h.set_name = $1 for share`,
      [set],
    );
    if (rows.length === 0) return false;
    const statements = await planSetFunctions(connection, { names, set });
    for (const statement of statements) await connection.script(statement);
    return statements.length > 0;
  });
}

/** Undefined where the record says it already. */
async function recordOperation(context: AdminContext): Promise<Operation | undefined> {
  const { cluster, entryVersion } = await requireOlder(context);
  const releases = await releasesOf(context);
  const { release, minimumRelease } = cluster;
  if (release === releases.release && minimumRelease === releases.minimumRelease) return undefined;
  const { schema, id, createdAt } = cluster;
  const data = encodeCluster({ schema, id, createdAt, ...releases });
  return { kind: 'set', path: pathsOf(context).cluster, data, version: entryVersion };
}

/** Whoever else changes the record meanwhile: look again. A lost answer shows in what stands there then. */
async function record(context: AdminContext): Promise<void> {
  for (;;) {
    const operation = await recordOperation(context);
    if (operation === undefined) return;
    await context.failpoint?.('record.before');
    try {
      await context.coordinator.multi([operation]);
    } catch (error) {
      if (!(error instanceof UnreachableError) || error.code !== 'coordinator_outcome_unknown') throw error;
    }
    await context.failpoint?.('record.after');
    context.signal.throwIfAborted();
  }
}

function incomplete(
  context: AdminContext,
  { nodes, failures }: { nodes: readonly UpgradedNode[]; failures: readonly FailedNode[] },
): ShovelError {
  const away = failures.find(({ error }) => error.retryable) ?? failures[0];
  if (away === undefined) throw new TypeError('nothing failed');
  const databases = failures.map(({ place }) => place.database);
  const details = {
    cluster: context.cluster,
    release: releaseVersion(),
    nodes,
    failed: failures.map(({ place, error }) => ({
      database: place.database,
      sets: place.sets,
      code: error.code,
      message: error.message,
      hint: error.hint,
    })),
  };
  const message = `${nodes.length} database(s) of cluster ${context.cluster} are at release ${releaseVersion()}, ${databases.join(', ')} not yet: ${away.error.message}`;
  if (away.error.retryable) {
    return new UnreachableError('upgrade_incomplete', message, {
      hint: 'Run shovel cluster upgrade again when that is mended; what is done stays done.',
      details,
      cause: away.error,
    });
  }
  return new RefusedError('upgrade_refused', message, { hint: away.error.hint, details, cause: away.error });
}
