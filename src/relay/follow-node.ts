/**
 * Notices that a relay works by a version which its node has no more, or reaches it by an address that was changed. What
 * is decided (the feed) says that it is worth looking; the node says which version it has: databases switch one after
 * another, and one that is behind goes on by its own version until its turn comes.
 */
import type { SetNode } from '../model/change-records.js';
import { createBackoff } from '../runtime/backoff.js';
import type { Clock } from '../runtime/clock.js';
import type { RelaySet } from './relay-set.js';
import type { SetFeed } from './set-feed.js';

export interface FollowOptions {
  readonly feed: SetFeed;
  /** What the relay works by. */
  readonly active: RelaySet;
  readonly nodeId: string;
  readonly database: string;
  /** By which the node was reached. */
  readonly dsn: string | undefined;
  /** Undefined where the node can't be asked. */
  readonly versionOfNode: () => Promise<number | 'gone' | undefined>;
  readonly clock: Clock;
  readonly stop: AbortSignal;
  /** `dropped`: the node is no part of the set any more. */
  readonly turn: (outcome: 'changed' | 'dropped') => void;
}

/** A node that was taken out of its set and can't be asked so often is believed gone: that was done by force. */
export const GONE_AFTER_TRIES = 5;

/** Until there is something to turn to, or `stop`. Never throws. */
export async function followNode(options: FollowOptions): Promise<void> {
  const { feed, active, nodeId, database, dsn, clock, stop, turn } = options;
  while (!stop.aborted) {
    const { decided } = feed;
    if (decided !== undefined && decided.version <= active.version) {
      await change(feed, stop);
      continue;
    }
    const stays = nodeOf(decided, nodeId) !== undefined;
    if (stays && decided?.configuration.databases[database]?.dsn !== dsn) return turn('changed');
    const backoff = createBackoff({ firstMs: 50, maxMs: 2000 });
    for (let tries = 1; !stop.aborted && feed.decided === decided; tries += 1) {
      const version = await options.versionOfNode();
      if (version === 'gone') return turn('dropped');
      if (version !== undefined && version !== active.version) return turn('changed');
      if (version === undefined && !stays && tries >= GONE_AFTER_TRIES) return turn('dropped');
      await clock.sleep(backoff.next().ms, stop);
    }
  }
}

export function nodeOf(set: RelaySet | undefined, nodeId: string): SetNode | undefined {
  return set?.nodes.find((node) => node.nodeId === nodeId);
}

function change(feed: SetFeed, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const over = new AbortController();
    const done = () => {
      over.abort();
      signal.removeEventListener('abort', done);
      resolve();
    };
    feed.listen(done, over.signal);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
