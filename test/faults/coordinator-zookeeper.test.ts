/** The ZooKeeper coordinator on an ensemble of three whose members are killed, frozen and brought back. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Coordinator, Lease } from '../../src/coordinator/coordinator.js';
import {
  createZooKeeperCoordinator,
  type ZooKeeperCoordinatorOptions,
} from '../../src/coordinator/zookeeper/zookeeper-coordinator.js';
import { ShovelError } from '../../src/errors.js';
import { newEntry } from '../support/coordinator-contract.js';
import { silentLogger } from '../support/coordinators.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import { aborted, until } from '../support/until.js';
import { type Ensemble, type EnsembleMember, startEnsemble } from '../support/zookeeper-ensemble.js';

const SESSION_MS = 4_000;

let ensemble: Ensemble;
/** One before each member: tells who is connected to whom. */
let proxies: { proxy: TcpProxy; member: EnsembleMember }[] = [];
const opened: Coordinator[] = [];

beforeAll(async () => {
  ensemble = await startEnsemble();
});
afterAll(() => ensemble?.stop());
beforeEach(async () => {
  await Promise.all(ensemble.members.map((member) => member.serve()));
  proxies = await Promise.all(
    ensemble.members.map(async (member) => ({ member, proxy: await startTcpProxy(member) })),
  );
});
afterEach(async () => {
  for (const member of ensemble.members) member.thaw();
  await Promise.all(opened.splice(0).map((coordinator) => coordinator.stop()));
  await Promise.all(proxies.map(({ proxy }) => proxy.close()));
});

const direct = () => ensemble.members.map(({ host, port }) => `${host}:${port}`).join(',');
const observed = () => proxies.map(({ proxy }) => `${proxy.host}:${proxy.port}`).join(',');

async function started(options: Partial<ZooKeeperCoordinatorOptions> = {}): Promise<Coordinator> {
  const coordinator = createZooKeeperCoordinator({
    hosts: direct(),
    sessionTimeoutMs: SESSION_MS,
    connectTimeoutMs: 10_000,
    logger: silentLogger,
    ...options,
  });
  opened.push(coordinator);
  await coordinator.start();
  return coordinator;
}

/** A coordinator whose connection is to a member of that kind, and free to go elsewhere from now on. */
async function connectedTo(
  wanted: (member: EnsembleMember) => Promise<boolean>,
): Promise<{ coordinator: Coordinator; member: EnsembleMember }> {
  const chosen = await until('there is such a member', async () => {
    for (const one of proxies) if (await wanted(one.member)) return one;
    return undefined;
  });
  for (const one of proxies) one.proxy.setMode(one === chosen ? 'forward' : 'refuse');
  const coordinator = await started({ hosts: observed() });
  for (const one of proxies) one.proxy.setMode('forward');
  return { coordinator, member: chosen.member };
}

/** The member that the one observed coordinator is connected to. */
function memberInUse(): EnsembleMember {
  const used = proxies.find(({ proxy }) => proxy.connections > 0);
  if (!used) throw new Error('nobody is connected');
  return used.member;
}

/**
 * Counts by compare-and-set until told to stop, as recovery would: what is unknown is settled, never assumed.
 * Returns how often it counted; the entry's version must be the same.
 */
async function count(coordinator: Coordinator, path: string, over: () => boolean): Promise<number> {
  let counted = 0;
  while (!over()) {
    const mark = randomUUID();
    try {
      const result = await coordinator.multi([{ kind: 'set', path, data: mark, version: counted }]);
      expect(result).toEqual({ kind: 'done' });
      counted += 1;
    } catch (error) {
      if (!(error instanceof ShovelError && error.retryable)) throw error;
      if (
        error.code === 'coordinator_outcome_unknown' &&
        (await settled(coordinator, { path, mark, version: counted }))
      ) {
        counted += 1;
      }
    }
  }
  return counted;
}

