/** One watch for all the sets that a process relays from one database, with the bell that it hears. */
import type { DatabaseConfiguration } from '../model/set-configuration.js';
import { openListener } from '../postgres/listen.js';
import { DatabaseWatch } from '../relay/database-watch.js';
import { systemClock } from '../runtime/clock.js';
import { fillVariables } from './fill-variables.js';
import type { AppSettings } from './settings.js';

export class DatabaseWatches {
  readonly #settings: Pick<AppSettings, 'variables' | 'logger'>;
  /** By DSN. */
  readonly #watches = new Map<string, DatabaseWatch>();

  constructor(settings: Pick<AppSettings, 'variables' | 'logger'>) {
    this.#settings = settings;
  }

  /** @throws ConfigurationError `variable_missing` */
  of(database: string, configuration: DatabaseConfiguration): DatabaseWatch {
    const { variables, logger } = this.#settings;
    const dsn = fillVariables(configuration.dsn, { variables, where: `database ${database}` });
    const known = this.#watches.get(dsn);
    if (known !== undefined) return known;
    const watch = new DatabaseWatch({
      clock: systemClock,
      logger: logger.child({ database }),
      openBell: (heard) =>
        openListener({
          dsn,
          name: `database ${database}`,
          applicationName: 'shovel relay',
          channel: 'shovel_wake',
          ...heard,
        }),
    });
    this.#watches.set(dsn, watch);
    return watch;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#watches.values()].map((watch) => watch.close()));
  }
}
