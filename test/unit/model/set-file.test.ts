import { describe, expect, test } from 'vitest';
import type { SetConfiguration } from '../../../src/model/set-configuration.js';
import { formatIssue, parseSetFile, setFileError } from '../../../src/model/set-file.js';
import { decodeConfiguration, encodeConfiguration } from '../../../src/model/set-file-stored.js';

/** Every key that there is. */
const WHOLE = `
name: example
databases:
  main: { dsn: "postgres://app@db1,db2/app?target_session_attrs=read-write" }
  eu:   { dsn: "\${EU_DSN}" }
tables:
  - name: public.accounts
    columns: [id, owner, balance]
    key: [id]
    before: full
    unchanged_wide: omit
    where: "balance<>0"
    operations: [delete, insert]
    capture: row
  - name: public."Order Items"
    exclude: [notes]
    key: none
  - name: sales.*
    capture: statement
streams:
  events:
    kafka:
      brokers: ["127.0.0.1:9092", "\${BROKER}"]
      topic: "shovel.{set}"
      partitions: 3
      ssl: { ca: /etc/ca.pem, reject_unauthorized: false }
      sasl: { mechanism: scram-sha-256, username: u, password: "\${PW}" }
      compression: gzip
    tables: [public.accounts, sales.orders]
    transactions: true
    from: start
  dbz:
    kafka: { brokers: ["127.0.0.1:9092"] }
    format: { debezium: { skipped.operations: none, decimal.handling.mode: string, provide.transaction.metadata: true } }
  legacy:
    stomp: { url: "stomp://127.0.0.1:61613", destination: "/queue/shovel.{set}", login: a, passcode: b, tls: true }
    format: golconde
  trail:
    file: { path: "/var/lib/shovel/{set}.jsonl" }
targets:
  warehouse:
    stream: events
    postgres: { dsn: "\${WAREHOUSE_DSN}" }
    tables: { public.accounts: { to: dw.accounts, columns: { owner: owner_name } } }
    truncate: native
    atomic: finance
  cache:
    stream: events
    redis: { url: "redis://127.0.0.1:6379", key: "{table}:{id}", as: json, ttl: 1h }
  legacy_app:
    stream: events
    handler: { module: "./handlers/legacy.js", postgres: { dsn: "\${LEGACY_DSN}" } }
    atomic: finance
wake: poll
commit: staged
limits: { log_bytes: 1GiB, lag: 90s, row_bytes: 100, policy: suspend }
capture_replicated: true
`;

const LEAST = `
databases: { main: { dsn: "" } }
tables: [{ name: accounts }]
`;

function configurationOf(text: string, name?: string): SetConfiguration {
  const parsed = parseSetFile(text, { file: 'set.yaml', ...(name === undefined ? {} : { name }) });
  if (parsed.configuration === undefined) {
    throw new Error(parsed.issues.map(formatIssue).join('\n'));
  }
  return parsed.configuration;
}

