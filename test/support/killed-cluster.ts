/**
 * A set over three databases whose administrators are killed: the command line as processes of its own, applications
 * that write meanwhile, and what must be true when somebody else came by afterwards. The set is in one of three stages,
 * and each command leads from one to another.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import { createZooKeeperCoordinator } from '../../src/coordinator/zookeeper/zookeeper-coordinator.js';
import { clusterPaths } from '../../src/model/change-paths.js';
import { decodeDocument, decodeRecord, type SetRecord } from '../../src/model/change-records.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import { nodeNames } from '../../src/postgres/sql-files.js';
import { auditTable, type Bystanders, type Stage, startBystanders } from './bystanders.js';
import { type CliResult, type RunningCli, runCli, startCli } from './cli.js';
import { silentLogger } from './coordinators.js';
import { Reader } from './reader.js';
import { createTestDatabase, testZkHosts } from './services.js';
import { temporaryFolder } from './temporary-folder.js';
import type { TestDatabase } from './test-database.js';

const DATABASES = ['main', 'eu', 'us'] as const;
const TABLES = ['accounts', 'orders'] as const;
const SET = 'example';

/** none: no set; one: accounts is captured; two: orders as well. */
export type SetStage = 'none' | 'one' | 'two';
export type Change = 'create' | 'upgrade' | 'rollback' | 'drop';

export const CHANGES: Readonly<Record<Change, { readonly from: SetStage; readonly to: SetStage }>> = {
  create: { from: 'none', to: 'one' },
  upgrade: { from: 'one', to: 'two' },
  rollback: { from: 'two', to: 'one' },
  drop: { from: 'one', to: 'none' },
};

const CAPTURED: Readonly<Record<SetStage, readonly string[]>> = {
  none: [],
  one: ['accounts'],
  two: ['accounts', 'orders'],
};

/** A set from its creation to its drop, as the writers and the files saw it. */
interface Life {
  readonly nodes: SetRecord['nodes'];
  readonly stages: Map<string, Stage[]>;
}

export class KilledCluster {
  readonly bystanders: Bystanders;
  readonly connections: ReadonlyMap<string, PostgresConnection>;
  readonly coordinator: Coordinator;
  readonly environment: Readonly<Record<string, string>>;
  readonly cluster: string;
  readonly #databases: readonly TestDatabase[];
  readonly #folder: string;
  #life: Life | undefined;
  /** The version whose configuration is that of stage `one`. */
  #first = 0;
  #stage: SetStage = 'none';
  #path: readonly SetStage[] = ['none'];
  /** The first write of each table that began in this stage. */
  #from: ReadonlyMap<string, number> = new Map();

  private constructor(made: {
    cluster: string;
    environment: Readonly<Record<string, string>>;
    coordinator: Coordinator;
    databases: readonly TestDatabase[];
    connections: ReadonlyMap<string, PostgresConnection>;
    bystanders: Bystanders;
    folder: string;
  }) {
    this.cluster = made.cluster;
    this.environment = made.environment;
    this.coordinator = made.coordinator;
    this.connections = made.connections;
    this.bystanders = made.bystanders;
    this.#databases = made.databases;
    this.#folder = made.folder;
  }

  static async make({ server }: { server: string }): Promise<KilledCluster> {
    const cluster = `kill_${randomBytes(4).toString('hex')}`;
    const hosts = `${testZkHosts()}/test/${randomUUID()}`;
    const environment = {
      SHOVEL_ZOOKEEPER_HOSTS: hosts,
      SHOVEL_CLUSTER: cluster,
      SHOVEL_LEASE_TIME: '1500ms',
      SHOVEL_LOG_LEVEL: 'error',
    };
    const databases: TestDatabase[] = [];
    const connections = new Map<string, PostgresConnection>();
    for (const name of DATABASES) {
      const database = await createTestDatabase({ server });
      databases.push(database);
      const connection = await openConnection({ dsn: database.url, name, applicationName: 'test' });
      connections.set(name, connection);
      for (const table of TABLES)
        await connection.script(`create table public.${table} (id int primary key)`);
    }
    const places = DATABASES.map((database, index) => ({ database, url: databases[index]?.url ?? '' }));
    const made = await runCli(['cluster', 'init'], { env: environment });
    expect(made, made.stderr).toMatchObject({ code: 0 });
    const coordinator = createZooKeeperCoordinator({
      hosts,
      sessionTimeoutMs: 10_000,
      connectTimeoutMs: 10_000,
      logger: silentLogger,
    });
    await coordinator.start();
    const folder = temporaryFolder('killed');
    for (const [stage, tables] of Object.entries(CAPTURED)) {
      writeFileSync(
        join(folder, `${stage}.yaml`),
        `name: ${SET}
databases: { ${places.map(({ database, url }) => `${database}: { dsn: "${url}" }`).join(', ')} }
tables: [${tables.map((table) => `{ name: ${table} }`).join(', ')}]
streams: { trail: { file: { path: "${folder}/{set}.{node}.jsonl" } } }
`,
      );
    }
    const bystanders = await startBystanders(places, TABLES);
    return new KilledCluster({
      cluster,
      environment,
      coordinator,
      databases,
      connections,
      bystanders,
      folder,
    });
  }

