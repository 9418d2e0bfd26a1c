/**
 * Turns a wanted version into a change, lets the machine carry it out under a lease that tells others that this
 * administrator lives, and says in words how it ended.
 */
import { randomUUID } from 'node:crypto';
import { MAX_DATA_BYTES } from '../coordinator/coordinator.js';
import { InDoubtError, RefusedError, ShovelError, UnreachableError } from '../errors.js';
import {
  type AbortCause,
  type ChangeOutcome,
  type ChangePlan,
  type NodeFailure,
  runChange,
} from '../model/change-protocol.js';
import {
  type ChangeNode,
  decodeIntent,
  encodeDocument,
  encodeIntent,
  encodeRecord,
  type Intent,
  recordOf,
  type SetDocument,
  type SetNode,
  type SetRecord,
} from '../model/change-records.js';
import type { SetConfiguration } from '../model/set-configuration.js';
import { encodeConfiguration } from '../model/set-file-stored.js';
import { sha256Hex } from '../runtime/hash.js';
import { type AdminContext, isoTime, ownerOf, pathsOf } from './context.js';
import type { NodeSessions } from './node-sessions.js';
import { World } from './world.js';

export interface WantedVersion {
  readonly configuration: SetConfiguration;
  readonly state: SetRecord['state'];
  /**
   * In the order in which they are prepared: the same for every administrator, so that of two one wins on the first
   * node instead of each on another.
   */
  readonly nodes: readonly ChangeNode[];
  readonly cluster: { readonly id: string; readonly entryVersion: number };
  /** What is decided now, live or dropped; null where the name was never used. */
  readonly base: { readonly record: SetRecord; readonly entryVersion: number } | null;
}

export function configurationHash(configuration: SetConfiguration): string {
  return sha256Hex(encodeConfiguration(configuration));
}

export function buildChange(
  context: AdminContext,
  wanted: WantedVersion,
): ChangePlan & { document: SetDocument } {
  const { configuration, state, nodes, base, cluster } = wanted;
  const now = isoTime(context);
  const live = base?.record.state === 'live' ? base.record : null;
  const document: SetDocument = {
    schema: 1,
    cluster: context.cluster,
    clusterId: cluster.id,
    set: configuration.name,
    version: (base?.record.version ?? 0) + 1,
    intent: randomUUID(),
    hash: configurationHash(configuration),
    state,
    nodes: nodes
      .filter((node) => node.role !== 'leave')
      .map(setNode)
      .toSorted((a, b) => a.number - b.number),
    createdAt: live?.createdAt ?? now,
    decidedAt: now,
    configuration,
  };
  const plan: ChangePlan & { document: SetDocument } = {
    paths: pathsOf(context),
    clusterVersion: cluster.entryVersion,
    recordVersion: base?.entryVersion ?? null,
    document,
    intent: {
      schema: 1,
      intent: document.intent,
      set: document.set,
      state: 'open',
      base: live ? { version: live.version, intent: live.intent } : null,
      to: document.version,
      nodes: [...nodes],
      owner: ownerOf(context),
      startedAt: now,
      document: encodeDocument(document),
    },
  };
  refuseTooLarge(plan);
  return plan;
}

/** The decision is one multi: what does not fit into it is refused before anything is begun. */
function refuseTooLarge({ document, intent }: { document: SetDocument; intent: Intent }): void {
  const entries = [
    encodeIntent({ ...intent, state: 'decided' }),
    encodeRecord(recordOf(document)),
    intent.document,
  ];
  const bytes = entries.reduce((sum, data) => sum + Buffer.byteLength(data), 0);
  if (bytes <= MAX_DATA_BYTES) return;
  const tables = document.configuration.tables.length;
  throw new RefusedError(
    'set_too_large',
    `Set ${document.set} with its ${tables} tables takes ${bytes} bytes in the coordinator, where ${MAX_DATA_BYTES} fit.`,
    {
      hint: 'Name schemas (sales.*) where the set has all their tables, or divide the set.',
      details: { set: document.set, tables, bytes, limit: MAX_DATA_BYTES },
    },
  );
}

