/**
 * The sets of a cluster as they are decided, for a relay that follows them. Only a record that says so is a drop: an
 * entry that is missing, damaged, older than what is known, or can't be read leaves a set as it was.
 */
import type { AdminContext } from '../admin/context.js';
import { pathsOf } from '../admin/context.js';
import { type LoadedSet, loadSet, readSet } from '../admin/load-set.js';
import { IntegrityError, RefusedError, ShovelError } from '../errors.js';
import type { DecidedSets, FollowSets } from '../relay/supervise.js';

/** How often it is looked for sets that were not there before: a store tells of changes, not of new names. */
const NAMES_EVERY_MS = 2000;

export interface DecidedSetsOptions {
  /** Sets known at the start. */
  readonly first: readonly LoadedSet[];
  /** All sets of the cluster, also those to come; else those that are known. */
  readonly all: boolean;
}

export function followSets(
  context: AdminContext,
  { first, all }: DecidedSetsOptions,
): FollowSets & { readonly sets: DecidedSets } {
  const sets = new Map<string, LoadedSet | undefined>(first.map((set) => [set.name, set]));
  return {
    sets: new Map(sets),
    waits: all,
    look: async () => {
      await context.coordinator.sync();
      const names = all ? ((await context.coordinator.list(pathsOf(context).sets)) ?? []) : [];
      for (const name of new Set([...sets.keys(), ...names])) await look(context, { name, sets });
      return new Map(sets);
    },
    watch: (changed, signal) => watch(context, { names: [...sets.keys()], all, changed, signal }),
  };
}

async function look(
  context: AdminContext,
  { name, sets }: { readonly name: string; readonly sets: Map<string, LoadedSet | undefined> },
): Promise<void> {
  try {
    const { record } = await readSet(context, name);
    const known = sets.get(name);
    if (known !== undefined && record.version < known.version) {
      context.logger.error(
        { set: name, version: known.version, coordinator_version: record.version },
        'the coordinator has lost history: the set stays as it was; restore it with shovel cluster recover --from-nodes',
      );
    } else if (record.state === 'dropped') sets.set(name, undefined);
    else if (sets.get(name)?.intent !== record.intent) sets.set(name, await loadSet(context, name));
  } catch (error) {
    if (!(error instanceof RefusedError || error instanceof IntegrityError)) throw error;
    context.logger.error(
      { set: name, error },
      'what is decided about a set can not be read: it stays as it was',
    );
  }
}

interface Watch {
  readonly names: readonly string[];
  readonly all: boolean;
  readonly changed: () => void;
  readonly signal: AbortSignal;
}

async function watch(context: AdminContext, { names, all, changed, signal }: Watch): Promise<void> {
  const { coordinator, clock, logger } = context;
  const watched = new Set<string>();
  const missing = new Set(names);
  for (;;) {
    try {
      if (all) for (const name of (await coordinator.list(pathsOf(context).sets)) ?? []) missing.add(name);
      for (const name of missing) {
        if (!watched.has(name)) {
          await coordinator.watch(pathsOf(context).set(name), changed, signal);
          watched.add(name);
          changed();
        }
        missing.delete(name);
      }
    } catch (error) {
      if (!(error instanceof ShovelError)) throw error;
      logger.debug({ error }, 'sets can not be watched, trying again');
    }
    if (!all && missing.size === 0) return;
    await clock.sleep(NAMES_EVERY_MS, signal);
    if (signal.aborted) return;
  }
}
