/**
 * ZooKeeper and PostgreSQL give the same answers: the same random multis, in the same order, end alike and leave the
 * same tree. ZooKeeper is the measure of what a multi means; the other implementation is ours alone.
 */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Coordinator, Operation } from '../../src/coordinator/coordinator.js';
import { type CoordinatorPlace, coordinatorKinds } from '../support/coordinators.js';

const places: CoordinatorPlace[] = [];
const coordinators: Coordinator[] = [];

beforeAll(async () => {
  for (const { makePlace } of coordinatorKinds) {
    const place = await makePlace();
    places.push(place);
    const coordinator = place.open();
    coordinators.push(coordinator);
    await coordinator.start();
  }
});
afterAll(async () => {
  await Promise.all(coordinators.map((coordinator) => coordinator.stop()));
  await Promise.all(places.map((place) => place.remove()));
});

/** Few names and versions, so that operations meet. Paths are relative to the run's own root. */
const path = fc.constantFrom('', '/a', '/b', '/a/a', '/a/b', '/a/a/a', '/b/a');
const version = fc.constantFrom(0, 0, 0, 1, 2);
const below = path.filter((text) => text !== '');
const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('create'), path: below, data: fc.string() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('set'), path, data: fc.string(), version }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove'), path: below, version }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('check'), path, version }) },
);
const multis = fc.array(fc.array(operation, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 25 });

async function tree(coordinator: Coordinator, root: string): Promise<unknown> {
  const entry = await coordinator.read(root);
  const names = await coordinator.list(root);
  const children = await Promise.all(
    (names ?? []).map(async (name) => [name, await tree(coordinator, `${root}/${name}`)] as const),
  );
  return { ...entry, children: Object.fromEntries(children) };
}

it('answers alike and leaves the same tree, whatever is asked', async () => {
  await fc.assert(
    fc.asyncProperty(multis, async (steps) => {
      const root = `/t-${randomUUID()}`;
      const runs = await Promise.all(
        coordinators.map(async (coordinator) => {
          const results = [await coordinator.multi([{ kind: 'create', path: root, data: '' }])];
          for (const step of steps) {
            results.push(
              await coordinator.multi(step.map((one) => ({ ...one, path: `${root}${one.path}` }))),
            );
          }
          return { results, tree: await tree(coordinator, root) };
        }),
      );
      for (const run of runs) expect(run).toEqual(runs[0]);
    }),
    { numRuns: 100 },
  );
});
