/**
 * Finishes or undoes what other administrators left, before anything new is begun: the machines of
 * model/change-recovery.ts on real nodes. Leases tell who is alive; changes of the living are left alone.
 */
import { randomUUID } from 'node:crypto';
import type { Lease } from '../coordinator/coordinator.js';
import { IntegrityError, ShovelError } from '../errors.js';
import { decodeIntent, decodeRecord, type Intent, type SetDocument } from '../model/change-records.js';
import {
  type Healing,
  healSet,
  type IntentRecovery,
  judgeNode,
  type NodeView,
  recoverIntent,
} from '../model/change-recovery.js';
import { setBusy, unfinished } from './carry-out.js';
import { type AdminContext, namesOf, ownerOf, pathsOf } from './context.js';
import { listBelow, readDecided } from './load-set.js';
import { readIdentity, readNodeRows, viewNode } from './node-rows.js';
import type { NodeSessions } from './node-sessions.js';
import { closeStrays } from './strays.js';
import { sameDatabase } from './survey.js';
import { World } from './world.js';

/**
 * How long another administrator's change is waited for: longer than it takes a dead one's lease to run out (at most
 * 20 s, and what a ZooKeeper rounds that up to).
 */
const OTHERS_MS = 25_000;

/** A line for people no more often than this. */
const TELL_EVERY_MS = 2_000;

/** `alive`: another administrator works on it; it is left alone. */
export type RecoveredIntent = IntentRecovery | { readonly kind: 'alive'; readonly intent: Intent };

/**
 * Every intent whose administrator is gone is finished or undone. Changes of the living are waited for: of one set, or
 * of `all`; the others are left alone at once. @throws RefusedError `set_busy` for that one set; UnreachableError
 */
export async function recoverIntents(
  context: AdminContext,
  { sessions, waitFor }: { sessions: NodeSessions; waitFor: { readonly set: string } | 'all' },
): Promise<readonly RecoveredIntent[]> {
  const paths = pathsOf(context);
  const begunMs = context.clock.now();
  const results: RecoveredIntent[] = [];
  await context.coordinator.sync();
  const ids = await listBelow(context, paths.intents);
  for (const id of ids) {
    for (let toldMs = begunMs; ; ) {
      const lease = await context.coordinator.tryLease(paths.admin(id), ownerOf(context));
      if (lease) {
        results.push(await recoverOne(context, { sessions, id, lease }));
        break;
      }
      const intent = await readIntent(context, id);
      if (!intent) break;
      const nowMs = context.clock.now();
      const waits = waitFor === 'all' || waitFor.set === intent.set;
      if (!waits || nowMs - begunMs > OTHERS_MS) {
        if (waits && waitFor !== 'all') throw setBusy(intent);
        results.push({ kind: 'alive', intent });
        break;
      }
      if (nowMs - toldMs > TELL_EVERY_MS) {
        toldMs = nowMs;
        const leftS = Math.ceil((OTHERS_MS - (nowMs - begunMs)) / 1_000);
        context.say(
          `waiting for ${intent.owner}, who is changing set ${intent.set} to version ${intent.to}: ${leftS} s more; if that process is gone, until its lease runs out`,
        );
      }
      await context.clock.sleep(100, context.signal);
      context.signal.throwIfAborted();
    }
  }
  return tryAgain(context, { sessions, results });
}

/** What one change has prepared stands in the way of another: what could not be settled may be by now. */
async function tryAgain(
  context: AdminContext,
  { sessions, results }: { sessions: NodeSessions; results: readonly RecoveredIntent[] },
): Promise<readonly RecoveredIntent[]> {
  if (!results.some(({ kind }) => kind === 'finished' || kind === 'undone')) return results;
  const settled: RecoveredIntent[] = [];
  for (const result of results) {
    const id = result.kind === 'unfinished' ? result.intent.intent : undefined;
    const lease = id && (await context.coordinator.tryLease(pathsOf(context).admin(id), ownerOf(context)));
    settled.push(id && lease ? await recoverOne(context, { sessions, id, lease }) : result);
  }
  return settled;
}

