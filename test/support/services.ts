/**
 * Where the servers are that tests talk to, and a database of its own for a test file. Addresses come from the TEST_*
 * variables: those that a person set, else those that global-setup.ts put there.
 */

import { findService } from '../../scripts/services/catalog.js';
import { ensureServices } from '../../scripts/services/index.js';
import { makeTestDatabase, type TestDatabase } from './test-database.js';

/** PostgreSQL, newest major version, a superuser's URL, 64 prepared transactions, wal_level logical. */
export function testPgUrl(): string {
  return addressOf('pg');
}

/** PostgreSQL, oldest major version, a superuser's URL, no prepared transactions. */
export function testPgNo2pcUrl(): string {
  return addressOf('pg-no2pc');
}

/** `host:port,…` of ZooKeeper, one server unless TEST_ZK_HOSTS names more. */
export function testZkHosts(): string {
  return addressOf('zk');
}

/** `host:port,…` of Kafka. */
export function testKafkaBrokers(): string {
  return addressOf('kafka');
}

/**
 * The address of a service that is not always there (`pg14` to `pg17`, `kafka39`, `zk-ensemble`): started when its
 * TEST_* variable is not set, and stopped when the run ends.
 */
export async function testService(name: string): Promise<string> {
  const variable = variableOf(name);
  const set = process.env[variable];
  if (set !== undefined && set !== '') return set;
  return (await ensureServices([name]))[variable] ?? '';
}

function addressOf(name: string): string {
  const variable = variableOf(name);
  const value = process.env[variable];
  if (value !== undefined && value !== '') return value;
  throw new Error(
    `${variable} is not set: no ${name} for this test.\nStart one: npm run -s services -- up ${name}\nthen: export $(npm run -s services -- env)`,
  );
}

function variableOf(name: string): string {
  const service = findService(name);
  if (service === undefined) throw new Error(`no such service: ${name}`);
  return service.variable;
}

export interface TestDatabaseOptions {
  /** Superuser's URL of the server. Default: testPgUrl(). */
  readonly server?: string;
}

/** A fresh, empty database, for a test file or a test; see test-database.ts. */
export function createTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  return makeTestDatabase(options.server ?? testPgUrl());
}
