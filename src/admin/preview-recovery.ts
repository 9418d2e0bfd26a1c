/**
 * `cluster recover --dry-run`: what recovery would find and do, by the same looks. Writes nothing, takes no lease and
 * waits for nobody.
 */
import type { Coordinator, Operation } from '../coordinator/coordinator.js';
import { clusterPlaces, loadIntents } from './cluster-places.js';
import { decisionOn } from './cluster-status.js';
import type { AdminContext } from './context.js';
import { loadSets } from './list-sets.js';
import { requireCluster } from './load-set.js';
import { type NodeSessions, withSessions } from './node-sessions.js';
import { nodesBehind } from './recover.js';
import {
  addProblem,
  type RecoverClusterOptions,
  type RecoveredCluster,
  type RecoveryProblem,
} from './recover-cluster.js';
import { type RefilledSet, refillCoordinator } from './refill-coordinator.js';
import { countStrays } from './strays.js';

export interface RecoveryPreview {
  readonly kind: 'plan';
  /** Sets of which the coordinator would have something again, or newer, from the nodes. */
  readonly refilled: readonly RefilledSet[];
  /** What would be written for that. Where there is any, the rest is empty: it shows when the coordinator is filled. */
  readonly operations: readonly Operation[];
  readonly changes: readonly {
    readonly id: string;
    readonly set: string;
    readonly version: number;
    /** alive: another administrator is at work on it. */
    readonly outcome: 'finished' | 'undone' | 'alive';
  }[];
  /** Databases that would be brought to their set's version. */
  readonly behind: RecoveredCluster['healed'];
  /** Changes that no coordinator knows of. */
  readonly strays: number;
  /** What could not be looked at, or will not be settled. */
  readonly problems: RecoveredCluster['problems'];
}

const OUTCOMES = { commit: 'finished', rollback: 'undone', pending: 'alive' } as const;

/** @throws RefusedError `cluster_missing`, `clusters_mixed`; UnreachableError */
export async function previewRecovery(
  context: AdminContext,
  { fromNodes }: RecoverClusterOptions = {},
): Promise<RecoveryPreview> {
  return withSessions(context, async (sessions) => {
    const { coordinator, operations } = noting(context.coordinator);
    const refilled = fromNodes
      ? await refillCoordinator({ ...context, coordinator }, { sessions, dsns: fromNodes })
      : [];
    if (operations.length > 0) {
      return { kind: 'plan', refilled, operations, changes: [], behind: [], strays: 0, problems: [] };
    }
    await requireCluster(context);
    return { kind: 'plan', refilled, operations, ...(await lookAt(context, sessions)) };
  });
}

async function lookAt(
  context: AdminContext,
  sessions: NodeSessions,
): Promise<Pick<RecoveryPreview, 'changes' | 'behind' | 'strays' | 'problems'>> {
  const problems: RecoveryProblem[] = [];
  const tell = (set: string, database: string | null, error: unknown) =>
    addProblem(problems, { set, database, error });
  await context.coordinator.sync();
  const intents = await loadIntents(context);
  const changes: RecoveryPreview['changes'][number][] = [];
  for (const intent of intents) {
    const { intent: id, set, to } = intent;
    const outcome = OUTCOMES[await decisionOn(context, { id, intent, set })];
    changes.push({ id, set, version: to, outcome });
  }
  const behind: { set: string; database: string }[] = [];
  const sets = await loadSets(context);
  for (const { name } of sets) {
    // What is to be finished or undone first says nothing of what a node is to have.
    if (changes.some(({ set }) => set === name)) continue;
    try {
      const databases = await nodesBehind(context, { sessions, set: name });
      behind.push(...databases.map((database) => ({ set: name, database })));
    } catch (error) {
      tell(name, null, error);
    }
  }
  let strays = 0;
  const known = intents.map(({ intent }) => intent);
  for (const { sets: of, database, dsn } of clusterPlaces(sets, [])) {
    try {
      strays += await countStrays(context, { sessions, node: { database, dsn }, known });
    } catch (error) {
      tell(of[0] ?? '', database, error);
    }
  }
  return { changes, behind, strays, problems };
}

/** A coordinator that can be read, and whose writes are only noted. */
function noting(coordinator: Coordinator): { coordinator: Coordinator; operations: readonly Operation[] } {
  const operations: Operation[] = [];
  return {
    operations,
    coordinator: {
      display: coordinator.display,
      start: () => coordinator.start(),
      stop: () => coordinator.stop(),
      sync: () => coordinator.sync(),
      read: (path) => coordinator.read(path),
      list: (path) => coordinator.list(path),
      multi: async (added) => {
        operations.push(...added);
        return { kind: 'done' };
      },
      watch: (path, changed, signal) => coordinator.watch(path, changed, signal),
      tryLease: async () => undefined,
      leaseHolder: (path) => coordinator.leaseHolder(path),
    },
  };
}