function setNode({ database, nodeId, incarnation, number }: ChangeNode): SetNode {
  return { database, nodeId, incarnation, number };
}

/** A node that enters a set: a UUID of its own, and the lowest number that no other node has. */
export function joiningNode(
  node: { readonly database: string; readonly dsn: string },
  others: readonly { readonly number: number }[],
): ChangeNode {
  const taken = new Set(others.map((other) => other.number));
  let number = 0;
  while (taken.has(number)) number += 1;
  return {
    database: node.database,
    dsn: node.dsn,
    nodeId: randomUUID(),
    incarnation: 1,
    number,
    role: 'join',
  };
}

/** Resolves when the change is true everywhere. @throws ShovelError that says how it ended otherwise */
export async function carryOut(
  context: AdminContext,
  { sessions, plan }: { sessions: NodeSessions; plan: ChangePlan },
): Promise<void> {
  const { coordinator } = context;
  const lease = await coordinator.tryLease(plan.paths.admin(plan.intent.intent), ownerOf(context));
  try {
    const outcome = await new World(context, sessions).run(runChange(plan));
    await report(context, { plan, outcome });
  } finally {
    await lease?.release();
  }
}

async function report(
  context: AdminContext,
  { plan, outcome }: { plan: ChangePlan; outcome: ChangeOutcome },
): Promise<void> {
  const { set, to } = plan.intent;
  switch (outcome.kind) {
    case 'done':
      return;
    case 'unfinished':
      throw unfinished({ set, version: to, failures: outcome.failures });
    case 'unknown':
      throw new InDoubtError(
        'change_in_doubt',
        `Whether set ${set} is at version ${to} can't be told: the coordinator does not answer.`,
        {
          hint: 'Run shovel cluster recover once the coordinator is back; nothing is half done after that.',
          details: { set, version: to, intent: plan.intent.intent },
          cause: outcome.error,
        },
      );
    case 'aborted': {
      for (const { database, answer } of outcome.leftovers) {
        const error = answer.kind === 'failed' ? answer.error : answer.kind;
        context.logger.warn({ set, database, error }, 'left to shovel cluster recover');
      }
      throw await refusal(context, { plan, cause: outcome.cause });
    }
  }
}

export function unfinished({
  set,
  version,
  failures,
}: {
  set: string;
  version: number;
  failures: readonly NodeFailure[];
}): InDoubtError {
  const [first] = failures;
  const databases = failures.map((failure) => failure.database);
  const why =
    first?.answer.kind === 'failed' ? messageOf(first.answer.error) : 'another administrator is at work.';
  return new InDoubtError(
    'change_unfinished',
    databases.length === 0
      ? `Set ${set} is at version ${version} everywhere, but the coordinator still lists the change.`
      : `Set ${set} is decided to be at version ${version}; database ${databases.join(', ')} has yet to follow: ${why}`,
    {
      hint: 'Run shovel cluster recover when that is mended; every later command and every relay does it too.',
      details: { set, version, databases },
      ...(first?.answer.kind === 'failed' ? { cause: first.answer.error } : {}),
    },
  );
}

function messageOf(error: unknown): string {
  return error instanceof ShovelError ? error.message : 'it failed.';
}

async function refusal(
  context: AdminContext,
  { plan, cause }: { plan: ChangePlan; cause: AbortCause },
): Promise<unknown> {
  const { set, base } = plan.intent;
  switch (cause.kind) {
    case 'cluster':
      return new RefusedError(
        'cluster_changed',
        `Cluster ${context.cluster} was changed or destroyed meanwhile.`,
        {
          hint: 'Nothing was changed. See shovel cluster status, then try again.',
        },
      );
    case 'coordinator':
      return notDone(cause.error);
    case 'lost':
      return lost(context, plan);
    case 'node': {
      const { answer, database } = cause.failure;
      if (answer.kind === 'failed') {
        const busy = answer.error instanceof RefusedError && answer.error.code === 'set_busy';
        return (busy && (await otherChange(context, plan))) || notDone(answer.error);
      }
      if (answer.kind === 'moved' && base === null) {
        return new RefusedError('set_exists', `Database ${database} holds a set ${set} already.`, {
          hint: 'Another administrator may be creating it: look with shovel set list.',
          details: { set, database },
        });
      }
      return new RefusedError(
        'node_moved',
        `Database ${database} is not at version ${base?.version ?? 0} of set ${set}, which the coordinator holds.`,
        {
          hint: 'Nothing was changed. Run shovel cluster recover, then try again.',
          details: { set, database },
        },
      );
    }
  }
}

