/**
 * Finishes what others began: a state machine without I/O. Goes by what the coordinator holds, compares intents and
 * not versions, and reads nothing as an instruction that was not read through the leader.
 *
 * An intent that is `decided` is brought to every node; one that is `open` is first made aborted by a compare-and-set,
 * so that whoever began it can decide it no more, and then undone on the nodes, where its rows are closed first.
 * A node behind the set's record has the decided version applied again; a node ahead of it means that the coordinator
 * lost history: nothing is changed. Whether the one who began a change is still alive (its lease) is asked before, by
 * the caller; if that was wrong, the living one finds itself fenced and harms nobody.
 */
import { type Machine, multi, onNode, pause, readFresh } from './change-effects.js';
import type { ClusterPaths } from './change-paths.js';
import { attempt, finish, type NodeFailure, removeIntent, undo } from './change-protocol.js';
import {
  type ChangeNode,
  decodeDocument,
  decodeIntent,
  decodeRecord,
  encodeIntent,
  type Intent,
  type SetDocument,
  type SetRecord,
} from './change-records.js';

export type IntentRecovery =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'finished'; readonly intent: Intent }
  | { readonly kind: 'undone'; readonly intent: Intent }
  /** Some nodes could not be brought along now; the rest is done. */
  | {
      readonly kind: 'unfinished';
      readonly intent: Intent;
      readonly decided: boolean;
      readonly failures: readonly NodeFailure[];
    }
  | { readonly kind: 'failed'; readonly error: unknown };

/** How often a compare-and-set that met another version is tried again. */
const ATTEMPTS = 20;

/** No change's id: a fence that is never open, for what needs none. */
const NOBODY = '00000000-0000-4000-8000-000000000000';

/** `fence` is the recovering administrator's own, used for this call alone. */
export function* recoverIntent({
  paths,
  id,
  fence,
}: {
  paths: ClusterPaths;
  id: string;
  fence: string;
}): Machine<IntentRecovery> {
  let last: unknown;
  for (let count = 1; count <= ATTEMPTS; count += 1) {
    const found = yield* readFresh(paths.intent(id));
    if (found.kind === 'missing') return { kind: 'nothing' };
    if (found.kind === 'failed') return found;
    const intent = decodeIntent(found.data, paths.intent(id));
    if (intent.state === 'decided') return yield* finishIntent({ paths, intent, fence });
    if (intent.state === 'aborted') return yield* undoIntent({ paths, intent, fence });
    const record = yield* readFresh(paths.set(intent.set));
    if (record.kind === 'failed') return record;
    const result = yield* multi('abort', [
      {
        kind: 'set',
        path: paths.intent(id),
        version: found.version,
        data: encodeIntent({ ...intent, state: 'aborted' }),
      },
      ...(record.kind === 'found'
        ? ([{ kind: 'check', path: paths.set(intent.set), version: record.version }] as const)
        : []),
    ]);
    if (result.kind === 'failed') return result;
    if (result.kind === 'unknown') last = result.error;
    if (result.kind !== 'done') yield* pause(count);
  }
  return { kind: 'failed', error: last };
}

function* finishIntent({
  paths,
  intent,
  fence,
}: {
  paths: ClusterPaths;
  intent: Intent;
  fence: string;
}): Machine<IntentRecovery> {
  const record = yield* readFresh(paths.set(intent.set));
  if (record.kind === 'failed') return record;
  // A later version is decided only on nodes that this one has reached, so all that is left of it there is its rows.
  // A node that left may have been forgotten by the later version, and may have joined again.
  const superseded =
    record.kind === 'found' && decodeRecord(record.data, paths.set(intent.set)).version > intent.to;
  const failures: NodeFailure[] = [];
  const present: ChangeNode[] = [];
  for (const node of intent.nodes) {
    if (superseded && node.role !== 'leave') {
      const failure =
        (yield* attempt('abort', node, { intent, fence: NOBODY })) ??
        (yield* attempt('forget', node, { intent, fence: NOBODY }));
      if (failure && failure.answer.kind !== 'absent') failures.push(failure);
      continue;
    }
    const opened = yield* attempt('open', node, { intent, fence });
    // Where the schema is gone, somebody has taken everything away already.
    if (opened?.answer.kind === 'absent' && node.role === 'leave') continue;
    if (opened) {
      failures.push(opened);
      continue;
    }
    const committed = yield* onNode('commit', { database: node.database, intent, fence });
    if (committed.kind === 'failed') {
      failures.push({ database: node.database, action: 'commit', answer: committed });
      continue;
    }
    const closed = yield* attempt('takeover', node, { intent, fence });
    if (closed) failures.push(closed);
    else present.push(node);
  }
  const outcome = yield* finish(paths, {
    intent: { ...intent, nodes: present },
    fence,
    keep: failures.length > 0,
  });
  const all = outcome.kind === 'unfinished' ? [...failures, ...outcome.failures] : failures;
  if (all.length > 0 || outcome.kind !== 'done') {
    return { kind: 'unfinished', intent, decided: true, failures: all };
  }
  return { kind: 'finished', intent };
}

