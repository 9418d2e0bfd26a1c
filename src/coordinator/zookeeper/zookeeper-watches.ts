/**
 * Watches at ZooKeeper, which fire once and are lost with the connection. Each is armed again *before* its
 * subscribers are called, so that a reader who reads after the call misses nothing; after every new connection all
 * are armed again and all subscribers called.
 */
import type { ZooKeeperSession } from './zookeeper-session.js';

export class ZooKeeperWatches {
  readonly #operationTimeoutMs: number;
  readonly #subscribers = new Map<string, Set<() => void>>();

  constructor({ operationTimeoutMs }: { operationTimeoutMs: number }) {
    this.#operationTimeoutMs = operationTimeoutMs;
  }

  /** Ends with the signal. Not armed yet: see `arm`. */
  add(path: string, { changed, signal }: { changed: () => void; signal: AbortSignal }): void {
    const subscribers = this.#subscribers.get(path) ?? new Set();
    this.#subscribers.set(path, subscribers);
    // A function of its own, so that one given twice is called twice, and not after its signal.
    const call = () => {
      if (!signal.aborted) changed();
    };
    subscribers.add(call);
    const end = () => {
      subscribers.delete(call);
      if (subscribers.size === 0 && this.#subscribers.get(path) === subscribers)
        this.#subscribers.delete(path);
    };
    signal.addEventListener('abort', end, { once: true });
  }

  /** @throws ZooKeeperCallError */
  async arm(session: ZooKeeperSession, path: string): Promise<void> {
    await session.watch(path, () => this.#armAndCall(session, path), this.#operationTimeoutMs);
  }

  onConnected(session: ZooKeeperSession): void {
    for (const path of this.#subscribers.keys()) this.#armAndCall(session, path);
  }

  clear(): void {
    this.#subscribers.clear();
  }

  #armAndCall(session: ZooKeeperSession, path: string): void {
    if (!this.#subscribers.has(path)) return;
    this.arm(session, path).then(
      () => this.#call(path),
      // Where the connection is gone the next one arms and calls; where only the answer was late, try again.
      () => {
        if (session.connected) this.#armAndCall(session, path);
      },
    );
  }

  /** Outside of the promise and the socket's event: what a subscriber throws is a bug that must be seen. */
  #call(path: string): void {
    for (const changed of this.#subscribers.get(path) ?? []) setImmediate(changed);
  }
}
