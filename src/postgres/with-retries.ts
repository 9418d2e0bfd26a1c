/**
 * Tries short work on the catalog again where another session was faster or in the way: two sessions that make or
 * grant the same at once see errors which mean no more than "look again". Work must look for what is there already.
 */
import { PostgresError, SQLSTATE } from './sqlstate.js';

const AGAIN: ReadonlySet<string> = new Set([
  SQLSTATE.uniqueViolation,
  SQLSTATE.duplicateObject,
  SQLSTATE.duplicateSchema,
  SQLSTATE.duplicateTable,
  '42723', // duplicate function
  SQLSTATE.undefinedObject,
  SQLSTATE.invalidSchema,
  SQLSTATE.undefinedTable,
  SQLSTATE.lockNotAvailable,
  SQLSTATE.deadlock,
  SQLSTATE.serialization,
  '55006', // object in use
]);

/** `tuple concurrently updated` and its kin have no SQLSTATE of their own. */
function isConcurrentCatalogChange(error: PostgresError): boolean {
  return (
    error.sqlstate === SQLSTATE.internal &&
    /tuple concurrently|cache lookup failed|could not find tuple/.test(error.message)
  );
}

/** Throws the last error after `attempts`. Pauses are random, 5 to 50 ms and growing. */
export async function withRetries<T>(work: () => Promise<T>, attempts = 25): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const again =
        error instanceof PostgresError && (AGAIN.has(error.sqlstate) || isConcurrentCatalogChange(error));
      if (!again || attempt >= attempts) throw error;
      await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 10 * Math.min(attempt, 10)));
    }
  }
}
