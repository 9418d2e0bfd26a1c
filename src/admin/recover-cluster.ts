/**
 * `cluster recover`: every change that was left is finished or undone, every node is held against its set's record,
 * and strays are closed, over all sets. What can't be reached is told and left for the next time.
 */
import { ShovelError } from '../errors.js';
import type { NodeFailure } from '../model/change-protocol.js';
import { nodeError } from './carry-out.js';
import { clusterPlaces } from './cluster-places.js';
import type { AdminContext } from './context.js';
import { loadSets } from './list-sets.js';
import { requireCluster } from './load-set.js';
import { withSessions } from './node-sessions.js';
import { healNodes, recoverIntents } from './recover.js';
import { type RefilledSet, refillCoordinator } from './refill-coordinator.js';
import { closeStrays } from './strays.js';

export interface RecoverClusterOptions {
  /**
   * Refills the coordinator from the nodes first: DSNs of databases to begin with, none where it still knows some.
   * Undefined: the coordinator is what counts.
   */
  readonly fromNodes?: readonly string[];
}

export interface RecoveredCluster {
  /** Sets of which the coordinator has something again, or newer, from the nodes. */
  readonly refilled: readonly RefilledSet[];
  /** Changes that were begun, and what became of them. */
  readonly changes: readonly {
    readonly id: string;
    readonly set: string;
    readonly version: number;
    /** alive: another administrator is at work on it. */
    readonly outcome: 'finished' | 'undone' | 'unfinished' | 'alive';
  }[];
  /** Nodes that had fallen behind and are at their set's version again. */
  readonly healed: readonly { readonly set: string; readonly database: string }[];
  /** Changes that no coordinator knew of. */
  readonly strays: number;
  /** What could not be settled now. */
  readonly problems: readonly RecoveryProblem[];
}

export interface RecoveryProblem {
  readonly set: string;
  /** Null where the message alone names it. */
  readonly database: string | null;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

/** Takes it down, once: a database that is away is met in several ways. @throws what is no ShovelError */
export function addProblem(
  problems: RecoveryProblem[],
  { set, database, error }: { set: string; database: string | null; error: unknown },
): void {
  if (!(error instanceof ShovelError)) throw error;
  const { code, message, hint } = error;
  const problem = { set, database, code, message, hint };
  const known = problems.findIndex((one) => one.set === set && one.message === message);
  if (known === -1) problems.push(problem);
  else if (problems[known]?.database === null) problems[known] = problem;
}

/** @throws RefusedError `cluster_missing`; IntegrityError `node_ahead`: the coordinator lost history */
export async function recoverCluster(
  context: AdminContext,
  { fromNodes }: RecoverClusterOptions = {},
): Promise<RecoveredCluster> {
  return withSessions(context, async (sessions) => {
    const refilled = fromNodes ? await refillCoordinator(context, { sessions, dsns: fromNodes }) : [];
    await requireCluster(context);
    const problems: RecoveryProblem[] = [];
    const tell = (set: string, database: string | null, error: unknown) =>
      addProblem(problems, { set, database, error });
    const tellAll = (set: string, failures: readonly NodeFailure[]) => {
      for (const failure of failures) tell(set, failure.database, nodeError(failure));
    };
    const recovered = await recoverIntents(context, { sessions, waitFor: 'all' });
    const changes: RecoveredCluster['changes'][number][] = [];
    for (const result of recovered) {
      if (result.kind === 'nothing') continue;
      if (result.kind === 'failed') throw result.error;
      const { set, to, intent } = result.intent;
      changes.push({ id: intent, set, version: to, outcome: result.kind });
      if (result.kind !== 'unfinished') continue;
      tellAll(set, result.failures);
    }
    const healed: { set: string; database: string }[] = [];
    for (const { name } of await loadSets(context)) {
      const healing = await healNodes(context, { sessions, set: name, lenient: false }).catch(
        (error: unknown) => {
          if (error instanceof ShovelError && error.code !== 'node_ahead') tell(name, null, error);
          else throw error;
          return undefined;
        },
      );
      if (healing?.result.kind === 'done' || healing?.result.kind === 'unfinished') {
        healed.push(...healing.result.healed.map((database) => ({ set: name, database })));
      }
      if (healing?.result.kind === 'failed') tell(name, null, healing.result.error);
      if (healing?.result.kind === 'unfinished') tellAll(name, healing.result.failures);
    }
    let strays = 0;
    for (const { sets, database, dsn } of clusterPlaces(await loadSets(context), [])) {
      try {
        strays += await closeStrays(context, { sessions, node: { database, dsn } });
      } catch (error) {
        tell(sets[0] ?? '', database, error);
      }
    }
    return { refilled, changes, healed, strays, problems };
  });
}
