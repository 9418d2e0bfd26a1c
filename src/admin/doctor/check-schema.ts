/** Whether schema shovel of a database is this release's. */
import { ShovelError } from '../../errors.js';
import { nodeSchemaExists, planNodeSchema } from '../../postgres/migrate.js';
import { type Finding, finding } from './finding.js';
import type { NodeProbe } from './probe.js';

export async function checkSchema({
  connection,
  names,
  database,
  decided,
}: NodeProbe): Promise<readonly Finding[]> {
  const object = `database ${database}`;
  if (!(await nodeSchemaExists(connection, names))) {
    if (decided.length === 0) return [];
    return [
      finding('schema_missing', {
        object,
        message: `Database ${database} has no schema ${names.schema} (or it may not be seen by ${connection.display}), though sets are in it: nothing is captured there.`,
        fix: 'Correct its DSN, or take the database out of the set file and in again',
      }),
    ];
  }
  try {
    const pending = await planNodeSchema(connection, names);
    if (pending.length === 0) return [];
    return [
      finding('schema_behind', {
        object,
        message: `Schema ${names.schema} of database ${database} was made by an older release.`,
        fix: 'shovel cluster upgrade',
      }),
    ];
  } catch (error) {
    if (!(error instanceof ShovelError)) throw error;
    if (error.code !== 'schema_newer' && error.code !== 'migration_changed') throw error;
    return [finding(error.code, { object, message: error.message, fix: error.hint })];
  }
}
