/**
 * What the coordinator says of a set while it is relayed: the newest version that is decided. A hint only: a node goes
 * by the version that it has, which may be the one before or, as long as the news is under way, the one after.
 */
import type { RelaySet } from './relay-set.js';

export class SetFeed {
  #decided: RelaySet | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(set: RelaySet) {
    this.#decided = set;
  }

  /** Undefined: the set was dropped. */
  get decided(): RelaySet | undefined {
    return this.#decided;
  }

  update(set: RelaySet | undefined): void {
    if (set !== undefined && this.#decided !== undefined && set.version <= this.#decided.version) return;
    this.#decided = set;
    for (const listener of [...this.#listeners]) listener();
  }

  /** Calls back after each change until the signal aborts. */
  listen(listener: () => void, signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#listeners.add(listener);
    signal.addEventListener('abort', () => this.#listeners.delete(listener), { once: true });
  }
}
