/**
 * One change of a set's configuration over its nodes: a two-phase commit whose decision is a single multi in the
 * coordinator. A state machine without I/O; its states, in order:
 *
 *   beginning            the intent in the coordinator, so that others know where to tidy up
 *   opening, grounding   a row on each node under which this administrator works; log, stubs, triggers
 *   announcing           the intent may be prepared from now on; who slept through a recovery learns it here
 *   preparing            on each node in turn, so that of two administrators one wins on the first node
 *   deciding             one multi: intent open → decided, the set's record, the version's document
 *   committing           each node, however often; what someone finished by hand is applied again
 *   cleaning             what is needed no longer goes, then the rows and the intent
 *
 * and from any state before the decision: withdrawing. Invariants: a node activates only what is decided; what is
 * decided is activated on every node, by this machine or by recovery (change-recovery.ts); an outcome that is not
 * known is settled by a compare-and-set on the intent, never by a read.
 */
import {
  type Machine,
  multi,
  type NodeAnswer,
  onNode,
  pause,
  readFresh,
  type StoreOperation,
} from './change-effects.js';
import type { ClusterPaths } from './change-paths.js';
import {
  type ChangeNode,
  decodeDocument,
  decodeIntent,
  decodeRecord,
  encodeIntent,
  encodeRecord,
  type Intent,
  recordOf,
} from './change-records.js';

export interface ChangePlan {
  readonly paths: ClusterPaths;
  /** Version of the cluster's entry: a cluster that was destroyed or upgraded meanwhile is refused. */
  readonly clusterVersion: number;
  /** Version of the entry that holds the set's record; null where the name was never used. */
  readonly recordVersion: number | null;
  readonly intent: Intent;
}

export interface NodeFailure {
  readonly database: string;
  readonly action: string;
  readonly answer: NodeAnswer;
}

export type AbortCause =
  /** Something failed: on the node `failure.database`, or in the coordinator. */
  | { readonly kind: 'node'; readonly failure: NodeFailure }
  | { readonly kind: 'coordinator'; readonly error: unknown }
  /** Another change of the set was decided, or took this one over. */
  | { readonly kind: 'lost' }
  /** The cluster's own entry changed. */
  | { readonly kind: 'cluster' };

export type ChangeOutcome =
  | { readonly kind: 'done' }
  /** Decided, and some nodes are still to follow: recovery does that. */
  | { readonly kind: 'unfinished'; readonly failures: readonly NodeFailure[] }
  /** Nothing is changed; `leftovers` are nodes that recovery has to tidy. */
  | { readonly kind: 'aborted'; readonly cause: AbortCause; readonly leftovers: readonly NodeFailure[] }
  /** The coordinator could not say whether it was decided. */
  | { readonly kind: 'unknown'; readonly error: unknown };

/** How often an unknown outcome is asked for, with pauses between. */
const ATTEMPTS = 8;

/** How often others are to be told that nothing was decided: recovery finds out by itself. */
const POLITE_ATTEMPTS = 2;

export function* runChange(plan: ChangePlan): Machine<ChangeOutcome> {
  const { intent } = plan;
  const begun: ChangeNode[] = [];
  const refused = yield* begin(plan);
  if (refused) return yield* withdraw(plan, { cause: refused, begun });
  for (const node of intent.nodes) {
    begun.push(node);
    for (const action of node.role === 'leave' ? (['open'] as const) : (['open', 'ground'] as const)) {
      const failure = yield* attempt(action, node, { intent, fence: intent.intent });
      if (failure) return yield* withdraw(plan, { cause: { kind: 'node', failure }, begun });
    }
  }
  const taken = yield* announce(plan);
  if (taken) return yield* withdraw(plan, { cause: taken, begun });
  for (const node of intent.nodes) {
    const failure = yield* attempt('prepare', node, { intent, fence: intent.intent });
    if (failure) return yield* withdraw(plan, { cause: { kind: 'node', failure }, begun });
  }
  const decision = yield* decide(plan);
  switch (decision.kind) {
    case 'decided':
      return yield* finish(plan.paths, { intent, fence: intent.intent });
    case 'unknown':
      return decision;
    case 'refused':
      return yield* withdraw(plan, { cause: decision.cause, begun });
  }
}

/** Undefined when it is done. */
export function* attempt(
  action: Parameters<typeof onNode>[0],
  node: ChangeNode,
  { intent, fence }: { intent: Intent; fence: string },
): Machine<NodeFailure | undefined> {
  const answer = yield* onNode(action, { database: node.database, intent, fence });
  return answer.kind === 'done' ? undefined : { database: node.database, action, answer };
}

/** Writing it again after a lost answer harms nobody: its name is used once. */
function* begin({ paths, intent, clusterVersion }: ChangePlan): Machine<AbortCause | undefined> {
  const operations: readonly StoreOperation[] = [
    { kind: 'check', path: paths.cluster, version: clusterVersion },
    { kind: 'create', path: paths.intent(intent.intent), data: encodeIntent({ ...intent, state: 'begun' }) },
  ];
  let last: unknown;
  for (let count = 1; count <= ATTEMPTS; count += 1) {
    const result = yield* multi('begin', operations);
    if (result.kind === 'done') return undefined;
    if (result.kind === 'failed') return { kind: 'coordinator', error: result.error };
    if (result.kind === 'conflict') return result.index === 1 ? undefined : { kind: 'cluster' };
    last = result.error;
    yield* pause(count);
  }
  return { kind: 'coordinator', error: last };
}

