/**
 * How a configuration is stored and hashed: a set file in JSON, every default written out, one text for one meaning.
 * Databases keep their order (a database's number in the set comes from it); everything else is sorted. What comes
 * back from a store is checked like a file.
 */
import { IntegrityError } from '../errors.js';
import { canonicalJson, type JsonValue, orderedJson } from './canonical-json.js';
import { formatDuration } from './duration.js';
import { formatColumnName, formatTableName } from './names.js';
import type {
  DebeziumOptions,
  SetConfiguration,
  StreamConfiguration,
  TableConfiguration,
  TargetConfiguration,
  TlsConfiguration,
} from './set-configuration.js';
import { checkSetFile } from './set-file-check.js';
import { formatPath } from './set-file-path.js';
import { formatSize } from './size.js';

interface JsonObject {
  readonly [name: string]: JsonValue | undefined;
}

/** The configuration as a set file's data: what `set inspect` shows and a person could write. */
export function configurationDocument(configuration: SetConfiguration): JsonObject {
  const { limits } = configuration;
  return {
    name: configuration.name,
    databases: record(configuration.databases, ({ dsn }) => ({ dsn })),
    tables: configuration.tables.map(tableDocument),
    streams: record(configuration.streams, streamDocument),
    targets: record(configuration.targets, targetDocument),
    wake: configuration.wake,
    commit: configuration.commit,
    limits: {
      log_bytes: formatSize(limits.logBytes),
      lag: formatDuration(limits.lagMs),
      row_bytes: formatSize(limits.rowBytes),
      policy: limits.policy,
    },
    capture_replicated: configuration.captureReplicated,
  };
}

/** The canonical JSON text; its sha256 is the configuration's hash. */
export function encodeConfiguration(configuration: SetConfiguration): string {
  const databases = orderedJson(
    Object.entries(configuration.databases).map(([name, { dsn }]) => [name, { dsn }] as const),
  );
  const document = configurationDocument(configuration);
  const members = Object.keys(document)
    .sort()
    .map(
      (key) =>
        `${JSON.stringify(key)}:${key === 'databases' ? databases : canonicalJson(document[key] ?? null)}`,
    );
  return `{${members.join(',')}}`;
}

/**
 * The configuration in a stored text.
 * @throws IntegrityError `configuration_damaged` where it is none, or one that this release can't read.
 */
export function decodeConfiguration(text: string): SetConfiguration {
  const checked = checkSetFile(parse(text), {});
  if ('configuration' in checked) {
    return checked.configuration;
  }
  const [first] = checked.findings;
  throw damaged(first === undefined ? 'it is empty' : `${formatPath(first.path)}: ${first.message}`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw damaged('it is no JSON');
  }
}

function damaged(why: string): IntegrityError {
  return new IntegrityError('configuration_damaged', `a stored configuration can't be read: ${why}`, {
    hint: 'use the release of shovel that wrote it, or restore it: shovel cluster recover --from-nodes',
  });
}

function record<Value>(
  values: Readonly<Record<string, Value>>,
  build: (value: Value) => JsonValue,
): JsonObject {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, build(value)]));
}

function tableDocument(table: TableConfiguration): JsonObject {
  return {
    name: formatTableName(table.name),
    columns: table.columns?.map(formatColumnName),
    exclude: table.exclude?.map(formatColumnName),
    key: table.key === undefined || table.key === 'none' ? table.key : table.key.map(formatColumnName),
    before: table.before,
    unchanged_wide: table.unchangedWide,
    where: table.where,
    operations: table.operations,
    capture: table.capture,
  };
}

function streamDocument(stream: StreamConfiguration): JsonObject {
  return {
    ...destinationDocument(stream),
    format: stream.debezium === undefined ? stream.format : { debezium: debeziumDocument(stream.debezium) },
    tables: stream.tables?.map(formatTableName),
    transactions: stream.transactions,
    from: stream.from,
  };
}

function debeziumDocument(options: DebeziumOptions): JsonObject {
  const skipped = options['skipped.operations'];
  return { ...options, 'skipped.operations': skipped.length === 0 ? 'none' : skipped.join(',') };
}

function destinationDocument(stream: StreamConfiguration): JsonObject {
  switch (stream.kind) {
    case 'kafka': {
      const { brokers, topic, partitions, compression, sasl } = stream;
      return {
        kafka: {
          brokers,
          topic,
          partitions,
          ssl: tlsDocument(stream.ssl),
          sasl: sasl === undefined ? undefined : { ...sasl },
          compression,
        },
      };
    }
    case 'stomp': {
      const { url, destination, login, passcode, tls } = stream;
      return {
        stomp: { url, destination, login, passcode, tls: tls === undefined ? undefined : tlsDocument(tls) },
      };
    }
    case 'file':
      return { file: { path: stream.path } };
  }
}

function tlsDocument(tls: boolean | TlsConfiguration): JsonValue {
  if (typeof tls === 'boolean') {
    return tls;
  }
  const { rejectUnauthorized, ...texts } = tls;
  return { ...texts, reject_unauthorized: rejectUnauthorized };
}

function targetDocument(target: TargetConfiguration): JsonObject {
  const { stream } = target;
  switch (target.kind) {
    case 'postgres': {
      const { dsn, tables, truncate, atomic } = target.settings;
      const entries = tables.map(({ from, to, columns }): [string, JsonObject] => [
        formatTableName(from),
        {
          to: to === undefined ? undefined : formatTableName(to),
          columns: Object.fromEntries(
            Object.entries(columns).map(([source, place]) => [
              formatColumnName(source),
              formatColumnName(place),
            ]),
          ),
        },
      ]);
      return { stream, postgres: { dsn }, tables: Object.fromEntries(entries), truncate, atomic };
    }
    case 'redis': {
      const { url, key, as, ttlSeconds } = target.settings;
      return { stream, redis: { url, key, as, ttl: ttlSeconds } };
    }
    case 'handler': {
      const { module, postgres, atomic } = target.settings;
      return {
        stream,
        handler: { module, postgres: postgres === undefined ? undefined : { dsn: postgres.dsn } },
        atomic,
      };
    }
  }
}
