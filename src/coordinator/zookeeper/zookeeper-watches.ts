/**
 * Watches at ZooKeeper, which fire once and are lost with the connection. Each is armed again *before* its
 * subscribers are called, so that a reader who reads after the call misses nothing; after every new connection all
 * are armed again and all subscribers called.
 */
import { Subscribers } from '../subscribers.js';
import type { ZooKeeperSession } from './zookeeper-session.js';

export class ZooKeeperWatches {
  readonly #operationTimeoutMs: number;
  readonly #subscribers = new Subscribers();

  constructor({ operationTimeoutMs }: { operationTimeoutMs: number }) {
    this.#operationTimeoutMs = operationTimeoutMs;
  }

  /** Ends with the signal. Not armed yet: see `arm`. */
  add(path: string, subscriber: { changed: () => void; signal: AbortSignal }): void {
    this.#subscribers.add(path, subscriber);
  }

  /** @throws ZooKeeperCallError */
  async arm(session: ZooKeeperSession, path: string): Promise<void> {
    await session.watch(path, () => this.#armAndCall(session, path), this.#operationTimeoutMs);
  }

  onConnected(session: ZooKeeperSession): void {
    for (const path of this.#subscribers.paths()) this.#armAndCall(session, path);
  }

  clear(): void {
    this.#subscribers.clear();
  }

  #armAndCall(session: ZooKeeperSession, path: string): void {
    if (!this.#subscribers.has(path)) return;
    this.arm(session, path).then(
      () => this.#subscribers.call(path),
      // Where the connection is gone the next one arms and calls; where only the answer was late, try again.
      () => {
        if (session.connected) this.#armAndCall(session, path);
      },
    );
  }
}
