/** A cluster at a glance: how many sets, and what is in doubt in their databases. Changes nothing. */
import { ShovelError } from '../errors.js';
import { decodeIntent, decodeRecord, type Intent } from '../model/change-records.js';
import { listPrepared } from '../postgres/prepared-transaction.js';
import { type AdminContext, pathsOf } from './context.js';
import { loadSets } from './list-sets.js';
import { listBelow, requireCluster } from './load-set.js';
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
  const intents = await readIntents(context);
  const places = new Map<string, { set: string; database: string; dsn: string }>();
  for (const set of sets) {
    for (const [database, { dsn }] of Object.entries(set.configuration.databases)) {
      places.set(JSON.stringify([database, dsn]), { set: set.name, database, dsn });
    }
  }
  for (const intent of intents) {
    for (const { database, dsn } of intent.nodes) {
      const key = JSON.stringify([database, dsn]);
      if (!places.has(key)) places.set(key, { set: intent.set, database, dsn });
    }
  }
  const found = new Map<string, InDoubt>();
  const unreachable: { set: string; database: string; error: string }[] = [];
  await withSessions(context, async (sessions) => {
    for (const { set, database, dsn } of places.values()) {
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
    sets: sets.length,
    in_doubt: [...found.values()],
    unreachable,
  };
}

async function readIntents(context: AdminContext): Promise<readonly Intent[]> {
  const paths = pathsOf(context);
  const ids = await listBelow(context, paths.intents);
  const intents: Intent[] = [];
  for (const id of ids) {
    const entry = await context.coordinator.read(paths.intent(id));
    if (entry) intents.push(decodeIntent(entry.data, paths.intent(id)));
  }
  return intents;
}

async function decisionOn(
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
