/** What every coordinator must do, tried on all of them alike: entries, and what changes several at once or none. */
import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Operation } from '../../src/coordinator/coordinator.js';
import { RefusedError, UnreachableError } from '../../src/errors.js';
import { check, create, done, remove, set, useCoordinators } from '../support/coordinator-contract.js';
import { coordinatorKinds } from '../support/coordinators.js';

describe.each(coordinatorKinds)('a coordinator on $name', (kind) => {
  const { place, proxied, started, withRoot } = useCoordinators(kind);

  describe('entries', () => {
    it('count versions from 0, one more with every set', async () => {
      const { coordinator, root } = await withRoot();
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
        const { coordinator, root } = await withRoot();
        const path = `${root}/a`;
        await coordinator.multi([create(path, 'zero')]);
        await coordinator.multi([set(path, 'one', 0)]);
        const stale = { set: set(path, 'stale', 0), remove: remove(path, 0), check: check(path, 0) }[kind];
        expect(await coordinator.multi([stale])).toEqual({ kind: 'conflict', index: 0, reason: 'version' });
        expect(await coordinator.read(path)).toEqual({ data: 'one', version: 1 });
      },
    );

    it('keep any text of UTF-8, also none', async () => {
      const { coordinator, root } = await withRoot();
      const text = 'ä🐘\n"\\ \u2028 {"a":[1,2]}';
      await coordinator.multi([create(`${root}/a`, text), create(`${root}/b`, '')]);
      expect(await coordinator.read(`${root}/a`)).toEqual({ data: text, version: 0 });
      expect(await coordinator.read(`${root}/b`)).toEqual({ data: '', version: 0 });
    });

    it('are listed sorted by name, only children', async () => {
      const { coordinator, root } = await withRoot();
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
      const { coordinator, root } = await withRoot();
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
        const { coordinator } = await withRoot();
        const refused = { code: 'coordinator_path_invalid' };
        await expect(coordinator.read(path)).rejects.toMatchObject(refused);
        await expect(coordinator.multi([create(path)])).rejects.toMatchObject(refused);
      },
    );
  });

  describe('multi', () => {
    it('does all or nothing, and names the first operation that failed and why', async () => {
      const { coordinator, root } = await withRoot();
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
      const { coordinator, root } = await withRoot();
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
      const { coordinator: first, root } = await withRoot();
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
      const { coordinator: first, root } = await withRoot();
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
      const { coordinator: witness, root } = await withRoot();
      const proxy = await proxied();
      const coordinator = await started({ through: proxy });
      const path = `${root}/decision`;
      const data = `decided ${randomUUID()}`;
      await coordinator.multi([create(path, 'open')]);
      const lost = proxy.loseAnswerTo(place().decisive(data));
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
      const { coordinator: witness, root } = await withRoot();
      const proxy = await proxied();
      const coordinator = await started({ through: proxy });
      const path = `${root}/decision`;
      const data = `decided ${randomUUID()}`;
      await coordinator.multi([create(path, 'open')]);
      const lost = proxy.loseRequest(place().decisive(data));
      const failed = coordinator.multi([set(path, data, 0)]);
      await expect(failed).rejects.toMatchObject({ code: 'coordinator_outcome_unknown' });
      await lost;
      expect(await witness.multi([set(path, 'aborted', 0)])).toEqual(done);
    });

    it('says that it was surely not done where nothing could be sent', async () => {
      const { coordinator: witness, root } = await withRoot();
      const proxy = await proxied();
      const coordinator = await started({ through: proxy, operationTimeoutMs: 500 });
      await coordinator.read(root);
      proxy.setMode('refuse');
      proxy.cut();
      // What fails tells that the loss is noticed: from now on nothing can have been sent.
      await expect(coordinator.read(root)).rejects.toMatchObject({ code: 'coordinator_unreachable' });
      const error = await coordinator.multi([set(root, 'x', 0)]).catch((failure: unknown) => failure);
      expect(error).toMatchObject({ code: 'coordinator_unreachable', retryable: true });
      expect(await witness.multi([set(root, 'of the witness', 0)])).toEqual(done);
      proxy.setMode('forward');
      await coordinator.sync();
      expect(await coordinator.read(root)).toEqual({ data: 'of the witness', version: 1 });
    });
  });
});