describe('a set file', () => {
  test('is read with every key', () => {
    const configuration = configurationOf(WHOLE);
    expect(Object.keys(configuration.databases)).toEqual(['main', 'eu']);
    expect(configuration.databases.eu).toEqual({ dsn: '${EU_DSN}' });
    expect(configuration.tables).toEqual([
      {
        name: { schema: 'public', table: 'Order Items' },
        exclude: ['notes'],
        key: 'none',
        before: 'key',
        unchangedWide: 'include',
        operations: ['insert', 'update', 'delete', 'truncate'],
        capture: 'row',
      },
      {
        name: { schema: 'public', table: 'accounts' },
        columns: ['id', 'owner', 'balance'],
        key: ['id'],
        before: 'full',
        unchangedWide: 'omit',
        where: 'balance <> 0',
        operations: ['insert', 'delete'],
        capture: 'row',
      },
      {
        name: { schema: 'sales', table: '*' },
        before: 'key',
        unchangedWide: 'include',
        operations: ['insert', 'update', 'delete', 'truncate'],
        capture: 'statement',
      },
    ]);
    expect(configuration.streams).toEqual({
      events: {
        kind: 'kafka',
        format: 'shovel',
        tables: [
          { schema: 'public', table: 'accounts' },
          { schema: 'sales', table: 'orders' },
        ],
        transactions: true,
        from: 'start',
        brokers: ['127.0.0.1:9092', '${BROKER}'],
        topic: 'shovel.{set}',
        partitions: 3,
        ssl: { ca: '/etc/ca.pem', rejectUnauthorized: false },
        sasl: { mechanism: 'scram-sha-256', username: 'u', password: '${PW}' },
        compression: 'gzip',
      },
      dbz: {
        kind: 'kafka',
        format: 'debezium',
        debezium: {
          'decimal.handling.mode': 'string',
          'time.precision.mode': 'adaptive',
          'binary.handling.mode': 'bytes',
          'schemas.enable': true,
          'tombstones.on.delete': true,
          'skipped.operations': [],
          'provide.transaction.metadata': true,
          'heartbeat.interval.ms': 0,
        },
        transactions: true,
        brokers: ['127.0.0.1:9092'],
        topic: 'shovel.{set}.{schema}.{table}',
        partitions: 1,
        ssl: false,
        compression: 'none',
      },
      legacy: {
        kind: 'stomp',
        format: 'golconde',
        transactions: false,
        url: 'stomp://127.0.0.1:61613',
        destination: '/queue/shovel.{set}',
        login: 'a',
        passcode: 'b',
        tls: true,
      },
      trail: { kind: 'file', format: 'shovel', transactions: false, path: '/var/lib/shovel/{set}.jsonl' },
    });
    expect(configuration.targets).toEqual({
      warehouse: {
        kind: 'postgres',
        stream: 'events',
        settings: {
          dsn: '${WAREHOUSE_DSN}',
          tables: [
            {
              from: { schema: 'public', table: 'accounts' },
              to: { schema: 'dw', table: 'accounts' },
              columns: { owner: 'owner_name' },
            },
          ],
          truncate: 'native',
          atomic: 'finance',
        },
      },
      cache: {
        kind: 'redis',
        stream: 'events',
        settings: { url: 'redis://127.0.0.1:6379', key: '{table}:{id}', as: 'json', ttlSeconds: 3600 },
      },
      legacy_app: {
        kind: 'handler',
        stream: 'events',
        settings: { module: './handlers/legacy.js', postgres: { dsn: '${LEGACY_DSN}' }, atomic: 'finance' },
      },
    });
    expect(configuration).toMatchObject({
      name: 'example',
      wake: 'poll',
      commit: 'staged',
      limits: { logBytes: 2 ** 30, lagMs: 90_000, rowBytes: 100, policy: 'suspend' },
      captureReplicated: true,
    });
  });

  test('needs little, the rest is default', () => {
    expect(configurationOf(LEAST, 'from_command')).toEqual({
      name: 'from_command',
      databases: { main: { dsn: '' } },
      tables: [
        {
          name: { schema: 'public', table: 'accounts' },
          before: 'key',
          unchangedWide: 'include',
          operations: ['insert', 'update', 'delete', 'truncate'],
          capture: 'row',
        },
      ],
      streams: {},
      targets: {},
      wake: 'auto',
      commit: 'auto',
      limits: { logBytes: 10_000_000_000, lagMs: 21_600_000, rowBytes: 67_108_864, policy: 'warn' },
      captureReplicated: false,
    });
  });

  test('may be JSON, and may use anchors', () => {
    const json = '{"name":"a","databases":{"m":{"dsn":"x"}},"tables":[{"name":"t"}]}';
    expect(configurationOf(json).name).toBe('a');
    const anchored =
      'name: a\ndatabases: { m: { dsn: x } }\ntables:\n  - { name: t, key: &k [id] }\n  - { name: u, key: *k }\n';
    expect(configurationOf(anchored).tables[1]?.key).toEqual(['id']);
  });
});

describe('the stored text', () => {
  test('is read back as the same configuration', () => {
    for (const configuration of [configurationOf(WHOLE), configurationOf(LEAST, 'a')]) {
      const text = encodeConfiguration(configuration);
      expect(decodeConfiguration(text)).toEqual(configuration);
      expect(Object.keys(decodeConfiguration(text).databases)).toEqual(Object.keys(configuration.databases));
      expect(encodeConfiguration(decodeConfiguration(text))).toBe(text);
    }
  });

  test('is the same for the same meaning', () => {
    const a = `
name: a
databases: { m: { dsn: x } }
tables:
  - { name: Public.T, operations: [truncate, insert, update, delete], where: "NOT (a=1)", exclude: [c, b] }
  - name: u
streams: { s: { file: { path: a } }, r: { file: { path: b }, tables: [u, t] } }
limits: { lag: 360m, log_bytes: 10000MB }
`;
    const b = `
limits: { row_bytes: 65536KiB }
streams: { r: { tables: [public.t, public.u], file: { path: b }, format: shovel }, s: { file: { path: a } } }
tables:
  - name: public.u
    before: key
  - { exclude: [b, c], where: "not  a = 1", name: "\\"public\\".t" }
databases: { m: { dsn: x } }
name: a
wake: auto
`;
    expect(encodeConfiguration(configurationOf(b))).toBe(encodeConfiguration(configurationOf(a)));
  });

  test('tells another order of databases apart: it gives them their numbers', () => {
    const ab = configurationOf('databases: { a: { dsn: x }, b: { dsn: y } }\ntables: [{ name: t }]', 's');
    const ba = configurationOf('databases: { b: { dsn: y }, a: { dsn: x } }\ntables: [{ name: t }]', 's');
    expect(encodeConfiguration(ab)).not.toBe(encodeConfiguration(ba));
  });

  test.each([
    '',
    '{',
    'null',
    '[]',
    '{}',
    '{"name":"a"}',
    '{"name":"a","databases":{"m":{"dsn":"x"}},"tables":[{"name":"t","new":1}]}',
  ])('that is none (%j) is damage', (text) => {
    expect(() => decodeConfiguration(text)).toThrow(
      expect.objectContaining({ code: 'configuration_damaged', exitCode: 25 }),
    );
  });
});

test('an invalid file is one error that names the first place', () => {
  const { issues = [] } = parseSetFile('wke: a\ntables: 1\n', { file: 'set.yaml' });
  const error = setFileError(issues);
  expect(error).toMatchObject({ code: 'set_file_invalid', exitCode: 20 });
  expect(error.message).toMatch(/^set\.yaml:1:1: .+, and \d more$/);
  expect(error.details).toEqual({ issues });
});
