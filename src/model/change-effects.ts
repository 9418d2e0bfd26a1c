/**
 * The vocabulary between the state machines of a change (change-protocol.ts, change-recovery.ts) and the world: a
 * machine yields one effect at a time and is told what came of it. The machines decide; whoever carries effects out
 * (src/admin, or a simulation) decides nothing. Every effect may be lost on the way there or back, and whoever runs
 * the machine may die between any two.
 */
import type { Intent } from './change-records.js';

export type StoreOperation =
  | { readonly kind: 'create'; readonly path: string; readonly data: string }
  | { readonly kind: 'set'; readonly path: string; readonly data: string; readonly version: number }
  | { readonly kind: 'remove'; readonly path: string; readonly version: number }
  | { readonly kind: 'check'; readonly path: string; readonly version: number };

export type StoreAnswer =
  | { readonly kind: 'done' }
  | {
      readonly kind: 'conflict';
      readonly index: number;
      readonly reason: 'exists' | 'missing' | 'version' | 'not_empty';
    };

/**
 * What is done on a node. `fence` is the row, in the node, under which the caller works: while it says open, nobody
 * has taken the work over. An effect that finds it otherwise does nothing and answers `fenced`.
 *
 * open     makes the row `fence`; schema and roles first where the node joins
 * ground   log, stub functions and triggers, under the fence
 * prepare  under the fence's lock: the node is at `intent.base`; the new version, prepared or staged
 * commit   finishes what is prepared; `absent` where nothing is
 * apply    makes the decided version true, unless it or a later one is; under the fence
 * abort    undoes what is prepared or staged, and, if it is not the caller's fence, closes the row of the change so
 *          that nothing can be prepared under it any more
 * takeover closes every other row of the set; needs that nothing of the set is prepared; `absent` without a schema
 * unground takes away what ground made: for a node that was to join all of it, for one that stays what its version does
 *          not need; if no other change is at work there; under the fence
 * clean    takes away what the decided version needs no longer; with a node that leaves, all of the set, unless the
 *          set has a later version there by now; needs then that no other row of the set is open
 * forget   deletes the rows of the change and of the fence
 */
export const NODE_ACTIONS = [
  'open',
  'ground',
  'prepare',
  'commit',
  'apply',
  'abort',
  'takeover',
  'unground',
  'clean',
  'forget',
] as const;
export type NodeAction = (typeof NODE_ACTIONS)[number];

/** What a multi is for: the name of the step for people and failpoints. */
export const MULTI_LABELS = ['begin', 'announce', 'decide', 'abort', 'remove'] as const;
export type MultiLabel = (typeof MULTI_LABELS)[number];

export type Effect =
  | { readonly kind: 'sync' }
  | { readonly kind: 'read'; readonly path: string }
  | { readonly kind: 'multi'; readonly label: MultiLabel; readonly operations: readonly StoreOperation[] }
  /** Waits a moment before something is tried again; `attempt` from 1. */
  | { readonly kind: 'pause'; readonly attempt: number }
  | {
      readonly kind: 'node';
      readonly action: NodeAction;
      readonly database: string;
      readonly intent: Intent;
      readonly fence: string;
    };

/** `failed`: it did not happen, or nobody knows; `error` is passed through untouched. */
export interface Failed {
  readonly kind: 'failed';
  readonly error: unknown;
}

export type NodeAnswer =
  | { readonly kind: 'done' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'fenced' }
  /** The node is not at the version that the change starts from. */
  | { readonly kind: 'moved'; readonly version: number | null }
  | Failed;

export type Answer =
  | { readonly kind: 'sync'; readonly result: { readonly kind: 'done' } | Failed }
  | {
      readonly kind: 'read';
      readonly result:
        | { readonly kind: 'found'; readonly data: string; readonly version: number }
        | { readonly kind: 'missing' }
        | Failed;
    }
  /** `unknown`: the answer was lost, it may or may not have happened. `failed`: it surely did not happen. */
  | {
      readonly kind: 'multi';
      readonly result: StoreAnswer | { readonly kind: 'unknown'; readonly error: unknown } | Failed;
    }
  | { readonly kind: 'pause'; readonly result: { readonly kind: 'done' } }
  | { readonly kind: 'node'; readonly result: NodeAnswer };

export type Machine<Result> = Generator<Effect, Result, Answer>;

type ResultOf<Kind extends Answer['kind']> = Extract<Answer, { readonly kind: Kind }>['result'];

/** An answer of another kind is a bug of whoever carries effects out. */
function mismatch(asked: string, answered: string): TypeError {
  return new TypeError(`asked for ${asked}, answered with ${answered}`);
}

export function* multi(label: MultiLabel, operations: readonly StoreOperation[]): Machine<ResultOf<'multi'>> {
  const answer = yield { kind: 'multi', label, operations };
  if (answer.kind !== 'multi') throw mismatch('multi', answer.kind);
  return answer.result;
}

/** Reads what is true now, not what a follower remembers. */
export function* readFresh(path: string): Machine<ResultOf<'read'>> {
  const synced = yield { kind: 'sync' };
  if (synced.kind !== 'sync') throw mismatch('sync', synced.kind);
  if (synced.result.kind === 'failed') return synced.result;
  const answer = yield { kind: 'read', path };
  if (answer.kind !== 'read') throw mismatch('read', answer.kind);
  return answer.result;
}

export function* pause(attempt: number): Machine<void> {
  const answer = yield { kind: 'pause', attempt };
  if (answer.kind !== 'pause') throw mismatch('pause', answer.kind);
}

export function* onNode(
  action: NodeAction,
  { database, intent, fence }: { database: string; intent: Intent; fence: string },
): Machine<NodeAnswer> {
  const answer = yield { kind: 'node', action, database, intent, fence };
  if (answer.kind !== 'node') throw mismatch('node', answer.kind);
  return answer.result;
}