async function recoverOne(
  context: AdminContext,
  { sessions, id, lease }: { sessions: NodeSessions; id: string; lease: Lease },
): Promise<IntentRecovery> {
  const fence = randomUUID();
  const own = await context.coordinator.tryLease(pathsOf(context).admin(fence), ownerOf(context));
  try {
    await closeOtherFences(context, { sessions, id });
    const result = await new World(context, sessions).run(
      recoverIntent({ paths: pathsOf(context), id, fence }),
    );
    if (result.kind !== 'nothing' && result.kind !== 'failed') {
      const { set, to } = result.intent;
      context.logger.warn({ set, version: to, outcome: result.kind }, 'recovered a change that was left');
    }
    return result;
  } finally {
    await own?.release();
    await lease.release();
  }
}

/**
 * Who died while recovering the same change has left a fence that no coordinator knows of, and that keeps the ground
 * and the schema from being taken away. It is closed while the intent still tells in which databases to look.
 */
async function closeOtherFences(
  context: AdminContext,
  { sessions, id }: { sessions: NodeSessions; id: string },
): Promise<void> {
  const intent = await readIntent(context, id);
  for (const node of intent?.nodes ?? []) {
    try {
      await closeStrays(context, { sessions, node });
    } catch (error) {
      if (!(error instanceof ShovelError)) throw error;
      // Recovery itself will meet it, and say so.
      context.logger.debug({ database: node.database, error }, 'strays could not be closed');
    }
  }
}

async function readIntent(context: AdminContext, id: string): Promise<Intent | undefined> {
  await context.coordinator.sync();
  const entry = await context.coordinator.read(pathsOf(context).intent(id));
  return entry ? decodeIntent(entry.data, pathsOf(context).intent(id)) : undefined;
}

/**
 * Before a writing command on `set`: settles what was left of it. What can't be settled of other sets is only logged.
 * `lenient` overlooks nodes that can't be reached or are not what they were (`set drop --force`, relays), but never one
 * that is ahead of the coordinator.
 * @throws InDoubtError `change_unfinished`; IntegrityError `node_ahead`, `node_replaced`, `node_lost`, `node_copied`
 */
export async function recoverBefore(
  context: AdminContext,
  { sessions, set, lenient = false }: { sessions: NodeSessions; set: string; lenient?: boolean },
): Promise<void> {
  const results = await recoverIntents(context, { sessions, waitFor: { set } });
  for (const result of results) {
    if (result.kind === 'failed') throw result.error;
    if (result.kind !== 'unfinished') continue;
    if (result.intent.set === set && result.decided && !lenient) {
      throw unfinished({ set, version: result.intent.to, failures: result.failures });
    }
    for (const { database, answer } of result.failures) {
      const error = answer.kind === 'failed' ? answer.error : answer.kind;
      context.logger.warn(
        { set: result.intent.set, database, error },
        'a change that was left is not settled yet',
      );
    }
  }
  const healing = await healNodes(context, { sessions, set, lenient });
  if (healing?.result.kind === 'failed') throw healing.result.error;
  if (healing?.result.kind === 'unfinished' && !lenient) {
    throw unfinished({ set, version: healing.version, failures: healing.result.failures });
  }
}

/**
 * Holds the nodes of a live set against its record and brings along those that fell behind. Undefined where there is
 * nothing to do: no such set, or one that a living administrator is changing.
 */
export async function healNodes(
  context: AdminContext,
  { sessions, set, lenient }: { sessions: NodeSessions; set: string; lenient: boolean },
): Promise<{ readonly result: Healing; readonly version: number } | undefined> {
  const paths = pathsOf(context);
  for (let attempt = 1; ; attempt += 1) {
    const held = await viewSet(context, { sessions, set, lenient });
    if (!held) return undefined;
    const { entry, record, views } = held;
    const behind = record.nodes.some((node) => {
      const view = views.get(node.database);
      return view && (judgeNode(record, node, view).kind !== 'current' || view.changes.length > 0);
    });
    if (!behind) return undefined;
    const fence = randomUUID();
    const lease = await context.coordinator.tryLease(paths.admin(fence), ownerOf(context));
    try {
      const result = await new World(context, sessions).run(
        healSet({ paths, set, record: { version: entry.version, value: record }, views, fence }),
      );
      if (result.kind === 'again' && attempt < 5) continue;
      if (result.kind === 'refused') {
        if (lenient && result.verdict.kind !== 'ahead') return undefined;
        throw verdictError({ set, version: record.version, ...result });
      }
      if (result.kind === 'done' && result.healed.length > 0) {
        context.logger.warn(
          { set, version: record.version, databases: result.healed },
          'brought nodes to their version',
        );
      }
      return { result, version: record.version };
    } finally {
      await lease?.release();
    }
  }
}

