/** What administrators do in the simulation: as src/admin does it, step by step, on the machines of the product. */
import { readFresh } from '../../../src/model/change-effects.js';
import { type ChangeOutcome, runChange } from '../../../src/model/change-protocol.js';
import {
  type ChangeNode,
  decodeIntent,
  decodeRecord,
  encodeDocument,
  type SetDocument,
  type SetRecord,
} from '../../../src/model/change-records.js';
import { closeOrphans, healSet, recoverIntent } from '../../../src/model/change-recovery.js';
import type { SetConfiguration } from '../../../src/model/set-configuration.js';
import { parseSetFile } from '../../../src/model/set-file.js';
import { act, type Program, paths, SET } from './simulation.js';

/** The machines of the product, or broken ones, to see that it is noticed. */
export interface Machines {
  readonly readFresh: typeof readFresh;
  readonly runChange: typeof runChange;
  readonly recoverIntent: typeof recoverIntent;
  readonly healSet: typeof healSet;
  readonly closeOrphans: typeof closeOrphans;
}

const PRODUCT: Machines = { readFresh, runChange, recoverIntent, healSet, closeOrphans };

/** Ids that differ and read well; the end is what the log shows. With them go the machines that everybody runs. */
export class Ids {
  readonly machines: Machines;
  #next = 1;
  constructor(machines: Machines = PRODUCT) {
    this.machines = machines;
  }
  take(): string {
    const id = `00000000-0000-4000-8000-${String(this.#next).padStart(12, '0')}`;
    this.#next += 1;
    return id;
  }
}

const configurations = new Map<string, SetConfiguration>();

function configurationFor(databases: readonly string[]): SetConfiguration {
  const key = databases.join(' ');
  const known = configurations.get(key);
  if (known) return known;
  const lines = databases.map((name) => `  ${name}: { dsn: "postgres://u@h/${name}" }`);
  const text = `name: ${SET}\ndatabases:\n${lines.join('\n')}\ntables:\n  - name: public.t\nstreams:\n  s: { file: { path: "/tmp/{set}" } }\n`;
  const parsed = parseSetFile(text, { file: 'sim.yaml' });
  if ('issues' in parsed) throw new Error(parsed.issues.map((issue) => issue.message).join('\n'));
  configurations.set(key, parsed.configuration);
  return parsed.configuration;
}

/** How a program ended; filled in by it. */
export interface Ending {
  outcome?: ChangeOutcome | 'refused';
  intent?: string;
}

/** Settles what others left, then brings the set to these databases; none: drops it. */
export function* administrator(
  ids: Ids,
  {
    databases,
    wanted,
    ending,
  }: { databases: readonly string[]; wanted: 'create' | 'upgrade' | 'drop'; ending: Ending },
): Program {
  ending.outcome = 'refused';
  yield* recoverAll(ids);
  const found = yield* act(ids.machines.readFresh(paths.set(SET)));
  if (found.kind === 'failed') return;
  const base =
    found.kind === 'found'
      ? { record: decodeRecord(found.data, 'record'), entryVersion: found.version }
      : undefined;
  const live = base?.record.state === 'live' ? base.record : undefined;
  if ((wanted === 'create') === (live !== undefined)) return;
  const change = buildChange(ids, { databases: wanted === 'drop' ? [] : databases, base, live });
  ending.intent = change.intent.intent;
  delete ending.outcome;
  ending.outcome = yield* act(
    ids.machines.runChange({
      paths,
      clusterVersion: 0,
      recordVersion: base?.entryVersion ?? null,
      intent: change.intent,
    }),
  );
}

