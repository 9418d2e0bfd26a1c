/**
 * Relays the sets of a cluster in this process: finds out what is to be relayed, settles what an administrator left
 * half done, and gives every relay its adapters. How a relay works is in src/relay.
 */
import type { AdminContext } from '../admin/context.js';
import { loadSets } from '../admin/list-sets.js';
import { type LoadedSet, loadSet } from '../admin/load-set.js';
import { withSessions } from '../admin/node-sessions.js';
import { recoverBefore } from '../admin/recover.js';
import { IntegrityError, RefusedError, ShovelError, UsageError } from '../errors.js';
import type { SetNode } from '../model/change-records.js';
import type { StreamConfiguration } from '../model/set-configuration.js';
import type { RelayOptions, RelaySummary } from '../relay/relay.js';
import type { StreamStats } from '../relay/stream-state.js';
import { firstError, superviseRelays } from '../relay/supervise.js';
import { systemClock } from '../runtime/clock.js';
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
}

/**
 * Resolves when all relays have ended: told to stop, all published (`once`), or their sets dropped.
 * @throws RefusedError `cluster_missing`, `set_not_found`, `database_not_in_set`, `sets_missing`; UsageError
 * `database_needed`, `stdout_taken`; what the first relay that failed threw; with `once` also what the first
 * stream that failed threw
 */
export async function runRelays(
  settings: AppSettings,
  options: RunRelaysOptions,
): Promise<readonly RelaySummary[]> {
  const say = options.say ?? (() => undefined);
  return withAdmin({ ...settings, say }, async (context) => {
    const work = await findWork(context, options);
    if (options.stdoutTaken === true) refuseStdout(work);
    for (const set of new Set(work.map((one) => one.set))) await settle(context, set.name);
    const relays = work.map((one) => relayOptions(one, { context, settings, options }));
    const ends = await superviseRelays({ relays });
    const failed = ends.find((end) => end.kind === 'failed');
    if (failed !== undefined) throw failed.error;
    const error = options.once ? firstError(ends) : undefined;
    if (error !== undefined) throw error;
    return ends.flatMap((end) => (end.kind === 'ended' ? [end.summary] : []));
  });
}

interface Work {
  readonly set: LoadedSet;
  readonly node: SetNode;
}

async function findWork(context: AdminContext, options: RunRelaysOptions): Promise<readonly Work[]> {
  const sets = await findSets(context, options.sets);
  const { database, fromTicket } = options;
  return sets.flatMap((set) => {
    const nodes = set.nodes.filter((node) => database === undefined || node.database === database);
    if (nodes.length === 0) throw databaseMissing(set, database ?? '');
    if (fromTicket !== undefined && nodes.length > 1) {
      throw new UsageError(
        'database_needed',
        `Set ${set.name} has several databases: tickets are per database.`,
        {
          hint: `Add --database: ${set.nodes.map((node) => node.database).join(', ')}.`,
        },
      );
    }
    return nodes.map((node) => ({ set, node }));
  });
}

async function findSets(context: AdminContext, names: readonly string[]): Promise<readonly LoadedSet[]> {
  if (names.length > 0) return Promise.all([...new Set(names)].map((name) => loadSet(context, name)));
  const sets = await loadSets(context);
  if (sets.length > 0) return sets;
  throw new RefusedError('sets_missing', `Cluster ${context.cluster} has no sets to relay.`, {
    hint: 'Create one: shovel set create FILE.',
  });
}

function databaseMissing(set: LoadedSet, database: string): RefusedError {
  return new RefusedError('database_not_in_set', `Set ${set.name} has no database ${database}.`, {
    hint: `Its databases are ${set.nodes.map((node) => node.database).join(', ')}.`,
    details: { set: set.name, database },
  });
}

function refuseStdout(work: readonly Work[]): void {
  for (const { set } of work) {
    for (const [name, stream] of Object.entries(set.configuration.streams)) {
      if (stream.kind !== 'file' || stream.path !== '-') continue;
      throw new UsageError(
        'stdout_taken',
        `Stream ${name} of set ${set.name} goes to standard output, as --json does.`,
        {
          hint: 'Leave --json out, or give the stream a file.',
        },
      );
    }
  }
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
  about: {
    readonly context: AdminContext;
    readonly settings: AppSettings;
    readonly options: RunRelaysOptions;
  },
): RelayOptions {
  const { context, settings, options } = about;
  const { cluster, logger, signal, variables } = settings;
  const { database, nodeId } = node;
  const { databases, streams } = set.configuration;
  const openNode = nodeOpener(settings, 'relay');
  return {
    cluster,
    set: { ...set, configuration: { ...set.configuration, streams: fillStreams(streams, variables) } },
    database,
    coordinator: context.coordinator,
    openNode: () => openNode(database, databases[database] ?? { dsn: '' }),
    createPublisher: async (stream) => {
      const configuration = streams[stream];
      if (configuration === undefined) throw new TypeError(`no stream ${stream} in set ${set.name}`);
      return createPublisher({ cluster, set: set.name, nodeId, stream, configuration, variables, logger });
    },
    once: options.once,
    ...(options.fromTicket === undefined ? {} : { fromTicket: options.fromTicket }),
    owner: context.owner ?? 'shovel',
    clock: systemClock,
    logger,
    signal,
    ...(options.stats === undefined ? {} : { stats: options.stats }),
  };
}

/** Topics and paths may hold variables, too. */
function fillStreams(
  streams: Readonly<Record<string, StreamConfiguration>>,
  variables: AppSettings['variables'],
): Readonly<Record<string, StreamConfiguration>> {
  return Object.fromEntries(
    Object.entries(streams).map(([name, stream]) => [
      name,
      fillAll(stream, { variables, where: `stream ${name}` }),
    ]),
  );
}
