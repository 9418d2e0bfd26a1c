/**
 * Refills a coordinator that was lost, or restored from an older backup, from what the nodes hold: each keeps the
 * whole document of the version that it is at. The newest of a set's documents is the decision; every database that
 * it names must be asked before that can be said. Older versions of its history are not in the nodes and stay lost.
 */
import type { Operation } from '../coordinator/coordinator.js';
import { RefusedError } from '../errors.js';
import {
  decodeDocument,
  decodeRecord,
  encodeCluster,
  encodeDocument,
  encodeRecord,
  recordOf,
  type SetDocument,
} from '../model/change-records.js';
import { type AdminContext, isoTime, namesOf, pathsOf } from './context.js';
import { loadSets } from './list-sets.js';
import { readNodeRows } from './node-rows.js';
import type { NodeSessions } from './node-sessions.js';

/**
 * `dsns`: databases to begin with, where the coordinator knows of none. Returns the sets that it has again, or newer.
 * @throws RefusedError `clusters_mixed`, `refill_lost`; UnreachableError: all databases of a set must answer
 */
export async function refillCoordinator(
  context: AdminContext,
  { sessions, dsns }: { sessions: NodeSessions; dsns: readonly string[] },
): Promise<readonly { readonly set: string; readonly version: number }[]> {
  const { coordinator } = context;
  const paths = pathsOf(context);
  await coordinator.sync();
  const cluster = await coordinator.read(paths.cluster);
  const documents = await newestDocuments(context, {
    sessions,
    places: [
      ...dsns.map((dsn, index) => ({ database: `node ${index + 1}`, dsn })),
      ...(cluster ? await knownPlaces(context) : []),
    ],
  });
  if (!cluster) await makeCluster(context, documents);
  const refilled: { set: string; version: number }[] = [];
  for (const document of documents) {
    const { set, version } = document;
    const entry = await coordinator.read(paths.set(set));
    if (entry && decodeRecord(entry.data, paths.set(set)).version >= version) continue;
    const data = encodeRecord(recordOf(document));
    const operations: Operation[] = entry
      ? [{ kind: 'set', path: paths.set(set), data, version: entry.version }]
      : [
          { kind: 'create', path: paths.set(set), data },
          { kind: 'create', path: paths.versions(set), data: '' },
        ];
    const stored = await coordinator.read(paths.version(set, version));
    operations.push(
      stored
        ? {
            kind: 'set',
            path: paths.version(set, version),
            data: encodeDocument(document),
            version: stored.version,
          }
        : { kind: 'create', path: paths.version(set, version), data: encodeDocument(document) },
    );
    const result = await coordinator.multi(operations);
    if (result.kind === 'conflict') {
      throw new RefusedError(
        'refill_lost',
        `Set ${set} was changed by somebody else while it was refilled.`,
        {
          hint: 'Try again.',
          details: { set },
        },
      );
    }
    refilled.push({ set, version });
  }
  return refilled;
}

async function knownPlaces(context: AdminContext): Promise<readonly { database: string; dsn: string }[]> {
  return (await loadSets(context)).flatMap((set) =>
    Object.entries(set.configuration.databases).map(([database, { dsn }]) => ({ database, dsn })),
  );
}

/** Of each set, from every database that any of its documents names. */
async function newestDocuments(
  context: AdminContext,
  { sessions, places }: { sessions: NodeSessions; places: readonly { database: string; dsn: string }[] },
): Promise<readonly SetDocument[]> {
  const newest = new Map<string, SetDocument>();
  const asked = new Set<string>();
  const queue = [...places];
  for (let place = queue.shift(); place !== undefined; place = queue.shift()) {
    if (asked.has(place.dsn)) continue;
    asked.add(place.dsn);
    const connection = await sessions.connection(place);
    for (const row of await readNodeRows(connection, { names: namesOf(context) })) {
      const document = decodeDocument(row.document, `set ${row.set} in database ${place.database}`);
      for (const [database, { dsn }] of Object.entries(document.configuration.databases))
        queue.push({ database, dsn });
      const best = newest.get(document.set);
      if (!best || best.version < document.version) newest.set(document.set, document);
    }
  }
  return [...newest.values()];
}

async function makeCluster(context: AdminContext, documents: readonly SetDocument[]): Promise<void> {
  const ids = [...new Set(documents.map((document) => document.clusterId))];
  const [id, ...others] = ids;
  if (id === undefined || others.length > 0) {
    throw new RefusedError(
      'clusters_mixed',
      id === undefined
        ? `No database that was asked holds a set of cluster ${context.cluster}.`
        : `The databases hold sets of ${ids.length} clusters that are all called ${context.cluster}.`,
      { hint: 'Name a database of the cluster that was lost: shovel cluster recover --from-nodes.' },
    );
  }
  const paths = pathsOf(context);
  const root = await context.coordinator.read(paths.root);
  const operations: Operation[] = root ? [] : [{ kind: 'create', path: paths.root, data: '' }];
  operations.push(
    {
      kind: 'create',
      path: paths.cluster,
      data: encodeCluster({ schema: 1, id, createdAt: isoTime(context) }),
    },
    ...[paths.sets, paths.intents, paths.leases, paths.admins].map(
      (path): Operation => ({ kind: 'create', path, data: '' }),
    ),
  );
  const result = await context.coordinator.multi(operations);
  if (result.kind === 'conflict') {
    throw new RefusedError('refill_lost', `Cluster ${context.cluster} was made by somebody else meanwhile.`, {
      hint: 'Try again.',
    });
  }
}
