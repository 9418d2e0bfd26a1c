/**
 * ZooKeeper's entries emptied, corrupted or deleted by hand, put back to yesterday's, and a whole server put back to an
 * older data directory, under the built command line: capture goes on, relays go on or pause and say why, commands
 * refuse with exit codes of their own, doctor says what happened, and the databases restore it all.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import zookeeper from 'node-zookeeper-client';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import { createZooKeeperCoordinator } from '../../src/coordinator/zookeeper/zookeeper-coordinator.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { silentLogger } from '../../src/runtime/logger.js';
import { buildCli, type CliResult, type RunningCli, runCli, startCli } from '../support/cli.js';
import { createTestDatabase, testZkHosts } from '../support/services.js';
import { temporaryFolder } from '../support/temporary-folder.js';
import type { TestDatabase } from '../support/test-database.js';
import { until } from '../support/until.js';

const TABLES = `create table public.accounts (id int primary key, owner text);
  create table public.orders (id int primary key)`;

let zk: EphemeralService;
beforeAll(async () => {
  await buildCli();
  zk = await startEphemeral('zk');
});
afterAll(() => zk?.close());

/** A cluster with a set at version 2 and a relay that publishes it. */
class World {
  readonly cluster = `d${randomBytes(4).toString('hex')}`;
  readonly root = `/shovel/${this.cluster}`;
  readonly hosts: string;
  readonly path = join(temporaryFolder('damage'), 'ledger.jsonl');
  coordinator!: Coordinator;
  database!: TestDatabase;
  connection!: PostgresConnection;
  relay!: RunningCli;
  /** As it was when version 1 was decided, and now. */
  yesterday = new Map<string, string>();
  #next = 1;

  constructor(hosts: string) {
    this.hosts = hosts;
  }

  async open(afterFirst: () => Promise<void> = async () => undefined): Promise<void> {
    this.coordinator = createZooKeeperCoordinator({
      hosts: this.hosts,
      sessionTimeoutMs: 10_000,
      connectTimeoutMs: 10_000,
      logger: silentLogger(),
    });
    this.database = await createTestDatabase();
    this.connection = await openConnection({
      dsn: this.database.url,
      name: 'of the test',
      applicationName: 'application',
    });
    await this.connection.script(TABLES);
    expect(await this.shovel(['cluster', 'init'])).toMatchObject({ code: 0 });
    expect(await this.shovel(['set', 'create', '-'], this.setFile(['accounts']))).toMatchObject({ code: 0 });
    await this.coordinator.start();
    this.yesterday = await this.entries();
    await afterFirst();
    expect(await this.shovel(['set', 'upgrade', '-'], this.setFile(['accounts', 'orders']))).toMatchObject({
      code: 0,
    });
    this.relay = startCli(['relay', 'ledger', '--log-format', 'json'], {
      env: this.env(),
      timeoutMs: 110_000,
    });
    await this.insert();
    await this.published();
  }

  env(): Record<string, string> {
    return { SHOVEL_CLUSTER: this.cluster, SHOVEL_ZOOKEEPER_HOSTS: this.hosts, SHOVEL_LEASE_TIME: '4s' };
  }

  setFile(tables: readonly string[]): string {
    return `name: ledger
databases: { main: { dsn: "${this.database.url}" } }
tables: [${tables.map((name) => `{ name: ${name} }`).join(', ')}]
streams: { trail: { file: { path: "${this.path}" } } }
`;
  }

  shovel(args: readonly string[], input = ''): Promise<CliResult> {
    return runCli(args, { env: this.env(), input });
  }

  async insert(): Promise<void> {
    const id = this.#next;
    this.#next += 1;
    await this.connection.query(`insert into public.accounts values (${id}, 'somebody')`);
  }

  ids(): readonly number[] {
    if (!existsSync(this.path)) return [];
    const lines = readFileSync(this.path, 'utf8').split('\n');
    return lines
      .filter((line) => line.endsWith('}'))
      .map((line) => JSON.parse(line) as { op: string; after?: { id: number } })
      .flatMap(({ op, after }) => (op === 'c' && after ? [after.id] : []));
  }

