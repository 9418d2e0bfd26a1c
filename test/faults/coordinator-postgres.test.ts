/** The PostgreSQL coordinator, and the listener beneath it, while the server is killed and connections die. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import {
  createPostgresCoordinator,
  type PostgresCoordinatorOptions,
} from '../../src/coordinator/postgres/postgres-coordinator.js';
import { ShovelError } from '../../src/errors.js';
import { openConnection } from '../../src/postgres/connect.js';
import { type Listener, openListener } from '../../src/postgres/listen.js';
import { newEntry } from '../support/coordinator-contract.js';
import { silentLogger } from '../support/coordinators.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { aborted, until } from '../support/until.js';

let service: EphemeralService;
let proxy: TcpProxy;
const opened: Coordinator[] = [];
const listeners: Listener[] = [];

beforeAll(async () => {
  service = await startEphemeral('pg');
  proxy = await startTcpProxy({ host: '127.0.0.1', port: service.server.port });
});
afterAll(async () => {
  await proxy?.close();
  await service?.close();
});
afterEach(async () => {
  proxy.setMode('forward');
  await service.server.start();
  await Promise.all(opened.splice(0).map((coordinator) => coordinator.stop()));
  await Promise.all(listeners.splice(0).map((listener) => listener.stop()));
});

function through(): string {
  const url = new URL(service.address);
  url.host = `${proxy.host}:${proxy.port}`;
  return url.toString();
}

async function started(options: Partial<PostgresCoordinatorOptions> = {}): Promise<Coordinator> {
  const coordinator = createPostgresCoordinator({
    dsn: service.address,
    leaseTimeMs: 2_000,
    connectTimeoutMs: 5_000,
    logger: silentLogger,
    ...options,
  });
  opened.push(coordinator);
  await coordinator.start();
  return coordinator;
}

async function administer(statement: string): Promise<void> {
  const connection = await openConnection({
    dsn: service.address,
    name: 'the server of this test',
    applicationName: 'shovel test',
  });
  try {
    await connection.script(statement);
  } finally {
    await connection.end();
  }
}

/** Ends the server's side of all connections whose application name is like `pattern`. */
function terminate(pattern: string): Promise<void> {
  return administer(
    `select pg_terminate_backend(pid) from pg_stat_activity where application_name like '${pattern}'`,
  );
}

describe('a server that is killed', () => {
  it('loses nothing that was decided, and nothing is decided twice', async () => {
    const coordinator = await started();
    const path = await newEntry(coordinator);
    let over = false;
    let version = 0;
    const count = async () => {
      while (!over) {
        const mark = randomUUID();
        try {
          expect(await coordinator.multi([{ kind: 'set', path, data: mark, version }])).toEqual({
            kind: 'done',
          });
          version += 1;
        } catch (error) {
          if (!(error instanceof ShovelError && error.retryable)) throw error;
          if (error.code !== 'coordinator_outcome_unknown') continue;
          const found = await until('it can be read', () => coordinator.read(path).catch(() => undefined));
          if (found.version === version + 1) expect(found.data).toBe(mark);
          version = found.version;
        }
      }
    };
    const counting = count();
    for (let round = 0; round < 3; round += 1) {
      const before = version;
      await until('it counts', () => version > before + 20);
      await service.server.kill();
      await service.server.start();
    }
    over = true;
    await counting;
    expect((await coordinator.read(path))?.version).toBe(version);
  });

  it('takes the leases along that it can not vouch for, and their epochs go on growing', async () => {
    const coordinator = await started();
    const path = await newEntry(coordinator);
    const lease = await coordinator.tryLease(`${path}/lease`, 'me');
    if (!lease) throw new Error('the lease was free');
    await service.server.kill();
    await aborted(lease.lost);
    await service.server.start();
    const again = await until('it can be taken again', () =>
      coordinator.tryLease(`${path}/lease`, 'me').catch(() => undefined),
    );
    expect(again.epoch).toBeGreaterThan(lease.epoch);
  });

  it('ends backends, and nobody notices', async () => {
    const coordinator = await started();
    const path = await newEntry(coordinator);
    const lease = await coordinator.tryLease(`${path}/lease`, 'me');
    let changes = 0;
    const end = new AbortController();
    await coordinator.watch(path, () => (changes += 1), end.signal);
    for (let version = 0; version < 3; version += 1) {
      await terminate('shovel coordinator%');
      const before = changes;
      expect(await coordinator.multi([{ kind: 'set', path, data: '', version }])).toEqual({ kind: 'done' });
      await until('the watch tells', () => changes > before);
    }
    expect(lease?.lost.aborted).toBe(false);
    end.abort();
  });
});

