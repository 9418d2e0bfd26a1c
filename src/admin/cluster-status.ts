/** A cluster at a glance: how many sets, and what is in doubt in their databases. Changes nothing. */
import { ShovelError } from '../errors.js';
import { decodeRecord, type Intent } from '../model/change-records.js';
import { listPrepared } from '../postgres/prepared-transaction.js';
import { clusterPlaces, loadIntents } from './cluster-places.js';
import { type AdminContext, pathsOf } from './context.js';
import { loadSets } from './list-sets.js';
import { requireCluster } from './load-set.js';
import { gidPrefix, parseGid } from './node-rows.js';
import { withSessions } from './node-sessions.js';

/** A transaction that waits for its second phase. Names as in the JSON of `cluster status`. */
export interface InDoubt {
  readonly gid: string;
  readonly set: string;
  readonly database: string;
  readonly age_s: number;
  /** What recovery will do with it; `pending`: its administrator is still at work. */
  readonly decision: 'commit' | 'rollback' | 'pending';
}

export interface ClusterStatus {
  readonly cluster: string;
  readonly coordinator: string;
  /** Of the layout in the coordinator. */
  readonly version: number;
  /** That all databases were brought to; null where no command has noted it. */
  readonly release: string | null;
  readonly sets: number;
  readonly in_doubt: readonly InDoubt[];
  /** Databases that could not be asked. */
  readonly unreachable: readonly {
    readonly set: string;
    readonly database: string;
    readonly error: string;
  }[];
}

/** @throws RefusedError `cluster_missing` */
export async function clusterStatus(context: AdminContext): Promise<ClusterStatus> {
  const { cluster } = await requireCluster(context);
  const sets = await loadSets(context);
  const intents = await loadIntents(context);
  const found = new Map<string, InDoubt>();
  const unreachable: { set: string; database: string; error: string }[] = [];
  await withSessions(context, async (sessions) => {
    for (const { sets: of, database, dsn } of clusterPlaces(sets, intents)) {
      const set = of[0] ?? '';
      try {
        const connection = await sessions.connection({ database, dsn });
        for (const { gid, ageSeconds } of await listPrepared(connection, gidPrefix(context.cluster))) {
          const parsed = parseGid(context.cluster, gid);
          if (!parsed) continue;
          const intent = intents.find((one) => one.intent === parsed.intent);
          const owner =
            intent?.set ?? sets.find((one) => one.nodes.some((node) => node.nodeId === parsed.nodeId))?.name;
          found.set(gid, {
            gid,
            set: owner ?? set,
            database,
            age_s: ageSeconds,
            decision: await decisionOn(context, { id: parsed.intent, intent, set: owner }),
          });
        }
      } catch (error) {
        if (!(error instanceof ShovelError)) throw error;
        unreachable.push({ set, database, error: error.message });
      }
    }
  });
  return {
    cluster: context.cluster,
    coordinator: context.coordinator.display,
    version: cluster.schema,
    release: cluster.release ?? null,
    sets: sets.length,
    in_doubt: [...found.values()],
    unreachable,
  };
}

/** What recovery will do with a change. */
export async function decisionOn(
  context: AdminContext,
  { id, intent, set }: { id: string; intent: Intent | undefined; set: string | undefined },
): Promise<InDoubt['decision']> {
  if (intent?.state === 'decided') return 'commit';
  const paths = pathsOf(context);
  if (set !== undefined) {
    const entry = await context.coordinator.read(paths.set(set));
    if (entry && decodeRecord(entry.data, paths.set(set)).intent === id) return 'commit';
  }
  const alive = await context.coordinator.leaseHolder(paths.admin(id));
  return alive ? 'pending' : 'rollback';
}
