/** What every coordinator must do, tried on all of them alike: leases. */
import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { create, done, remove, useCoordinators } from '../support/coordinator-contract.js';
import { coordinatorKinds, SESSION_MS } from '../support/coordinators.js';
import { aborted, until } from '../support/until.js';

describe.each(coordinatorKinds)('a coordinator on $name', (kind) => {
  const { proxied, started, withRoot } = useCoordinators(kind);

  describe('leases', () => {
    it('are exclusive, and their epochs grow with every holder', async () => {
      const { coordinator: first, root } = await withRoot();
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
      const { coordinator: first, root } = await withRoot();
      const coordinators = [first, await started(), await started(), await started()];
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
      const { coordinator, root } = await withRoot();
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
      const { coordinator, root } = await withRoot();
      const path = `${root}/a/lease`;
      await coordinator.multi([create(`${root}/a`)]);
      const before = await coordinator.tryLease(path, 'me');
      await before?.release();
      await coordinator.multi([remove(`${root}/a`), create(`${root}/a`)]);
      const after = await coordinator.tryLease(path, 'me');
      expect(after?.epoch).toBeGreaterThan(before?.epoch ?? 0n);
    });

    it('are given up by stop, at once', async () => {
      const { coordinator: first, root } = await withRoot();
      const second = await started();
      const path = `${root}/lease`;
      const lease = await first.tryLease(path, 'first');
      await first.stop();
      expect(lease?.lost.aborted).toBe(true);
      expect(await second.tryLease(path, 'second')).toBeDefined();
    });

    it.each(['refuse', 'half-open'] as const)(
      'are lost, where the connection is gone for good (%s), before another can have them',
      async (mode) => {
        const { coordinator: other, root } = await withRoot();
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
      const { coordinator: other, root } = await withRoot();
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
      const { coordinator, root } = await withRoot({ through: proxy });
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
