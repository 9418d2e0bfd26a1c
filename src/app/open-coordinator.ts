/** From an address to a coordinator. Loads only the implementation that is asked for. */
import type { Coordinator } from '../coordinator/coordinator.js';
import type { ZooKeeperTlsFiles } from '../coordinator/coordinator-url.js';
import { readPem } from './read-pem.js';
import type { AppSettings } from './settings.js';

/** Unless said otherwise. */
const LEASE_TIME_MS = 15_000;
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Started; the caller stops it. Gives up at once when the signal aborts.
 * @throws UnreachableError `coordinator_unreachable`, ConfigurationError; the signal's reason
 */
export async function openCoordinator(
  settings: Pick<AppSettings, 'coordinator' | 'leaseTimeMs' | 'logger' | 'signal'>,
): Promise<Coordinator> {
  const { signal } = settings;
  const coordinator = await createCoordinator(settings);
  const interrupted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  interrupted.catch(() => undefined);
  const starting = coordinator.start();
  starting.catch(() => undefined);
  try {
    await Promise.race([starting, interrupted]);
    return coordinator;
  } catch (error) {
    await coordinator.stop();
    throw error;
  }
}

async function createCoordinator(
  settings: Pick<AppSettings, 'coordinator' | 'leaseTimeMs' | 'logger'>,
): Promise<Coordinator> {
  const { coordinator: address, leaseTimeMs = LEASE_TIME_MS, logger } = settings;
  if (address.kind === 'postgres') {
    const { createPostgresCoordinator } = await import('../coordinator/postgres/postgres-coordinator.js');
    return createPostgresCoordinator({
      dsn: address.dsn,
      leaseTimeMs,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      logger,
    });
  }
  const { createZooKeeperCoordinator } = await import('../coordinator/zookeeper/zookeeper-coordinator.js');
  return createZooKeeperCoordinator({
    hosts: address.hosts,
    sessionTimeoutMs: leaseTimeMs,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    ...(address.auth === undefined ? {} : { auth: address.auth }),
    ...(address.tls === undefined ? {} : { tls: await readTls(address.tls) }),
    logger,
  });
}

async function readTls(files: ZooKeeperTlsFiles): Promise<Record<string, string>> {
  const texts: Record<string, string> = {};
  for (const [name, path] of Object.entries(files)) texts[name] = await readPem(path);
  return texts;
}
