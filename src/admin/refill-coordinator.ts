/**
 * Refills a coordinator that was lost, damaged, or restored from an older backup, from what the nodes hold: each keeps
 * the documents of the versions that it was brought to. The newest of a set's documents is the decision; every database
 * that any of them names must be asked before that can be said. What the coordinator holds and what fits stays as it
 * is. Sets that were dropped are in no node: of them nothing comes back.
 */
import type { Entry, Operation } from '../coordinator/coordinator.js';
import { RefusedError } from '../errors.js';
import {
  decodeCluster,
  decodeIntent,
  decodeRecord,
  encodeCluster,
  encodeRecord,
  recordOf,
} from '../model/change-records.js';
import { releasesOf } from './cluster-release.js';
import { type AdminContext, isoTime, pathsOf } from './context.js';
import { knownPlaces } from './known-places.js';
import { damagedAsUndefined, decodeStored } from './load-set.js';
import { type NodeHistory, readHistories } from './node-histories.js';
import type { NodeSessions } from './node-sessions.js';

export interface RefilledSet {
  readonly set: string;
  readonly version: number;
  /** Versions of its history that the coordinator has again; the newest is last. */
  readonly versions: readonly number[];
}

/**
 * `dsns`: databases to begin with, where the coordinator knows of none. Returns the sets of which something was
 * written. @throws RefusedError `clusters_mixed`, `refill_lost`; UnreachableError: all databases of a set must answer
 */
export async function refillCoordinator(
  context: AdminContext,
  { sessions, dsns }: { sessions: NodeSessions; dsns: readonly string[] },
): Promise<readonly RefilledSet[]> {
  await context.coordinator.sync();
  const histories = await readHistories(context, {
    sessions,
    places: [
      ...dsns.map((dsn, index) => ({ database: `node ${index + 1}`, dsn })),
      ...(await knownPlaces(context)),
    ],
  });
  await refillCluster(context, histories);
  await removeDamagedIntents(context);
  const refilled: RefilledSet[] = [];
  for (const history of histories) {
    const written = await refillSet(context, history);
    if (written) refilled.push(written);
  }
  return refilled;
}

/** The cluster's own entry and what always stands below it. */
async function refillCluster(context: AdminContext, histories: readonly NodeHistory[]): Promise<void> {
  const { coordinator } = context;
  const paths = pathsOf(context);
  const root = await coordinator.read(paths.root);
  const cluster = await coordinator.read(paths.cluster);
  const operations: Operation[] = root ? [] : [{ kind: 'create', path: paths.root, data: '' }];
  const known = cluster && damagedAsUndefined(() => decodeCluster(cluster.data, paths.cluster));
  const id = await clusterId(context, { histories, known: known?.id });
  if (known?.id !== id) {
    const data = encodeCluster({
      schema: 1,
      id,
      createdAt: isoTime(context),
      ...(await releasesOf(context)),
    });
    operations.push(
      cluster
        ? { kind: 'set', path: paths.cluster, data, version: cluster.version }
        : { kind: 'create', path: paths.cluster, data },
    );
  }
  for (const path of [paths.sets, paths.intents, paths.leases, paths.admins]) {
    if (!(await coordinator.read(path))) operations.push({ kind: 'create', path, data: '' });
  }
  await write(context, { operations, what: `Cluster ${context.cluster}` });
}

/** That of the nodes' sets; another one that stands there already gives way where it has no set. */
async function clusterId(
  context: AdminContext,
  { histories, known }: { histories: readonly NodeHistory[]; known: string | undefined },
): Promise<string> {
  const ids = [...new Set(histories.map(({ newest }) => newest.document.clusterId))];
  const [id, ...others] = ids;
  if (id === undefined && known !== undefined) return known;
  const foreign = id !== undefined && known !== undefined && known !== id;
  if (id !== undefined && others.length === 0 && !(foreign && (await hasSets(context)))) return id;
  const { cluster, coordinator } = context;
  const details = { cluster, clusters: ids, known: known ?? null };
  if (id === undefined) {
    throw new RefusedError(
      'clusters_mixed',
      `No database that was asked holds a set of cluster ${cluster}.`,
      {
        hint: "Check --cluster, and name a database of the one that was lost: shovel cluster recover --from-nodes 'DSN'.",
        details,
      },
    );
  }
  throw new RefusedError(
    'clusters_mixed',
    others.length === 0
      ? `The databases hold sets of another cluster ${cluster} than the one at ${coordinator.display}, which has sets of its own.`
      : `The databases hold sets of ${ids.length} clusters that are all called ${cluster}.`,
    {
      hint: 'Name databases of one cluster only, and the coordinator that is to know it (--coordinator, --zookeeper-hosts).',
      details,
    },
  );
}

