/** What every coordinator must do, tried on all of them alike, on real servers. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Coordinator, Operation } from '../../src/coordinator/coordinator.js';
import { RefusedError, UnreachableError } from '../../src/errors.js';
import {
  type CoordinatorPlace,
  coordinatorKinds,
  type OpenCoordinator,
  SESSION_MS,
} from '../support/coordinators.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { aborted, until } from '../support/until.js';

const create = (path: string, data = ''): Operation => ({ kind: 'create', path, data });
const set = (path: string, data: string, version: number): Operation => ({
  kind: 'set',
  path,
  data,
  version,
});
const remove = (path: string, version = 0): Operation => ({ kind: 'remove', path, version });
const check = (path: string, version: number): Operation => ({ kind: 'check', path, version });
const done = { kind: 'done' };

describe.each(coordinatorKinds)('a coordinator on $name', ({ makePlace }) => {
  let place: CoordinatorPlace;
  /** Of the test's own. */
  let root: string;
  const opened: Coordinator[] = [];
  const proxies: TcpProxy[] = [];

  beforeAll(async () => {
    place = await makePlace();
  });
  afterAll(() => place?.remove());
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((coordinator) => coordinator.stop()));
    await Promise.all(proxies.splice(0).map((proxy) => proxy.close()));
  });

  function open(options?: OpenCoordinator): Coordinator {
    const coordinator = place.open(options);
    opened.push(coordinator);
    return coordinator;
  }

  async function started(options?: OpenCoordinator): Promise<Coordinator> {
    const coordinator = open(options);
    await coordinator.start();
    return coordinator;
  }

  /** A started coordinator and an entry of this test's own. */
  async function withRoot(options?: OpenCoordinator): Promise<Coordinator> {
    const coordinator = await started(options);
    root = `/t-${randomUUID()}`;
    expect(await coordinator.multi([create(root)])).toEqual(done);
    return coordinator;
  }

  async function proxied(): Promise<TcpProxy> {
    const proxy = await startTcpProxy(place.target);
    proxies.push(proxy);
    return proxy;
  }

  describe('start and stop', () => {
    it('creates nothing on its own: what is not there reads as missing', async () => {
      const fresh = await makePlace();
      const coordinator = fresh.open();
      opened.push(coordinator);
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
      const coordinator = open({ through: proxy });
      const starting = coordinator.start().catch((error: unknown) => error);
      await until('it is connecting', () => proxy.connections > 0);
      const begunMs = performance.now();
      await coordinator.stop();
      expect(await starting).toMatchObject({ code: 'coordinator_unreachable' });
      expect(performance.now() - begunMs).toBeLessThan(1_500);
    });

    it.each(['refuse', 'half-open'] as const)(
      'gives up in time and says what to do where connections are %s',
      async (mode) => {
        const proxy = await proxied();
        proxy.setMode(mode);
        const coordinator = open({ through: proxy, connectTimeoutMs: 1_000 });
        const begunMs = performance.now();
        const error = await coordinator.start().catch((failure: unknown) => failure);
        expect(performance.now() - begunMs).toBeLessThan(1_000 + 2_000);
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

  describe('entries', () => {
    it('count versions from 0, one more with every set', async () => {
      const coordinator = await withRoot();
      const path = `${root}/a`;
      expect(await coordinator.multi([create(path, 'zero')])).toEqual(done);
      expect(await coordinator.read(path)).toEqual({ data: 'zero', version: 0 });
      expect(await coordinator.multi([set(path, 'one', 0)])).toEqual(done);
      expect(await coordinator.multi([set(path, 'two', 1)])).toEqual(done);
      expect(await coordinator.read(path)).toEqual({ data: 'two', version: 2 });
    });

    it.each(['set', 'remove', 'check'] as const)(
      'version 0 is a version: a stale %s at 0 fails',
      async (kind) => {
        const coordinator = await withRoot();
        const path = `${root}/a`;
        await coordinator.multi([create(path, 'zero')]);
        await coordinator.multi([set(path, 'one', 0)]);
        const stale = { set: set(path, 'stale', 0), remove: remove(path, 0), check: check(path, 0) }[kind];
        expect(await coordinator.multi([stale])).toEqual({ kind: 'conflict', index: 0, reason: 'version' });
        expect(await coordinator.read(path)).toEqual({ data: 'one', version: 1 });
      },
    );

    it('keep any text of UTF-8, also none', async () => {
      const coordinator = await withRoot();
      const text = 'ä🐘\n"\\ \u2028 {"a":[1,2]}';
      await coordinator.multi([create(`${root}/a`, text), create(`${root}/b`, '')]);
      expect(await coordinator.read(`${root}/a`)).toEqual({ data: text, version: 0 });
      expect(await coordinator.read(`${root}/b`)).toEqual({ data: '', version: 0 });
    });

    it('are listed sorted by name, only children', async () => {
      const coordinator = await withRoot();
      const names = ['b', 'a.b', 'a-b', 'a_b', '10', '9', 'a'];
      await coordinator.multi(names.map((name) => create(`${root}/${name}`)));
      await coordinator.multi([create(`${root}/a/below`)]);
      expect(await coordinator.list(root)).toEqual([...names].sort());
      expect(await coordinator.list(`${root}/a`)).toEqual(['below']);
      expect(await coordinator.list(`${root}/b`)).toEqual([]);
      expect(await coordinator.list(`${root}/missing`)).toBeUndefined();
      expect(await coordinator.read(`${root}/missing`)).toBeUndefined();
      expect(await coordinator.list('/')).toContain(root.slice(1));
    });

    it('hold 1,000,000 bytes, and a multi no more than that', async () => {
      const coordinator = await withRoot();
      const most = 'x'.repeat(1_000_000);
      expect(await coordinator.multi([create(`${root}/large`, most)])).toEqual(done);
      expect((await coordinator.read(`${root}/large`))?.data).toBe(most);
      const half = 'ä'.repeat(250_001);
      for (const operations of [
        [set(`${root}/large`, `${most}x`, 0)],
        [create(`${root}/a`, half), create(`${root}/b`, half)],
      ]) {
        const error = await coordinator.multi(operations).catch((failure: unknown) => failure);
        expect(error).toBeInstanceOf(RefusedError);
        expect(error).toMatchObject({ code: 'coordinator_too_large' });
      }
      expect((await coordinator.read(`${root}/large`))?.version).toBe(0);
      expect(await coordinator.list(root)).toEqual(['large']);
    });

    it.each(['', 'a', '/a/', '//a', '/A', '/a b', '/a/../b', '/~a', '/ä'])(
      'refuse %j for a path',
      async (path) => {
        const coordinator = await withRoot();
        const refused = { code: 'coordinator_path_invalid' };
        await expect(coordinator.read(path)).rejects.toMatchObject(refused);
        await expect(coordinator.multi([create(path)])).rejects.toMatchObject(refused);
      },
    );
  });

  describe('multi', () => {
    it('does all or nothing, and names the first operation that failed and why', async () => {
      const coordinator = await withRoot();
      const a = `${root}/a`;
      await coordinator.multi([create(a, 'a'), create(`${a}/below`), create(`${root}/b`, 'b')]);
      const fine = [set(a, 'changed', 0), create(`${root}/new`)];
      const failing: [Operation, string][] = [
        [create(`${root}/b`), 'exists'],
        [create(`${root}/no/parent`), 'missing'],
        [set(`${root}/missing`, '', 0), 'missing'],
        [remove(`${root}/missing`), 'missing'],
        [check(`${root}/missing`, 0), 'missing'],
        [set(`${root}/b`, '', 1), 'version'],
        [remove(`${root}/b`, 7), 'version'],
        [check(`${root}/b`, 3), 'version'],
        [remove(a, 1), 'not_empty'],
      ];
      for (const [operation, reason] of failing) {
        const behind = [remove(`${root}/b`, 0), create(`${root}/b`)];
        expect(await coordinator.multi([...fine, operation, ...behind])).toEqual({
          kind: 'conflict',
          index: 2,
          reason,
        });
      }
      expect(await coordinator.read(a)).toEqual({ data: 'a', version: 0 });
      expect(await coordinator.read(`${root}/b`)).toEqual({ data: 'b', version: 0 });
      expect(await coordinator.list(root)).toEqual(['a', 'b']);
    });

    it('lets later operations see earlier ones', async () => {
      const coordinator = await withRoot();
      const a = `${root}/a`;
      expect(
        await coordinator.multi([create(a), create(`${a}/b`, 'x'), set(a, 'one', 0), check(a, 1)]),
      ).toEqual(done);
      expect(await coordinator.multi([create(`${a}/c`), remove(a, 1)])).toEqual({
        kind: 'conflict',
        index: 1,
        reason: 'not_empty',
      });
      expect(await coordinator.multi([remove(`${a}/b`), remove(a, 1), create(a, 'again')])).toEqual(done);
      expect(await coordinator.read(a)).toEqual({ data: 'again', version: 0 });
      expect(await coordinator.list(a)).toEqual([]);
      expect(await coordinator.multi([])).toEqual(done);
    });

    it('lets exactly one of several win', async () => {
      const first = await withRoot();
      const others = await Promise.all([started(), started(), started()]);
      const path = `${root}/counter`;
      await first.multi([create(path, 'nobody')]);
      for (let round = 0; round < 20; round += 1) {
        const results = await Promise.all(
          [first, ...others].map((one, i) =>
            one.multi([set(path, `winner ${i}`, round), create(`${root}/r${round}`)]),
          ),
        );
        const winner = results.findIndex((result) => result.kind === 'done');
        expect(results.filter((result) => result.kind === 'done')).toHaveLength(1);
        expect(
          results.filter((result) => result.kind === 'conflict' && result.reason === 'version'),
        ).toHaveLength(3);
        expect(await first.read(path)).toEqual({ data: `winner ${winner}`, version: round + 1 });
      }
    });

    it('survives crossing orders without a deadlock', async () => {
      const first = await withRoot();
      const second = await started();
      await first.multi([create(`${root}/a`), create(`${root}/b`)]);
      const paths = [`${root}/a`, `${root}/b`];
      for (let round = 0; round < 20; round += 1) {
        const results = await Promise.all([
          first.multi(paths.map((path) => set(path, 'first', round))),
          second.multi([...paths].reverse().map((path) => set(path, 'second', round))),
          first.multi([create(`${root}/x${round}`), create(`${root}/y${round}`)]),
          second.multi([create(`${root}/y${round}`), create(`${root}/x${round}`)]),
        ]);
        expect(results.map(({ kind }) => kind).sort()).toEqual(['conflict', 'conflict', 'done', 'done']);
        expect((await first.read(paths[0] ?? ''))?.data).toBe((await first.read(paths[1] ?? ''))?.data);
      }
    });

    it('says that the outcome is unknown where the answer was lost, and it was done', async () => {
      const witness = await withRoot();
      const proxy = await proxied();
      const coordinator = await started({ through: proxy });
      const path = `${root}/decision`;
      const data = `decided ${randomUUID()}`;
      await coordinator.multi([create(path, 'open')]);
      const lost = proxy.loseAnswerTo(place.decisive(data));
      const error = await coordinator.multi([set(path, data, 0)]).catch((failure: unknown) => failure);
      await lost;
      expect(error).toBeInstanceOf(UnreachableError);
      expect(error).toMatchObject({ code: 'coordinator_outcome_unknown' });
      // A compare-and-set settles it.
      expect(await coordinator.multi([set(path, 'aborted', 0)])).toEqual({
        kind: 'conflict',
        index: 0,
        reason: 'version',
      });
      await witness.sync();
      expect(await witness.read(path)).toEqual({ data, version: 1 });
    });

    it('never says that it surely was not done of what was sent', async () => {
      const witness = await withRoot();
      const proxy = await proxied();
      const coordinator = await started({ through: proxy });
      const path = `${root}/decision`;
      const data = `decided ${randomUUID()}`;
      await coordinator.multi([create(path, 'open')]);
      const lost = proxy.loseRequest(place.decisive(data));
      const failed = coordinator.multi([set(path, data, 0)]);
      await expect(failed).rejects.toMatchObject({ code: 'coordinator_outcome_unknown' });
      await lost;
      expect(await witness.multi([set(path, 'aborted', 0)])).toEqual(done);
    });

    it('says that it was surely not done where nothing could be sent', async () => {
      const witness = await withRoot();
      const proxy = await proxied();
      const coordinator = await started({ through: proxy, operationTimeoutMs: 500 });
      await coordinator.read(root);
      proxy.setMode('refuse');
      proxy.cut();
      // What fails tells that the loss is noticed: from now on nothing can have been sent.
      await expect(coordinator.read(root)).rejects.toMatchObject({ code: 'coordinator_unreachable' });
      const begunMs = performance.now();
      const error = await coordinator.multi([set(root, 'x', 0)]).catch((failure: unknown) => failure);
      expect(performance.now() - begunMs).toBeLessThan(3_000);
      expect(error).toMatchObject({ code: 'coordinator_unreachable', retryable: true });
      expect(await witness.multi([set(root, 'of the witness', 0)])).toEqual(done);
      proxy.setMode('forward');
      await coordinator.sync();
      expect(await coordinator.read(root)).toEqual({ data: 'of the witness', version: 1 });
    });
  });

  describe('a broken connection', () => {
    it.each(['cut', 'drop'] as const)('that is %s is opened again by itself', async (how) => {
      const proxy = await proxied();
      const coordinator = await withRoot({ through: proxy });
      for (let round = 0; round < 3; round += 1) {
        proxy[how]();
        expect(await coordinator.read(root)).toEqual({ data: '', version: 0 });
        await coordinator.sync();
      }
    });

    it('that says nothing holds an operation no longer than its time, and is left', async () => {
      const proxy = await proxied();
      const coordinator = await withRoot({ through: proxy, operationTimeoutMs: 700 });
      proxy.setMode('half-open');
      const begunMs = performance.now();
      await expect(coordinator.read(root)).rejects.toMatchObject({ code: 'coordinator_unreachable' });
      await expect(coordinator.sync()).rejects.toBeInstanceOf(UnreachableError);
      expect(performance.now() - begunMs).toBeLessThan(2 * 700 + 1_500);
      proxy.setMode('forward');
      await until('it is back', () => coordinator.read(root).catch(() => undefined));
    });

    it('that is slow is only slow', async () => {
      const proxy = await proxied();
      const coordinator = await withRoot({ through: proxy });
      proxy.setDelay(60);
      const lease = await coordinator.tryLease(`${root}/lease`, 'slow');
      expect(await coordinator.multi([set(root, 'slow', 0)])).toEqual(done);
      expect(await coordinator.read(root)).toEqual({ data: 'slow', version: 1 });
      expect(lease?.lost.aborted).toBe(false);
    });

    it('does not hide from sync what another has decided', async () => {
      const coordinator = await withRoot();
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
      const coordinator = await withRoot();
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
      const coordinator = await withRoot();
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
      const coordinator = await withRoot();
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
      const coordinator = await withRoot({ through: proxy });
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

  describe('leases', () => {
    it('are exclusive, and their epochs grow with every holder', async () => {
      const first = await withRoot();
      const second = await started();
      const path = `${root}/lease`;
      expect(await first.leaseHolder(path)).toBeUndefined();
      let epoch = 0n;
      for (let round = 0; round < 5; round += 1) {
        const [holder, other] = round % 2 === 0 ? [first, second] : [second, first];
        const lease = await holder.tryLease(path, `round ${round}`);
        if (!lease) throw new Error('the lease was free');
        expect(lease.epoch).toBeGreaterThan(epoch);
        epoch = lease.epoch;
        expect(lease.lost.aborted).toBe(false);
        expect(await other.tryLease(path, 'other')).toBeUndefined();
        expect(await holder.tryLease(path, 'same')).toBeUndefined();
        const shown = await other.leaseHolder(path);
        expect(shown).toMatchObject({ owner: `round ${round}`, epoch });
        expect(Math.abs((shown?.sinceMs ?? 0) - Date.now())).toBeLessThan(60_000);
        await lease.release();
        await lease.release();
        expect(lease.lost.aborted).toBe(true);
        await other.sync();
        expect(await other.leaseHolder(path)).toBeUndefined();
      }
    });

    it('go to exactly one of many that ask at once', async () => {
      const coordinators = [await withRoot(), await started(), await started(), await started()];
      const epochs: bigint[] = [];
      for (let round = 0; round < 10; round += 1) {
        const leases = await Promise.all(coordinators.map((one, i) => one.tryLease(`${root}/lease`, `${i}`)));
        const taken = leases.filter((lease) => lease !== undefined);
        expect(taken).toHaveLength(1);
        epochs.push(...taken.map(({ epoch }) => epoch));
        await Promise.all(taken.map((lease) => lease.release()));
      }
      expect(epochs).toEqual([...epochs].sort((a, b) => (a < b ? -1 : 1)));
      expect(new Set(epochs).size).toBe(epochs.length);
    });

    it('are no entries, but keep their parent from removal while they are held', async () => {
      const coordinator = await withRoot();
      const path = `${root}/lease`;
      const lease = await coordinator.tryLease(path, 'me');
      expect(await coordinator.list(root)).toEqual([]);
      expect(await coordinator.read(path)).toBeUndefined();
      expect(await coordinator.multi([remove(root)])).toEqual({
        kind: 'conflict',
        index: 0,
        reason: 'not_empty',
      });
      expect(await coordinator.multi([create(path, 'an entry of that name')])).toEqual(done);
      await lease?.release();
      expect(await coordinator.multi([remove(path), remove(root)])).toEqual(done);
      await expect(coordinator.tryLease(path, 'me')).rejects.toMatchObject({
        code: 'coordinator_path_missing',
      });
    });

    it('have epochs that grow even where the parent was made anew', async () => {
      const coordinator = await withRoot();
      const path = `${root}/a/lease`;
      await coordinator.multi([create(`${root}/a`)]);
      const before = await coordinator.tryLease(path, 'me');
      await before?.release();
      await coordinator.multi([remove(`${root}/a`), create(`${root}/a`)]);
      const after = await coordinator.tryLease(path, 'me');
      expect(after?.epoch).toBeGreaterThan(before?.epoch ?? 0n);
    });

    it('are given up by stop, at once', async () => {
      const first = await withRoot();
      const second = await started();
      const path = `${root}/lease`;
      const lease = await first.tryLease(path, 'first');
      const begunMs = performance.now();
      await first.stop();
      expect(lease?.lost.aborted).toBe(true);
      expect(await until('it is free', () => second.tryLease(path, 'second'))).toBeDefined();
      expect(performance.now() - begunMs).toBeLessThan(SESSION_MS);
    });

    it.each(['refuse', 'half-open'] as const)(
      'are lost, where the connection is gone for good (%s), before another can have them',
      async (mode) => {
        const other = await withRoot();
        const proxy = await proxied();
        const holder = await started({ through: proxy });
        const path = `${root}/lease`;
        const lease = await holder.tryLease(path, 'holder');
        if (!lease) throw new Error('the lease was free');
        proxy.setMode(mode);
        if (mode === 'refuse') proxy.cut();
        const order: string[] = [];
        const lost = aborted(lease.lost).then(() => order.push('lost'));
        const next = await until('another has it', async () => {
          const taken = await other.tryLease(path, 'other');
          if (taken) order.push('taken');
          return taken;
        });
        await lost;
        expect(order).toEqual(['lost', 'taken']);
        expect(next.epoch).toBeGreaterThan(lease.epoch);
        proxy.setMode('forward');
        await until('the first is back', () => holder.read(root).catch(() => undefined));
        expect(await holder.tryLease(path, 'holder')).toBeUndefined();
        await lease.release();
        expect(await other.leaseHolder(path)).toMatchObject({ owner: 'other', epoch: next.epoch });
      },
    );

    it('outlive a connection that breaks and comes back, for longer than a session', async () => {
      const other = await withRoot();
      const proxy = await proxied();
      const holder = await started({ through: proxy });
      const path = `${root}/lease`;
      const lease = await holder.tryLease(path, 'holder');
      if (!lease) throw new Error('the lease was free');
      const begunMs = performance.now();
      let cuts = 0;
      // Two session times, a cut at each third of one, asking all along whether it is still held.
      await until('two session times are over', async () => {
        const passedMs = performance.now() - begunMs;
        if (passedMs > (cuts * SESSION_MS) / 3) {
          proxy.cut();
          cuts += 1;
        }
        expect(await other.tryLease(path, 'other')).toBeUndefined();
        return passedMs > 2 * SESSION_MS;
      });
      expect(lease.lost.aborted).toBe(false);
      expect(await other.leaseHolder(path)).toMatchObject({ owner: 'holder', epoch: lease.epoch });
    });

    it('whose taking was never answered can be taken by the same process, under a new epoch', async () => {
      const proxy = await proxied();
      const coordinator = await withRoot({ through: proxy });
      const path = `${root}/lease`;
      const warm = await coordinator.tryLease(`${root}/warm`, 'opens the connection for leases');
      await warm?.release();
      const owner = `owner-${randomUUID()}`;
      const lost = proxy.loseAnswerTo(owner);
      await expect(coordinator.tryLease(path, owner)).rejects.toMatchObject({
        code: 'coordinator_outcome_unknown',
      });
      await lost;
      const lease = await until('it is taken', () => coordinator.tryLease(path, 'again'));
      expect(await coordinator.leaseHolder(path)).toMatchObject({ owner: 'again', epoch: lease.epoch });
    });
  });
});
