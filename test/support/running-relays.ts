/** Relays of a test's cluster in this process, as `shovel relay` runs them, and files that they publish to. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type RunRelaysOptions, runRelays } from '../../src/app/run-relays.js';
import type { AppSettings } from '../../src/app/settings.js';
import { parseCoordinatorAddress } from '../../src/coordinator/coordinator-url.js';
import type { RelaySummary } from '../../src/relay/relay-options.js';
import type { StreamStats } from '../../src/relay/stream-state.js';
import { type Logger, silentLogger } from '../../src/runtime/logger.js';
import { testZkHosts } from './services.js';
import { temporaryFolder } from './temporary-folder.js';

export interface RunningRelays {
  readonly ended: Promise<readonly RelaySummary[]>;
  /** By `set/database/stream`, the newest. */
  readonly stats: ReadonlyMap<string, StreamStats>;
  stop(): Promise<readonly RelaySummary[]>;
}

export interface StartRelays
  extends Partial<Pick<RunRelaysOptions, 'database' | 'once' | 'fromTicket' | 'say'>> {
  readonly cluster: string;
  /** Default: the shared ZooKeeper. */
  readonly hosts?: string;
  readonly sets?: readonly string[];
  readonly logger?: Logger;
  readonly leaseTimeMs?: number;
  readonly variables?: Readonly<Record<string, string>>;
}

export function startRelays(options: StartRelays): RunningRelays {
  const stopping = new AbortController();
  const stats = new Map<string, StreamStats>();
  const { sets = [], once = false, hosts = testZkHosts(), logger = silentLogger() } = options;
  const settings: AppSettings = {
    cluster: options.cluster,
    coordinator: parseCoordinatorAddress({ zookeeperHosts: hosts, coordinator: undefined }),
    lockTimeoutMs: 40,
    leaseTimeMs: options.leaseTimeMs ?? 2000,
    variables: options.variables ?? {},
    logger,
    signal: stopping.signal,
  };
  const ended = runRelays(settings, {
    sets,
    once,
    ...(options.database === undefined ? {} : { database: options.database }),
    ...(options.fromTicket === undefined ? {} : { fromTicket: options.fromTicket }),
    ...(options.say === undefined ? {} : { say: options.say }),
    stats: (one) => stats.set(`${one.set}/${one.database}/${one.stream}`, one),
  });
  ended.catch(() => undefined);
  return {
    ended,
    stats,
    stop: () => {
      stopping.abort();
      return ended;
    },
  };
}

export interface TrailFolder {
  path(name: string): string;
  lines(name: string): Promise<readonly string[]>;
}

export function makeTrailFolder(): TrailFolder {
  const folder = temporaryFolder('trails');
  const path = (name: string) => join(folder, `${name}.jsonl`);
  return {
    path,
    lines: async (name) => (await readFile(path(name), 'utf8').catch(() => '')).split('\n').slice(0, -1),
  };
}
