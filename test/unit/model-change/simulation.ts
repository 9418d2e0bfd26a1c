/**
 * A world for the state machines of a change: a coordinator whose reads may be stale, nodes with the rows, locks and
 * prepared transactions that matter, and administrators who run the machines one effect at a time. Faults are the
 * caller's: an administrator may die before or after an effect, an answer may be lost, a node may be away.
 *
 * After every effect it is checked that no node has activated what was not decided, that what captures stands on its
 * ground, and that nothing was decided twice.
 */
import type { Answer, Effect, Machine, StoreOperation } from '../../../src/model/change-effects.js';
import { clusterPaths } from '../../../src/model/change-paths.js';
import {
  decodeIntent,
  decodeRecord,
  type Intent,
  type SetRecord,
} from '../../../src/model/change-records.js';
import type { NodeView } from '../../../src/model/change-recovery.js';
import { type Flaw, type Mode, SimulatedNode } from './simulated-node.js';

const CLUSTER = 'sim';
export const SET = 'example';
export const paths = clusterPaths(CLUSTER);

interface Entry {
  readonly data: string;
  readonly version: number;
}

/** What a program may ask beside a machine's effects. */
export type Request =
  | Effect
  | { readonly kind: 'intents' }
  | { readonly kind: 'view'; readonly database: string };
export type Reply =
  | Answer
  | { readonly kind: 'intents'; readonly ids: readonly string[] }
  | { readonly kind: 'view'; readonly view: NodeView | undefined };
export type Program = Generator<Request, void, Reply>;

/** A program's step by a machine of the product. */
export function* act<Result>(machine: Machine<Result>): Generator<Request, Result, Reply> {
  let step = machine.next();
  while (!step.done) {
    const reply = yield step.value;
    if (reply.kind === 'intents' || reply.kind === 'view') throw new TypeError('no answer to an effect');
    step = machine.next(reply);
  }
  return step.value;
}

export class Violation extends Error {}

export class World {
  readonly mode: Mode;
  readonly store = new Map<string, Entry>();
  readonly nodes = new Map<string, SimulatedNode>();
  /** Intents that were ever decided, by the version that they made. */
  readonly decided = new Map<number, string>();
  readonly log: string[] = [];
  /** What each administrator's connection to the coordinator may still believe. */
  readonly #seen = new Map<string, ReadonlyMap<string, Entry>>();
  readonly #flaw: Flaw | undefined;
  /** What was sent and not answered, and may yet happen. */
  readonly #underWay: { readonly request: Request; readonly who: string }[] = [];

  constructor(mode: Mode, { flaw }: { flaw?: Flaw } = {}) {
    this.mode = mode;
    this.#flaw = flaw;
    for (const path of [paths.root, paths.cluster, paths.sets, paths.intents]) {
      this.store.set(path, { data: '', version: 0 });
    }
  }

  node(database: string): SimulatedNode {
    const known = this.nodes.get(database);
    if (known) return known;
    const made = new SimulatedNode({ mode: this.mode, flaw: this.#flaw });
    this.nodes.set(database, made);
    return made;
  }

  record(): SetRecord | undefined {
    const entry = this.store.get(paths.set(SET));
    return entry ? decodeRecord(entry.data, 'record') : undefined;
  }

  intents(): readonly string[] {
    const prefix = `${paths.intents}/`;
    return [...this.store.keys()]
      .filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length));
  }

  /** Whoever sent it is told nothing; it happens later. */
  delay(request: Request, who: string): void {
    this.#underWay.push({ request, who });
  }

  /** The first of those that were sent and not answered happens now, if there is one. */
  arrive(): void {
    const next = this.#underWay.shift();
    if (next === undefined) return;
    this.log.push('what was under way arrives');
    this.carryOut(next.request, next.who);
  }