function* announce({ paths, intent }: ChangePlan): Machine<AbortCause | undefined> {
  const path = paths.intent(intent.intent);
  let last: unknown;
  for (let count = 1; count <= ATTEMPTS; count += 1) {
    const result = yield* multi('announce', [
      { kind: 'set', path, version: 0, data: encodeIntent({ ...intent, state: 'open' }) },
    ]);
    if (result.kind === 'done') return undefined;
    if (result.kind === 'failed') return { kind: 'coordinator', error: result.error };
    if (result.kind === 'unknown') {
      last = result.error;
      yield* pause(count);
      continue;
    }
    // Ours, with its answer lost, or somebody's who took the change over: the state that stands there tells.
    const found = yield* readFresh(path);
    if (found.kind === 'failed') return { kind: 'coordinator', error: found.error };
    const opened = found.kind === 'found' && decodeIntent(found.data, path).state === 'open';
    return opened ? undefined : { kind: 'lost' };
  }
  return { kind: 'coordinator', error: last };
}

type Decision =
  | { readonly kind: 'decided' }
  | { readonly kind: 'refused'; readonly cause: AbortCause }
  | { readonly kind: 'unknown'; readonly error: unknown };

function* decide(plan: ChangePlan): Machine<Decision> {
  const { paths, intent, recordVersion } = plan;
  const document = decodeDocument(intent.document, `the document of set ${intent.set}`);
  const record = encodeRecord(recordOf(document));
  const result = yield* multi('decide', [
    { kind: 'check', path: paths.cluster, version: plan.clusterVersion },
    {
      kind: 'set',
      path: paths.intent(intent.intent),
      version: 1,
      data: encodeIntent({ ...intent, state: 'decided' }),
    },
    ...(recordVersion === null
      ? ([
          { kind: 'create', path: paths.set(intent.set), data: record },
          { kind: 'create', path: paths.versions(intent.set), data: '' },
        ] as const)
      : ([{ kind: 'set', path: paths.set(intent.set), version: recordVersion, data: record }] as const)),
    { kind: 'create', path: paths.version(intent.set, intent.to), data: intent.document },
  ]);
  switch (result.kind) {
    case 'done':
      return { kind: 'decided' };
    case 'failed':
      return { kind: 'refused', cause: { kind: 'coordinator', error: result.error } };
    case 'conflict':
      return { kind: 'refused', cause: { kind: result.index === 0 ? 'cluster' : 'lost' } };
    case 'unknown': {
      const settled = yield* settle(plan, ATTEMPTS);
      return settled.kind === 'aborted'
        ? { kind: 'refused', cause: { kind: 'coordinator', error: result.error } }
        : settled;
    }
  }
}

type Settled =
  | { readonly kind: 'decided' }
  | { readonly kind: 'aborted' }
  | { readonly kind: 'unknown'; readonly error: unknown };

/**
 * Makes the intent aborted unless it was decided: success proves that it never was. What was read is acted upon only
 * by a compare-and-set; `decided` and `aborted` never change again, so having read one of them is enough.
 */
function* settle({ paths, intent }: ChangePlan, attempts: number): Machine<Settled> {
  const path = paths.intent(intent.intent);
  let last: unknown;
  for (let count = 1; count <= attempts; count += 1) {
    const found = yield* readFresh(path);
    if (found.kind === 'missing') {
      const settled = yield* settledLongAgo({ paths, intent });
      if (settled.kind !== 'failed') return settled;
      last = settled.error;
    } else if (found.kind === 'failed') {
      last = found.error;
    } else {
      const { state } = decodeIntent(found.data, path);
      if (state === 'decided' || state === 'aborted') return { kind: state };
      const result = yield* multi('abort', [
        { kind: 'set', path, version: found.version, data: encodeIntent({ ...intent, state: 'aborted' }) },
      ]);
      if (result.kind === 'done') return { kind: 'aborted' };
      if (result.kind !== 'conflict') last = result.error;
    }
    yield* pause(count);
  }
  return { kind: 'unknown', error: last };
}

/** Somebody else finished the change, either way, and removed the intent: its version tells which. */
function* settledLongAgo({
  paths,
  intent,
}: Pick<ChangePlan, 'paths' | 'intent'>): Machine<
  { kind: 'decided' } | { kind: 'aborted' } | { kind: 'failed'; error: unknown }
> {
  const path = paths.version(intent.set, intent.to);
  const found = yield* readFresh(path);
  if (found.kind === 'failed') return found;
  if (found.kind === 'missing') return { kind: 'aborted' };
  return { kind: decodeDocument(found.data, path).intent === intent.intent ? 'decided' : 'aborted' };
}