/**
 * Databases that `healNodes` would bring along. @throws IntegrityError `node_ahead`, `node_replaced`, `node_lost`,
 * `node_copied`; UnreachableError
 */
export async function nodesBehind(
  context: AdminContext,
  { sessions, set }: { sessions: NodeSessions; set: string },
): Promise<readonly string[]> {
  const held = await viewSet(context, { sessions, set, lenient: false });
  if (!held) return [];
  const { record, views } = held;
  const behind: string[] = [];
  for (const node of record.nodes) {
    const view = views.get(node.database);
    const verdict = view && judgeNode(record, node, view);
    if (verdict?.kind === 'behind') behind.push(node.database);
    else if (verdict && verdict.kind !== 'current') {
      throw verdictError({ set, version: record.version, database: node.database, verdict });
    }
  }
  return behind;
}

/** Undefined: no such set, or one that a living administrator is changing. */
async function viewSet(
  context: AdminContext,
  { sessions, set, lenient }: { sessions: NodeSessions; set: string; lenient: boolean },
) {
  const path = pathsOf(context).set(set);
  await context.coordinator.sync();
  const entry = await context.coordinator.read(path);
  if (!entry) return undefined;
  const record = decodeRecord(entry.data, path);
  if (record.state === 'dropped' || (await isLeased(context, record.intent))) return undefined;
  const document = await readDecided(context, { name: set, record });
  return { entry, record, views: await viewNodes(context, { sessions, document, lenient }) };
}

async function viewNodes(
  context: AdminContext,
  { sessions, document, lenient }: { sessions: NodeSessions; document: SetDocument; lenient: boolean },
): Promise<ReadonlyMap<string, NodeView>> {
  const names = namesOf(context);
  const views = new Map<string, NodeView>();
  for (const node of document.nodes) {
    const dsn = document.configuration.databases[node.database]?.dsn ?? '';
    try {
      const connection = await sessions.connection({ database: node.database, dsn });
      const [row] = await readNodeRows(connection, { names, set: document.set });
      if (row && !sameDatabase(row, await readIdentity(connection))) {
        throw copied(document.set, node.database);
      }
      const view = await viewNode(connection, {
        names,
        cluster: context.cluster,
        set: document.set,
        nodeId: node.nodeId,
      });
      const changes: string[] = [];
      for (const id of view.changes) if (!(await isLeased(context, id))) changes.push(id);
      views.set(node.database, { ...view, changes });
    } catch (error) {
      if (!lenient) throw error;
      context.logger.warn({ set: document.set, database: node.database, error }, 'left out');
    }
  }
  return views;
}

async function isLeased(context: AdminContext, id: string): Promise<boolean> {
  return (await context.coordinator.leaseHolder(pathsOf(context).admin(id))) !== undefined;
}

function copied(set: string, database: string): IntegrityError {
  return new IntegrityError(
    'node_copied',
    `Database ${database} holds set ${set} of another database: it is a copy, or was restored.`,
    {
      hint: `If it is to go on as that node: shovel node adopt ${set} ${database}.`,
      details: { set, database },
    },
  );
}

function verdictError({
  set,
  version,
  database,
  verdict,
}: {
  set: string;
  version: number;
  database: string;
  verdict: Extract<Healing, { kind: 'refused' }>['verdict'];
}): IntegrityError {
  const details = { set, database, version };
  switch (verdict.kind) {
    case 'ahead':
      return new IntegrityError(
        'node_ahead',
        `Database ${database} is at version ${verdict.version} of set ${set}, the coordinator at ${version}: it has lost history.`,
        {
          hint: 'Nothing was changed. Fill it from the nodes: shovel cluster recover --from-nodes.',
          details,
        },
      );
    case 'replaced':
      return new IntegrityError(
        'node_replaced',
        `Database ${database} is not the one that joined set ${set}.`,
        {
          hint: `Check its DSN; after a restore or pg_upgrade: shovel node adopt ${set} ${database}.`,
          details,
        },
      );
    default:
      return new IntegrityError('node_lost', `Database ${database} holds nothing of set ${set} any more.`, {
        hint: `Check its DSN. If it lost it for good, take it out of the set file: shovel set upgrade ${set} FILE --force; put in again it joins as a new node.`,
        details,
      });
  }
}
