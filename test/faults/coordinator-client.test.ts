/**
 * The defects of node-zookeeper-client, one by one, each seen to be cured through the coordinator's own interface.
 * Version 0, missing chroots, silent and cut connections, sizes: test/contract/coordinator.test.ts.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import {
  createZooKeeperCoordinator,
  type ZooKeeperCoordinatorOptions,
} from '../../src/coordinator/zookeeper/zookeeper-coordinator.js';
import { NEVER_MS, silentLogger, zooKeeperTarget } from '../support/coordinators.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { aborted, until } from '../support/until.js';

const target = zooKeeperTarget();
const real = `${target.host}:${target.port}`;
const opened: Coordinator[] = [];
const servers: { close(): Promise<void> }[] = [];

afterEach(async () => {
  await Promise.all(opened.splice(0).map((coordinator) => coordinator.stop()));
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

function open(options: Partial<ZooKeeperCoordinatorOptions>): Coordinator {
  const coordinator = createZooKeeperCoordinator({
    hosts: real,
    sessionTimeoutMs: 2_000,
    connectTimeoutMs: 5_000,
    logger: silentLogger,
    ...options,
  });
  opened.push(coordinator);
  return coordinator;
}

async function started(options: Partial<ZooKeeperCoordinatorOptions> = {}): Promise<Coordinator> {
  const coordinator = open(options);
  await coordinator.start();
  return coordinator;
}

async function proxied(): Promise<TcpProxy> {
  const proxy = await startTcpProxy(target);
  servers.push(proxy);
  return proxy;
}

/** A server of the test's own on loopback; returns its port. */
async function listen(server: net.Server): Promise<number> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  servers.push({
    close: () => {
      for (const socket of sockets) socket.destroy();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return address.port;
}

async function entry(coordinator: Coordinator, data = ''): Promise<string> {
  const path = `/t-${randomUUID()}`;
  expect(await coordinator.multi([{ kind: 'create', path, data }])).toEqual({ kind: 'done' });
  return path;
}

describe('connecting', () => {
  it('goes on to the next server where one accepts and says nothing', async () => {
    const proxy = await proxied();
    proxy.setMode('half-open');
    const hosts = `127.0.0.1:${proxy.port},${real}`;
    // The order is chosen by chance: of several, some meet the silent one first.
    for (let i = 0; i < 8; i += 1) {
      const coordinator = await started({ hosts });
      await coordinator.sync();
    }
  });

  it('can be stopped at any moment of the handshake', async () => {
    const proxy = await proxied();
    proxy.setDelay(15);
    for (let i = 0; i < 20; i += 1) {
      const coordinator = open({ hosts: `127.0.0.1:${proxy.port}` });
      const before = proxy.passed;
      let started = false;
      const starting = coordinator
        .start()
        .catch((error: unknown) => error)
        .finally(() => {
          started = true;
        });
      // Every other time at once, else after one chunk more of the handshake each time, until there are no more.
      const chunks = (i - 1) / 2;
      await until(
        'it has come so far',
        () => i % 2 === 0 || started || (proxy.connections > 0 && proxy.passed - before >= chunks),
        { everyMs: 1 },
      );
      await coordinator.stop();
      await starting;
    }
    proxy.setDelay(0);
    const silent = await proxied();
    silent.setMode('half-open');
    const coordinator = open({ hosts: `127.0.0.1:${silent.port}`, connectTimeoutMs: NEVER_MS });
    const starting = coordinator.start().catch((error: unknown) => error);
    await until('it waits for the handshake', () => silent.connections > 0);
    await coordinator.stop();
    expect(await starting).toMatchObject({ code: 'coordinator_unreachable' });
  });

  it('is not spoiled by the rest of a frame from the connection before', async () => {
    let first = true;
    const port = await listen(
      net.createServer((socket) => {
        if (first) {
          first = false;
          socket.once('data', () => socket.end(Buffer.from([0, 0, 0, 37, 1, 2, 3])));
          return;
        }
        const upstream = net.connect(target);
        upstream.on('error', () => socket.destroy());
        socket.pipe(upstream).pipe(socket);
      }),
    );
    const coordinator = await started({ hosts: `127.0.0.1:${port}` });
    await coordinator.sync();
    expect(first).toBe(false);
  });

  it('survives what is no ZooKeeper at all', async () => {
    const port = await listen(
      net.createServer((socket) => socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))),
    );
    await expect(started({ hosts: `127.0.0.1:${port}`, connectTimeoutMs: 800 })).rejects.toMatchObject({
      code: 'coordinator_unreachable',
    });
    const coordinator = await started({ hosts: `127.0.0.1:${port},${real}` });
    await coordinator.sync();
  });

  it('takes IPv6 literals for addresses, not for names', async () => {
    const failed = started({ hosts: '[::1]:1', connectTimeoutMs: 300 });
    await expect(failed).rejects.toMatchObject({
      message: expect.stringMatching(/\[::1\]:1 .*(ECONNREFUSED|EADDRNOTAVAIL|EAFNOSUPPORT|ENETUNREACH)/),
    });
  });

  it('uses TLS where asked, and trusts only what it was told to', async () => {
    const read = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url), 'utf8');
    const [cert, key] = [read('localhost.cert.pem'), read('localhost.key.pem')];
    const port = await listen(
      tls.createServer({ cert, key }, (socket) => {
        const upstream = net.connect(target);
        upstream.on('error', () => socket.destroy());
        socket.on('error', () => upstream.destroy());
        socket.pipe(upstream).pipe(socket);
      }),
    );
    const hosts = `127.0.0.1:${port}`;
    const coordinator = await started({ hosts, tls: { ca: cert } });
    expect(await coordinator.read(await entry(coordinator, 'secret'))).toEqual({
      data: 'secret',
      version: 0,
    });
    await expect(started({ hosts, tls: {}, connectTimeoutMs: 500 })).rejects.toMatchObject({
      message: expect.stringContaining('SELF_SIGNED'),
    });
  });
});

