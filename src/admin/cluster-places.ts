/** The databases of a cluster: those of its live sets, and those that an unfinished change names. */
import { decodeIntent, type Intent } from '../model/change-records.js';
import { type ClusterReader, pathsOf } from './context.js';
import { type LoadedSet, listBelow } from './load-set.js';

export interface ClusterPlace {
  readonly database: string;
  /** As in the set file: may hold `${NAME}`. */
  readonly dsn: string;
  /** Sets that it is in, or is to be in. */
  readonly sets: readonly string[];
}

/** Each once by name and address; one database may still appear under several. */
export function clusterPlaces(
  sets: readonly LoadedSet[],
  intents: readonly Intent[],
): readonly ClusterPlace[] {
  const places = new Map<string, { database: string; dsn: string; sets: string[] }>();
  const add = (set: string, database: string, dsn: string) => {
    const key = JSON.stringify([database, dsn]);
    const place = places.get(key) ?? { database, dsn, sets: [] };
    if (!place.sets.includes(set)) place.sets.push(set);
    places.set(key, place);
  };
  for (const { name, configuration } of sets) {
    for (const [database, { dsn }] of Object.entries(configuration.databases)) add(name, database, dsn);
  }
  for (const { set, nodes } of intents) for (const { database, dsn } of nodes) add(set, database, dsn);
  return [...places.values()];
}

/** Changes that were begun and are not cleaned up yet. */
export async function loadIntents(context: ClusterReader): Promise<readonly Intent[]> {
  const paths = pathsOf(context);
  const ids = await listBelow(context, paths.intents);
  const intents: Intent[] = [];
  for (const id of ids) {
    const entry = await context.coordinator.read(paths.intent(id));
    if (entry) intents.push(decodeIntent(entry.data, paths.intent(id)));
  }
  return intents;
}
