/** Captures tables of a database as a set's creation would, without coordinator and relay. */
import { activationStatements } from '../../src/capture/activate.js';
import { describeTables } from '../../src/capture/describe.js';
import { prepareGround } from '../../src/capture/ground.js';
import type { PostgresConnection } from '../../src/postgres/connect.js';
import { ensureNodeSchema } from '../../src/postgres/migrate.js';
import { nodeNames } from '../../src/postgres/sql-files.js';
import { transaction } from '../../src/postgres/transaction.js';
import { sha256Hex } from '../../src/runtime/hash.js';
import { configured } from '../../test/support/set-file-text.js';

/** `entries`: what stands under `tables` of a set file. */
export async function installSet(connection: PostgresConnection, entries: string): Promise<void> {
  const names = nodeNames('default');
  const text = `name: bench
databases: { main: { dsn: "postgres://localhost/bench" } }
tables:
${entries}
streams: { trail: { file: { path: "-" } } }`;
  const configuration = configured(text);
  await ensureNodeSchema(connection, names);
  const { tables, issues } = await describeTables(connection, configuration, { names });
  if (issues.length > 0) throw new Error(issues.map((issue) => issue.message).join('\n'));
  await prepareGround(connection, {
    names,
    set: 'bench',
    tables,
    lockTimeoutMs: 40,
    giveUpMs: 10_000,
    waiting: () => undefined,
  });
  const activation = activationStatements({
    names,
    set: 'bench',
    version: 1,
    tables,
    rowBytes: configuration.limits.rowBytes,
    streams: [],
    hash: sha256Hex,
  });
  await transaction(connection, async () => {
    await connection.script(`set local role "${names.owner}"`);
    for (const statement of activation) await connection.script(statement);
  });
}