  /** All that was written, each once, in order. */
  async published(): Promise<void> {
    await until('all is published', () => this.ids().length >= this.#next - 1, { timeoutMs: 60_000 });
    expect(this.ids()).toEqual(Array.from({ length: this.#next - 1 }, (_, i) => i + 1));
  }

  async entries(path = this.root): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    const entry = await this.coordinator.read(path);
    if (entry) found.set(path, entry.data);
    for (const name of (await this.coordinator.list(path)) ?? []) {
      for (const [below, data] of await this.entries(`${path}/${name}`)) found.set(below, data);
    }
    return found;
  }

  async put(path: string, data: string): Promise<void> {
    const entry = await this.coordinator.read(path);
    const result = await this.coordinator.multi([{ kind: 'set', path, data, version: entry?.version ?? 0 }]);
    expect(result).toEqual({ kind: 'done' });
  }

  /** Triggers with the functions that they call: what capture is. */
  async capture(): Promise<readonly unknown[]> {
    return this.connection.query(
      `select t.tgrelid::regclass as on, t.tgname, t.tgenabled, md5(p.prosrc) as body
       from pg_trigger t join pg_proc p on p.oid = t.tgfoid where not t.tgisinternal order by 1, 2`,
    );
  }

  async close(): Promise<void> {
    this.relay?.child.kill('SIGKILL');
    await this.relay?.done;
    await this.coordinator?.stop();
    await this.connection?.end();
    await this.database?.drop();
  }
}

/** Everything below and the entry itself, leases included, as `deleteall` in zkCli does. */
async function deleteAll(hosts: string, path: string): Promise<void> {
  const client = zookeeper.createClient(hosts, { sessionTimeout: 10_000, spinDelay: 100, retries: 0 });
  await new Promise<void>((resolve) => {
    client.once('connected', resolve);
    client.connect();
  });
  const children = (of: string) =>
    new Promise<readonly string[]>((resolve) =>
      client.getChildren(of, (error, names) => resolve(error ? [] : (names ?? []))),
    );
  const remove = async (at: string): Promise<void> => {
    for (const name of await children(at)) await remove(`${at}/${name}`);
    await new Promise<void>((resolve) => {
      const transaction = client.transaction();
      transaction.remove(at, -1);
      transaction.commit(() => resolve());
    });
  };
  await remove(path);
  client.close();
}

interface Expected {
  /** Of commands that write, and of a relay that is started: exit code and code. */
  readonly refused: RegExp;
  /** What doctor finds. */
  readonly found: readonly string[];
  /** What a relay that runs says on standard error. */
  readonly said: RegExp;
}

async function expectDamage(world: World, { refused, found, said }: Expected): Promise<void> {
  const before = await world.capture();
  // The application goes on, and the relay says what has happened.
  await world.insert();
  await until('the relay says so', () => said.test(world.relay.stderr()), { timeoutMs: 60_000 });
  for (const args of [
    ['set', 'upgrade', '-'],
    ['set', 'create', '-'],
    ['set', 'drop', 'ledger'],
    ['set', 'drop', 'ledger', '--force'],
    ['relay', 'ledger', '--once'],
    ['cluster', 'recover'],
  ]) {
    const result = await world.shovel(
      [...args, '--json'].slice(0, args[0] === 'relay' ? 3 : undefined),
      world.setFile(['accounts']),
    );
    const told = args[0] === 'relay' ? result.stderr : result.stdout;
    expect(`${result.code} ${told}`, args.join(' ')).toMatch(refused);
    // That it exists already is as true of an older state.
    if (!told.includes('set_exists')) expect(told, args.join(' ')).toContain('--from-nodes');
  }
  expect(await world.capture()).toEqual(before);
  const doctor = await world.shovel(['doctor', '--json', '--nodes', world.database.url]);
  expect(doctor.code).toBe(22);
  const { findings } = JSON.parse(doctor.stdout) as {
    findings: { code: string; severity: string; fix: string }[];
  };
  const codes = findings.filter(({ severity }) => severity === 'error').map(({ code }) => code);
  expect([...new Set(codes)].sort()).toEqual([...found].sort());
  for (const one of findings.filter(({ severity }) => severity === 'error'))
    expect(one.fix).toContain('--from-nodes');
  expect(world.relay.child.exitCode, world.relay.stderr()).toBeNull();
}

async function expectRestored(world: World, whole: ReadonlyMap<string, string>): Promise<void> {
  const recovered = await world.shovel(['cluster', 'recover', '--from-nodes', world.database.url]);
  expect(recovered, recovered.stderr).toMatchObject({ code: 0 });
  const now = await world.entries();
  expect([...now.keys()]).toEqual([...whole.keys()]);
  for (const [path, data] of whole) if (path !== world.root) expect(now.get(path), path).toBe(data);
  expect(await world.shovel(['doctor'])).toMatchObject({ code: 0 });
  const history = await world.shovel(['set', 'history', 'ledger', '--json']);
  expect(JSON.parse(history.stdout)).toMatchObject([{ version: 2 }, { version: 1 }]);
  // The relay that ran all the time publishes what was written meanwhile, and follows the next version.
  await world.insert();
  await world.published();
  expect(await world.shovel(['set', 'upgrade', '-'], world.setFile(['accounts']))).toMatchObject({ code: 0 });
  await world.insert();
  await world.published();
  world.relay.child.kill('SIGTERM');
  expect(await world.relay.done).toMatchObject({ code: 0 });
}

describe('entries that were', () => {
  let world: World;
  let whole: ReadonlyMap<string, string>;
  beforeEach(async () => {
    world = new World(`${testZkHosts()}/test/${randomUUID()}`);
    await world.open();
    whole = await world.entries();
    return () => world.close();
  });
  const data = () => [...whole.entries()].filter(([, text]) => text !== '').map(([path]) => path);

  it('emptied', async () => {
    for (const path of data()) await world.put(path, '');
    await expectDamage(world, {
      refused: /^25 .*record_damaged|^25 .*can't be read/s,
      found: ['cluster_damaged', 'record_damaged'],
      said: /stays as it was/,
    });
    await expectRestored(world, whole);
  });

  it('corrupted', async () => {
    for (const path of data()) await world.put(path, (whole.get(path) ?? '').slice(0, 40));
    await expectDamage(world, {
      refused: /^25 .*record_damaged|^25 .*can't be read/s,
      found: ['cluster_damaged', 'record_damaged'],
      said: /stays as it was/,
    });
    await expectRestored(world, whole);
  });

  it('deleted', async () => {
    await deleteAll(world.hosts, world.root);
    await expectDamage(world, {
      refused: /^21 .*(cluster_missing|not initialised)/s,
      found: ['cluster_missing'],
      said: /stays as it was|has lost this cluster/,
    });
    await expectRestored(world, whole);
  });

  it('put back to yesterday’s', async () => {
    for (const [path, text] of world.yesterday) if (text !== '') await world.put(path, text);
    const version = `${world.root}/sets/ledger/versions/2`;
    await deleteAll(world.hosts, version);
    await expectDamage(world, {
      refused: /^25 .*(node_ahead|it has lost history)|^21 .*set_exists/s,
      found: ['node_ahead'],
      said: /lost history/,
    });
    await expectRestored(world, whole);
  });
});

describe('a server whose data directory was', () => {
  it('put back to yesterday’s', async () => {
    const world = new World(zk.address);
    const data = join(zk.directory, 'member-1', 'data');
    const backup = temporaryFolder('zk');
    try {
      await world.open(async () => {
        await zk.server.kill();
        cpSync(data, backup, { recursive: true });
        await zk.server.start();
      });
      const whole = await world.entries();
      await zk.server.kill();
      rmSync(data, { recursive: true });
      cpSync(backup, data, { recursive: true });
      await zk.server.start();
      await expectDamage(world, {
        refused: /^25 .*(node_ahead|it has lost history)|^21 .*set_exists/s,
        found: ['node_ahead'],
        said: /lost history|does not answer/,
      });
      await world.coordinator.stop();
      await world.coordinator.start();
      await expectRestored(world, whole);
    } finally {
      await world.close();
      rmSync(backup, { recursive: true, force: true });
    }
  });
});
