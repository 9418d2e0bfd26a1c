/** Whether schema shovel of a database is this release's. */
import { ShovelError } from '../../errors.js';
import { planNodeSchema } from '../../postgres/migrate.js';
import { requireCurrentNode } from '../../postgres/node-level.js';
import { type Finding, finding } from './finding.js';
import type { NodeProbe } from './probe.js';

export async function checkSchema({
  connection,
  names,
  database,
  decided,
}: NodeProbe): Promise<readonly Finding[]> {
  const object = `database ${database}`;
  try {
    if (!(await requireCurrentNode(connection, names))) {
      if (decided.length === 0) return [];
      return [
        finding('schema_missing', {
          object,
          message: `Database ${database} has no schema ${names.schema} (or it may not be seen by ${connection.display}), though sets are in it: nothing is captured there.`,
          fix: 'Correct its DSN, or take the database out of the set file (shovel set upgrade --force) and in again',
        }),
      ];
    }
    const pending = await planNodeSchema(connection, names);
    if (pending.length === 0) return [];
    return [
      finding('schema_behind', {
        object,
        message: `Functions of schema ${names.schema} in database ${database} are not those of this release.`,
        fix: 'shovel cluster upgrade',
      }),
    ];
  } catch (error) {
    if (!(error instanceof ShovelError)) throw error;
    const code = LEVELS.find((one) => one === error.code);
    if (code === undefined) throw error;
    return [finding(code, { object, message: error.message, fix: error.hint })];
  }
}

const LEVELS = ['schema_older', 'schema_newer', 'migration_changed'] as const;