describe('durability', () => {
  it('of decisions does not depend on the default of the database', async () => {
    await administer('alter database postgres set synchronous_commit = off');
    try {
      const coordinator = await started();
      const path = await newEntry(coordinator);
      for (let version = 0; version < 5; version += 1) {
        expect(await coordinator.multi([{ kind: 'set', path, data: '', version }])).toEqual({ kind: 'done' });
        await service.server.kill();
        await service.server.start();
        expect((await coordinator.read(path))?.version).toBe(version + 1);
      }
    } finally {
      await administer('alter database postgres reset synchronous_commit');
    }
  });
});

describe('a listener', () => {
  async function listening(options: { dsn?: string; checkIntervalMs?: number } = {}) {
    const channel = `test_${randomUUID().replaceAll('-', '')}`;
    const heard: string[] = [];
    let reconnects = 0;
    const listener = await openListener({
      dsn: service.address,
      name: 'the server of this test',
      applicationName: `listener ${channel}`,
      channel,
      connectTimeoutMs: 1_000,
      onNotification: (payload) => heard.push(payload),
      onReconnected: () => {
        reconnects += 1;
      },
      ...options,
    });
    listeners.push(listener);
    const notify = (payload: string) => administer(`select pg_notify('${channel}', '${payload}')`);
    return { channel, heard, listener, notify, reconnects: () => reconnects };
  }

  it('hears what is sent, in order, whatever it is', async () => {
    const { heard, notify } = await listening();
    for (const payload of ['/a', '', 'no json {', '/b']) await notify(payload);
    await until('all are heard', () => heard.length === 4);
    expect(heard).toEqual(['/a', '', 'no json {', '/b']);
  });

  it('comes back where its backend was ended, and where the server was killed', async () => {
    const { channel, heard, notify, reconnects } = await listening();
    await terminate(`listener ${channel}`);
    await until('it is back', () => reconnects() === 1);
    await service.server.kill();
    await service.server.start();
    await until('it is back again', () => reconnects() === 2);
    await notify('after');
    await until('it is heard', () => heard.includes('after'));
  });

  it('notices a connection that has died without a word', async () => {
    const { heard, notify, reconnects } = await listening({ dsn: through(), checkIntervalMs: 1_200 });
    proxy.setMode('half-open');
    await until('the dead connection is left', () => proxy.connections === 0);
    proxy.setMode('forward');
    await until('it is back', () => reconnects() > 0);
    await notify('alive');
    await until('it is heard', () => heard.includes('alive'));
  });

  it('that is stopped stays stopped, also while it tries to come back', async () => {
    const { listener, reconnects } = await listening({ dsn: through() });
    proxy.setMode('refuse');
    proxy.cut();
    await listener.stop();
    await listener.stop();
    proxy.setMode('forward');
    const later = await listening({ dsn: through() });
    proxy.cut();
    await until('another has come back meanwhile', () => later.reconnects() > 0);
    expect(reconnects()).toBe(0);
    await later.listener.stop();
    await until('no connection is left', () => proxy.connections === 0);
  });

  it('says at once that nobody is there', async () => {
    proxy.setMode('refuse');
    await expect(listening({ dsn: through() })).rejects.toMatchObject({
      code: 'database_unreachable',
      exitCode: 23,
    });
  });

  it('goes on to the next host of its DSN', async () => {
    proxy.setMode('refuse');
    const url = new URL(service.address);
    const { heard, notify } = await listening({
      dsn: `postgres://postgres@${proxy.host}:${proxy.port},${url.host}/postgres`,
    });
    await notify('here');
    await until('it is heard', () => heard.includes('here'));
  });
});
