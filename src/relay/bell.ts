/**
 * Asks the writers of a set to wake its relay: only one that rests does, so that writers pay for it once, not each time
 * (a notification in every transaction takes throughput to a quarter). Where transactions can be prepared it never
 * does, for one that has notified can't be; see sql/set/doorbell.sql.
 */
import type { SetConfiguration } from '../model/set-configuration.js';
import type { PostgresConnection } from '../postgres/connect.js';
import type { Logger } from '../runtime/logger.js';
import type { DatabaseWatch } from './database-watch.js';
import type { LogNames } from './relay-set.js';

export interface BellOptions {
  readonly log: LogNames;
  readonly epoch: bigint;
  readonly wake: SetConfiguration['wake'];
  readonly watch: DatabaseWatch;
  readonly logger: Logger;
}

export class Bell {
  readonly #connection: PostgresConnection;
  readonly #options: BellOptions;
  /** `rung`: writers may take the switch's longer way, and no longer notify. */
  #state: 'off' | 'armed' | 'rung' = 'off';
  #told = false;

  private constructor(connection: PostgresConnection, options: BellOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /** What a relay left armed that died is taken back. @throws FencedError `relay_fenced` */
  static async open(connection: PostgresConnection, options: BellOptions): Promise<Bell> {
    const bell = new Bell(connection, options);
    bell.#state = 'rung';
    await bell.disarm();
    return bell;
  }

  get armed(): boolean {
    return this.#state === 'armed';
  }

  /**
   * True: armed just now, so look once more before resting. False: it was armed before, or can't be.
   * @throws FencedError `relay_fenced`
   */
  async arm(): Promise<boolean> {
    const { wake, watch, log, epoch } = this.#options;
    if (this.#state === 'armed' || wake === 'poll' || !(await watch.hears())) return false;
    const rows = await this.#connection.query(`select ${log.arm}($1) as armed`, [epoch.toString()]);
    if (rows[0]?.armed !== 't') {
      if (wake === 'notify') this.#tell();
      return false;
    }
    this.#state = 'armed';
    return true;
  }

  /** Something moved: who rang, if anyone, rang for all. */
  rang(): void {
    if (this.#state === 'armed') this.#state = 'rung';
  }

  /** Writers take the short way again. @throws FencedError `relay_fenced` */
  async disarm(): Promise<void> {
    if (this.#state === 'off') return;
    const { log, epoch } = this.#options;
    this.#state = 'off';
    await this.#connection.query(`select ${log.turn}($1, 4, 0)`, [epoch.toString()]);
  }

  #tell(): void {
    if (this.#told) return;
    this.#told = true;
    this.#options.logger.info(
      {},
      'polling in spite of wake: notify, because the server lets transactions be prepared (max_prepared_transactions) or its queue of notifications fills up',
    );
  }
}
