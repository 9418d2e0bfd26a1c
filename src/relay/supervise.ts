/**
 * Relays several sets and databases in one process, each by itself: the end or failure of one leaves the others alone.
 * Follows what is decided: a database that joins gets a relay, one that leaves loses its, and a relay that could not go
 * on is started again when its set has another version, which may be what mends it.
 */
import { ShovelError } from '../errors.js';
import type { SetNode } from '../model/change-records.js';
import { createBackoff } from '../runtime/backoff.js';
import type { Clock } from '../runtime/clock.js';
import type { Logger } from '../runtime/logger.js';
import { unexpected } from './node-keeper.js';
import { runRelay } from './relay.js';
import type { RelayOptions, RelaySummary } from './relay-options.js';
import type { RelaySet } from './relay-set.js';
import { SetFeed } from './set-feed.js';

export type RelayEnd =
  | { readonly kind: 'ended'; readonly summary: RelaySummary }
  | { readonly kind: 'failed'; readonly set: string; readonly database: string; readonly error: ShovelError };

/** By name; undefined: dropped. A set that could not be read is what it was before. */
export type DecidedSets = ReadonlyMap<string, RelaySet | undefined>;

export interface SuperviseOptions {
  readonly sets: DecidedSets;
  /** Which of a set's databases are relayed here. */
  readonly nodes: (set: RelaySet) => readonly SetNode[];
  readonly relay: (set: RelaySet, about: { readonly node: SetNode; readonly feed: SetFeed }) => RelayOptions;
  /** None: the relays come to an end by themselves. */
  readonly follow?: FollowSets;
  /** What is relayed, each time that it changes. */
  readonly relaying?: (relays: readonly { readonly set: string; readonly database: string }[]) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

export interface FollowSets {
  /** All of them, as decided now. */
  readonly look: () => Promise<DecidedSets>;
  /** Calls back when it is worth looking, until the signal aborts. Never throws. */
  readonly watch: (changed: () => void, signal: AbortSignal) => Promise<void>;
  /** Go on when there is nothing to relay: there may be later. */
  readonly waits: boolean;
}

/** Resolves when all have ended; never throws. */
export async function superviseRelays(options: SuperviseOptions): Promise<readonly RelayEnd[]> {
  return new Supervisor(options).run();
}

/** What a supervisor should tell the system: the error of the first that failed, of whichever kind. */
export function firstError(ends: readonly RelayEnd[]): ShovelError | undefined {
  for (const end of ends) {
    const error = end.kind === 'failed' ? end.error : end.summary.error;
    if (error !== undefined) return error;
  }
  return undefined;
}

interface Entry {
  readonly set: string;
  readonly database: string;
  readonly nodeId: string;
  /** The newest that it was told of. */
  version: number;
  readonly feed: SetFeed;
  done: Promise<void>;
  end: RelayEnd | undefined;
}

class Supervisor {
  readonly #options: SuperviseOptions;
  /** By set and node; what has ended stays until another takes its place or its set is gone. */
  readonly #entries = new Map<string, Entry>();
  #wake: () => void = () => undefined;
  /** Something was decided, or has ended, since it was looked at. */
  #news = false;

  constructor(options: SuperviseOptions) {
    this.#options = options;
  }

  async run(): Promise<readonly RelayEnd[]> {
    const { sets, follow, signal } = this.#options;
    const over = new AbortController();
    const watching = follow?.watch(() => this.#tell(), AbortSignal.any([signal, over.signal]));
    const wake = () => this.#wake();
    signal.addEventListener('abort', wake);
    try {
      this.#update(sets);
      if (follow !== undefined) await this.#follow(follow);
      await Promise.all([...this.#entries.values()].map((entry) => entry.done));
    } finally {
      signal.removeEventListener('abort', wake);
      over.abort();
      await watching;
    }
    return [...this.#entries.values()].flatMap(({ end }) => (end === undefined ? [] : [end]));
  }

  async #follow(follow: FollowSets): Promise<void> {
    const { signal, clock, logger } = this.#options;
    const backoff = createBackoff({ maxMs: 10_000 });
    while (!signal.aborted) {
      while (!this.#news && !signal.aborted) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
      if (signal.aborted) return;
      this.#news = false;
      try {
        this.#update(await follow.look());
        backoff.reset();
      } catch (error) {
        this.#news = true;
        const pause = backoff.next();
        logger[pause.level]({ error, pause_ms: pause.ms }, 'sets can not be looked at, trying again');
        await clock.sleep(pause.ms, signal);
        continue;
      }
      const entries = [...this.#entries.values()];
      const idle = entries.every((entry) => entry.end !== undefined);
      if (idle && (!follow.waits || entries.some((entry) => entry.end?.kind === 'failed'))) return;
    }
  }

  #tell(): void {
    this.#news = true;
    this.#wake();
  }

  #update(sets: DecidedSets): void {
    for (const set of sets.values()) {
      if (set === undefined) continue;
      for (const node of this.#options.nodes(set)) this.#want(set, node);
    }
    for (const [key, entry] of this.#entries) {
      if (!sets.has(entry.set)) continue;
      const set = sets.get(entry.set);
      entry.feed.update(set);
      const stays = set?.nodes.some((node) => node.nodeId === entry.nodeId) ?? false;
      // Whatever was wrong with it is over.
      if (!stays && entry.end?.kind === 'failed') this.#entries.delete(key);
    }
    this.#options.relaying?.([...this.#entries.values()].filter((entry) => entry.end === undefined));
  }

  #want(set: RelaySet, node: SetNode): void {
    const key = `${set.name}/${node.nodeId}`;
    const entry = this.#entries.get(key);
    if (entry !== undefined && (entry.end === undefined || set.version <= entry.version)) {
      if (entry.end === undefined) entry.version = set.version;
      return;
    }
    const feed = new SetFeed(set);
    const made: Entry = {
      set: set.name,
      database: node.database,
      nodeId: node.nodeId,
      version: set.version,
      feed,
      done: Promise.resolve(),
      end: undefined,
    };
    this.#entries.set(key, made);
    made.done = relayEnd(() => this.#options.relay(set, { node, feed }), made, this.#options.logger).then(
      (end) => {
        made.end = end;
        this.#tell();
      },
    );
  }
}

async function relayEnd(
  relay: () => RelayOptions,
  { set, database }: { readonly set: string; readonly database: string },
  logger: Logger,
): Promise<RelayEnd> {
  try {
    const summary = await runRelay(relay());
    logger.info({ set, database, ended: summary.ended }, 'the relay has ended');
    return { kind: 'ended', summary };
  } catch (error) {
    const failure = error instanceof ShovelError ? error : unexpected(error);
    logger.error({ set, database, error: failure }, 'the relay has stopped');
    return { kind: 'failed', set, database, error: failure };
  }
}
