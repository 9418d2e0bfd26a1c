/**
 * What every coordinator must do, tried on all of them alike, on real servers. Here: starting, stopping, broken
 * connections, watches; entries and leases have files of their own.
 */
import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';

import type { Coordinator } from '../../src/coordinator/coordinator.js';
import { UnreachableError } from '../../src/errors.js';
import { create, done, remove, set, useCoordinators } from '../support/coordinator-contract.js';
import { coordinatorKinds, NEVER_MS } from '../support/coordinators.js';
import { until } from '../support/until.js';

describe.each(coordinatorKinds)('a coordinator on $name', (kind) => {
  const { open, proxied, started, withRoot } = useCoordinators(kind);

  describe('start and stop', () => {
    it('creates nothing on its own: what is not there reads as missing', async () => {
      const fresh = await kind.makePlace();
      const coordinator = fresh.open();
      await coordinator.start();
      await coordinator.sync();
      const path = `/t-${randomUUID()}`;
      expect(await coordinator.read(path)).toBeUndefined();
      expect(await coordinator.list(path)).toBeUndefined();
      expect(await coordinator.leaseHolder(`${path}/lease`)).toBeUndefined();
      const conflict = { kind: 'conflict', index: 0, reason: 'missing' };
      expect(await coordinator.multi([set(path, 'x', 0)])).toEqual(conflict);
      expect(await coordinator.multi([create(`${path}/below`)])).toEqual(conflict);
      await expect(coordinator.tryLease(`${path}/lease`, 'me')).rejects.toMatchObject({
        code: 'coordinator_path_missing',
      });
      expect(await coordinator.read(path)).toBeUndefined();
      expect(await coordinator.multi([create(path, 'made'), create(`${path}/below`)])).toEqual(done);
      expect(await coordinator.read(path)).toEqual({ data: 'made', version: 0 });
      await coordinator.stop();
      await fresh.remove();
    });

    it('stops before start, twice, and refuses what comes after', async () => {
      const coordinator = open();
      await coordinator.stop();
      await coordinator.start();
      await Promise.all([coordinator.stop(), coordinator.stop()]);
      await coordinator.stop();
      await expect(coordinator.read('/')).rejects.toBeInstanceOf(UnreachableError);
      await coordinator.start();
      await coordinator.sync();
    });

    it('stops while it starts, without waiting for a server that says nothing', async () => {
      const proxy = await proxied();
      proxy.setMode('half-open');
      const coordinator = open({ through: proxy, connectTimeoutMs: NEVER_MS });
      const starting = coordinator.start().catch((error: unknown) => error);
      await until('it is connecting', () => proxy.connections > 0);
      await coordinator.stop();
      expect(await starting).toMatchObject({ code: 'coordinator_unreachable' });
    });

    it.each(['refuse', 'half-open'] as const)(
      'gives up in time and says what to do where connections are %s',
      async (mode) => {
        const proxy = await proxied();
        proxy.setMode(mode);
        const coordinator = open({ through: proxy, connectTimeoutMs: 1_000 });
        const error = await coordinator.start().catch((failure: unknown) => failure);
        expect(error).toBeInstanceOf(UnreachableError);
        expect(error).toMatchObject({
          code: 'coordinator_unreachable',
          message: expect.stringContaining(`${proxy.host}:${proxy.port}`),
          hint: expect.stringMatching(/\S/),
        });
        await coordinator.stop();
        proxy.setMode('forward');
        await coordinator.start();
        await coordinator.sync();
      },
    );

    it('shows its address without credentials', async () => {
      expect(open().display).toMatch(/^(zookeeper|postgres):\/\/127\.0\.0\.1:\d+/);
      expect(open().display).not.toContain('@');
    });
  });

  describe('a broken connection', () => {
    it.each(['cut', 'drop'] as const)('that is %s is opened again by itself', async (how) => {
      const proxy = await proxied();
      const { coordinator, root } = await withRoot({ through: proxy });
      for (let round = 0; round < 3; round += 1) {
        proxy[how]();
        expect(await coordinator.read(root)).toEqual({ data: '', version: 0 });
        await coordinator.sync();
      }
    });

    it('that says nothing holds an operation no longer than its time, and is left', async () => {
      const proxy = await proxied();
      const { coordinator, root } = await withRoot({ through: proxy, operationTimeoutMs: 700 });
      proxy.setMode('half-open');
      await expect(coordinator.read(root)).rejects.toMatchObject({ code: 'coordinator_unreachable' });
      await expect(coordinator.sync()).rejects.toBeInstanceOf(UnreachableError);
      proxy.setMode('forward');
      await until('it is back', () => coordinator.read(root).catch(() => undefined));
    });

    it('that is slow is only slow', async () => {
      const proxy = await proxied();
      const { coordinator, root } = await withRoot({ through: proxy });
      proxy.setDelay(60);
      const lease = await coordinator.tryLease(`${root}/lease`, 'slow');
      expect(await coordinator.multi([set(root, 'slow', 0)])).toEqual(done);
      expect(await coordinator.read(root)).toEqual({ data: 'slow', version: 1 });
      expect(lease?.lost.aborted).toBe(false);
    });

    it('does not hide from sync what another has decided', async () => {
      const { coordinator, root } = await withRoot();
      const other = await started();
      for (let version = 0; version < 30; version += 1) {
        await other.multi([set(root, `${version}`, version)]);
        await coordinator.sync();
        expect(await coordinator.read(root)).toEqual({ data: `${version}`, version: version + 1 });
      }
    });
  });

  describe('watch', () => {
    /** A watch that counts, and waits until it has counted more. */
    async function counting(coordinator: Coordinator, path: string) {
      const end = new AbortController();
      let count = 0;
      let seen = 0;
      await coordinator.watch(
        path,
        () => {
          count += 1;
        },
        end.signal,
      );
      return {
        end,
        count: () => count,
        more: async () => {
          await until(`${path} is reported`, () => count > seen);
          seen = count;
        },
      };
    }

    it('tells of creation, change and removal, made here or elsewhere', async () => {
      const { coordinator, root } = await withRoot();
      const other = await started();
      const path = `${root}/a`;
      const watch = await counting(coordinator, path);
      await other.multi([create(path, 'x')]);
      await watch.more();
      await other.multi([set(path, 'y', 0)]);
      await watch.more();
      await coordinator.multi([set(path, 'z', 1)]);
      await watch.more();
      await other.multi([remove(path, 2)]);
      await watch.more();
      await other.multi([create(path, 'again')]);
      await watch.more();
      expect(await coordinator.read(path)).toEqual({ data: 'again', version: 0 });
    });

    it('misses nothing that a reader reads after being told', async () => {
      const { coordinator, root } = await withRoot();
      const other = await started();
      const end = new AbortController();
      let read = -1;
      let told = 0;
      await coordinator.watch(
        root,
        () => {
          told += 1;
          coordinator.read(root).then(
            (entry) => {
              read = Math.max(read, entry?.version ?? -1);
            },
            () => undefined,
          );
        },
        end.signal,
      );
      const last = 100;
      for (let version = 0; version < last; version += 1) {
        expect(await other.multi([set(root, '', version)])).toEqual(done);
      }
      await until('the last version was read', () => read === last);
      expect(told).toBeGreaterThan(0);
      end.abort();
    });

    it('ends with its signal, and keeps paths apart', async () => {
      const { coordinator, root } = await withRoot();
      const [a, b] = [`${root}/a`, `${root}/b`];
      await coordinator.multi([create(a), create(b)]);
      const [ended, other, twin] = [
        await counting(coordinator, a),
        await counting(coordinator, b),
        await counting(coordinator, a),
      ];
      await coordinator.multi([set(a, '1', 0)]);
      await Promise.all([ended.more(), twin.more()]);
      const count = ended.count();
      ended.end.abort();
      await coordinator.multi([set(a, '2', 1)]);
      await twin.more();
      await coordinator.multi([set(b, '1', 0)]);
      await other.more();
      expect(ended.count()).toBe(count);
      expect(other.count()).toBe(1);
      const never = new AbortController();
      never.abort();
      await coordinator.watch(a, () => undefined, never.signal);
    });

    it('tells after every reconnect, because changes may have been missed', async () => {
      const proxy = await proxied();
      const { coordinator, root } = await withRoot({ through: proxy });
      const other = await started();
      const watch = await counting(coordinator, root);
      proxy.setMode('refuse');
      proxy.cut();
      await other.multi([set(root, 'missed', 0)]);
      proxy.setMode('forward');
      await watch.more();
      expect(await coordinator.read(root)).toEqual({ data: 'missed', version: 1 });
      await coordinator.multi([set(root, 'seen', 1)]);
      await watch.more();
    });
  });
});
