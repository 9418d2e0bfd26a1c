/** Reads what the coordinator has decided about clusters and sets. Never takes an absence from a lagging follower. */
import { RefusedError } from '../errors.js';
import {
  type ClusterRecord,
  decodeCluster,
  decodeDocument,
  decodeRecord,
  type SetDocument,
  type SetNode,
  type SetRecord,
} from '../model/change-records.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import { type ClusterReader, pathsOf } from './context.js';

/** A set as decided. */
export interface LoadedSet {
  readonly name: string;
  readonly version: number;
  /** The change that made this version. */
  readonly intent: string;
  readonly hash: string;
  readonly configuration: SetConfiguration;
  readonly nodes: readonly SetNode[];
  readonly createdAt: string;
  readonly decidedAt: string;
}

/** @throws RefusedError `cluster_missing`, `set_not_found` */
export async function loadSet(context: ClusterReader, name: string): Promise<LoadedSet> {
  const { record } = await readSet(context, name);
  if (record.state === 'dropped') throw setNotFound(context, name);
  return loaded(await readDocument(context, { name, version: record.version }));
}

/** The record of a set, live or dropped, with its entry's version. @throws like loadSet */
export async function readSet(
  context: ClusterReader,
  name: string,
): Promise<{ readonly record: SetRecord; readonly entryVersion: number }> {
  await requireCluster(context);
  const path = pathsOf(context).set(name);
  const entry = await context.coordinator.read(path);
  if (!entry) throw setNotFound(context, name);
  return { record: decodeRecord(entry.data, path), entryVersion: entry.version };
}

/** @throws RefusedError `version_not_found` */
export async function readDocument(
  context: ClusterReader,
  { name, version }: { name: string; version: number },
): Promise<SetDocument> {
  const path = pathsOf(context).version(name, version);
  const entry = await context.coordinator.read(path);
  if (!entry) {
    throw new RefusedError('version_not_found', `Set ${name} has no version ${version}.`, {
      hint: `shovel set history ${name} lists those that it has.`,
      details: { set: name, version },
    });
  }
  return decodeDocument(entry.data, path);
}

function loaded(document: SetDocument): LoadedSet {
  const { set: name, version, intent, hash, configuration, nodes, createdAt, decidedAt } = document;
  return { name, version, intent, hash, configuration, nodes, createdAt, decidedAt };
}

/** Reads made after this see all that was decided before. @throws RefusedError `cluster_missing` */
export async function requireCluster(
  context: ClusterReader,
): Promise<{ readonly cluster: ClusterRecord; readonly entryVersion: number }> {
  const path = pathsOf(context).cluster;
  await context.coordinator.sync();
  const entry = await context.coordinator.read(path);
  if (!entry) {
    throw new RefusedError(
      'cluster_missing',
      `Cluster ${context.cluster} is not initialised at ${context.coordinator.display}.`,
      {
        hint: 'Run shovel cluster init, or check --cluster and the address.',
        details: { cluster: context.cluster },
      },
    );
  }
  return { cluster: decodeCluster(entry.data, path), entryVersion: entry.version };
}

export function setNotFound(context: ClusterReader, name: string): RefusedError {
  return new RefusedError('set_not_found', `Cluster ${context.cluster} has no set ${name}.`, {
    hint: 'shovel set list shows those that it has.',
    details: { set: name, cluster: context.cluster },
  });
}

/** @throws RefusedError `version_mismatch` where the set is not at the version that the caller wants it to be at */
export function requireVersion(
  name: string,
  { is, wanted }: { is: number; wanted: number | undefined },
): void {
  if (wanted === undefined || wanted === is) return;
  throw new RefusedError('version_mismatch', `Set ${name} is at version ${is}, not ${wanted}.`, {
    hint: 'Nothing was changed. Look at what it is now, then name that version.',
    details: { set: name, version: is, expected: wanted },
  });
}
