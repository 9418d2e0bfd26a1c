/** From a database's configuration to a connection: fills in variables, and says who we are. */
import type { DatabaseConfiguration } from '../model/set-configuration.js';
import { openConnection, type PostgresConnection } from '../postgres/connect.js';
import { fillVariables } from './fill-variables.js';
import type { AppSettings } from './settings.js';

export type OpenNode = (
  database: string,
  configuration: DatabaseConfiguration,
) => Promise<PostgresConnection>;

/**
 * `role` is what the connection is for, as shown in pg_stat_activity: `admin`, `relay`.
 * @throws ConfigurationError `variable_missing`; what `openConnection` throws
 */
export function nodeOpener(settings: Pick<AppSettings, 'variables'>, role: string): OpenNode {
  return async (database, configuration) =>
    openConnection({
      dsn: fillVariables(configuration.dsn, {
        variables: settings.variables,
        where: `database ${database}`,
      }),
      name: `database ${database}`,
      applicationName: `shovel ${role}`,
    });
}
