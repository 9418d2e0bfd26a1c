/**
 * A node with mutation logs for tests of the view mutation_log. Log rows are inserted as capture functions insert them;
 * tickets are drawn, and positions moved, as the relay does it.
 */
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import { activationStatements } from '../../src/capture/activate.js';
import { positionName } from '../../src/capture/generated-names.js';
import { prepareGround } from '../../src/capture/ground.js';
import { openConnection, type PostgresConnection, type Row } from '../../src/postgres/connect.js';
import { ensureNodeSchema } from '../../src/postgres/migrate.js';
import { nodeNames, readSql } from '../../src/postgres/sql-files.js';
import { transaction } from '../../src/postgres/transaction.js';
import { sha256Hex } from '../../src/runtime/hash.js';
import { createTestDatabase } from './services.js';
import type { TestDatabase } from './test-database.js';
import { until } from './until.js';

export const NAMES = nodeNames('default');
export const MUTATION_LOG_COLUMNS = [
  'set_name',
  'stream_name',
  'set_version',
  'node_id',
  'ticket',
  'pending_mutations',
  'pending_bytes',
  'lag',
  'mutations_per_second',
  'log_bytes',
  'oldest_open_transaction',
  'relay_epoch',
  'relay_seen_at',
];

/** Of a row, where nothing is pending. */
export const LEVEL = { pending_mutations: '0', pending_bytes: '0', lag: 'PT0S' };
/** Of a row, where the log can't be looked at. */
export const UNKNOWN = { ticket: null, pending_mutations: null, pending_bytes: null, lag: null };

interface Rows {
  readonly set?: string;
  readonly count?: number;
  readonly segment?: number;
  /** How long ago the statement was. */
  readonly age?: string;
  readonly text?: string;
}

interface Position {
  readonly phase?: 'sending' | 'out';
  readonly stream?: string;
  readonly set?: string;
}

/** To be called in a `describe`; every test begins without a set. */
export function useMutationLog(server: () => string): MutationLog {
  const log = new MutationLog();
  beforeAll(() => log.open(server()));
  beforeEach(() => log.dropSets());
  afterEach(() => log.endSessions());
  afterAll(() => log.close());
  return log;
}

export class MutationLog {
  #database: TestDatabase | undefined;
  #admin: PostgresConnection | undefined;
  readonly #sessions: PostgresConnection[] = [];

  /** A superuser's session. */
  get admin(): PostgresConnection {
    if (this.#admin === undefined) throw new Error('there is no database yet');
    return this.#admin;
  }

  get database(): string {
    return this.#database?.name ?? '';
  }

  async open(server: string): Promise<void> {
    this.#database = await createTestDatabase({ server });
    this.#admin = await this.#connect();
    await ensureNodeSchema(this.admin, NAMES);
  }

  async close(): Promise<void> {
    await this.#admin?.end();
    await this.#database?.drop();
  }

  #connect(): Promise<PostgresConnection> {
    return openConnection({
      dsn: this.#database?.url ?? '',
      name: 'of the test',
      applicationName: 'shovel-test',
    });
  }

  /** Another session, ended after the test. */
  async connect(): Promise<PostgresConnection> {
    const session = await this.#connect();
    this.#sessions.push(session);
    return session;
  }

  /** Log, streams and the decided version, as the creation of a set leaves them. */
  async createSet(set: string, streams: readonly string[] = ['events']): Promise<void> {
    await prepareGround(this.admin, {
      names: NAMES,
      set,
      tables: [],
      lockTimeoutMs: 1000,
      giveUpMs: 20_000,
      waiting: () => undefined,
    });
    await this.activate(set, streams);
    await this.admin.script(
      `insert into shovel.replication_set (set_name, database_name, node_id, incarnation, set_version, intent_id,
         content_hash, document, system_identifier, database_oid)
       values ('${set}', 'main', gen_random_uuid(), 1, 7, gen_random_uuid(), '', '', '', 1)`,
    );
  }

  async activate(set: string, streams: readonly string[]): Promise<void> {
    const statements = activationStatements({
      names: NAMES,
      set,
      version: 1,
      tables: [],
      rowBytes: 1000,
      streams,
      hash: sha256Hex,
    });
    await transaction(this.admin, async () => {
      await this.admin.script(`set local role ${NAMES.owner}`);
      for (const statement of statements) await this.admin.script(statement);
    });
  }

  async dropSet(set: string): Promise<void> {
    const streams = await this.admin.query(
      `select s.position_name as name from shovel.stream s where s.set_name = $1`,
      [set],
    );
    await this.admin.script(await readSql('sql/set/drop_log.sql', NAMES, set));
    for (const { name } of streams) await this.admin.script(`drop sequence if exists shovel.${name}`);
    await this.admin.query(`delete from shovel.replication_set where set_name = $1`, [set]);
  }

  async write(session: PostgresConnection, rows: Rows = {}): Promise<void> {
    const { set = 'a', count = 1, segment = 0, age = '0', text = '{"id":1}' } = rows;
    await session.query(
      `insert into shovel.log_${segment}_${set} (at, rel, op, new_ctid, image)
       select statement_timestamp() - $1::interval, 1, 'I', '(0,1)', $2
       from generate_series(1, $3)`,
      [age, text, String(count)],
    );
  }

  /** The ticket drawn, as the relay draws it; undefined where nothing was pending. */
  async draw(set = 'a'): Promise<string | undefined> {
    const [mark] = await this.admin.query(`select m.floor_seq, m.xid from shovel.mark_${set}() m`);
    const [drawn] = await this.admin.query(
      `select t.ticket from shovel.draw_${set}(0, -1, null, null, $1, $2) t`,
      [mark?.floor_seq ?? null, mark?.xid ?? null],
    );
    return drawn?.ticket ?? undefined;
  }

  async position(
    ticket: number,
    { phase = 'out', stream = 'events', set = 'a' }: Position = {},
  ): Promise<void> {
    await this.admin.query(`select setval('shovel.${positionName(set, stream)}', $1)`, [
      String(2 * ticket + (phase === 'out' ? 1 : 0)),
    ]);
  }

  /**
   * Publishes all, and waits for the view to say so. With a long log that may take another ticket: a transaction of
   * any database of the server that was in flight at a draw makes the view look through what came before, when it ends.
   */
  becomesLevel(): Promise<boolean> {
    return until('the view says that nothing is pending', async () => {
      await this.write(this.admin);
      await this.position(Number(await this.draw()));
      return (await this.pending()) === '0';
    });
  }

  read(session: PostgresConnection = this.admin): Promise<readonly Row[]> {
    return session.query(
      `select m.*, extract(epoch from m.lag) as lag_s, extract(epoch from m.oldest_open_transaction) as open_s
       from shovel.mutation_log m order by 1, 2`,
    );
  }

  async readOne(session: PostgresConnection = this.admin): Promise<Row> {
    const [row, second] = await this.read(session);
    if (!row || second) throw new Error('not one row');
    return row;
  }

  async pending(): Promise<string | null | undefined> {
    return (await this.readOne()).pending_mutations;
  }

  async endSessions(): Promise<void> {
    for (const session of this.#sessions.splice(0)) await session.end();
  }

  async dropSets(): Promise<void> {
    for (const { set } of await this.admin.query(`select r.set_name as set from shovel.replication_set r`)) {
      await this.dropSet(set ?? '');
    }
  }
}