/**
 * Brings every node to what was decided, then tidies up. Safe to run again, and by several at once. `keep` leaves the
 * intent where it is, because nodes beside these are still to follow.
 */
export function* finish(
  paths: ClusterPaths,
  { intent, fence, keep = false }: { intent: Intent; fence: string; keep?: boolean },
): Machine<ChangeOutcome> {
  const failures: NodeFailure[] = [];
  for (const node of intent.nodes) {
    const failure = yield* activate(node, { intent, fence });
    if (failure) failures.push(failure);
  }
  if (failures.length > 0) return { kind: 'unfinished', failures };
  for (const node of intent.nodes) {
    const failure =
      (yield* cleanUp(node, { intent, fence })) ?? (yield* attempt('forget', node, { intent, fence }));
    if (failure && failure.answer.kind !== 'absent') failures.push(failure);
  }
  if (failures.length > 0) return { kind: 'unfinished', failures };
  if (keep) return { kind: 'done' };
  const failure = yield* removeIntent(paths, intent.intent);
  return failure ? { kind: 'unfinished', failures: [] } : { kind: 'done' };
}

/** What leaves is taken away when nobody else is at work there: who lost against this change is about to go. */
function* cleanUp(
  node: ChangeNode,
  { intent, fence }: { intent: Intent; fence: string },
): Machine<NodeFailure | undefined> {
  for (let count = 1; ; count += 1) {
    const failure = yield* attempt('clean', node, { intent, fence });
    const waits = node.role === 'leave' && failure?.answer.kind === 'fenced';
    if (!waits || count === ATTEMPTS) return failure;
    yield* pause(count);
  }
}

function* activate(
  node: ChangeNode,
  { intent, fence }: { intent: Intent; fence: string },
): Machine<NodeFailure | undefined> {
  const committed = yield* onNode('commit', { database: node.database, intent, fence });
  if (committed.kind === 'done') return undefined;
  if (committed.kind !== 'absent') return { database: node.database, action: 'commit', answer: committed };
  return yield* attempt('apply', node, { intent, fence });
}

/**
 * Nothing was decided, that is known here: only this machine could have. Tells it to others, takes back what stands on
 * the nodes, then the intent.
 */
function* withdraw(
  plan: ChangePlan,
  { cause, begun }: { cause: AbortCause; begun: readonly ChangeNode[] },
): Machine<ChangeOutcome> {
  const { paths, intent } = plan;
  const told = yield* settle(plan, POLITE_ATTEMPTS);
  const leftovers = yield* undo({ intent, fence: intent.intent, nodes: begun });
  if (leftovers.length === 0 && told.kind === 'aborted') yield* removeIntent(paths, intent.intent);
  return { kind: 'aborted', cause: yield* betterCause(plan, cause), leftovers };
}

/** Takes back, on each node, what an aborted change left there. */
export function* undo({
  intent,
  fence,
  nodes,
}: {
  intent: Intent;
  fence: string;
  nodes: readonly ChangeNode[];
}): Machine<readonly NodeFailure[]> {
  const failures: NodeFailure[] = [];
  for (const node of nodes.toReversed()) {
    const aborted = yield* attempt('abort', node, { intent, fence });
    if (aborted?.answer.kind === 'absent') continue;
    if (aborted) {
      failures.push(aborted);
      continue;
    }
    if (node.role === 'join' || node.role === 'stay') {
      const kept = yield* attempt('unground', node, { intent, fence });
      // What is left where the set goes on does nothing, and goes with the next version.
      const harmless =
        node.role === 'stay' || kept?.answer.kind === 'fenced' || kept?.answer.kind === 'absent';
      if (kept && !harmless) failures.push(kept);
    }
    const forgotten = yield* attempt('forget', node, { intent, fence });
    if (forgotten && forgotten.answer.kind !== 'absent') failures.push(forgotten);
  }
  return failures;
}

/** A node that had moved, or was fenced, means that another administrator was faster: say so if the record agrees. */
function* betterCause(plan: ChangePlan, cause: AbortCause): Machine<AbortCause> {
  if (cause.kind !== 'node') return cause;
  const { answer } = cause.failure;
  if (answer.kind === 'fenced') return { kind: 'lost' };
  const found = yield* readFresh(plan.paths.set(plan.intent.set));
  if (found.kind !== 'found') return cause;
  const record = decodeRecord(found.data, plan.paths.set(plan.intent.set));
  return record.version >= plan.intent.to ? { kind: 'lost' } : cause;
}

/** An intent is removed when nothing of it is left anywhere; its version does not matter any more. */
export function* removeIntent(paths: ClusterPaths, id: string): Machine<unknown> {
  let last: unknown;
  for (let count = 1; count <= ATTEMPTS; count += 1) {
    const found = yield* readFresh(paths.intent(id));
    if (found.kind === 'missing') return undefined;
    if (found.kind === 'failed') return found.error;
    const result = yield* multi('remove', [
      { kind: 'remove', path: paths.intent(id), version: found.version },
    ]);
    if (result.kind === 'done') return undefined;
    if (result.kind === 'failed') return result.error;
    if (result.kind === 'unknown') last = result.error;
    yield* pause(count);
  }
  return last;
}
