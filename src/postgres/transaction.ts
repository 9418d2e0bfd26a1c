/** A transaction on one connection: commits what `work` returns, rolls back what it throws. READ COMMITTED. */
import type { PostgresConnection } from './connect.js';

export async function transaction<T>(
  connection: PostgresConnection,
  work: (connection: PostgresConnection) => Promise<T>,
): Promise<T> {
  await connection.script('begin');
  try {
    const result = await work(connection);
    await connection.script('commit');
    return result;
  } catch (error) {
    // The first error is the one to tell; a rollback that fails as well means that the connection is gone.
    await connection.script('rollback').catch(() => undefined);
    throw error;
  }
}
