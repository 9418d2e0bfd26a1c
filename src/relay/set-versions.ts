/**
 * The versions of a set by number. A ticket says by which version its batch is filtered, formatted and sent, so an old
 * one is needed as long as a stream has yet to publish a ticket of it. The node keeps those that it was brought to, the
 * coordinator keeps all; none ever changes.
 */
import type { Coordinator } from '../coordinator/coordinator.js';
import { clusterPaths } from '../model/change-paths.js';
import { decodeDocument, type SetDocument } from '../model/change-records.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { Logger } from '../runtime/logger.js';
import type { LogNames, RelaySet } from './relay-set.js';

export interface SetVersionsOptions {
  readonly cluster: string;
  readonly log: LogNames;
  readonly coordinator: Coordinator;
  readonly logger: Logger;
  /** Known from the start. */
  readonly first: RelaySet;
}

export class SetVersions {
  readonly #options: SetVersionsOptions;
  readonly #known = new Map<number, RelaySet>();

  constructor(options: SetVersionsOptions) {
    this.#options = options;
    this.learn(options.first);
  }

  learn(set: RelaySet): void {
    this.#known.set(set.version, set);
  }

  /** What the node has; `version` is what it said a moment ago. */
  async active(connection: PostgresConnection, version: number): Promise<RelaySet> {
    const known = this.#known.get(version);
    if (known !== undefined) return known;
    const found = await this.#ofNode(connection);
    return found ?? this.at(connection, version);
  }

  /**
   * A version that nobody has any more is taken for the one that the node has: what it left out or put elsewhere nobody
   * can tell.
   * @throws UnreachableError, IntegrityError `record_damaged`, `configuration_damaged`
   */
  async at(connection: PostgresConnection, version: number): Promise<RelaySet> {
    const known = this.#known.get(version);
    if (known !== undefined) return known;
    const ofNode = await this.#ofNode(connection);
    if (ofNode?.version === version) return ofNode;
    const decided = (await this.#kept(connection, version)) ?? (await this.#ofCoordinator(version));
    if (decided !== undefined) return decided;
    const instead = ofNode ?? this.#options.first;
    this.#options.logger.warn(
      { version, instead: instead.version },
      'a version of the set is not kept any more: its batches are published by the one that is active',
    );
    this.#known.set(version, instead);
    return instead;
  }

  async #ofNode(connection: PostgresConnection): Promise<RelaySet | undefined> {
    const { log } = this.#options;
    const rows = await connection.query(
      `select r.document from ${log.schema}.replication_set r where r.set_name = $1`,
      [log.set],
    );
    const text = rows[0]?.document ?? '';
    if (text === '') return undefined;
    const set = asRelaySet(decodeDocument(text, `set ${log.set} in ${connection.display}`));
    this.learn(set);
    return set;
  }

  /** Nodes that an older release has made keep the newest version only. */
  async #kept(connection: PostgresConnection, version: number): Promise<RelaySet | undefined> {
    const { log } = this.#options;
    const table = `${log.schema}.decided_version`;
    const [there] = await connection.query('select pg_catalog.to_regclass($1) as kept', [table]);
    if (there?.kept === null) return undefined;
    const rows = await connection.query(
      `select v.document from ${table} v where v.set_name = $1 and v.set_version = $2`,
      [log.set, String(version)],
    );
    const text = rows[0]?.document ?? '';
    if (text === '') return undefined;
    const set = asRelaySet(
      decodeDocument(text, `version ${version} of set ${log.set} in ${connection.display}`),
    );
    this.learn(set);
    return set;
  }

  async #ofCoordinator(version: number): Promise<RelaySet | undefined> {
    const { cluster, coordinator, log } = this.#options;
    const path = clusterPaths(cluster).version(log.set, version);
    let entry = await coordinator.read(path);
    if (entry === undefined) {
      await coordinator.sync();
      entry = await coordinator.read(path);
    }
    if (entry === undefined) return undefined;
    const set = asRelaySet(decodeDocument(entry.data, path));
    this.learn(set);
    return set;
  }
}

/** A set that was dropped has no nodes. */
function asRelaySet({ set, version, configuration, nodes, state }: SetDocument): RelaySet {
  return { name: set, version, configuration, nodes: state === 'dropped' ? [] : nodes };
}
