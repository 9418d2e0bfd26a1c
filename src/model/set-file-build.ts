/**
 * From a checked set file to a configuration: defaults filled in, names taken apart, one order for what has none
 * (tables, streams, targets, operations), so that files of the same meaning give the same configuration. Decides the
 * defaults.
 */
import { parseDuration } from './duration.js';
import { formatTableName, parseColumnName, parseTableName } from './names.js';
import type {
  DebeziumOptions,
  KafkaStreamConfiguration,
  LimitsConfiguration,
  Operation,
  QualifiedName,
  SetConfiguration,
  StreamConfiguration,
  StreamFormat,
  TableConfiguration,
  TargetConfiguration,
  TargetTable,
  TlsConfiguration,
} from './set-configuration.js';
import { DEFAULT_DEBEZIUM_TOPIC, DEFAULT_TOPIC } from './set-file-rules-streams.js';
import type { SetFile } from './set-file-schema.js';
import { parseSize } from './size.js';
import { parseWhere } from './where-parse.js';
import { formatWhere } from './where-render.js';

type TableFile = SetFile['tables'][number];
type StreamFile = NonNullable<SetFile['streams']>[string];
type KafkaFile = NonNullable<StreamFile['kafka']>;
type TargetFile = NonNullable<SetFile['targets']>[string];
type TlsFile = Exclude<NonNullable<KafkaFile['ssl']>, boolean>;
type DebeziumFile = Exclude<NonNullable<StreamFile['format']>, string>['debezium'];

const OPERATIONS: readonly Operation[] = ['insert', 'update', 'delete', 'truncate'];

const DEFAULT_LIMITS: LimitsConfiguration = {
  logBytes: 10_000_000_000,
  lagMs: 6 * 3_600_000,
  rowBytes: 64 * 2 ** 20,
  policy: 'warn',
};

/** `file` has passed the schema and the rules; `name` where the file names no set. */
export function buildConfiguration(file: SetFile, options: { readonly name: string }): SetConfiguration {
  return {
    name: file.name ?? options.name,
    databases: Object.fromEntries(Object.entries(file.databases).map(([name, { dsn }]) => [name, { dsn }])),
    tables: file.tables.map(buildTable).sort((a, b) => compareNames(a.name, b.name)),
    streams: sortedRecord(file.streams ?? {}, buildStream),
    targets: sortedRecord(file.targets ?? {}, buildTarget),
    wake: file.wake ?? 'auto',
    commit: file.commit ?? 'auto',
    limits: buildLimits(file.limits),
    captureReplicated: file.capture_replicated ?? false,
  };
}

function sortedRecord<From, To>(
  record: Readonly<Record<string, From>>,
  build: (value: From) => To,
): Readonly<Record<string, To>> {
  const sorted = Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(sorted.map(([name, value]) => [name, build(value)]));
}