describe('a connection', () => {
  it('to a server that falls silent is left before the session ends, which goes on elsewhere with its leases', async () => {
    const [one, two] = [await proxied(), await proxied()];
    const hosts = `127.0.0.1:${one.port},127.0.0.1:${two.port}`;
    const coordinator = await started({ hosts, sessionTimeoutMs: 4_000, connectTimeoutMs: 10_000 });
    const path = await entry(coordinator);
    const lease = await coordinator.tryLease(`${path}/lease`, 'me');
    const silent = one.connections > 0 ? one : two;
    silent.setMode('half-open');
    expect(await coordinator.read(path)).toEqual({ data: '', version: 0 });
    expect(lease?.lost.aborted).toBe(false);
    const witness = await started();
    expect(await witness.leaseHolder(`${path}/lease`)).toMatchObject({ epoch: lease?.epoch });
  });

  it('survives an error that the library does not know', async () => {
    // Speaks the handshake, then answers everything with SESSIONMOVED (-118).
    const port = await listen(
      net.createServer((socket) => {
        socket.once('data', () => {
          const reply = Buffer.alloc(4 + 37);
          reply.writeInt32BE(37, 0);
          reply.writeInt32BE(2_000, 8);
          reply.writeBigInt64BE(77n, 12);
          reply.writeInt32BE(16, 20);
          socket.write(reply);
          socket.on('data', (request) => {
            if (request.readInt32BE(8) === 11) return;
            const answer = Buffer.alloc(4 + 16);
            answer.writeInt32BE(16, 0);
            answer.writeInt32BE(request.readInt32BE(4), 4);
            answer.writeInt32BE(-118, 16);
            socket.write(answer);
          });
        });
      }),
    );
    const coordinator = await started({ hosts: `127.0.0.1:${port}`, operationTimeoutMs: 500 });
    await expect(coordinator.read('/a')).rejects.toMatchObject({ code: 'coordinator_unreachable' });
    await expect(
      coordinator.multi([{ kind: 'set', path: '/a', data: '', version: 0 }]),
    ).rejects.toMatchObject({ code: 'coordinator_outcome_unknown' });
  });

  it('whose session has expired is followed by a new session, with watches, without leases', async () => {
    const proxy = await proxied();
    const coordinator = await started({ hosts: `127.0.0.1:${proxy.port}`, sessionTimeoutMs: 1_000 });
    const witness = await started();
    const path = await entry(coordinator);
    const lease = await coordinator.tryLease(`${path}/lease`, 'me');
    let changes = 0;
    const end = new AbortController();
    await coordinator.watch(path, () => (changes += 1), end.signal);
    proxy.setMode('refuse');
    proxy.cut();
    await until('the session has expired', async () => !(await witness.leaseHolder(`${path}/lease`)));
    expect(lease?.lost.aborted).toBe(true);
    await witness.multi([{ kind: 'set', path, data: 'missed', version: 0 }]);
    proxy.setMode('forward');
    expect(await coordinator.read(path)).toEqual({ data: 'missed', version: 1 });
    await until('the watch says that something may have been missed', () => changes > 0);
    const before = changes;
    await witness.multi([{ kind: 'set', path, data: 'seen', version: 1 }]);
    await until('the watch works again', () => changes > before);
    const again = await coordinator.tryLease(`${path}/lease`, 'me');
    expect(again?.epoch).toBeGreaterThan(lease?.epoch ?? 0n);
    end.abort();
  });

  it('does not send what has run out of time meanwhile', async () => {
    const proxy = await proxied();
    const hosts = `127.0.0.1:${proxy.port}`;
    const coordinator = await started({ hosts, operationTimeoutMs: 300, sessionTimeoutMs: 10_000 });
    const path = await entry(coordinator, 'untouched');
    proxy.setMode('refuse');
    proxy.cut();
    await expect(coordinator.read(path)).rejects.toMatchObject({ code: 'coordinator_unreachable' });
    const tries = Array.from({ length: 50 }, (_, i) =>
      coordinator
        .multi([{ kind: 'set', path, data: `late ${i}`, version: 0 }])
        .catch((error: unknown) => error),
    );
    for (const failure of await Promise.all(tries)) {
      expect(failure).toMatchObject({ code: 'coordinator_unreachable' });
    }
    proxy.setMode('forward');
    await until('it is connected again', () =>
      coordinator.sync().then(
        () => true,
        () => false,
      ),
    );
    expect(await coordinator.read(path)).toEqual({ data: 'untouched', version: 0 });
  });
});

