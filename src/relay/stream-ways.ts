/** Which way a stream's batches go: what each version of the set says of it, and where the next one is due. */
import type { StreamConfiguration } from '../model/set-configuration.js';
import { type Ticket, ticketOf } from '../model/ticket.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { KnownTable } from './captured-tables.js';
import { readRecord, type StreamRow, streamUnknown } from './node-record.js';
import type { LogNames, RelaySet } from './relay-set.js';
import { carriesTable, createRoutes, type Routes } from './routes.js';
import { reachable, samePlace } from './stream-place.js';
import { readTicket } from './tickets.js';

/** What a version says of the stream. */
export interface Way {
  readonly configuration: StreamConfiguration;
  readonly routes: Routes;
  readonly carries: (table: KnownTable) => boolean;
}

export interface StreamWaysOptions {
  readonly log: LogNames;
  readonly cluster: string;
  readonly stream: string;
  /** The version that the node has; it has the stream. */
  readonly active: RelaySet;
  readonly incarnation: number;
  readonly nodeId: string;
  readonly nodeNumber: number;
  readonly epoch: bigint;
  /** Other versions of the set. */
  readonly versionAt: (connection: PostgresConnection, version: number) => Promise<RelaySet>;
  /** With the variables of this process in it. */
  readonly fill: (configuration: StreamConfiguration) => StreamConfiguration;
}

export class StreamWays {
  readonly #options: StreamWaysOptions;
  readonly #known = new Map<number, Way>();

  constructor(options: StreamWaysOptions) {
    this.#options = options;
  }

  /**
   * Where the batch after the node's record goes, or that of `fromTicket`; the destination may know of more, and lead on
   * from there. `firstHere`: the first ticket that is known to have gone, or to go, to the same place.
   */
  async next(
    connection: PostgresConnection,
    row: StreamRow,
    fromTicket: Ticket | undefined,
  ): Promise<{ way: Way; firstHere: Ticket }> {
    const { log, active } = this.#options;
    const { completed } = await readRecord(connection, { log, stream: row });
    const next = fromTicket ?? ticketOf(completed + 1n);
    const ticket = await readTicket(connection, log, next);
    const way = await this.of(connection, ticket?.setVersion ?? active.version);
    const before = await readTicket(connection, log, ticketOf(next - 1n));
    const came = before === undefined || before.ticket < row.firstTicket ? undefined : before.setVersion;
    const same =
      came === undefined || samePlace((await this.of(connection, came)).configuration, way.configuration);
    return { way, firstHere: same ? row.firstTicket : next };
  }

  /** A version from before the stream was there has nothing to say of it. */
  async of(connection: PostgresConnection, version: number): Promise<Way> {
    const known = this.#known.get(version);
    if (known !== undefined) return known;
    const { active, stream, fill, versionAt } = this.#options;
    const current = this.#current();
    const set = version === active.version ? active : await versionAt(connection, version);
    const configuration = reachable(fill(set.configuration.streams[stream] ?? current), current);
    const way = {
      configuration,
      routes: this.#routes(configuration),
      carries: (table: KnownTable) => carriesTable(configuration, table),
    };
    this.#known.set(version, way);
    return way;
  }

  #current(): StreamConfiguration {
    const { active, stream, fill, log } = this.#options;
    const current = active.configuration.streams[stream];
    if (current === undefined) throw streamUnknown(log, stream);
    return fill(current);
  }

  #routes(configuration: StreamConfiguration): Routes {
    const { cluster, log, nodeId, nodeNumber, epoch, incarnation } = this.#options;
    return createRoutes({ configuration, cluster, set: log.set, nodeId, nodeNumber, incarnation, epoch });
  }
}
