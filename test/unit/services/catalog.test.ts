/** Addresses of services as tests get them. */

import { describe, expect, it } from 'vitest';
import {
  addressOf,
  DEFAULT_SERVICES,
  findService,
  portCount,
  SERVICES,
} from '../../../scripts/services/catalog.js';

function address(name: string, ports: readonly number[]): string {
  const service = findService(name);
  if (service === undefined) throw new Error(name);
  expect(portCount(service)).toBe(ports.length);
  return addressOf(service, ports);
}

describe('the catalog', () => {
  it('has no name and no variable twice', () => {
    expect(new Set(SERVICES.map((service) => service.name)).size).toBe(SERVICES.length);
    expect(new Set(SERVICES.map((service) => service.variable)).size).toBe(SERVICES.length);
  });

  it('knows the services of a test run', () => {
    expect(DEFAULT_SERVICES.map((name) => findService(name)?.variable)).toEqual([
      'TEST_PG_URL',
      'TEST_PG_NO_2PC_URL',
      'TEST_ZK_HOSTS',
      'TEST_KAFKA_BROKERS',
      'TEST_STOMP_URL',
      'TEST_REDIS_URL',
    ]);
  });

  it.each([
    ['pg', [20_001], 'postgres://postgres@127.0.0.1:20001/postgres'],
    ['zk', [20_001], '127.0.0.1:20001'],
    ['zk-ensemble', [1, 2, 3, 4, 5, 6, 7, 8, 9], '127.0.0.1:1,127.0.0.1:4,127.0.0.1:7'],
    ['kafka', [20_001, 20_002], '127.0.0.1:20001'],
    ['stomp', [20_001], 'stomp://shovel:shovel@127.0.0.1:20001'],
    ['redis', [20_001], 'redis://127.0.0.1:20001'],
  ])('gives the address of %s', (name, ports, expected) => {
    expect(address(name, ports)).toBe(expected);
  });
});
