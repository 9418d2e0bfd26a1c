/**
 * One seed of the torture test: a set over two databases on two servers, an application that never rests in each, two
 * relays that compete, and trouble of every kind, one after another. In the end what was published, to a Kafka topic
 * and to a file, is held against the tables. The choice depends on the seed alone; who meets whom does not.
 */
import { join } from 'node:path';
import type { EphemeralService } from '../../scripts/services/index.js';
import { adoptNode } from '../../src/admin/adopt-node.js';
import { createSet } from '../../src/admin/create-set.js';
import { rollbackSet, upgradeSet } from '../../src/admin/upgrade-set.js';
import { checkLimits } from '../../src/capture/limits.js';
import { ShovelError } from '../../src/errors.js';
import { clusterPaths } from '../../src/model/change-paths.js';
import type { SetConfiguration } from '../../src/model/set-configuration.js';
import { nodeNames } from '../../src/postgres/sql-files.js';
import { type AdminCluster, type Administrator, makeAdminCluster, zooKeeper } from './admin-cluster.js';
import { Random } from './random-workload.js';
import { temporaryFolder } from './temporary-folder.js';
import { checkNode } from './torture-check.js';
import { SCHEMA, TABLES } from './torture-database.js';
import { RelayPlace } from './torture-relays.js';
import {
  IN_THE_WAY,
  PART_LIMITS,
  SET,
  type TortureOptions,
  type TortureResult,
  TUNING,
  terminateShovel,
  tortureSet,
  whileDumped,
  whileDying,
  withConnection,
} from './torture-set.js';
import { TortureWriters } from './torture-writers.js';
import { until } from './until.js';

const SESSIONS = 3;
const slow = { timeoutMs: 90_000, everyMs: 50 };

interface Node {
  readonly database: string;
  readonly url: string;
  readonly server: EphemeralService;
  readonly writers: TortureWriters;
}

export async function runTorture(options: TortureOptions): Promise<TortureResult> {
  const torture = new Torture(options);
  try {
    return await torture.run();
  } finally {
    await torture.close();
  }
}

class Torture {
  readonly #options: TortureOptions;
  readonly #random: Random;
  readonly #problems: string[] = [];
  readonly #said: string[] = [];
  readonly #nodes: Node[] = [];
  readonly #relays: RelayPlace[] = [];
  readonly #closing: (() => Promise<unknown>)[] = [];
  readonly #startedMs = performance.now();
  #cluster: AdminCluster | undefined;
  #folder = '';
  #published = 0;
  #tickets = 0;

  constructor(options: TortureOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
  }