  arriveAll(): void {
    while (this.#underWay.length > 0) this.arrive();
  }

  /** Carries out one request of `who`, and checks the invariants. */
  carryOut(request: Request, who: string): Reply {
    // A follower that `who` is connected to knows no more than this until it is made to.
    if (!this.#seen.has(who)) this.#seen.set(who, new Map(this.store));
    const reply = this.#answer(request, who);
    this.log.push(`${who}: ${describe(request)} -> ${describeReply(reply)}`);
    this.#check();
    return reply;
  }

  #answer(request: Request, who: string): Reply {
    switch (request.kind) {
      case 'intents':
        return { kind: 'intents', ids: this.intents() };
      case 'view':
        return { kind: 'view', view: this.node(request.database).view() };
      case 'sync':
        this.#seen.set(who, new Map(this.store));
        return { kind: 'sync', result: { kind: 'done' } };
      case 'pause':
        return { kind: 'pause', result: { kind: 'done' } };
      case 'read': {
        const entry = (this.#seen.get(who) ?? this.store).get(request.path);
        return { kind: 'read', result: entry ? { kind: 'found', ...entry } : { kind: 'missing' } };
      }
      case 'multi':
        return { kind: 'multi', result: this.#multi(request.operations) };
      case 'node':
        return { kind: 'node', result: this.node(request.database).act(request) };
    }
  }

  #multi(operations: readonly StoreOperation[]): Extract<Answer, { kind: 'multi' }>['result'] {
    const next = new Map(this.store);
    for (const [index, operation] of operations.entries()) {
      const entry = next.get(operation.path);
      if (operation.kind === 'create') {
        if (entry) return { kind: 'conflict', index, reason: 'exists' };
        if (!next.has(operation.path.slice(0, operation.path.lastIndexOf('/')))) {
          return { kind: 'conflict', index, reason: 'missing' };
        }
        next.set(operation.path, { data: operation.data, version: 0 });
        continue;
      }
      if (!entry) return { kind: 'conflict', index, reason: 'missing' };
      if (entry.version !== operation.version) return { kind: 'conflict', index, reason: 'version' };
      if (operation.kind === 'remove') next.delete(operation.path);
      if (operation.kind === 'set')
        next.set(operation.path, { data: operation.data, version: entry.version + 1 });
    }
    const before = this.record();
    this.store.clear();
    for (const [path, entry] of next) this.store.set(path, entry);
    const after = this.record();
    if (after && after.intent !== before?.intent) {
      if (this.decided.has(after.version)) throw new Violation(`version ${after.version} was decided twice`);
      if (after.version !== (before?.version ?? 0) + 1) throw new Violation('a version was left out');
      this.decided.set(after.version, after.intent);
    }
    return { kind: 'done' };
  }

  #check(): void {
    for (const [database, node] of this.nodes) {
      const { row } = node;
      if (!row) continue;
      if (this.decided.get(row.version) !== row.intent) {
        throw new Violation(`${database} activated version ${row.version} of a change that was not decided`);
      }
      const document = this.store.get(paths.version(SET, row.version));
      const members = document ? memberIds(document.data) : [];
      if (members.includes(row.nodeId) && !node.ground && this.record()?.version === row.version) {
        throw new Violation(`${database} captures version ${row.version} without its ground`);
      }
    }
  }

  /**
   * What must hold when everybody is done and everything could be reached; with `strays` a row of a change may be left
   * in a database, and with it the schema and ground on which nothing is captured.
   */
  checkSettled({ strays = false }: { strays?: boolean } = {}): void {
    const record = this.record();
    const left = this.intents();
    if (left.length > 0) throw new Violation(`intents are left: ${left.join(', ')}`);
    for (const [database, node] of this.nodes) {
      if (node.prepared.size > 0) throw new Violation(`${database}: something is still prepared`);
      if (node.staged.size > 0) throw new Violation(`${database}: something is still staged`);
      if (node.fences.size > 0 && !strays) throw new Violation(`${database}: a change's row is left`);
      const member =
        record?.state === 'live' ? record.nodes.find((one) => one.database === database) : undefined;
      if (member) {
        const { row } = node;
        if (
          row?.version !== record?.version ||
          row?.intent !== record?.intent ||
          row?.nodeId !== member.nodeId
        ) {
          throw new Violation(`${database} is at ${row?.version}, the record at ${record?.version}`);
        }
        if (!node.ground) throw new Violation(`${database} captures nothing: its ground is gone`);
      } else {
        if (node.row) throw new Violation(`${database} still captures version ${node.row.version}`);
        if (node.schema && !strays) throw new Violation(`${database}: the schema is left`);
      }
    }
  }
}

function memberIds(document: string): readonly string[] {
  return [...document.matchAll(/"nodeId":"([^"]+)"/g)].map((match) => match[1] ?? '');
}

function describe(request: Request): string {
  switch (request.kind) {
    case 'node':
      return `${request.action} ${request.database} of ${short(request.intent.intent)} as ${short(request.fence)}`;
    case 'multi':
      return `${request.label} ${request.operations.map((one) => `${one.kind} ${one.path.replace(`${paths.cluster}/`, '')}`).join(', ')}`;
    case 'read':
      return `read ${request.path.replace(`${paths.cluster}/`, '')}`;
    default:
      return request.kind;
  }
}

function describeReply(reply: Reply): string {
  return 'result' in reply ? reply.result.kind : reply.kind;
}

function short(id: string): string {
  return id.slice(-3);
}

export function intentState(world: World, id: string): Intent['state'] | undefined {
  const entry = world.store.get(paths.intent(id));
  return entry ? decodeIntent(entry.data, id).state : undefined;
}
