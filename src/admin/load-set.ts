/**
 * Reads what the coordinator has decided about clusters and sets. Never takes an absence from a lagging follower, nor
 * as a decision what does not fit together: entries that were changed or taken away by hand are an IntegrityError.
 */
import { IntegrityError, RefusedError } from '../errors.js';
import {
  type ClusterRecord,
  decodeCluster,
  decodeDocument,
  decodeRecord,
  type SetDocument,
  type SetNode,
  type SetRecord,
} from '../model/change-records.js';
import { compareReleases } from '../model/release-order.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import { sha256Hex } from '../runtime/hash.js';
import { releaseVersion } from '../runtime/release.js';
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

/** @throws RefusedError `cluster_missing`, `set_not_found`; IntegrityError `record_damaged`, `configuration_damaged` */
export async function loadSet(context: ClusterReader, name: string): Promise<LoadedSet> {
  const { record } = await readSet(context, name);
  if (record.state === 'dropped') throw setNotFound(context, name);
  return loaded(await readDecided(context, { name, record }));
}

/** The document of the version that a record names. @throws IntegrityError `record_damaged` where it has another or none */
export async function readDecided(
  context: ClusterReader,
  { name, record }: { name: string; record: SetRecord },
): Promise<SetDocument> {
  const { version } = record;
  const path = pathsOf(context).version(name, version);
  const entry = await context.coordinator.read(path);
  if (!entry) throw damaged(`${path} is missing, though set ${name} is at version ${version}`);
  const document = decodeStored(entry.data, { path, name, version });
  if (document.intent !== record.intent || document.hash !== record.hash || document.state !== record.state) {
    throw damaged(`${path} is not the version ${version} that set ${name} is at`);
  }
  return document;
}

/**
 * A document as it stands in the coordinator, held against its own hash and its place.
 * @throws IntegrityError `record_damaged`, `configuration_damaged`
 */
export function decodeStored(
  text: string,
  { path, name, version }: { path: string; name: string; version: number },
): SetDocument {
  const document = decodeDocument(text, path);
  // Over the text as it was stored: another release may write the same configuration in other words.
  const stored: unknown = JSON.parse(text);
  const configuration: unknown = Reflect.get(Object(stored), 'configuration');
  if (sha256Hex(JSON.stringify(configuration)) !== document.hash) {
    throw damaged(`${path} was changed: its configuration does not fit its hash`);
  }
  if (document.set !== name || document.version !== version || document.configuration.name !== name) {
    throw damaged(`${path} holds version ${document.version} of set ${document.set}`);
  }
  return document;
}

/** The names below an entry that a cluster always has. @throws IntegrityError `record_damaged` where it is missing */
export async function listBelow(context: ClusterReader, path: string): Promise<readonly string[]> {
  const names = await context.coordinator.list(path);
  if (!names) throw damaged(`${path} is missing, which every cluster has`);
  return names;
}

function damaged(what: string): IntegrityError {
  return new IntegrityError('record_damaged', `Coordinator: ${what}.`, {
    hint: 'Nothing was changed. What the databases hold restores it: shovel cluster recover --from-nodes.',
  });
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
  return decodeStored(entry.data, { path, name, version });
}

function loaded(document: SetDocument): LoadedSet {
  const { set: name, version, intent, hash, configuration, nodes, createdAt, decidedAt } = document;
  return { name, version, intent, hash, configuration, nodes, createdAt, decidedAt };
}

/**
 * Reads made after this see all that was decided before. @throws RefusedError `cluster_missing`, `cluster_newer`: it
 * asks for a newer release
 */
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
        hint: 'Run shovel cluster init, or check --cluster and the address; if it was lost: shovel cluster recover --from-nodes.',
        details: { cluster: context.cluster },
      },
    );
  }
  const cluster = decodeCluster(entry.data, path);
  const { minimumRelease } = cluster;
  if (minimumRelease !== undefined && compareReleases(releaseVersion(), minimumRelease) < 0) {
    throw clusterNewer(context, cluster);
  }
  return { cluster, entryVersion: entry.version };
}

export function clusterNewer(context: ClusterReader, cluster: ClusterRecord): RefusedError {
  const { release, minimumRelease } = cluster;
  return new RefusedError(
    'cluster_newer',
    `Cluster ${context.cluster} was upgraded to release ${release}; this is ${releaseVersion()}.`,
    {
      hint: `Use release ${minimumRelease ?? release} or a later one.`,
      details: { cluster: context.cluster, cluster_release: release, minimum_release: minimumRelease },
    },
  );
}

export function setNotFound(context: Pick<ClusterReader, 'cluster'>, name: string): RefusedError {
  return new RefusedError('set_not_found', `Cluster ${context.cluster} has no set ${name}.`, {
    hint: 'shovel set list shows those that it has; if it was lost: shovel cluster recover --from-nodes.',
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

/** For those who look past damage: undefined where `decode` throws for it. */
export function damagedAsUndefined<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof IntegrityError) return undefined;
    throw error;
  }
}