  async run(): Promise<TortureResult> {
    const { servers, seed, rounds, suspend } = this.#options;
    this.#folder = temporaryFolder(`torture-${seed}`);
    const cluster = await makeAdminCluster(zooKeeper);
    this.#cluster = cluster;
    this.#closing.push(() => cluster.remove());
    const admin = await cluster.administrator({ giveUpMs: 60_000 });
    const urls: Record<string, string> = {};
    for (const [database, server] of Object.entries(servers.postgres)) {
      urls[database] = (await cluster.database(SCHEMA, { server: server.address })).url;
    }
    await createSet(admin.context, { configuration: this.#configuration(urls), wait: true, dryRun: false });
    for (const [n, [database, server]] of Object.entries(servers.postgres).entries()) {
      const url = urls[database] ?? '';
      const writers = TortureWriters.start({
        url,
        seed: seed + n * 7919,
        sessions: SESSIONS,
        prepared: database === 'main',
      });
      this.#nodes.push({ database, url, server, writers });
    }
    for (const n of [1, 2]) {
      const relay = await this.#relay(String(n), false);
      relay.start();
      this.#relays.push(relay);
    }
    for (let round = 0; round < rounds && this.#problems.length === 0; round += 1) {
      await this.#progress(this.#random.integer(10, 60));
      await this.#trouble(admin, urls);
    }
    await this.#quiesce();
    if (this.#problems.length === 0) for (const node of this.#nodes) await this.#check(node);
    if (this.#problems.length === 0 && suspend) await this.#suspend(admin, urls);
    for (const { database, writers } of this.#nodes)
      this.#say(`${database} ${JSON.stringify(writers.counts)}`);
    this.#say(`${this.#published} messages, ${this.#tickets} tickets`);
    const [published, tickets] = [this.#published, this.#tickets];
    return { problems: this.#problems, said: this.#said, published, tickets };
  }

  async close(): Promise<void> {
    for (const { server, writers } of this.#nodes) {
      await server.server.start();
      await writers.stop().catch(() => undefined);
    }
    await this.#options.servers.kafka.server.start();
    for (const close of this.#closing.splice(0).reverse()) await close();
  }

  #say(what: string): void {
    this.#said.push(`${((performance.now() - this.#startedMs) / 1000).toFixed(1)} s: ${what}`);
  }

  #configuration(urls: Readonly<Record<string, string>>, more = ''): SetConfiguration {
    return tortureSet(this.#random, {
      urls,
      brokers: this.#options.servers.kafka.address,
      topic: this.#cluster?.name ?? '',
      folder: this.#folder,
      seed: this.#options.seed,
      more,
    });
  }

  /** Until every application has committed so much; `except` one that can't. */
  async #progress(commits: number, except?: Node): Promise<void> {
    const nodes = this.#nodes.filter((node) => node !== except);
    const from = nodes.map(({ writers }) => writers.counts.committed);
    await until(
      'the applications go on',
      () =>
        this.#isWrong() ||
        nodes.every(({ writers }, i) => writers.counts.committed - (from[i] ?? 0) >= commits),
      slow,
    );
  }

  #isWrong(): boolean {
    for (const relay of this.#relays) {
      if (relay.ended !== undefined) this.#problems.push(`a relay ended by itself: ${relay.ended}`);
    }
    for (const { writers, database } of this.#nodes) {
      this.#problems.push(...writers.failures.map((failure) => `the application of ${database}: ${failure}`));
    }
    return this.#problems.length > 0;
  }

  async #trouble(admin: Administrator, urls: Readonly<Record<string, string>>): Promise<void> {
    const random = this.#random;
    const relay = random.pick(this.#relays);
    const node = random.pick(this.#nodes);
    const troubles: readonly (readonly [string, number, () => Promise<unknown>])[] = [
      ['a relay is killed', 4, () => relay.kill().then(() => relay.start())],
      [
        'a relay sleeps',
        2,
        () => this.#whileAway(relay, { go: () => relay.sleep(), come: () => relay.wake() }),
      ],
      [
        'a relay loses its coordinator',
        2,
        () =>
          this.#whileAway(relay, {
            go: () => relay.proxy.setMode('half-open'),
            come: () => relay.proxy.setMode('forward'),
          }),
      ],
      ['upgrade', 4, () => this.#upgrade(admin, urls)],
      ['rollback', 2, () => this.#rollback(admin)],
      ['an administrator dies', 3, () => this.#die(urls)],
      ['a server dies', 3, () => node.server.server.kill().then(() => node.server.server.start())],
      ['a server hangs', 2, () => this.#hang(node.server, node)],
      ['the broker hangs', 3, () => this.#hang(this.#options.servers.kafka)],
      ['a dump reads everything', 2, () => whileDumped(node.url, () => this.#progress(100))],
      ['sessions are terminated', 2, () => terminateShovel(node.url)],
      ['the broker dies', 1, () => this.#killBroker()],
    ];
    const [what, , act] = random.pick(
      troubles.flatMap((trouble) => Array<(typeof troubles)[number]>(trouble[1]).fill(trouble)),
    );
    this.#say(`${what} (${node.database})`);
    await act();
  }

  /** Long enough that the other relay has all there is. */
  async #whileAway(
    relay: RelayPlace,
    { go, come }: { readonly go: () => void; readonly come: () => void },
  ): Promise<void> {
    go();
    try {
      await this.#progress(150);
      this.#say(`… while others committed, ${relay.log.at(-5)}`);
    } finally {
      come();
    }
  }

  async #killBroker(): Promise<void> {
    const { server } = this.#options.servers.kafka;
    await server.kill();
    await this.#progress(80);
    await server.start();
  }

  async #hang({ server }: EphemeralService, except?: Node): Promise<void> {
    server.pause();
    try {
      await this.#progress(100, except);
    } finally {
      server.resume();
    }
  }

  /** What an administrator may be told while tables are in use. */
  async #administer(what: string, act: () => Promise<unknown>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof ShovelError) || !IN_THE_WAY.has(error.code)) throw error;
      this.#say(`… ${what}: ${error.code}`);
    }
  }

  async #upgrade(admin: Administrator, urls: Readonly<Record<string, string>>): Promise<void> {
    const configuration = this.#configuration(urls);
    await this.#administer('upgrade', () =>
      upgradeSet(admin.context, { configuration, wait: this.#random.chance(0.3), dryRun: false }),
    );
  }

  async #rollback(admin: Administrator): Promise<void> {
    const entry = await admin.coordinator.read(clusterPaths(admin.context.cluster).set(SET));
    const newest = (JSON.parse(entry?.data ?? '{}') as { version: number }).version;
    const version = this.#random.integer(1, newest);
    await this.#administer('rollback', () =>
      rollbackSet(admin.context, { name: SET, version, wait: false, dryRun: false }),
    );
  }

  /** At any of its steps; what it leaves is for the next command, or a relay that starts. */
  async #die(urls: Readonly<Record<string, string>>): Promise<void> {
    if (this.#cluster === undefined) return;
    await whileDying(this.#cluster, {
      steps: this.#random.integer(1, 60),
      said: (point) => this.#say(`… at ${point}`),
      work: (dying) => this.#upgrade(dying, urls),
    });
  }

  /** Everything is back, nobody writes, and all is published. */
  async #quiesce(): Promise<void> {
    this.#say('all is told to end');
    for (const { server, writers } of this.#nodes) {
      await server.server.start();
      await writers.stop();
    }
    this.#isWrong();
    for (const relay of this.#relays) {
      const end = await relay.stop();
      // One that had only begun may not listen yet.
      if (end !== 0 && end !== 'SIGTERM')
        this.#problems.push(`a relay that was told to stop: ${relay.ended}`);
    }
    if (this.#problems.length > 0) return;
    const last = await this.#relay('last', true);
    last.start();
    this.#say('the last relay');
    if ((await last.done()) !== 0) this.#problems.push(`the last relay: ${last.ended}`);
    this.#say('… has ended');
  }

  async #relay(name: string, once: boolean, only?: Node): Promise<RelayPlace> {
    const cluster = this.#cluster?.name ?? '';
    const relay = await RelayPlace.open({
      job: {
        cluster,
        once,
        ...(only && { database: only.database }),
        tuning: TUNING,
        partLimits: PART_LIMITS,
      },
      log: join(this.#folder, `relay-${name}.log`),
    });
    this.#closing.push(() => relay.close());
    return relay;
  }

  /**
   * A log past its limit while the application goes on: what is whole is published, and then it is said that there is no
   * more. After that everything is emptied, and captured again as another incarnation.
   */
  async #suspend(admin: Administrator, urls: Readonly<Record<string, string>>): Promise<void> {
    const node = this.#random.pick(this.#nodes);
    const { database, url } = node;
    this.#say(`${database} is suspended`);
    const limits = `limits: { log_bytes: 100kB, policy: suspend }`;
    const limited = this.#configuration(urls, limits);
    await upgradeSet(admin.context, { configuration: limited, wait: false, dryRun: false });
    const names = nodeNames(admin.context.cluster);
    const write = () =>
      TortureWriters.start({
        url,
        seed: this.#options.seed + 1,
        sessions: SESSIONS,
        prepared: database === 'main',
      });
    await withConnection(url, async (connection) => {
      const writers = write();
      const check = { names, set: SET, limits: limited.limits, patienceMs: 0 };
      await until(
        'capture is suspended',
        async () => (await checkLimits(connection, check)).suspension,
        slow,
      );
      // Else the other database might be next.
      const configuration = this.#configuration(urls);
      await upgradeSet(admin.context, { configuration, wait: false, dryRun: false });
      const from = writers.counts.committed;
      await until('the application goes on', () => writers.counts.committed - from > 30, slow);
      const relay = await this.#relay('suspended', false, node);
      relay.start();
      if ((await relay.done()) !== 25) this.#problems.push(`a relay of a suspended set: ${relay.ended}`);
      await writers.stop();
      this.#problems.push(...writers.failures);
    });
    await this.#check(node, { compare: false });
    if (this.#problems.length > 0) return;
    this.#say('… and goes on');
    await withConnection(url, (connection) =>
      connection.script(
        `truncate ${Object.keys(TABLES)
          .map((table) => `public.${table}`)
          .join(', ')}`,
      ),
    );
    await adoptNode(admin.context, { name: SET, database });
    const writers = write();
    const relay = await this.#relay('again', false);
    relay.start();
    await until('the application goes on', () => writers.counts.committed > 100, slow);
    await writers.stop();
    this.#problems.push(...writers.failures);
    const end = await relay.stop();
    if (end !== 0 && end !== 'SIGTERM') this.#problems.push(`a relay after the suspension: ${relay.ended}`);
    const last = await this.#relay('very-last', true);
    last.start();
    if ((await last.done()) !== 0) this.#problems.push(`the very last relay: ${last.ended}`);
    await this.#check(node);
  }

  async #check({ database, url }: Node, { compare = true } = {}): Promise<void> {
    await withConnection(url, async (connection) => {
      const { name, schema } = { name: this.#cluster?.name ?? '', schema: this.#cluster?.names.schema ?? '' };
      const [row] = await connection.query(
        `select r.node_id, (select max(t.ticket) from ${schema}.ticket_${SET} t) as ticket from ${schema}.replication_set r`,
      );
      const nodeId = row?.node_id ?? '';
      const seen = await checkNode(connection, {
        folder: this.#folder,
        nodeId,
        topic: `${name}.${nodeId}`,
        brokers: [this.#options.servers.kafka.address],
        ticket: BigInt(row?.ticket ?? -1),
        compare,
      });
      this.#problems.push(...seen.problems.map((problem) => `${database}: ${problem}`));
      this.#published += seen.published;
      this.#tickets += Number(seen.ticket);
    });
  }
}