/** What had an unknown outcome was settled: nothing was changed. */
function notDone(error: unknown): unknown {
  if (error instanceof UnreachableError && error.code === 'coordinator_outcome_unknown') {
    return new UnreachableError(
      'coordinator_unreachable',
      error.message.replace(/: the change may.*$/, ', and nothing was changed.'),
      {
        hint: 'Try again.',
        details: error.details,
        cause: error,
      },
    );
  }
  return error;
}

/** Who holds the rows of the set that this change waited for, as far as the coordinator knows. */
async function otherChange(context: AdminContext, plan: ChangePlan): Promise<RefusedError | undefined> {
  const { coordinator } = context;
  await coordinator.sync();
  for (const id of (await coordinator.list(plan.paths.intents)) ?? []) {
    const path = plan.paths.intent(id);
    const entry = id === plan.intent.intent ? undefined : await coordinator.read(path);
    const intent = entry && decodeIntent(entry.data, path);
    if (intent?.set === plan.intent.set) return setBusy(intent);
  }
  return undefined;
}

/** Another administrator is at work on the set, and alive. */
export function setBusy(intent: Intent): RefusedError {
  return new RefusedError(
    'set_busy',
    `Set ${intent.set} is being changed to version ${intent.to} by ${intent.owner} since ${intent.startedAt}.`,
    {
      hint: 'Try again when that has ended.',
      details: { set: intent.set, version: intent.to, owner: intent.owner },
    },
  );
}

async function lost(context: AdminContext, plan: ChangePlan): Promise<RefusedError> {
  const { set, base } = plan.intent;
  await context.coordinator.sync();
  const entry = await context.coordinator.read(plan.paths.set(set));
  const winner = entry ? readVersion(entry.data) : undefined;
  if (base === null) return setExists(set, winner);
  return new RefusedError(
    'change_lost',
    winner !== undefined && winner > base.version
      ? `Set ${set} was changed to version ${winner} meanwhile.`
      : `Another administrator took over while set ${set} was being changed.`,
    {
      hint: 'Nothing was changed by this command. Look at that version, then try again.',
      details: { set, version: winner },
    },
  );
}

function readVersion(data: string): number | undefined {
  const value: unknown = JSON.parse(data);
  if (typeof value !== 'object' || value === null || !('version' in value)) return undefined;
  return typeof value.version === 'number' ? value.version : undefined;
}

export function setExists(set: string, version: number | undefined): RefusedError {
  const at = version === undefined ? '' : ` (version ${version})`;
  return new RefusedError('set_exists', `Set ${set} exists already${at}.`, {
    hint: `Change it with shovel set upgrade ${set} FILE, or choose another name.`,
    details: { set, version },
  });
}

/** An error of a node as it stands for the whole command. */
export function nodeError({ database, answer }: NodeFailure): unknown {
  if (answer.kind === 'failed') return answer.error;
  const why = {
    done: 'has nothing against it',
    absent: 'has lost what the change made there',
    fenced: 'has been taken over by another administrator meanwhile',
    moved: 'is at another version of the set than the change starts from',
  };
  return new RefusedError('node_refused', `Database ${database} ${why[answer.kind]}.`, {
    hint: 'Run shovel cluster recover again; shovel set inspect shows at which version each database is.',
    details: { database, answer: answer.kind },
  });
}
