/**
 * Relays the sets of a cluster in this process: finds out what is to be relayed, settles what an administrator left
 * half done, and gives every relay its adapters. How a relay works is in src/relay.
 */
import { type AdminContext, ownerOf } from '../admin/context.js';
import { loadSets } from '../admin/list-sets.js';
import { type LoadedSet, loadSet } from '../admin/load-set.js';
import { withSessions } from '../admin/node-sessions.js';
import { recoverBefore } from '../admin/recover.js';
import { IntegrityError, RefusedError, ShovelError, UsageError } from '../errors.js';
import { clusterPaths } from '../model/change-paths.js';
import type { SetNode } from '../model/change-records.js';
import type { StreamConfiguration } from '../model/set-configuration.js';
import type { RelayOptions, RelaySummary, RelayTuning } from '../relay/relay-options.js';
import type { RelaySet } from '../relay/relay-set.js';
import { ShareLeases } from '../relay/share-leases.js';
import type { StreamStats } from '../relay/stream-state.js';
import { firstError, type RelayEnd, superviseRelays } from '../relay/supervise.js';
import { systemClock } from '../runtime/clock.js';
import type { Publisher } from '../streams/publisher.js';
import { DatabaseWatches } from './database-watches.js';
import { followSets } from './decided-sets.js';
import { fillAll } from './fill-variables.js';
import { withAdmin } from './open-admin.js';
import { nodeOpener } from './open-node.js';
import { createPublisher } from './publishers.js';
import type { AppSettings } from './settings.js';

export interface RunRelaysOptions {
  /** Names; none: all sets of the cluster. */
  readonly sets: readonly string[];
  /** Publish what has committed by now, then end. */
  readonly once: boolean;
  /** Only this database of the set. */
  readonly database?: string;
  /** Publish again from this ticket on; needs one set and one database. */
  readonly fromTicket?: bigint;
  /** Whether someone else prints on standard output, so that no stream may. */
  readonly stdoutTaken?: boolean;
  readonly say?: (line: string) => void;
  readonly stats?: (stats: StreamStats) => void;
  readonly tuning?: RelayTuning;
  /** Of a part of a batch, whatever its destination is. */
  readonly partLimits?: Publisher['limits'];
}

/**
 * Resolves when all relays have ended: told to stop, all published (`once`), or their sets dropped. Without names it
 * goes on after that, for sets to come.
 * @throws RefusedError `cluster_missing`, `set_not_found`, `database_not_in_set`, `sets_missing` (`once`); UsageError
 * `database_needed`, `stdout_taken`; what the first relay that failed threw, once none is running any more; with `once`
 * also what the first stream that failed threw
 */
export async function runRelays(
  settings: AppSettings,
  options: RunRelaysOptions,
): Promise<readonly RelaySummary[]> {
  const say = options.say ?? (() => undefined);
  const running = withAdmin({ ...settings, say }, async (context) => {
    const sets = await findSets(context, options);
    for (const set of sets) checkSet(set, options);
    for (const set of sets) await settle(context, set.name);
    const ends = await relaySets(sets, { context, settings, options });
    const failed = ends.find((end) => end.kind === 'failed');
    if (failed !== undefined) throw failed.error;
    const error = options.once ? firstError(ends) : undefined;
    if (error !== undefined) throw error;
    return ends.flatMap((end) => (end.kind === 'ended' ? [end.summary] : []));
  });
  return running.catch((error: unknown) => {
    // Told to stop before a relay had begun.
    if (settings.signal.aborted && error === settings.signal.reason) return [];
    throw error;
  });
}

interface About {
  readonly context: AdminContext;
  readonly settings: AppSettings;
  readonly options: RunRelaysOptions;
}

async function relaySets(sets: readonly LoadedSet[], about: About): Promise<readonly RelayEnd[]> {
  const { context, settings, options } = about;
  const { signal, logger } = settings;
  const { coordinator, clock, cluster } = context;
  const follow = followSets(context, { first: sets, all: options.sets.length === 0 });
  const share = options.once
    ? undefined
    : new ShareLeases({ coordinator, owner: ownerOf(context), clock, logger });
  const watches = new DatabaseWatches(settings);
  const over = new AbortController();
  const sharing = share?.run(AbortSignal.any([signal, over.signal]));
  try {
    return await superviseRelays({
      sets: follow.sets,
      nodes: (set) => nodesOf(set, options),
      relay: (set, { node, feed }) => ({
        ...relayOptions({ set, node }, { ...about, watches }),
        feed,
        ...(share === undefined ? {} : { share }),
      }),
      relaying: (relays) => {
        const paths = clusterPaths(cluster);
        share?.want(relays.map(({ set, database }) => paths.relay(set, database)));
      },
      ...(options.once ? {} : { follow }),
      clock,
      logger,
      signal,
    });
  } finally {
    over.abort();
    await sharing;
    await watches.close();
  }
}

