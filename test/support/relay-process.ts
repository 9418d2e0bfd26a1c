/**
 * A relay in a process of its own, so that it can be killed. Run as a program it relays what its argument says until
 * it is ended; imported it gives the function that starts it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createPostgresCoordinator } from '../../src/coordinator/postgres/postgres-coordinator.js';
import { openConnection } from '../../src/postgres/connect.js';
import { runRelay } from '../../src/relay/relay.js';
import type { RelaySet } from '../../src/relay/relay-set.js';
import { systemClock } from '../../src/runtime/clock.js';
import { silentLogger } from '../../src/runtime/logger.js';
import { createFilePublisher } from '../../src/streams/file/file-publisher.js';

export interface RelayJob {
  /** Of the node, which is the coordinator's place as well. */
  readonly url: string;
  readonly set: RelaySet;
  readonly path: string;
  /** Most messages of a part. */
  readonly messages: number;
}

export interface RelayProcess {
  /** SIGKILL, and gone. */
  kill(): Promise<void>;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
}

export function startRelayProcess(job: RelayJob): RelayProcess {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', fileURLToPath(import.meta.url), JSON.stringify(job)],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const exited = once(child, 'exit');
    child.kill(signal);
    await exited;
    return child.exitCode;
  };
  return {
    kill: async () => {
      await end('SIGKILL');
    },
    stop: () => end('SIGTERM'),
  };
}

/** A place for coordinators in the node itself. Leases pass on after a second. */
export function nodeCoordinator(url: string) {
  return createPostgresCoordinator({
    dsn: url,
    leaseTimeMs: 1000,
    connectTimeoutMs: 4000,
    operationTimeoutMs: 4000,
    logger: silentLogger(),
  });
}

async function main(job: RelayJob): Promise<void> {
  const coordinator = nodeCoordinator(job.url);
  await coordinator.start();
  const stopping = new AbortController();
  process.once('SIGTERM', () => stopping.abort());
  const [node] = job.set.nodes;
  const summary = await runRelay({
    cluster: 'default',
    set: job.set,
    database: node?.database ?? '',
    coordinator,
    openNode: () => openConnection({ dsn: job.url, name: 'database main', applicationName: 'shovel relay' }),
    createPublisher: async (stream) =>
      createFilePublisher({
        path: job.path,
        stream,
        logger: silentLogger(),
        limits: { messages: job.messages, bytes: 1_000_000 },
      }),
    once: false,
    owner: `test:${process.pid}`,
    clock: systemClock,
    logger: silentLogger(),
    signal: stopping.signal,
    tuning: {
      pace: { shortestMs: 5 },
      trimEveryMs: 20,
      trim: { rotateBytes: 100_000, rotateAgeMs: 100, idleBytes: 8192, pinnedMs: 200 },
      chunks: { rows: 20, bytes: 20_000 },
    },
  });
  await coordinator.stop();
  process.exitCode = summary.error?.exitCode ?? 0;
}

const [, program, argument] = process.argv;
if (program === fileURLToPath(import.meta.url) && argument !== undefined) {
  await main(JSON.parse(argument) as RelayJob);
}