function* undoIntent({
  paths,
  intent,
  fence,
}: {
  paths: ClusterPaths;
  intent: Intent;
  fence: string;
}): Machine<IntentRecovery> {
  const failures: NodeFailure[] = [];
  const present: ChangeNode[] = [];
  for (const node of intent.nodes) {
    const opened = yield* attempt('open', node, { intent, fence });
    if (opened?.answer.kind === 'absent') continue;
    if (opened) failures.push(opened);
    else present.push(node);
  }
  failures.push(...(yield* undo({ intent, fence, nodes: present })));
  if (failures.length > 0) return { kind: 'unfinished', intent, decided: false, failures };
  const error = yield* removeIntent(paths, intent.intent);
  return error === undefined ? { kind: 'undone', intent } : { kind: 'failed', error };
}

/** What a node holds of a set, as far as recovery asks. */
export interface NodeView {
  /** The set's row; null where there is none. */
  readonly row: {
    readonly version: number;
    readonly intent: string;
    readonly hash: string;
    readonly nodeId: string;
  } | null;
  /** Whether the set's log stands. */
  readonly ground: boolean;
  /** Changes whose row, or prepared or staged version, stands here. */
  readonly changes: readonly string[];
}

export type NodeVerdict =
  | { readonly kind: 'current' }
  | { readonly kind: 'behind'; readonly version: number | null }
  /** The coordinator lost history. */
  | { readonly kind: 'ahead'; readonly version: number }
  /** Not the database that joined the set. */
  | { readonly kind: 'replaced' }
  /** Nothing of the set is there: restored or emptied. */
  | { readonly kind: 'lost' };

/** Holds a node against the set's record. */
export function judgeNode(record: SetRecord, node: { nodeId: string }, view: NodeView): NodeVerdict {
  const { row } = view;
  if (row === null) return view.ground ? { kind: 'behind', version: null } : { kind: 'lost' };
  if (row.nodeId !== node.nodeId) return { kind: 'replaced' };
  if (row.version > record.version) return { kind: 'ahead', version: row.version };
  if (row.version === record.version && row.intent === record.intent && row.hash === record.hash) {
    return { kind: 'current' };
  }
  return { kind: 'behind', version: row.version };
}

/** The decided version as a change, for nodes that have to be brought to it again. */
function decidedChange(document: SetDocument, text: string): Intent {
  const { databases } = document.configuration;
  return {
    schema: 1,
    intent: document.intent,
    set: document.set,
    state: 'decided',
    base: null,
    to: document.version,
    nodes: document.nodes.map((node) => ({
      ...node,
      role: 'stay',
      dsn: databases[node.database]?.dsn ?? '',
    })),
    owner: 'recovery',
    startedAt: document.decidedAt,
    document: text,
  };
}

export type Healing =
  | { readonly kind: 'done'; readonly healed: readonly string[] }
  /** The record changed meanwhile: look again. */
  | { readonly kind: 'again' }
  | {
      readonly kind: 'unfinished';
      readonly healed: readonly string[];
      readonly failures: readonly NodeFailure[];
    }
  | { readonly kind: 'refused'; readonly database: string; readonly verdict: NodeVerdict }
  | { readonly kind: 'failed'; readonly error: unknown };

/**
 * Brings the nodes of one set to its record, and closes changes that the coordinator knows nothing of. `views` was
 * read after `record`; the coordinator's own view is read again before anything is done.
 */
