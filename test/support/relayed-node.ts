/**
 * A captured database with relays over it: everything real but the administration, whose rows are put there by hand.
 * Relays publish to files of a folder of their own; their coordinator is a place in a real server.
 */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import type { StreamConfiguration } from '../../src/model/set-configuration.js';
import { openConnection, type PostgresConnection } from '../../src/postgres/connect.js';
import type { DatabaseWatch } from '../../src/relay/database-watch.js';
import { runRelay } from '../../src/relay/relay.js';
import type { RelayOptions, RelaySummary } from '../../src/relay/relay-options.js';
import type { RelaySet } from '../../src/relay/relay-set.js';
import type { StreamStats } from '../../src/relay/stream-state.js';
import { systemClock } from '../../src/runtime/clock.js';
import { silentLogger } from '../../src/runtime/logger.js';
import { createFilePublisher } from '../../src/streams/file/file-publisher.js';
import type { Publisher } from '../../src/streams/publisher.js';
import { CapturedNode, onPublic, SET } from './captured-node.js';
import { type CoordinatorPlace, coordinatorKinds } from './coordinators.js';
import { temporaryFolder } from './temporary-folder.js';
import { until } from './until.js';

export interface RelayedNodeOptions {
  readonly server: string;
  readonly setup: string;
  /** As in a set file. */
  readonly tables: string;
  /** Default: `trail`. */
  readonly streams?: readonly string[];
}

export interface StartOptions {
  readonly once?: boolean;
  readonly fromTicket?: bigint;
  readonly streams?: Readonly<Record<string, StreamConfiguration>>;
  readonly createPublisher?: RelayOptions['createPublisher'];
  readonly openNode?: RelayOptions['openNode'];
  readonly tuning?: RelayOptions['tuning'];
  readonly coordinator?: Coordinator;
  readonly logger?: RelayOptions['logger'];
  readonly watch?: DatabaseWatch;
  /** Other keys of the configuration: `wake`, `limits`. */
  readonly change?: Partial<RelaySet['configuration']>;
}

export interface RunningRelay {
  readonly ended: Promise<RelaySummary>;
  readonly stats: ReadonlyMap<string, StreamStats>;
  stop(): Promise<RelaySummary>;
}

/** Quick, so that tests are; sizes small, so that the log turns over. */
export const QUICK: NonNullable<RelayOptions['tuning']> = {
  pace: { shortestMs: 5, longestMs: 50 },
  trimEveryMs: 20,
  trim: { rotateBytes: 200_000, rotateAgeMs: 200, idleBytes: 8192, pinnedMs: 300 },
  chunks: { rows: 100, bytes: 50_000 },
  giveUpMs: 15_000,
};

export class RelayedNode {
  readonly node: CapturedNode;
  readonly nodeId = randomUUID();
  readonly folder: string;
  readonly #place: CoordinatorPlace;
  readonly #coordinator: Coordinator;
  readonly #set: RelaySet;
  readonly #running = new Set<RunningRelay>();

  private constructor(
    node: CapturedNode,
    parts: { folder: string; place: CoordinatorPlace; coordinator: Coordinator; set: RelaySet },
  ) {
    this.node = node;
    this.folder = parts.folder;
    this.#place = parts.place;
    this.#coordinator = parts.coordinator;
    this.#set = parts.set;
  }

  static async create(options: RelayedNodeOptions): Promise<RelayedNode> {
    const node = await CapturedNode.create(options.server);
    await onPublic(node.connection, options.setup);
    const { tables, configuration } = await node.describe(options);
    await node.ground(tables);
    const [trail] = Object.values(configuration.streams);
    if (trail === undefined) throw new Error('there is no stream');
    const streams = Object.fromEntries((options.streams ?? ['trail']).map((stream) => [stream, trail]));
    await node.activate(tables, { ...configuration, streams });
    const place = await postgresPlace();
    const coordinator = place.open();
    await coordinator.start();
    for (const path of ['/shovel', '/shovel/default', '/shovel/default/leases']) {
      await coordinator.multi([{ kind: 'create', path, data: '' }]);
    }
    const set = { name: SET, version: 1, configuration, nodes: [] };
    const made = new RelayedNode(node, {
      folder: temporaryFolder('relay'),
      place,
      coordinator,
      set,
    });
    await made.register();
    return made;
  }

  /** The row that says which version is decided, as administration writes it. */
  async register(): Promise<void> {
    await this.node.connection.query(
      `insert into shovel.replication_set (set_name, database_name, node_id, incarnation, set_version, intent_id,
         content_hash, document, system_identifier, database_oid)
       select $1, 'main', $2::uuid, 1, 1, pg_catalog.gen_random_uuid(), '', '',
         (select c.system_identifier from pg_catalog.pg_control_system() c),
         (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())`,
      [SET, this.nodeId],
    );
  }

