/**
 * What the coordinator holds of a cluster, damage included: every entry is looked at by itself, so that one which can't
 * be read hides none of the others. Reads only.
 */
import { IntegrityError, type ShovelError } from '../../errors.js';
import {
  decodeCluster,
  decodeIntent,
  decodeRecord,
  type Intent,
  type SetDocument,
} from '../../model/change-records.js';
import { type ClusterReader, pathsOf } from '../context.js';
import { knownPlaces } from '../known-places.js';
import { readDecided } from '../load-set.js';
import type { Place } from '../node-histories.js';
import { type Finding, finding } from './finding.js';

export type SetView =
  | { readonly kind: 'live'; readonly document: SetDocument }
  | { readonly kind: 'dropped'; readonly version: number }
  | { readonly kind: 'damaged' };

export interface CoordinatorView {
  /** Undefined where the cluster's entry is missing or can't be read. */
  readonly clusterId: string | undefined;
  readonly sets: ReadonlyMap<string, SetView>;
  /** `alive`: its administrator is at work on it. */
  readonly intents: readonly { readonly intent: Intent; readonly alive: boolean }[];
  /** Where databases are, as far as that can be read. */
  readonly places: readonly Place[];
  readonly findings: readonly Finding[];
  /** Whether the administrator of a change lives, whatever entry it has. */
  isAlive(intent: string): Promise<boolean>;
}

export const RECOVER = 'shovel cluster recover';
export const REFILL = 'shovel cluster recover --from-nodes';
const REFILL_FROM = `${REFILL} 'DSN of a database of the cluster'`;

/** @throws UnreachableError and what else the coordinator throws for itself */
export async function lookAtCoordinator(context: ClusterReader): Promise<CoordinatorView> {
  const { coordinator } = context;
  const paths = pathsOf(context);
  const findings: Finding[] = [];
  const object = `cluster ${context.cluster}`;
  await coordinator.sync();
  const entry = await coordinator.read(paths.cluster);
  const clusterId = entry && attempt(() => decodeCluster(entry.data, paths.cluster).id, findings, { object });
  const isAlive = async (intent: string) =>
    (await coordinator.leaseHolder(paths.admin(intent))) !== undefined;
  if (!entry) {
    findings.push(
      finding('cluster_missing', {
        object,
        message: `Coordinator ${coordinator.display} has no cluster ${context.cluster}. The databases go on capturing.`,
        fix: `${REFILL_FROM}; if there never was one: shovel cluster init`,
      }),
    );
    return { clusterId: undefined, sets: new Map(), intents: [], places: [], findings, isAlive };
  }
  for (const path of [paths.sets, paths.intents, paths.leases, paths.admins]) {
    if (await coordinator.read(path)) continue;
    findings.push(
      finding('cluster_damaged', {
        object,
        message: `Coordinator: ${path} is missing, which every cluster has.`,
        fix: REFILL_FROM,
      }),
    );
  }
  const sets = await lookAtSets(context, findings);
  const intents: CoordinatorView['intents'][number][] = [];
  for (const id of (await coordinator.list(paths.intents)) ?? []) {
    const stored = await coordinator.read(paths.intent(id));
    if (!stored) continue;
    const intent = attempt(() => decodeIntent(stored.data, paths.intent(id)), findings, {
      object: `change ${id}`,
      code: 'change_damaged',
    });
    if (intent) intents.push({ intent, alive: await isAlive(id) });
  }
  return { clusterId, sets, intents, places: await knownPlaces(context), findings, isAlive };
}

async function lookAtSets(
  context: ClusterReader,
  findings: Finding[],
): Promise<ReadonlyMap<string, SetView>> {
  const { coordinator } = context;
  const paths = pathsOf(context);
  const sets = new Map<string, SetView>();
  const names = await coordinator.list(paths.sets);
  for (const name of names ?? []) {
    sets.set(name, { kind: 'damaged' });
    const entry = await coordinator.read(paths.set(name));
    if (!entry) continue;
    try {
      const record = decodeRecord(entry.data, paths.set(name));
      if (record.state === 'dropped') sets.set(name, { kind: 'dropped', version: record.version });
      else sets.set(name, { kind: 'live', document: await readDecided(context, { name, record }) });
    } catch (error) {
      if (!(error instanceof IntegrityError)) throw error;
      findings.push(damage(error, { object: name, code: 'record_damaged' }));
    }
  }
  if (names?.length === 0) {
    findings.push(
      finding('cluster_empty', {
        object: `cluster ${context.cluster}`,
        message: `Cluster ${context.cluster} at ${coordinator.display} has no sets.`,
        fix: `Make one: shovel set create FILE; if it had some: ${REFILL_FROM}`,
      }),
    );
  }
  return sets;
}

type DamageCode = 'cluster_damaged' | 'record_damaged' | 'change_damaged';

function attempt<T>(
  decode: () => T,
  findings: Finding[],
  { object, code = 'cluster_damaged' }: { object: string; code?: DamageCode },
): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof IntegrityError)) throw error;
    findings.push(damage(error, { object, code }));
    return undefined;
  }
}

function damage(error: ShovelError, { object, code }: { object: string; code: DamageCode }): Finding {
  return finding(code, {
    object,
    message: `${error.message} The databases go on capturing.`,
    fix: code === 'cluster_damaged' ? REFILL_FROM : REFILL,
  });
}

/** What recovery will do with a change, by the coordinator alone. */
export function decisionOn(
  view: CoordinatorView | undefined,
  { id, set }: { id: string; set: string | undefined },
): string {
  if (!view) return 'the coordinator, which can’t be asked now, decides';
  const known = view.intents.find(({ intent }) => intent.intent === id)?.intent;
  const found = set === undefined ? undefined : view.sets.get(set);
  const decided = known?.state === 'decided' || (found?.kind === 'live' && found.document.intent === id);
  return decided ? 'it is decided and will be committed' : 'it is not decided and will be rolled back';
}