interface Work {
  readonly set: RelaySet;
  readonly node: SetNode;
}

function nodesOf(set: RelaySet, { database }: RunRelaysOptions): readonly SetNode[] {
  return set.nodes.filter((node) => database === undefined || node.database === database);
}

/** What is to be relayed can be, as it was asked for. */
function checkSet(set: LoadedSet, options: RunRelaysOptions): void {
  const nodes = nodesOf(set, options);
  if (nodes.length === 0) throw databaseMissing(set, options.database ?? '');
  if (options.fromTicket !== undefined && nodes.length > 1) {
    throw new UsageError(
      'database_needed',
      `Set ${set.name} has several databases: tickets are per database.`,
      {
        hint: `Add --database with one of: ${set.nodes.map((node) => node.database).join(', ')}.`,
      },
    );
  }
  for (const [stream, configuration] of Object.entries(set.configuration.streams)) {
    refuseStdout({ set: set.name, stream, configuration }, options);
  }
}

async function findSets(
  context: AdminContext,
  { sets: names, once }: RunRelaysOptions,
): Promise<readonly LoadedSet[]> {
  if (names.length > 0) return Promise.all([...new Set(names)].map((name) => loadSet(context, name)));
  const sets = await loadSets(context);
  if (sets.length > 0) return sets;
  if (once) {
    throw new RefusedError('sets_missing', `Cluster ${context.cluster} has no sets to relay.`, {
      hint: 'Create one: shovel set create FILE.',
    });
  }
  context.logger.info({ cluster: context.cluster }, 'there are no sets yet: waiting for one');
  return sets;
}

function databaseMissing(set: LoadedSet, database: string): RefusedError {
  return new RefusedError('database_not_in_set', `Set ${set.name} has no database ${database}.`, {
    hint: `Its databases are ${set.nodes.map((node) => node.database).join(', ')}.`,
    details: { set: set.name, database },
  });
}

function refuseStdout(
  { set, stream, configuration }: { set: string; stream: string; configuration: StreamConfiguration },
  { stdoutTaken }: RunRelaysOptions,
): void {
  if (stdoutTaken !== true || configuration.kind !== 'file' || configuration.path !== '-') return;
  throw new UsageError(
    'stdout_taken',
    `Stream ${stream} of set ${set} goes to standard output, as --json does.`,
    {
      hint: 'Leave --json out, or give the stream a file.',
    },
  );
}

/** What can't be settled now does not keep the relay from working; what would lose data does. */
async function settle(context: AdminContext, set: string): Promise<void> {
  try {
    await withSessions(context, (sessions) => recoverBefore(context, { sessions, set, lenient: true }));
  } catch (error) {
    if (!(error instanceof ShovelError) || error instanceof IntegrityError) throw error;
    context.logger.warn({ set, error }, 'what an administrator left half done is not settled yet');
  }
}

function relayOptions(
  { set, node }: Work,
  { context, settings, options, watches }: About & { readonly watches: DatabaseWatches },
): RelayOptions {
  const { cluster, logger, signal, variables } = settings;
  const { database, nodeId } = node;
  const openNode = nodeOpener(settings, 'relay');
  const fill = (stream: string, configuration: StreamConfiguration) =>
    fillAll(configuration, { variables, where: `stream ${stream}` });
  for (const [stream, configuration] of Object.entries(set.configuration.streams))
    fill(stream, configuration);
  return {
    cluster,
    set,
    database,
    coordinator: context.coordinator,
    openNode: (configuration) => openNode(database, configuration ?? { dsn: '' }),
    createPublisher: async (stream, configuration) => {
      refuseStdout({ set: set.name, stream, configuration }, options);
      const nodeIds = set.nodes.map((one) => one.nodeId);
      const limits = options.partLimits;
      return createPublisher({
        ...{ cluster, set: set.name, nodeId, nodeIds, stream },
        ...{ configuration, limits, logger },
      });
    },
    fill,
    watch: (configuration) => watches.of(database, configuration ?? { dsn: '' }),
    once: options.once,
    ...(options.fromTicket === undefined ? {} : { fromTicket: options.fromTicket }),
    owner: ownerOf(context),
    clock: systemClock,
    logger,
    signal,
    ...(options.stats === undefined ? {} : { stats: options.stats }),
    ...(context.failpoint === undefined ? {} : { failpoint: context.failpoint }),
    ...(options.tuning === undefined ? {} : { tuning: options.tuning }),
  };
}