function compareNames(a: QualifiedName, b: QualifiedName): number {
  const [left, right] = [formatTableName(a), formatTableName(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

function buildTable(table: TableFile): TableConfiguration {
  return {
    name: tableName(table.name),
    ...(table.columns === undefined ? {} : { columns: table.columns.map(columnName) }),
    ...(table.exclude === undefined ? {} : { exclude: table.exclude.map(columnName).sort() }),
    ...(table.key === undefined ? {} : { key: table.key === 'none' ? 'none' : table.key.map(columnName) }),
    before: table.before ?? 'key',
    unchangedWide: table.unchanged_wide ?? 'include',
    ...(table.where === undefined ? {} : { where: whereText(table.where) }),
    operations: OPERATIONS.filter((operation) => (table.operations ?? OPERATIONS).includes(operation)),
    capture: table.capture ?? 'row',
  };
}

function buildStream(stream: StreamFile): StreamConfiguration {
  const format = formatName(stream);
  const debezium = format === 'debezium' ? buildDebezium(stream) : undefined;
  const common = {
    format,
    ...(debezium === undefined ? {} : { debezium }),
    ...(stream.tables === undefined ? {} : { tables: stream.tables.map(tableName).sort(compareNames) }),
    transactions: stream.transactions ?? debezium?.['provide.transaction.metadata'] ?? false,
    ...(stream.from === undefined ? {} : { from: stream.from }),
  };
  if (stream.kafka !== undefined) {
    return { kind: 'kafka', ...common, ...buildKafka(stream.kafka, format) };
  }
  if (stream.stomp !== undefined) {
    const { url, destination, login, passcode, tls } = stream.stomp;
    return {
      kind: 'stomp',
      ...common,
      url,
      destination,
      ...(login === undefined ? {} : { login }),
      ...(passcode === undefined ? {} : { passcode }),
      ...(tls === undefined ? {} : { tls: buildTls(tls) }),
    };
  }
  return { kind: 'file', ...common, path: given(stream.file, 'a stream without destination').path };
}

function formatName({ format }: StreamFile): StreamFormat {
  return typeof format === 'object' ? 'debezium' : (format ?? 'shovel');
}

function buildDebezium({ format, transactions }: StreamFile): DebeziumOptions {
  const options: DebeziumFile = typeof format === 'object' ? format.debezium : {};
  const skipped = options['skipped.operations'] ?? 't';
  return {
    'decimal.handling.mode': options['decimal.handling.mode'] ?? 'precise',
    'time.precision.mode': options['time.precision.mode'] ?? 'adaptive',
    'binary.handling.mode': options['binary.handling.mode'] ?? 'bytes',
    'schemas.enable': options['schemas.enable'] ?? true,
    'tombstones.on.delete': options['tombstones.on.delete'] ?? true,
    'skipped.operations': skipped === 'none' ? [] : [...new Set(skipped.split(/, ?/))].sort(),
    'provide.transaction.metadata': options['provide.transaction.metadata'] ?? transactions ?? false,
    'heartbeat.interval.ms': options['heartbeat.interval.ms'] ?? 0,
  };
}

function buildKafka(
  kafka: KafkaFile,
  format: StreamFormat,
): Pick<KafkaStreamConfiguration, 'brokers' | 'topic' | 'partitions' | 'ssl' | 'sasl' | 'compression'> {
  return {
    brokers: kafka.brokers,
    topic: kafka.topic ?? (format === 'debezium' ? DEFAULT_DEBEZIUM_TOPIC : DEFAULT_TOPIC),
    partitions: kafka.partitions ?? 1,
    ssl: buildTls(kafka.ssl ?? false),
    ...(kafka.sasl === undefined ? {} : { sasl: kafka.sasl }),
    compression: kafka.compression ?? 'none',
  };
}

function buildTls(tls: boolean | TlsFile): boolean | TlsConfiguration {
  if (typeof tls === 'boolean') {
    return tls;
  }
  const { ca, cert, key, passphrase, servername } = tls;
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(servername === undefined ? {} : { servername }),
    rejectUnauthorized: tls.reject_unauthorized ?? true,
  };
}

function buildTarget(target: TargetFile): TargetConfiguration {
  const { stream, postgres, redis, handler } = target;
  const atomic = target.atomic === undefined ? {} : { atomic: target.atomic };
  if (postgres !== undefined) {
    const truncate = target.truncate ?? 'delete';
    const tables = targetTables(target);
    return { kind: 'postgres', stream, settings: { dsn: postgres.dsn, tables, truncate, ...atomic } };
  }
  if (redis !== undefined) {
    const ttlSeconds = redis.ttl === undefined ? {} : { ttlSeconds: seconds(redis.ttl) };
    return {
      kind: 'redis',
      stream,
      settings: { url: redis.url, key: redis.key, as: redis.as ?? 'hash', ...ttlSeconds },
    };
  }
  const { module, postgres: database } = given(handler, 'a target without kind');
  return {
    kind: 'handler',
    stream,
    settings: { module, ...(database === undefined ? {} : { postgres: { dsn: database.dsn } }), ...atomic },
  };
}

function targetTables(target: TargetFile): readonly TargetTable[] {
  return Object.entries(target.tables ?? {})
    .map(([from, { to, columns }]) => ({
      from: tableName(from),
      ...(to === undefined ? {} : { to: tableName(to) }),
      columns: Object.fromEntries(
        Object.entries(columns ?? {})
          .map(([source, place]) => [columnName(source), columnName(place)] as const)
          .sort(([a], [b]) => (a < b ? -1 : 1)),
      ),
    }))
    .sort((a, b) => compareNames(a.from, b.from));
}

function buildLimits(limits: SetFile['limits']): LimitsConfiguration {
  return {
    logBytes: limits?.log_bytes === undefined ? DEFAULT_LIMITS.logBytes : bytes(limits.log_bytes),
    lagMs: limits?.lag === undefined ? DEFAULT_LIMITS.lagMs : milliseconds(limits.lag),
    rowBytes: limits?.row_bytes === undefined ? DEFAULT_LIMITS.rowBytes : bytes(limits.row_bytes),
    policy: limits?.policy ?? DEFAULT_LIMITS.policy,
  };
}

function bytes(size: string | number): number {
  return typeof size === 'number' ? size : given(parseSize(size), 'a size that was not checked');
}

function milliseconds(duration: string): number {
  return given(parseDuration(duration), 'a duration that was not checked');
}

/** Redis counts whole seconds; less than one would be no time at all. */
function seconds(ttl: string | number): number {
  return typeof ttl === 'number' ? ttl : Math.ceil(milliseconds(ttl) / 1000);
}

function tableName(text: string): QualifiedName {
  const parsed = parseTableName(text);
  return 'name' in parsed ? parsed.name : unchecked('a table name that was not checked');
}

function columnName(text: string): string {
  const parsed = parseColumnName(text);
  return 'name' in parsed ? parsed.name : unchecked('a column name that was not checked');
}

function whereText(text: string): string {
  const parsed = parseWhere(text);
  return 'where' in parsed ? formatWhere(parsed.where) : unchecked('a filter that was not checked');
}

/** What the schema or the rules have seen to; its absence is a bug. */
function given<Value>(value: Value | undefined, otherwise: string): Value {
  return value === undefined ? unchecked(otherwise) : value;
}

function unchecked(what: string): never {
  throw new Error(`set file: ${what}`);
}
