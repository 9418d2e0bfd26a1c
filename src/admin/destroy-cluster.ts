/**
 * Removes a cluster from the coordinator: its record with all that is below it, in one change that holds only if
 * nothing was begun meanwhile. Databases have nothing to do with it: a set's drop has taken away what was there.
 */
import type { Operation } from '../coordinator/coordinator.js';
import { RefusedError, UnreachableError } from '../errors.js';
import { loadIntents } from './cluster-places.js';
import { type AdminContext, GIVE_UP_MS, pathsOf } from './context.js';
import { loadSets } from './list-sets.js';
import { requireCluster } from './load-set.js';
import { withSessions } from './node-sessions.js';
import { recoverIntents } from './recover.js';

export interface DestroyedCluster {
  readonly kind: 'destroyed' | 'plan';
  readonly cluster: string;
  readonly operations: readonly Operation[];
}

/** Entries removed at once: a coordinator takes about six thousand. */
const AT_ONCE = 1_000;
/** Between two looks at whether a relay has given its lease back. */
const LEASE_EVERY_MS = 250;

/** @throws RefusedError `cluster_missing`, `cluster_in_use`, `cluster_busy` */
export async function destroyCluster(
  context: AdminContext,
  { dryRun }: { readonly dryRun: boolean },
): Promise<DestroyedCluster> {
  const { cluster, clock, coordinator } = context;
  const begunMs = clock.now();
  let tried = false;
  for (;;) {
    context.signal.throwIfAborted();
    await coordinator.sync();
    // It was ours to remove, or another's who did the same: it is gone.
    if (tried && !(await coordinator.read(pathsOf(context).cluster))) break;
    const { entryVersion } = await requireCluster(context);
    if (!dryRun) await settle(context);
    await requireUnused(context);
    const operations = await removals(context, entryVersion);
    if (dryRun) return { kind: 'plan', cluster, operations };
    const history = operations.length - AT_ONCE;
    // Old versions of dropped sets first, where there are so many: without them a set can still begin again.
    const now = history > 0 ? operations.slice(0, Math.min(history, AT_ONCE)) : operations;
    await context.failpoint?.('destroy.before');
    const done = await removeAll(context, now);
    await context.failpoint?.('destroy.after');
    tried ||= now === operations;
    if (done === 'not_empty') {
      if (clock.now() - begunMs > (context.giveUpMs ?? GIVE_UP_MS)) throw busy(context);
      await clock.sleep(LEASE_EVERY_MS, context.signal);
    }
  }
  await removeRoot(context);
  return { kind: 'destroyed', cluster, operations: [] };
}

/** What administrators left half done is finished first; it may come out as a set. */
async function settle(context: AdminContext): Promise<void> {
  await withSessions(context, async (sessions) => {
    for (const result of await recoverIntents(context, { sessions, waitFor: 'all' })) {
      if (result.kind === 'failed') throw result.error;
    }
  });
}

async function requireUnused(context: AdminContext): Promise<void> {
  const { cluster } = context;
  const sets = (await loadSets(context)).map(({ name }) => name);
  if (sets.length > 0) {
    throw new RefusedError('cluster_in_use', `Cluster ${cluster} still has sets: ${sets.join(', ')}.`, {
      hint: `Drop them first: ${sets.map((set) => `shovel set drop ${set}`).join('; ')}.`,
      details: { cluster, sets },
    });
  }
  const changes = (await loadIntents(context)).map(({ set }) => set);
  if (changes.length > 0) {
    throw new RefusedError(
      'cluster_busy',
      `A change of set ${[...new Set(changes)].join(', ')} in cluster ${cluster} is not finished.`,
      { hint: 'See shovel cluster status, and shovel cluster recover.', details: { cluster, sets: changes } },
    );
  }
}

/** Children before parents; older versions of dropped sets at the front. */
async function removals(context: AdminContext, entryVersion: number): Promise<readonly Operation[]> {
  const { coordinator } = context;
  const paths = pathsOf(context);
  const history: Operation[] = [];
  const rest: Operation[] = [];
  const remove = async (path: string, to: Operation[]) => {
    const entry = await coordinator.read(path);
    if (entry) to.push({ kind: 'remove', path, version: entry.version });
  };
  for (const set of (await coordinator.list(paths.sets)) ?? []) {
    const versions = ((await coordinator.list(paths.versions(set))) ?? [])
      .map(Number)
      .toSorted((a, b) => a - b);
    for (const [index, version] of versions.entries()) {
      await remove(paths.version(set, version), index < versions.length - 1 ? history : rest);
    }
    await remove(paths.versions(set), rest);
    await remove(paths.set(set), rest);
  }
  for (const path of [paths.sets, paths.intents, paths.leases, paths.admins]) await remove(path, rest);
  return [...history, ...rest, { kind: 'remove', path: paths.cluster, version: entryVersion }];
}

/** `other`: somebody changed something, or nobody knows: look again. */
async function removeAll(
  context: AdminContext,
  operations: readonly Operation[],
): Promise<'done' | 'not_empty' | 'other'> {
  try {
    const result = await context.coordinator.multi(operations);
    if (result.kind === 'done') return 'done';
    return result.reason === 'not_empty' ? 'not_empty' : 'other';
  } catch (error) {
    if (!(error instanceof UnreachableError) || error.code !== 'coordinator_outcome_unknown') throw error;
    return 'other';
  }
}

/** Shared by all clusters: it goes with the last, and comes again with the next. */
async function removeRoot(context: AdminContext): Promise<void> {
  const { root } = pathsOf(context);
  const entry = await context.coordinator.read(root);
  const others = await context.coordinator.list(root);
  if (!entry || (others ?? []).length > 0) return;
  await removeAll(context, [{ kind: 'remove', path: root, version: entry.version }]);
}

function busy({ cluster }: AdminContext): RefusedError {
  return new RefusedError('cluster_busy', `Somebody is still at work in cluster ${cluster}.`, {
    hint: 'A relay holds its lease until it has seen that its set is gone: stop it, then try again.',
    details: { cluster },
  });
}