  async anotherCoordinator(): Promise<Coordinator> {
    const coordinator = this.#place.open();
    await coordinator.start();
    return coordinator;
  }

  path(stream: string): string {
    return join(this.folder, `${stream}.jsonl`);
  }

  connect(): Promise<PostgresConnection> {
    return openConnection({ dsn: this.node.url, name: 'database main', applicationName: 'shovel relay' });
  }

  filePublisher(stream: string, limits?: Publisher['limits']): Publisher {
    return createFilePublisher({
      path: this.path(stream),
      stream: `${this.nodeId}/${stream}`,
      logger: silentLogger(),
      ...(limits === undefined ? {} : { limits }),
    });
  }

  fileStream(stream: string): StreamConfiguration {
    return { kind: 'file', path: this.path(stream), format: 'shovel', transactions: false };
  }

  relaySet(streams: RelaySet['configuration']['streams'] = { trail: this.fileStream('trail') }): RelaySet {
    return {
      ...this.#set,
      configuration: { ...this.#set.configuration, streams },
      nodes: [{ database: 'main', nodeId: this.nodeId, incarnation: 1, number: 0 }],
    };
  }

  start(options: StartOptions = {}): RunningRelay {
    const set = this.relaySet(options.streams);
    const { watch } = options;
    const stopping = new AbortController();
    const stats = new Map<string, StreamStats>();
    const ended = runRelay({
      cluster: 'default',
      set: { ...set, configuration: { ...set.configuration, ...options.change } },
      database: 'main',
      coordinator: options.coordinator ?? this.#coordinator,
      openNode: options.openNode ?? (() => this.connect()),
      createPublisher: options.createPublisher ?? (async (stream) => this.filePublisher(stream)),
      once: options.once ?? false,
      ...(options.fromTicket === undefined ? {} : { fromTicket: options.fromTicket }),
      ...(watch === undefined ? {} : { watch: () => watch }),
      owner: 'test',
      clock: systemClock,
      logger: options.logger ?? silentLogger(),
      signal: stopping.signal,
      stats: (one) => stats.set(one.stream, one),
      tuning: options.tuning ?? QUICK,
    });
    ended.catch(() => undefined);
    const relay: RunningRelay = {
      ended,
      stats,
      stop: () => {
        stopping.abort();
        return ended;
      },
    };
    this.#running.add(relay);
    return relay;
  }

  /** Publishes all that has committed by now. */
  once(options: Omit<StartOptions, 'once'> = {}): Promise<RelaySummary> {
    return this.start({ ...options, once: true }).ended;
  }

  async lines(stream = 'trail'): Promise<readonly string[]> {
    const text = await readFile(this.path(stream), 'utf8').catch(() => '');
    return text.split('\n').slice(0, -1);
  }

  /** What the relay has published, once it is all that had been committed before the call. */
  async published(relay: RunningRelay, stream = 'trail'): Promise<readonly string[]> {
    const [now] = await this.node.connection.query('select pg_catalog.pg_current_snapshot() as snapshot');
    await until('all is published', async () => {
      const rows = await this.node.connection.query(
        `select not exists (
           select from shovel.log_${SET} l
           where pg_catalog.pg_visible_in_snapshot(l.xid, $1::pg_snapshot)
             and not pg_catalog.pg_visible_in_snapshot(l.xid,
               (select t.snapshot from shovel.ticket_${SET} t order by t.ticket desc limit 1))) as drawn,
           (select max(t.ticket) from shovel.ticket_${SET} t) as ticket`,
        [now?.snapshot ?? ''],
      );
      const drawn = rows[0]?.drawn === 't';
      return drawn && relay.stats.get(stream)?.ticket === BigInt(rows[0]?.ticket ?? '-1');
    });
    return this.lines(stream);
  }

  /** The table's rows as the database prints them, on one line each, sorted. */
  async tableRows(table: string): Promise<readonly string[]> {
    const rows = await this.node.connection.arrays(`select pg_catalog.row_to_json(t)::text from ${table} t`);
    return rows.map(([row]) => (row ?? '').replaceAll(/[\r\n]/g, ' ')).sort();
  }

  /** `keep`: the database stays where it is. */
  async close({ keep = false }: { readonly keep?: boolean } = {}): Promise<void> {
    for (const relay of this.#running) await relay.stop().catch(() => undefined);
    await this.#coordinator.stop();
    await this.#place.remove();
    await this.node.close({ keep });
  }
}

async function postgresPlace(): Promise<CoordinatorPlace> {
  const kind = coordinatorKinds.find((one) => one.name === 'PostgreSQL');
  if (kind === undefined) throw new Error('there is no coordinator in PostgreSQL');
  return kind.makePlace();
}
