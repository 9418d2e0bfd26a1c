/**
 * Coordinators for tests: every implementation as the contract suite needs it, each place of its own in a real
 * server, so that tests never meet.
 */
import { randomUUID } from 'node:crypto';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import type { CoordinatorLogger } from '../../src/coordinator/coordinator-logger.js';
import { createPostgresCoordinator } from '../../src/coordinator/postgres/postgres-coordinator.js';
import { createZooKeeperCoordinator } from '../../src/coordinator/zookeeper/zookeeper-coordinator.js';
import { openConnection } from '../../src/postgres/connect.js';
import { testPgUrl, testZkHosts } from './services.js';
import type { TcpProxyTarget } from './tcp-proxy.js';

export const silentLogger: CoordinatorLogger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
};

/** Leases pass on after this long, ms: short, and long enough for a slow machine. */
export const SESSION_MS = 2_000;
/** Longer than any test waits: what ends in a test does not end by this. */
export const NEVER_MS = 600_000;
const CONNECT_MS = 4_000;

export interface OpenCoordinator {
  /** A proxy, instead of the server itself. */
  readonly through?: TcpProxyTarget;
  readonly operationTimeoutMs?: number;
  readonly connectTimeoutMs?: number;
}

/** A server with an empty place for coordinators. */
export interface CoordinatorPlace {
  readonly target: TcpProxyTarget;
  /** A new coordinator, not started; all of one place see the same entries. */
  open(options?: OpenCoordinator): Coordinator;
  /** Bytes that a client sends only when it decides a multi which writes `data`. */
  decisive(data: string): string;
  /** Removes the place, where the server keeps it apart. */
  remove(): Promise<void>;
}

export interface CoordinatorKind {
  readonly name: string;
  makePlace(): Promise<CoordinatorPlace>;
}

export const coordinatorKinds: readonly CoordinatorKind[] = [
  { name: 'ZooKeeper', makePlace: async () => zooKeeperPlace('') },
  { name: 'ZooKeeper with a chroot', makePlace: async () => zooKeeperPlace(`/test/${randomUUID()}`) },
  { name: 'PostgreSQL', makePlace: postgresPlace },
];

export function zooKeeperTarget(): TcpProxyTarget {
  const [first = ''] = testZkHosts().split(',');
  const [host = '', port = ''] = first.split(':');
  return { host, port: Number(port) };
}

function zooKeeperPlace(chroot: string): CoordinatorPlace {
  const target = zooKeeperTarget();
  return {
    target,
    open: ({ through = target, operationTimeoutMs = CONNECT_MS, connectTimeoutMs = CONNECT_MS } = {}) =>
      createZooKeeperCoordinator({
        hosts: `${through.host}:${through.port}${chroot}`,
        sessionTimeoutMs: SESSION_MS,
        connectTimeoutMs,
        operationTimeoutMs,
        logger: silentLogger,
      }),
    decisive: (data) => data,
    remove: async () => undefined,
  };
}

async function postgresPlace(): Promise<CoordinatorPlace> {
  const server = new URL(testPgUrl());
  const target = { host: server.hostname, port: Number(server.port || 5432) };
  const database = `coordinator_${randomUUID().replaceAll('-', '')}`;
  const administer = async (statement: string) => {
    const connection = await openConnection({
      dsn: testPgUrl(),
      name: 'the server for tests',
      applicationName: 'shovel test',
    });
    try {
      await connection.script(statement);
    } finally {
      await connection.end();
    }
  };
  await administer(`create database ${database}`);
  return {
    target,
    open: ({ through = target, operationTimeoutMs = CONNECT_MS, connectTimeoutMs = CONNECT_MS } = {}) => {
      const url = new URL(server);
      url.host = `${through.host}:${through.port}`;
      url.pathname = `/${database}`;
      return createPostgresCoordinator({
        dsn: url.toString(),
        leaseTimeMs: SESSION_MS,
        connectTimeoutMs,
        operationTimeoutMs,
        logger: silentLogger,
      });
    },
    // The whole statement: `begin … read committed` holds the word, too.
    decisive: () => 'commit\0',
    remove: () => administer(`drop database if exists ${database} with (force)`),
  };
}