/** Whether the set of `mark` at `version` was done: fenced by a set of our own, which is counted by the caller. */
async function settled(
  coordinator: Coordinator,
  { path, mark, version }: { path: string; mark: string; version: number },
): Promise<boolean> {
  return until('it is settled', async () => {
    try {
      await coordinator.sync();
      const found = await coordinator.read(path);
      if (found?.version === version + 1) {
        expect(found.data).toBe(mark);
        return { done: true };
      }
      // Not there now, but it may still be under way: only a set of its version rules that out.
      const fence = await coordinator.multi([{ kind: 'set', path, data: mark, version }]);
      return fence.kind === 'done' ? { done: true } : false;
    } catch (error) {
      if (error instanceof ShovelError && error.retryable) return false;
      throw error;
    }
  }).then(({ done }) => done);
}

describe('an ensemble of three', () => {
  it('loses a member: the session goes on elsewhere, with lease and watches, and nothing is lost or done twice', async () => {
    const coordinator = await started({ hosts: observed() });
    const witness = await started();
    const path = await newEntry(coordinator);
    const lease = await coordinator.tryLease(`${path}/lease`, 'me');
    let changes = 0;
    const end = new AbortController();
    await coordinator.watch(path, () => (changes += 1), end.signal);
    let over = false;
    const counting = count(coordinator, path, () => over);
    for (let round = 0; round < 3; round += 1) {
      const member = memberInUse();
      await member.kill();
      const before = (await witness.read(path))?.version ?? 0;
      await until('it counts on', async () => ((await witness.read(path))?.version ?? 0) > before + 5);
      await member.serve();
    }
    over = true;
    const counted = await counting;
    await witness.sync();
    expect((await witness.read(path))?.version).toBe(counted);
    expect(changes).toBeGreaterThan(0);
    expect(await witness.leaseHolder(`${path}/lease`)).toMatchObject({ owner: 'me', epoch: lease?.epoch });
    expect(lease?.lost.aborted).toBe(false);
    end.abort();
  });

  it('has a frozen follower: whoever is connected to it goes elsewhere in time to keep the lease', async () => {
    const { coordinator, member } = await connectedTo(async (one) => !(await one.leads()));
    const path = await newEntry(coordinator);
    const lease = await coordinator.tryLease(`${path}/lease`, 'me');
    member.freeze();
    expect(await coordinator.read(path)).toEqual({ data: '', version: 0 });
    await coordinator.sync();
    expect(lease?.lost.aborted).toBe(false);
    expect(await coordinator.leaseHolder(`${path}/lease`)).toMatchObject({
      owner: 'me',
      epoch: lease?.epoch,
    });
  });

  it('has a frozen leader: an election later everything goes on, with the lease or knowingly without', async () => {
    const { coordinator, member } = await connectedTo((one) => one.leads());
    const path = await newEntry(coordinator);
    const lease = await coordinator.tryLease(`${path}/lease`, 'me');
    if (!lease) throw new Error('the lease was free');
    member.freeze();
    await until('it works again', () =>
      coordinator.sync().then(
        () => true,
        () => false,
      ),
    );
    expect(await coordinator.read(path)).toEqual({ data: '', version: 0 });
    // Asked until it has an answer: a lease that was lost can be had again, one that was not is still there.
    const epoch = await until('somebody has the lease', async () => {
      if (!lease.lost.aborted) return (await coordinator.leaseHolder(`${path}/lease`))?.epoch;
      return (await coordinator.tryLease(`${path}/lease`, 'me'))?.epoch;
    });
    if (lease.lost.aborted) expect(epoch).toBeGreaterThan(lease.epoch);
    else expect(epoch).toBe(lease.epoch);
  });

  it('has a frozen member: every new client connects all the same', async () => {
    const frozen = ensemble.members[0];
    frozen?.freeze();
    await until('the others serve', async () =>
      (await started()).sync().then(
        () => true,
        () => false,
      ),
    );
    for (let i = 0; i < 10; i += 1) {
      const coordinator = await started();
      await coordinator.sync();
    }
  });

  it('loses its quorum: operations end in time, surely or unknown, and work when it is back', async () => {
    const coordinator = await started({ operationTimeoutMs: 800 });
    const path = await newEntry(coordinator);
    const lease = await coordinator.tryLease(`${path}/lease`, 'me');
    if (!lease) throw new Error('the lease was free');
    const [one, two] = ensemble.members;
    await Promise.all([one?.kill(), two?.kill()]);
    await aborted(lease.lost);
    // Nobody answers until members are back, which is after this: they end by their own time, or never.
    const failures = await Promise.all([
      coordinator.read(path).catch((error: unknown) => error),
      coordinator.sync().catch((error: unknown) => error),
      coordinator.multi([{ kind: 'set', path, data: 'x', version: 0 }]).catch((error: unknown) => error),
    ]);
    for (const failure of failures) expect(failure).toMatchObject({ retryable: true, exitCode: 23 });
    await expect(coordinator.tryLease(`${path}/lease`, 'me')).rejects.toMatchObject({ retryable: true });
    await Promise.all([one?.serve(), two?.serve()]);
    await until('it works again', () =>
      coordinator.sync().then(
        () => true,
        () => false,
      ),
    );
    // What surely was not done was not done later either.
    expect(failures[2]).toMatchObject({ code: 'coordinator_unreachable' });
    expect(await coordinator.read(path)).toEqual({ data: '', version: 0 });
    const again = await until('the lease can be taken again', () =>
      coordinator.tryLease(`${path}/lease`, 'me'),
    );
    expect(again.epoch).toBeGreaterThan(lease.epoch);
  });

  it('shows after sync what was decided through another member', async () => {
    const readers = await Promise.all(
      ensemble.members.map(({ host, port }) => started({ hosts: `${host}:${port}` })),
    );
    const [writer] = readers;
    if (!writer) throw new Error('there are three');
    const path = await newEntry(writer);
    for (let version = 0; version < 50; version += 1) {
      await writer.multi([{ kind: 'set', path, data: `${version}`, version }]);
      const seen = await Promise.all(
        readers.map(async (reader) => {
          await reader.sync();
          return (await reader.read(path))?.data;
        }),
      );
      expect(seen).toEqual([`${version}`, `${version}`, `${version}`]);
    }
  });

  it('never has two holders of a lease, whatever breaks', async () => {
    const path = await newEntry(await started());
    const contenders = await Promise.all([started(), started(), started()]);
    let over = false;
    let current: Lease | undefined;
    let holders = 0;
    const contend = async (coordinator: Coordinator, name: string) => {
      while (!over) {
        const lease = await until(
          'the lease is free, or it is over',
          async () => {
            if (over) return 'over';
            return coordinator.tryLease(`${path}/lease`, name).catch((error: unknown) => {
              if (error instanceof ShovelError && error.retryable) return undefined;
              throw error;
            });
          },
          { timeoutMs: 110_000, everyMs: 20 },
        );
        if (lease === 'over') return;
        // Taken, and not lost at once: then whoever had it before must know that it has not.
        if (!lease.lost.aborted) {
          expect(current === undefined || current.lost.aborted).toBe(true);
          expect(lease.epoch).toBeGreaterThan(current?.epoch ?? 0n);
          current = lease;
          holders += 1;
        }
        // Half of them are given back, half are held until they are lost.
        if (lease.epoch % 2n === 0n) await lease.release();
        else
          await Promise.race([aborted(lease.lost), until('it is over', () => over, { timeoutMs: 110_000 })]);
      }
    };
    const contending = Promise.all(contenders.map((one, i) => contend(one, `${i}`)));
    const breakages: ((member: EnsembleMember) => Promise<void>)[] = [
      async (member) => {
        await member.kill();
      },
      async (member) => {
        member.freeze();
        await until('the lease went on or was lost', () => current?.lost.aborted, {
          timeoutMs: SESSION_MS,
        }).catch(() => undefined);
        member.thaw();
      },
    ];
    for (const breakage of breakages) {
      for (const member of ensemble.members) {
        const before = holders;
        await breakage(member);
        await member.serve();
        if (current && !current.lost.aborted) await current.release();
        await until('somebody has it again', () => holders > before);
      }
    }
    over = true;
    await contending;
    expect(holders).toBeGreaterThanOrEqual(6);
  });
});
