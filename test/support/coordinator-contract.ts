/** What the contract suite of coordinators needs in each of its files: opened and started ones, ended after the test. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import type { Coordinator, Operation } from '../../src/coordinator/coordinator.js';
import type { CoordinatorKind, CoordinatorPlace, OpenCoordinator } from './coordinators.js';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.js';

export const create = (path: string, data = ''): Operation => ({ kind: 'create', path, data });
export const set = (path: string, data: string, version: number): Operation => ({
  kind: 'set',
  path,
  data,
  version,
});
export const remove = (path: string, version = 0): Operation => ({ kind: 'remove', path, version });
export const check = (path: string, version: number): Operation => ({ kind: 'check', path, version });
export const done = { kind: 'done' };

/** The path of an entry of the test's own, made. */
export async function newEntry(coordinator: Coordinator): Promise<string> {
  const path = `/t-${randomUUID()}`;
  expect(await coordinator.multi([create(path)])).toEqual(done);
  return path;
}

export interface CoordinatorsUnderTest {
  place(): CoordinatorPlace;
  /** Not started. */
  open(options?: OpenCoordinator): Coordinator;
  started(options?: OpenCoordinator): Promise<Coordinator>;
  /** A started coordinator and the path of an entry of the test's own. */
  withRoot(options?: OpenCoordinator): Promise<{ readonly coordinator: Coordinator; readonly root: string }>;
  /** Of the server that the place is in. */
  proxied(): Promise<TcpProxy>;
}

/** To be called in a `describe`. */
export function useCoordinators({ makePlace }: CoordinatorKind): CoordinatorsUnderTest {
  let place: CoordinatorPlace | undefined;
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

  const thePlace = () => {
    if (place === undefined) throw new Error('there is no place yet');
    return place;
  };
  const open = (options?: OpenCoordinator) => {
    const coordinator = thePlace().open(options);
    opened.push(coordinator);
    return coordinator;
  };
  const started = async (options?: OpenCoordinator) => {
    const coordinator = open(options);
    await coordinator.start();
    return coordinator;
  };
  return {
    place: thePlace,
    open,
    started,
    withRoot: async (options) => {
      const coordinator = await started(options);
      return { coordinator, root: await newEntry(coordinator) };
    },
    proxied: async () => {
      const proxy = await startTcpProxy(thePlace().target);
      proxies.push(proxy);
      return proxy;
    },
  };
}
