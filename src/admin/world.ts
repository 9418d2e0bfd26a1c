/**
 * Carries out what the state machines of a change ask for, on the real coordinator and the real nodes, and decides
 * nothing: an effect that throws is answered as failed, with its error. Nothing is tried again here.
 */
import { UnreachableError } from '../errors.js';
import type { Answer, Effect, Machine, MultiLabel, NodeAction, NodeAnswer } from '../model/change-effects.js';
import { type ChangeNode, decodeDocument, type SetDocument } from '../model/change-records.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { requireCurrentNode } from '../postgres/node-level.js';
import { type AdminContext, namesOf } from './context.js';
import { FenceError } from './node-fence.js';
import {
  applyNode,
  commitNode,
  groundNode,
  type NodeTask,
  openNodeFence,
  prepareNode,
} from './node-install.js';
import type { NodeSessions } from './node-sessions.js';
import { abortNode, cleanNode, forgetNode, takeOverNode, ungroundNode } from './node-undo.js';

const ACTIONS: Readonly<Record<NodeAction, (task: NodeTask) => Promise<NodeAnswer>>> = {
  open: openNodeFence,
  ground: groundNode,
  prepare: prepareNode,
  commit: commitNode,
  apply: applyNode,
  abort: abortNode,
  takeover: takeOverNode,
  unground: ungroundNode,
  clean: cleanNode,
  forget: forgetNode,
};

/** What an interruption stops: once something is decided, or is being taken back, it goes on to its end. */
const INTERRUPTIBLE: ReadonlySet<NodeAction | MultiLabel> = new Set<NodeAction | MultiLabel>([
  'begin',
  'open',
  'ground',
  'announce',
  'prepare',
  'decide',
]);

export class World {
  readonly #context: AdminContext;
  readonly #sessions: NodeSessions;
  readonly #current = new WeakSet<PostgresConnection>();
  #document: { readonly text: string; readonly value: SetDocument } | undefined;

  constructor(context: AdminContext, sessions: NodeSessions) {
    this.#context = context;
    this.#sessions = sessions;
  }

  async run<Result>(machine: Machine<Result>): Promise<Result> {
    let step = machine.next();
    while (!step.done) {
      const name = nameOf(step.value);
      if (name) await this.#context.failpoint?.(`${name}.before`);
      const answer = await this.#carryOut(step.value);
      if (name) await this.#context.failpoint?.(`${name}.after`);
      step = machine.next(answer);
    }
    return step.value;
  }

  async #carryOut(effect: Effect): Promise<Answer> {
    const { coordinator, clock, signal } = this.#context;
    switch (effect.kind) {
      case 'pause': {
        const atMostMs = Math.min(2_000, 25 * 2 ** effect.attempt);
        await clock.sleep(atMostMs * (0.5 + Math.random() / 2));
        return { kind: 'pause', result: { kind: 'done' } };
      }
      case 'sync':
        try {
          await coordinator.sync();
          return { kind: 'sync', result: { kind: 'done' } };
        } catch (error) {
          return { kind: 'sync', result: { kind: 'failed', error } };
        }
      case 'read':
        try {
          const entry = await coordinator.read(effect.path);
          return {
            kind: 'read',
            result: entry ? { kind: 'found', ...entry } : { kind: 'missing' },
          };
        } catch (error) {
          return { kind: 'read', result: { kind: 'failed', error } };
        }
      case 'multi':
        if (signal.aborted && INTERRUPTIBLE.has(effect.label)) {
          return { kind: 'multi', result: { kind: 'failed', error: signal.reason } };
        }
        try {
          return { kind: 'multi', result: await coordinator.multi(effect.operations) };
        } catch (error) {
          const unknown = error instanceof UnreachableError && error.code === 'coordinator_outcome_unknown';
          return { kind: 'multi', result: { kind: unknown ? 'unknown' : 'failed', error } };
        }
      case 'node':
        if (signal.aborted && INTERRUPTIBLE.has(effect.action)) {
          return { kind: 'node', result: { kind: 'failed', error: signal.reason } };
        }
        return { kind: 'node', result: await this.#onNode(effect) };
    }
  }

  async #onNode({ action, database, intent, fence }: Extract<Effect, { kind: 'node' }>): Promise<NodeAnswer> {
    const { logger } = this.#context;
    try {
      const node = intent.nodes.find((one) => one.database === database);
      if (!node) throw new TypeError(`the change of set ${intent.set} has no database ${database}`);
      const connection = this.#watched(await this.#connection(node, action), `${action}.${database}`);
      const answer = await ACTIONS[action]({
        context: this.#context,
        connection,
        node,
        intent,
        fence,
        document: () => this.#decode(intent.document),
      });
      logger.debug({ set: intent.set, database, action, answer: answer.kind }, 'step of a change');
      return answer;
    } catch (error) {
      logger.debug({ set: intent.set, database, action, error }, 'step of a change failed');
      return error instanceof FenceError ? { kind: 'fenced' } : { kind: 'failed', error };
    }
  }

  /** Nothing is done on a node of another level than this release's; who joins makes the schema first. */
  async #connection(node: ChangeNode, action: NodeAction): Promise<PostgresConnection> {
    const connection = await this.#sessions.connection(node);
    if (this.#current.has(connection) || (node.role === 'join' && action === 'open')) return connection;
    if (await requireCurrentNode(connection, namesOf(this.#context))) this.#current.add(connection);
    return connection;
  }

  /** Failpoints around every commit within a step: what a step leaves half done must be as harmless. */
  #watched(connection: PostgresConnection, step: string): PostgresConnection {
    const { failpoint } = this.#context;
    if (!failpoint) return connection;
    return {
      ...connection,
      async script(text) {
        if (text !== 'commit') return connection.script(text);
        await failpoint(`${step}.commit.before`);
        await connection.script(text);
        await failpoint(`${step}.commit.after`);
      },
    };
  }

  /** A change has one document, asked for at every step. */
  #decode(text: string): SetDocument {
    if (this.#document?.text !== text) {
      this.#document = { text, value: decodeDocument(text, 'the document of a change') };
    }
    return this.#document.value;
  }
}

/**
 * Names of failpoints: `open.main`, `decide`; then `.before` or `.after`, or `.commit.before` and `.commit.after` for
 * each commit within. Reads and pauses change nothing.
 */
function nameOf(effect: Effect): string | undefined {
  if (effect.kind === 'node') return `${effect.action}.${effect.database}`;
  return effect.kind === 'multi' ? effect.label : undefined;
}
