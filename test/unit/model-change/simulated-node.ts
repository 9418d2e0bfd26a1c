/**
 * A node for the state machines of a change: the rows, locks and prepared transactions that matter, and what each
 * action of an administrator does to them.
 */
import type { Effect, NodeAction, NodeAnswer } from '../../../src/model/change-effects.js';
import type { Intent } from '../../../src/model/change-records.js';
import type { NodeView } from '../../../src/model/change-recovery.js';

interface Row {
  readonly version: number;
  readonly intent: string;
  readonly hash: string;
  readonly nodeId: string;
}

/** `prepared`: nodes prepare transactions; `staged`: they can't; `mixed`: the first can, the others not. */
export type Mode = 'prepared' | 'staged' | 'mixed';

/** What an adapter might forget to do on a node. */
export type Flaw = 'prepares without its fence' | 'applies what is older';

export class SimulatedNode {
  readonly #mode: Mode;
  readonly #flaw: Flaw | undefined;
  schema = false;
  ground = false;
  row: Row | null = null;
  readonly fences = new Map<string, 'open' | 'aborted'>();
  readonly prepared = new Map<string, Row | null>();
  readonly staged = new Set<string>();

  constructor({ mode, flaw }: { readonly mode: Mode; readonly flaw: Flaw | undefined }) {
    this.#mode = mode;
    this.#flaw = flaw;
  }

  view(): NodeView {
    return {
      row: this.row,
      ground: this.ground,
      changes: [...new Set([...this.prepared.keys(), ...this.fences.keys(), ...this.staged])],
    };
  }

  act({ action, database, intent, fence }: Extract<Effect, { kind: 'node' }>): NodeAnswer {
    const part = intent.nodes.find((one) => one.database === database);
    if (!part) throw new TypeError(`no node ${database}`);
    return this.#actions[action]({ intent, fence, part });
  }

  readonly #actions: Readonly<Record<NodeAction, (step: Step) => NodeAnswer>> = {
    open: ({ intent, fence, part }) => {
      if (fence === intent.intent && part.role !== 'leave') this.schema = true;
      if (!this.schema) return { kind: 'absent' };
      if (!this.fences.has(fence)) this.fences.set(fence, 'open');
      return { kind: 'done' };
    },
    ground: ({ fence }) => {
      if (this.fences.get(fence) !== 'open') return { kind: 'fenced' };
      this.ground = true;
      return { kind: 'done' };
    },
    prepare: ({ intent, fence, part }) => {
      const fenced = this.fences.get(fence) !== 'open';
      if (fenced && this.#flaw !== 'prepares without its fence') return { kind: 'fenced' };
      if (this.prepared.size > 0) return locked;
      if (part.role === 'join' ? this.row !== null : !isAt(this.row, intent)) {
        return { kind: 'moved', version: this.row?.version ?? null };
      }
      if (part.role !== 'leave' && !this.ground) return { kind: 'failed', error: 'ground lost' };
      const staged = this.#mode === 'staged' || (this.#mode === 'mixed' && intent.nodes[0] !== part);
      if (staged) this.staged.add(intent.intent);
      else this.prepared.set(intent.intent, rowOf(intent, part));
      return { kind: 'done' };
    },
    commit: ({ intent }) => {
      const row = this.prepared.get(intent.intent);
      if (row === undefined) return { kind: 'absent' };
      this.prepared.delete(intent.intent);
      this.row = row;
      return { kind: 'done' };
    },
    apply: ({ intent, fence, part }) => {
      if (this.fences.get(fence) !== 'open') return { kind: 'fenced' };
      if (this.prepared.size > 0) return locked;
      this.staged.delete(intent.intent);
      if (this.row === null && part.role === 'leave') return { kind: 'done' };
      const later = this.row !== null && this.row.version > intent.to;
      if (later && this.#flaw !== 'applies what is older') return { kind: 'done' };
      if (this.row?.intent === intent.intent) return { kind: 'done' };
      if (part.role !== 'leave') this.ground = true;
      this.row = rowOf(intent, part);
      return { kind: 'done' };
    },
    abort: ({ intent, fence }) => {
      this.prepared.delete(intent.intent);
      if (!this.schema) return { kind: 'absent' };
      if (intent.intent !== fence && this.fences.has(intent.intent))
        this.fences.set(intent.intent, 'aborted');
      this.staged.delete(intent.intent);
      return { kind: 'done' };
    },
    takeover: ({ fence }) => {
      if (!this.schema) return { kind: 'absent' };
      if (this.fences.get(fence) !== 'open') return { kind: 'fenced' };
      if (this.prepared.size > 0) return locked;
      for (const other of this.fences.keys()) if (other !== fence) this.fences.set(other, 'aborted');
      return { kind: 'done' };
    },
    unground: ({ fence }) => {
      if (!this.schema) return { kind: 'absent' };
      const others = [...this.fences].some(([id, state]) => id !== fence && state === 'open');
      if (this.fences.get(fence) !== 'open' || others || this.row !== null) return { kind: 'fenced' };
      // A prepared transaction holds the row that it would write.
      if (this.prepared.size > 0) return { kind: 'fenced' };
      this.ground = false;
      return { kind: 'done' };
    },
    clean: ({ intent, fence, part }) => {
      if (!this.schema) return { kind: 'absent' };
      if (this.fences.get(fence) !== 'open') return { kind: 'fenced' };
      if (part.role === 'leave') {
        if (this.row && this.row.version > intent.to) return { kind: 'done' };
        if ([...this.fences].some(([id, state]) => id !== fence && state === 'open'))
          return { kind: 'fenced' };
        this.ground = false;
        this.row = null;
      } else {
        this.ground = true;
      }
      return { kind: 'done' };
    },
    forget: ({ intent, fence }) => {
      if (!this.schema) return { kind: 'absent' };
      // Their rows are locked by what is prepared under them.
      if (this.prepared.has(intent.intent) || this.prepared.has(fence)) return locked;
      this.fences.delete(intent.intent);
      this.fences.delete(fence);
      this.staged.delete(intent.intent);
      if (this.row === null && this.fences.size === 0 && this.prepared.size === 0) this.schema = false;
      return { kind: 'done' };
    },
  };
}

interface Step {
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
