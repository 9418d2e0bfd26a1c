/**
 * Where a cluster's databases are, as far as its coordinator still says it: from the newest version of each set that
 * can be read, and from changes under way. Damage is overlooked: others tell of it.
 */
import type { SetDocument } from '../model/change-records.js';
import { decodeIntent, decodeRecord } from '../model/change-records.js';
import { type ClusterReader, pathsOf } from './context.js';
import { damagedAsUndefined, decodeStored } from './load-set.js';
import type { Place } from './node-histories.js';

export async function knownPlaces(context: ClusterReader): Promise<readonly Place[]> {
  const { coordinator } = context;
  const paths = pathsOf(context);
  const places: Place[] = [];
  for (const name of (await coordinator.list(paths.sets)) ?? []) {
    const entry = await coordinator.read(paths.set(name));
    const record = entry && damagedAsUndefined(() => decodeRecord(entry.data, paths.set(name)));
    if (record?.state === 'dropped') continue;
    const document = await newestReadable(context, name);
    for (const [database, { dsn }] of Object.entries(document?.configuration.databases ?? {})) {
      places.push({ database, dsn });
    }
  }
  for (const id of (await coordinator.list(paths.intents)) ?? []) {
    const entry = await coordinator.read(paths.intent(id));
    const intent = entry && damagedAsUndefined(() => decodeIntent(entry.data, paths.intent(id)));
    for (const { database, dsn, role } of intent?.nodes ?? []) {
      if (role !== 'leave') places.push({ database, dsn });
    }
  }
  return places;
}

async function newestReadable(context: ClusterReader, name: string): Promise<SetDocument | undefined> {
  const paths = pathsOf(context);
  const versions = ((await context.coordinator.list(paths.versions(name))) ?? []).map(Number);
  for (const version of versions.toSorted((a, b) => b - a)) {
    const path = paths.version(name, version);
    const entry = await context.coordinator.read(path);
    const document = entry && damagedAsUndefined(() => decodeStored(entry.data, { path, name, version }));
    if (document) return document;
  }
  return undefined;
}