describe('credentials', () => {
  const auth = { scheme: 'digest', credentials: 'shovel:secret' } as const;

  it('go out before the first operation, and before those that waited for a reconnect', async () => {
    const proxy = await proxied();
    const coordinator = open({ hosts: `127.0.0.1:${proxy.port}`, auth });
    await coordinator.start();
    const path = await entry(coordinator, 'mine');
    for (let round = 0; round < 10; round += 1) {
      proxy.cut();
      const entries = await Promise.all([coordinator.read(path), coordinator.read(path)]);
      expect(entries).toEqual([
        { data: 'mine', version: 0 },
        { data: 'mine', version: 0 },
      ]);
    }
  });

  it.each([
    ['nobody', {}],
    ['another', { auth: { scheme: 'digest', credentials: 'shovel:other' } }],
  ] as const)('keep %s from reading, listing, changing and adding', async (_, other) => {
    const owner = await started({ auth });
    const path = await entry(owner, 'mine');
    const lease = await owner.tryLease(`${path}/lease`, 'owner');
    const stranger = await started(other);
    const refused = { code: 'coordinator_not_authorized', exitCode: 20 };
    await expect(stranger.read(path)).rejects.toMatchObject(refused);
    await expect(stranger.list(path)).rejects.toMatchObject(refused);
    await expect(stranger.multi([{ kind: 'set', path, data: '', version: 0 }])).rejects.toMatchObject(
      refused,
    );
    await expect(stranger.multi([{ kind: 'create', path: `${path}/a`, data: '' }])).rejects.toMatchObject(
      refused,
    );
    await expect(stranger.leaseHolder(`${path}/lease`)).rejects.toMatchObject(refused);
    await expect(stranger.tryLease(`${path}/lease`, 'stranger')).rejects.toMatchObject(refused);
    const error = await stranger.read(path).catch((failure: unknown) => failure);
    expect(JSON.stringify(error)).not.toMatch(/secret|shovel:/);
    expect(await owner.read(path)).toEqual({ data: 'mine', version: 0 });
    expect(lease?.lost.aborted).toBe(false);
  });
});

describe('a lease', () => {
  it('ends before the server can give it away', async () => {
    const proxy = await proxied();
    const holder = await started({ hosts: `127.0.0.1:${proxy.port}`, sessionTimeoutMs: 4_000 });
    const witness = await started();
    const path = await entry(holder);
    const lease = await holder.tryLease(`${path}/lease`, 'me');
    if (!lease) throw new Error('the lease was free');
    proxy.setMode('half-open');
    await aborted(lease.lost);
    // It ends after two thirds of the session: the server keeps it for the last one.
    expect(await witness.leaseHolder(`${path}/lease`)).toMatchObject({ owner: 'me' });
  });
});
