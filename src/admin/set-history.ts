/** All versions that a set has had, newest first, and how a set file differs from what is decided. */
import { type ConfigurationChange, diffConfigurations } from '../model/change-diff.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import { configurationHash } from './carry-out.js';
import { type ClusterReader, pathsOf } from './context.js';
import { loadSet, readDocument, readSet, requireVersion } from './load-set.js';

/** Names as in the JSON of `set history`. */
export interface HistoricVersion {
  readonly version: number;
  readonly hash: string;
  readonly state: 'live' | 'dropped';
  readonly decided_at: string;
  readonly databases: readonly string[];
  readonly tables: number;
  readonly streams: readonly string[];
  readonly targets: readonly string[];
  /** What it changed; empty for the first. */
  readonly changes: readonly ConfigurationChange[];
}

/** Also of a set that was dropped. @throws RefusedError `cluster_missing`, `set_not_found` */
export async function setHistory(
  context: ClusterReader,
  { name }: { readonly name: string },
): Promise<readonly HistoricVersion[]> {
  await readSet(context, name);
  const listed = (await context.coordinator.list(pathsOf(context).versions(name))) ?? [];
  const versions = listed.map(Number).toSorted((a, b) => a - b);
  const history: HistoricVersion[] = [];
  let before: SetConfiguration | undefined;
  for (const version of versions) {
    const { hash, state, decidedAt, configuration } = await readDocument(context, { name, version });
    history.push({
      version,
      hash,
      state,
      decided_at: decidedAt,
      databases: Object.keys(configuration.databases),
      tables: configuration.tables.length,
      streams: Object.keys(configuration.streams),
      targets: Object.keys(configuration.targets),
      changes: before ? diffConfigurations(before, configuration) : [],
    });
    before = configuration;
  }
  return history.toReversed();
}

/** Names as in the JSON of `set diff`. */
export interface SetDiff {
  readonly name: string;
  readonly version: number;
  /** False: an upgrade with this file would change the configuration in nothing. */
  readonly changed: boolean;
  readonly changes: readonly ConfigurationChange[];
}

/** Looks at no database. @throws RefusedError `cluster_missing`, `set_not_found`, `version_mismatch` */
export async function diffSet(
  context: ClusterReader,
  {
    configuration,
    version,
  }: { readonly configuration: SetConfiguration; readonly version?: number | undefined },
): Promise<SetDiff> {
  const set = await loadSet(context, configuration.name);
  requireVersion(set.name, { is: set.version, wanted: version });
  return {
    name: set.name,
    version: set.version,
    changed: set.hash !== configurationHash(configuration),
    changes: diffConfigurations(set.configuration, configuration),
  };
}