function buildChange(
  ids: Ids,
  {
    databases,
    base,
    live,
  }: {
    databases: readonly string[];
    base: { record: SetRecord } | undefined;
    live: SetRecord | undefined;
  },
) {
  const old = live?.nodes ?? [];
  const nodes: ChangeNode[] = old.map((node) => ({
    ...node,
    dsn: '',
    role: databases.includes(node.database) ? 'stay' : 'leave',
  }));
  for (const database of databases) {
    if (old.some((node) => node.database === database)) continue;
    nodes.push({ database, nodeId: ids.take(), incarnation: 1, number: nodes.length, dsn: '', role: 'join' });
  }
  const all = databases.length > 0 ? databases : old.map((node) => node.database);
  const document: SetDocument = {
    schema: 1,
    cluster: 'sim',
    clusterId: 'sim',
    set: SET,
    version: (base?.record.version ?? 0) + 1,
    intent: ids.take(),
    hash: `hash of ${all.join(' ')}`,
    state: databases.length > 0 ? 'live' : 'dropped',
    nodes: nodes
      .filter((node) => node.role !== 'leave')
      .map(({ database, nodeId, incarnation, number }) => ({ database, nodeId, incarnation, number })),
    createdAt: 'then',
    decidedAt: 'now',
    configuration: configurationFor(all),
  };
  return {
    intent: {
      schema: 1 as const,
      intent: document.intent,
      set: SET,
      state: 'open' as const,
      base: live ? { version: live.version, intent: live.intent } : null,
      to: document.version,
      nodes,
      owner: 'sim',
      startedAt: 'now',
      document: encodeDocument(document),
    },
  };
}

/**
 * Finishes or undoes every change, whoever works on it: in the simulation a lease never holds anybody back. Fences that
 * dead recoverers left are closed before, and only theirs: `alone` says that nobody else is alive.
 */
export function* recoverAll(ids: Ids, { alone = false }: { alone?: boolean } = {}): Program {
  const listed = yield { kind: 'intents' };
  if (listed.kind !== 'intents') throw new TypeError('no list');
  const left = [...listed.ids];
  // What one change has prepared stands in the way of another, so all that is left is tried a second time.
  if (alone) left.push(...listed.ids);
  for (const id of left) {
    if (alone) {
      const found = yield* act(ids.machines.readFresh(paths.intent(id)));
      const nodes = found.kind === 'found' ? decodeIntent(found.data, id).nodes : [];
      for (const { database } of nodes) yield* tidy(ids, database);
    }
    yield* act(ids.machines.recoverIntent({ paths, id, fence: ids.take() }));
  }
}

/** What relays and `cluster recover` do besides: nodes are held against the record. */
export function* heal(ids: Ids): Program {
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    const found = yield* act(ids.machines.readFresh(paths.set(SET)));
    if (found.kind !== 'found') return;
    const record = decodeRecord(found.data, 'record');
    if (record.state === 'dropped') return;
    const views = new Map();
    for (const { database } of record.nodes) {
      const reply = yield { kind: 'view', database };
      if (reply.kind === 'view' && reply.view) views.set(database, reply.view);
    }
    const healing = yield* act(
      ids.machines.healSet({
        paths,
        set: SET,
        record: { version: found.version, value: record },
        views,
        fence: ids.take(),
      }),
    );
    if (healing.kind !== 'again') return;
  }
}

/** Tidies one database of changes that no intent tells of: what every writing command does where it works. */
export function* tidy(ids: Ids, database: string): Program {
  const reply = yield { kind: 'view', database };
  if (reply.kind !== 'view' || !reply.view) return;
  const fence = ids.take();
  const node: ChangeNode = {
    database,
    nodeId: '00000000-0000-4000-8000-00000000dead',
    incarnation: 1,
    number: 0,
    dsn: '',
    role: 'leave',
  };
  yield* act(
    ids.machines.closeOrphans({
      paths,
      node,
      change: {
        schema: 1,
        intent: fence,
        set: SET,
        state: 'aborted',
        base: null,
        to: 1,
        nodes: [node],
        owner: 'sim',
        startedAt: 'now',
        document: '{}',
      },
      ids: reply.view.changes,
      fence,
    }),
  );
}