  async remove(): Promise<void> {
    await this.bystanders.stop();
    await this.coordinator.stop();
    await Promise.all([...this.connections.values()].map((connection) => connection.end()));
    await Promise.all(this.#databases.map((database) => database.drop()));
  }

  start(args: readonly string[], failpoint?: string): RunningCli {
    const env = { ...this.environment, ...(failpoint === undefined ? {} : { SHOVEL_FAILPOINT: failpoint }) };
    return startCli(args, { env, timeoutMs: 600_000 });
  }

  run(args: readonly string[], failpoint?: string): Promise<CliResult> {
    return this.start(args, failpoint).done;
  }

  async succeed(args: readonly string[], failpoint?: string): Promise<CliResult> {
    const result = await this.run(args, failpoint);
    expect(result, `shovel ${args.join(' ')}: ${result.stderr}`).toMatchObject({ code: 0 });
    return result;
  }

  /** The names of all failpoints that a command comes by. */
  async trace(args: readonly string[]): Promise<readonly string[]> {
    const { stderr } = await this.succeed(args, '*:trace');
    return [...stderr.matchAll(/^failpoint (\S+)$/gm)].map((match) => match[1] ?? '');
  }

  /** SIGKILL at that point, which the command must come by. */
  async killAt(point: string, args: readonly string[]): Promise<void> {
    const result = await this.run(args, `${point}:kill`);
    expect(result, `shovel ${args.join(' ')} at ${point}: ${result.stderr}`).toMatchObject({
      code: null,
      signal: 'SIGKILL',
    });
  }

  args(change: Change): readonly string[] {
    switch (change) {
      case 'drop':
        return ['set', 'drop', SET];
      case 'rollback':
        return ['set', 'rollback', `${SET}@${this.#first}`];
      default:
        return ['set', change, join(this.#folder, `${CHANGES[change].to}.yaml`)];
    }
  }

  async record(): Promise<SetRecord | undefined> {
    const path = clusterPaths(this.cluster).set(SET);
    await this.coordinator.sync();
    const entry = await this.coordinator.read(path);
    return entry && decodeRecord(entry.data, path);
  }

  async stage(): Promise<SetStage> {
    const record = await this.record();
    return record ? this.#stageOf(record.version) : 'none';
  }

  /** Sees to it that all that was written until now is in the files. */
  async publish(): Promise<void> {
    await this.succeed(['relay', SET, '--once']);
  }

  /**
   * What must be true after any single command that came after the death of another; returns the stage. `path`: the
   * stages that the set has been in since the last time, the first of them being the one that it was in then.
   */
  async checkConverged(what: string, path: readonly SetStage[]): Promise<SetStage> {
    const paths = clusterPaths(this.cluster);
    const record = await this.record();
    const stage = await this.stage();
    expect(await this.coordinator.list(paths.intents), what).toEqual([]);
    const { schema } = nodeNames(this.cluster);
    for (const [database, connection] of this.connections) {
      const column = async (sql: string, values: readonly string[] = []) =>
        (await connection.arrays(sql, values)).map((row) => row[0]);
      const where = `${what}, in ${database}`;
      expect(
        await column('select gid from pg_prepared_xacts where database = current_database()'),
        where,
      ).toEqual([]);
      if (stage === 'none') {
        expect(await column('select nspname from pg_namespace where nspname = $1', [schema]), where).toEqual(
          [],
        );
        expect(await column('select tgname from pg_trigger'), where).toEqual([]);
        continue;
      }
      expect(await column(`select intent_id from ${schema}.intent`), where).toEqual([]);
      expect(await column(`select intent_id from ${schema}.staged_version`), where).toEqual([]);
      expect(
        await column(`select set_version || ' ' || intent_id from ${schema}.replication_set`),
        where,
      ).toEqual([`${record?.version} ${record?.intent}`]);
      const triggered = `select distinct c.relname from pg_trigger t join pg_class c on c.oid = t.tgrelid order by 1`;
      expect(await column(triggered), where).toEqual(CAPTURED[stage]);
    }
    if (record && stage !== 'none') this.#first = await this.#firstStage(record.version);
    expect(this.bystanders.failures, what).toEqual([]);
    expect(this.bystanders.waits, what).toEqual([]);
    this.#enter(what, { stage, record, path });
    return stage;
  }

  /** The newest version whose configuration is that of stage `one`. */
  async #firstStage(newest: number): Promise<number> {
    for (let version = newest; version > 0; version -= 1) {
      if ((await this.#stageOf(version)) === 'one') return version;
    }
    throw new Error('no version of one table');
  }

  async #stageOf(version: number): Promise<SetStage> {
    const path = clusterPaths(this.cluster).version(SET, version);
    const entry = await this.coordinator.read(path);
    const { state, configuration } = decodeDocument(entry?.data ?? '', path);
    if (state === 'dropped') return 'none';
    return configuration.tables.length === 1 ? 'one' : 'two';
  }

  /** Begins what is known of this stage: writes that begin after now. */
  #enter(
    what: string,
    { stage, record, path }: { stage: SetStage; record: SetRecord | undefined; path: readonly SetStage[] },
  ): void {
    this.#from = this.#marks();
    this.#path = path;
    this.#stage = stage;
    if (path.includes('none')) {
      this.audit(what);
      this.#life = stage === 'none' ? undefined : { nodes: record?.nodes ?? [], stages: new Map() };
    }
  }

  #marks(): ReadonlyMap<string, number> {
    const marks = new Map<string, number>();
    for (const database of DATABASES) {
      for (const table of TABLES) {
        marks.set(`${database}.${table}`, this.bystanders.progress(database, table).begun + 1);
      }
    }
    return marks;
  }

  /** Ends what is known of the stage: writes that are done by now. To be called before the next command begins. */
  leave(): void {
    const life = this.#life;
    if (!life || this.#stage === 'none') return;
    for (const database of DATABASES) {
      for (const table of TABLES) {
        const key = `${database}.${table}`;
        const stages = life.stages.get(key) ?? [];
        const flags = this.#path.map((one) => CAPTURED[one].includes(table));
        const changes = flags.filter((flag, index) => index > 0 && flag !== flags[index - 1]).length;
        stages.push({
          from: this.#from.get(key) ?? 1,
          to: this.bystanders.progress(database, table).done,
          captured: CAPTURED[this.#stage].includes(table),
          after: (['kept', 'changed', 'changed twice'] as const)[Math.min(changes, 2)] ?? 'changed twice',
        });
        life.stages.set(key, stages);
      }
    }
  }

  /** Writes that are done, by table and database. */
  writes(): readonly number[] {
    return DATABASES.flatMap((database) =>
      TABLES.map((table) => this.bystanders.progress(database, table).done),
    );
  }

  /** The newest ticket that is wholly published, by database. */
  tickets(): readonly number[] {
    return (this.#life?.nodes ?? []).map(({ nodeId }) => {
      const ends = this.#published(nodeId).matchAll(/^\{"op":"e".*"ticket":"(\d+)"/gm);
      return Number([...ends].at(-1)?.[1] ?? 0);
    });
  }

  #published(nodeId: string): string {
    const file = join(this.#folder, `${SET}.${nodeId}.jsonl`);
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  /** Holds what was published in this life against what was written; returns how many messages that were. */
  audit(what: string): number {
    const life = this.#life;
    if (!life) return 0;
    let messages = 0;
    for (const { database, nodeId } of life.nodes) {
      const reader = new Reader({ keys: { 'public.accounts': ['id'], 'public.orders': ['id'] } });
      for (const line of this.#published(nodeId).split('\n')) if (line !== '') reader.take(line);
      for (const table of TABLES) {
        const published = reader.mutations
          .filter((mutation) => mutation.table === `public.${table}`)
          .map((mutation) => Number((JSON.parse(mutation.after) as { id: number }).id));
        messages += published.length;
        const stages = life.stages.get(`${database}.${table}`) ?? [];
        expect(auditTable(published, stages), `${what}: ${database}.${table} of ${nodeId}`).toEqual([]);
      }
    }
    return messages;
  }
}
