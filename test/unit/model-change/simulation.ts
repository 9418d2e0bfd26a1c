/**
 * A world for the state machines of a change: a coordinator whose reads may be stale, nodes with the rows, locks and
 * prepared transactions that matter, and administrators who run the machines one effect at a time. Faults are the
 * caller's: an administrator may die before or after an effect, an answer may be lost, a node may be away.
 *
 * After every effect it is checked that no node has activated what was not decided, that what captures stands on its
 * ground, and that nothing was decided twice.
 */
import type {
  Answer,
  Effect,
  Machine,
  NodeAction,
  NodeAnswer,
  StoreOperation,
} from '../../../src/model/change-effects.js';
import { clusterPaths } from '../../../src/model/change-paths.js';
import {
  decodeIntent,
  decodeRecord,
  type Intent,
  type SetRecord,
} from '../../../src/model/change-records.js';
import type { NodeView } from '../../../src/model/change-recovery.js';

const CLUSTER = 'sim';
export const SET = 'example';
export const paths = clusterPaths(CLUSTER);

interface Entry {
  readonly data: string;
  readonly version: number;
}

interface Row {
  readonly version: number;
  readonly intent: string;
  readonly hash: string;
  readonly nodeId: string;
}

class SimulatedNode {
  schema = false;
  ground = false;
  row: Row | null = null;
  readonly fences = new Map<string, 'open' | 'aborted'>();
  readonly prepared = new Map<string, Row | null>();
  readonly staged = new Set<string>();

  view(): NodeView {
    return {
      row: this.row,
      ground: this.ground,
      changes: [...new Set([...this.prepared.keys(), ...this.fences.keys(), ...this.staged])],
    };
  }
}

/** `prepared`: nodes prepare transactions; `staged`: they can't; `mixed`: the first can, the others not. */
export type Mode = 'prepared' | 'staged' | 'mixed';

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

/** What an adapter might forget to do on a node. */
export type Flaw = 'prepares without its fence' | 'applies what is older';

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
    const made = new SimulatedNode();
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
        return { kind: 'node', result: this.#onNode(request) };
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

  #onNode({ action, database, intent, fence }: Extract<Effect, { kind: 'node' }>): NodeAnswer {
    const node = this.node(database);
    const part = intent.nodes.find((one) => one.database === database);
    if (!part) throw new TypeError(`no node ${database}`);
    return this.#actions[action]({ node, intent, fence, part });
  }

  readonly #actions: Readonly<Record<NodeAction, (step: Step) => NodeAnswer>> = {
    open: ({ node, intent, fence, part }) => {
      if (fence === intent.intent && part.role !== 'leave') node.schema = true;
      if (!node.schema) return { kind: 'absent' };
      if (!node.fences.has(fence)) node.fences.set(fence, 'open');
      return { kind: 'done' };
    },
    ground: ({ node, fence }) => {
      if (node.fences.get(fence) !== 'open') return { kind: 'fenced' };
      node.ground = true;
      return { kind: 'done' };
    },
    prepare: ({ node, intent, fence, part }) => {
      const fenced = node.fences.get(fence) !== 'open';
      if (fenced && this.#flaw !== 'prepares without its fence') return { kind: 'fenced' };
      if (node.prepared.size > 0) return locked;
      if (part.role === 'join' ? node.row !== null : !isAt(node.row, intent)) {
        return { kind: 'moved', version: node.row?.version ?? null };
      }
      if (part.role !== 'leave' && !node.ground) return { kind: 'failed', error: 'ground lost' };
      const staged = this.mode === 'staged' || (this.mode === 'mixed' && intent.nodes[0] !== part);
      if (staged) node.staged.add(intent.intent);
      else node.prepared.set(intent.intent, rowOf(intent, part));
      return { kind: 'done' };
    },
    commit: ({ node, intent }) => {
      const row = node.prepared.get(intent.intent);
      if (row === undefined) return { kind: 'absent' };
      node.prepared.delete(intent.intent);
      node.row = row;
      return { kind: 'done' };
    },
    apply: ({ node, intent, fence, part }) => {
      if (node.fences.get(fence) !== 'open') return { kind: 'fenced' };
      if (node.prepared.size > 0) return locked;
      node.staged.delete(intent.intent);
      if (node.row === null && part.role === 'leave') return { kind: 'done' };
      const later = node.row !== null && node.row.version > intent.to;
      if (later && this.#flaw !== 'applies what is older') return { kind: 'done' };
      if (node.row?.intent === intent.intent) return { kind: 'done' };
      if (part.role !== 'leave') node.ground = true;
      node.row = rowOf(intent, part);
      return { kind: 'done' };
    },
    abort: ({ node, intent, fence }) => {
      node.prepared.delete(intent.intent);
      if (!node.schema) return { kind: 'absent' };
      if (intent.intent !== fence && node.fences.has(intent.intent))
        node.fences.set(intent.intent, 'aborted');
      node.staged.delete(intent.intent);
      return { kind: 'done' };
    },
    takeover: ({ node, fence }) => {
      if (!node.schema) return { kind: 'absent' };
      if (node.fences.get(fence) !== 'open') return { kind: 'fenced' };
      if (node.prepared.size > 0) return locked;
      for (const other of node.fences.keys()) if (other !== fence) node.fences.set(other, 'aborted');
      return { kind: 'done' };
    },
    unground: ({ node, fence }) => {
      if (!node.schema) return { kind: 'absent' };
      const others = [...node.fences].some(([id, state]) => id !== fence && state === 'open');
      if (node.fences.get(fence) !== 'open' || others || node.row !== null) return { kind: 'fenced' };
      // A prepared transaction holds the row that it would write.
      if (node.prepared.size > 0) return { kind: 'fenced' };
      node.ground = false;
      return { kind: 'done' };
    },
    clean: ({ node, intent, fence, part }) => {
      if (!node.schema) return { kind: 'absent' };
      if (node.fences.get(fence) !== 'open') return { kind: 'fenced' };
      if (part.role === 'leave') {
        if (node.row && node.row.version > intent.to) return { kind: 'done' };
        if ([...node.fences].some(([id, state]) => id !== fence && state === 'open'))
          return { kind: 'fenced' };
        node.ground = false;
        node.row = null;
      } else {
        node.ground = true;
      }
      return { kind: 'done' };
    },
    forget: ({ node, intent, fence }) => {
      if (!node.schema) return { kind: 'absent' };
      // Their rows are locked by what is prepared under them.
      if (node.prepared.has(intent.intent) || node.prepared.has(fence)) return locked;
      node.fences.delete(intent.intent);
      node.fences.delete(fence);
      node.staged.delete(intent.intent);
      if (node.row === null && node.fences.size === 0 && node.prepared.size === 0) node.schema = false;
      return { kind: 'done' };
    },
  };

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

interface Step {
  readonly node: SimulatedNode;
  readonly intent: Intent;
  readonly fence: string;
  readonly part: Intent['nodes'][number];
}

const locked: NodeAnswer = { kind: 'failed', error: 'lock timeout' };

function isAt(row: Row | null, intent: Intent): boolean {
  return row !== null && row.version === intent.base?.version && row.intent === intent.base.intent;
}

function rowOf(intent: Intent, part: Intent['nodes'][number]): Row {
  const document: unknown = JSON.parse(intent.document);
  const hash =
    typeof document === 'object' && document !== null && 'hash' in document ? String(document.hash) : '';
  return { version: intent.to, intent: intent.intent, hash, nodeId: part.nodeId };
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
