/** What ZooKeeper refuses for reasons of its own: told with the path and its number, and nothing is written. */
import { randomUUID } from 'node:crypto';
import zookeeper from 'node-zookeeper-client';
import { expect, it } from 'vitest';
import { createZooKeeperCoordinator } from '../../src/coordinator/zookeeper/zookeeper-coordinator.js';
import { silentLogger } from '../support/coordinators.js';
import { testZkHosts } from '../support/services.js';

/** Ends with the session that made it, and may have nothing below it. */
const EPHEMERAL = 1;
const NO_CHILDREN_FOR_EPHEMERALS = -108;

it('a chroot that another client made for the time of its session', async () => {
  const path = `/${randomUUID()}`;
  const client = zookeeper.createClient(testZkHosts(), {
    sessionTimeout: 10_000,
    spinDelay: 100,
    retries: 0,
  });
  await new Promise<void>((resolve) => {
    client.once('connected', resolve);
    client.connect();
  });
  const coordinator = createZooKeeperCoordinator({
    hosts: `${testZkHosts()}${path}`,
    sessionTimeoutMs: 5_000,
    connectTimeoutMs: 5_000,
    logger: silentLogger,
  });
  try {
    await new Promise<void>((resolve, reject) =>
      client.create(path, Buffer.from(''), zookeeper.ACL.OPEN_ACL_UNSAFE, EPHEMERAL, (error) =>
        error ? reject(error) : resolve(),
      ),
    );
    await coordinator.start();
    await expect(coordinator.multi([{ kind: 'create', path: '/a', data: '' }])).rejects.toMatchObject({
      code: 'coordinator_refused',
      exitCode: 21,
      message: `Coordinator zookeeper://${testZkHosts()}${path} refused /a: ZooKeeper error ${NO_CHILDREN_FOR_EPHEMERALS}.`,
      hint: expect.stringContaining("ZooKeeper's own log"),
      details: { zookeeper_error: NO_CHILDREN_FOR_EPHEMERALS },
    });
    expect(await coordinator.read('/a')).toBeUndefined();
  } finally {
    await coordinator.stop();
    client.close();
  }
});