async function hasSets(context: AdminContext): Promise<boolean> {
  return ((await context.coordinator.list(pathsOf(context).sets)) ?? []).length > 0;
}

/** Changes that nobody can read block every command. What they left in the nodes is closed as of nobody's. */
async function removeDamagedIntents(context: AdminContext): Promise<void> {
  const { coordinator, logger } = context;
  const paths = pathsOf(context);
  for (const id of (await coordinator.list(paths.intents)) ?? []) {
    const path = paths.intent(id);
    const entry = await coordinator.read(path);
    if (!entry || damagedAsUndefined(() => decodeIntent(entry.data, path))) continue;
    await coordinator.multi([{ kind: 'remove', path, version: entry.version }]);
    logger.warn({ change: id }, 'removed a change that can not be read from the coordinator');
  }
}

async function refillSet(context: AdminContext, history: NodeHistory): Promise<RefilledSet | undefined> {
  const { coordinator } = context;
  const paths = pathsOf(context);
  const { set, newest } = history;
  const path = paths.set(set);
  const entry = await coordinator.read(path);
  const written: number[] = [];
  if (!entry || !(await holds(context, { history, entry }))) {
    const data = encodeRecord(recordOf(newest.document));
    const operations: Operation[] = [
      entry ? { kind: 'set', path, data, version: entry.version } : { kind: 'create', path, data },
    ];
    if (!(await coordinator.read(paths.versions(set)))) {
      operations.push({ kind: 'create', path: paths.versions(set), data: '' });
    }
    operations.push(...(await storing(context, { set, ...newest, always: true })));
    await write(context, { operations, what: `Set ${set}` });
    written.push(newest.document.version);
  } else if (!(await coordinator.read(paths.versions(set)))) {
    await write(context, {
      operations: [{ kind: 'create', path: paths.versions(set), data: '' }],
      what: `Set ${set}`,
    });
  }
  for (const version of history.versions.toReversed()) {
    if (written.includes(version.document.version)) continue;
    const operations = await storing(context, { set, ...version, always: false });
    if (operations.length === 0) continue;
    await write(context, { operations, what: `Set ${set}` });
    written.push(version.document.version);
  }
  if (written.length === 0) return undefined;
  return { set, version: newest.document.version, versions: written.toSorted((a, b) => a - b) };
}

/**
 * Whether what stands in the coordinator is a decision that the nodes have, or are still to follow. One that nobody
 * has the document of is none; but what was dropped stays dropped.
 */
async function holds(
  context: AdminContext,
  { history: { set, newest }, entry }: { history: NodeHistory; entry: Entry },
): Promise<boolean> {
  const paths = pathsOf(context);
  const record = damagedAsUndefined(() => decodeRecord(entry.data, paths.set(set)));
  if (!record || record.version < newest.document.version) return false;
  if (record.version > newest.document.version && record.state === 'dropped') return true;
  const { version } = record;
  const path = paths.version(set, version);
  const stored = await context.coordinator.read(path);
  const document =
    stored && damagedAsUndefined(() => decodeStored(stored.data, { path, name: set, version }));
  const fitting = document ?? newest.document;
  return encodeRecord(recordOf(fitting)) === encodeRecord(record);
}

/** What it takes to have a version's document there: nothing where one stands that can be read, unless `always`. */
async function storing(
  context: AdminContext,
  { set, document, text, always }: { set: string; always: boolean } & NodeHistory['versions'][number],
): Promise<readonly Operation[]> {
  const { version } = document;
  const path = pathsOf(context).version(set, version);
  const stored = await context.coordinator.read(path);
  if (!stored) return [{ kind: 'create', path, data: text }];
  const readable = damagedAsUndefined(() => decodeStored(stored.data, { path, name: set, version }));
  if (stored.data === text || (readable && !always)) return [];
  return [{ kind: 'set', path, data: text, version: stored.version }];
}

async function write(
  context: AdminContext,
  { operations, what }: { operations: readonly Operation[]; what: string },
): Promise<void> {
  if (operations.length === 0) return;
  const result = await context.coordinator.multi(operations);
  if (result.kind === 'done') return;
  throw new RefusedError('refill_lost', `${what} was changed by somebody else while it was refilled.`, {
    hint: 'Run shovel cluster recover --from-nodes again: it goes on from what stands there now.',
    details: { cluster: context.cluster },
  });
}
