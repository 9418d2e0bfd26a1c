/** The live sets of a cluster, as the coordinator has decided them. Looks at no database. */

import { RefusedError } from '../errors.js';
import { type ClusterReader, pathsOf } from './context.js';
import { type LoadedSet, listBelow, loadSet, requireCluster } from './load-set.js';

/** A row of `set list`, names as in its JSON. */
export interface ListedSet {
  readonly name: string;
  readonly version: number;
  readonly hash: string;
  readonly databases: readonly string[];
  /** Entries of the set file; `schema.*` counts once. */
  readonly tables: number;
  readonly streams: readonly string[];
  readonly targets: readonly string[];
}

/** Sorted by name. @throws RefusedError `cluster_missing` */
export async function listSets(context: ClusterReader): Promise<readonly ListedSet[]> {
  return (await loadSets(context)).map(({ name, version, hash, configuration }) => ({
    name,
    version,
    hash,
    databases: Object.keys(configuration.databases),
    tables: configuration.tables.length,
    streams: Object.keys(configuration.streams),
    targets: Object.keys(configuration.targets),
  }));
}

/** Every live set. @throws RefusedError `cluster_missing`; IntegrityError `record_damaged` */
export async function loadSets(context: ClusterReader): Promise<readonly LoadedSet[]> {
  await requireCluster(context);
  const names = await listBelow(context, pathsOf(context).sets);
  const sets: LoadedSet[] = [];
  for (const name of names) {
    try {
      sets.push(await loadSet(context, name));
    } catch (error) {
      // Dropped: its record stays, so that versions go on counting.
      if (!(error instanceof RefusedError && error.code === 'set_not_found')) throw error;
    }
  }
  return sets;
}
