/** Who wants to be told of changes of which path, for the coordinators' watches. */
export class Subscribers {
  readonly #byPath = new Map<string, Set<() => void>>();

  /** Ends with the signal. */
  add(path: string, { changed, signal }: { changed: () => void; signal: AbortSignal }): void {
    const subscribers = this.#byPath.get(path) ?? new Set();
    this.#byPath.set(path, subscribers);
    // A function of its own, so that one given twice is called twice, and not after its signal.
    const call = () => {
      if (!signal.aborted) changed();
    };
    subscribers.add(call);
    const end = () => {
      subscribers.delete(call);
      if (subscribers.size === 0 && this.#byPath.get(path) === subscribers) this.#byPath.delete(path);
    };
    signal.addEventListener('abort', end, { once: true });
  }

  has(path: string): boolean {
    return this.#byPath.has(path);
  }

  paths(): IterableIterator<string> {
    return this.#byPath.keys();
  }

  /** Outside of the promise or the socket's event that brought it: what a subscriber throws is a bug that must be seen. */
  call(path: string): void {
    for (const changed of this.#byPath.get(path) ?? []) setImmediate(changed);
  }

  callAll(): void {
    for (const path of this.#byPath.keys()) this.call(path);
  }

  clear(): void {
    this.#byPath.clear();
  }
}