export function* healSet({
  paths,
  set,
  record,
  views,
  fence,
}: {
  paths: ClusterPaths;
  set: string;
  /** The entry's version with what it holds. */
  record: { readonly version: number; readonly value: SetRecord };
  views: ReadonlyMap<string, NodeView>;
  fence: string;
}): Machine<Healing> {
  const again = yield* readFresh(paths.set(set));
  if (again.kind === 'failed') return again;
  if (again.kind === 'missing' || again.version !== record.version) return { kind: 'again' };
  const now = decodeRecord(again.data, paths.set(set));
  const stored = yield* readFresh(paths.version(set, now.version));
  if (stored.kind === 'failed') return stored;
  if (stored.kind === 'missing') return { kind: 'again' };
  const change = decidedChange(decodeDocument(stored.data, paths.version(set, now.version)), stored.data);

  const todo: { node: ChangeNode; view: NodeView; verdict: NodeVerdict }[] = [];
  for (const node of change.nodes) {
    const view = views.get(node.database);
    if (!view) continue;
    const verdict = judgeNode(now, node, view);
    if (verdict.kind === 'ahead' || verdict.kind === 'replaced' || verdict.kind === 'lost') {
      return { kind: 'refused', database: node.database, verdict };
    }
    if (verdict.kind === 'behind' || view.changes.length > 0) todo.push({ node, view, verdict });
  }
  const healed: string[] = [];
  const failures: NodeFailure[] = [];
  for (const { node, view, verdict } of todo) {
    const failure = yield* healNode({ paths, node, view, verdict, change, fence });
    if (failure === 'known') continue;
    if (failure) failures.push(failure);
    else healed.push(node.database);
  }
  return failures.length > 0 ? { kind: 'unfinished', healed, failures } : { kind: 'done', healed };
}

/** `known`: all that was found there belongs to changes which are recovered by their intents. */
function* healNode({
  paths,
  node,
  view,
  verdict,
  change,
  fence,
}: {
  paths: ClusterPaths;
  node: ChangeNode;
  view: NodeView;
  verdict: NodeVerdict;
  change: Intent;
  fence: string;
}): Machine<NodeFailure | 'known' | undefined> {
  const closed = yield* closeOrphans({ paths, node, change, ids: view.changes, fence });
  if (closed.kind === 'failed') return closed.failure;
  if (verdict.kind !== 'behind') return closed.count === 0 ? 'known' : undefined;
  const opened = yield* attempt('open', node, { intent: change, fence });
  if (opened) return opened;
  const committed = yield* onNode('commit', { database: node.database, intent: change, fence });
  if (committed.kind === 'failed') return { database: node.database, action: 'commit', answer: committed };
  return (
    (yield* attempt('apply', node, { intent: change, fence })) ??
    (yield* attempt('clean', node, { intent: change, fence })) ??
    (yield* attempt('forget', node, { intent: { ...change, intent: fence }, fence }))
  );
}

/**
 * Closes, on one node, changes that the coordinator knows nothing of: their administrators died before they announced
 * them. What they made for a set that is not there is taken away. `change` is any change that the node takes part in;
 * `ids` are those found there, of nobody who is alive.
 */
export function* closeOrphans({
  paths,
  node,
  change,
  ids,
  fence,
}: {
  paths: ClusterPaths;
  node: ChangeNode;
  change: Intent;
  ids: readonly string[];
  fence: string;
}): Machine<{ kind: 'done'; count: number } | { kind: 'failed'; failure: NodeFailure }> {
  let count = 0;
  for (const id of ids) {
    if (id === change.intent) continue;
    const found = yield* readFresh(paths.intent(id));
    if (found.kind === 'failed') {
      return { kind: 'failed', failure: { database: node.database, action: 'abort', answer: found } };
    }
    if (found.kind === 'found') continue;
    const intent = { ...change, intent: id };
    const opened = yield* attempt('open', node, { intent, fence });
    if (opened && opened.answer.kind !== 'absent') return { kind: 'failed', failure: opened };
    for (const action of ['abort', 'unground', 'forget'] as const) {
      const failure = yield* attempt(action, node, { intent, fence });
      const needed = action === 'unground' && failure?.answer.kind === 'fenced';
      if (failure && failure.answer.kind !== 'absent' && !needed) return { kind: 'failed', failure };
    }
    count += 1;
  }
  return { kind: 'done', count };
}

/** Takes a set away from nodes that a decision left behind: what it says is already decided, for good. */
export function* clearNode({
  change,
  fence,
}: {
  /** Its nodes leave. */
  change: Intent;
  fence: string;
}): Machine<NodeFailure | undefined> {
  for (const node of change.nodes) {
    for (const action of ['open', 'takeover', 'apply', 'clean', 'forget'] as const) {
      const failure = yield* attempt(action, node, { intent: change, fence });
      if (failure?.answer.kind === 'absent') break;
      if (failure) return failure;
    }
  }
  return undefined;
}
