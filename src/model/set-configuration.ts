/**
 * A set's configuration as data: the set file after validation, defaults filled in, names checked. Stored as
 * canonical JSON in the coordinator and in every node; its hash is over that JSON. What a database has to say
 * (columns, keys, types) is not in here.
 */

export interface SetConfiguration {
  readonly name: string;
  /** In the order of the file; the order fixes a database's number in the set. */
  readonly databases: Readonly<Record<string, DatabaseConfiguration>>;
  readonly tables: readonly TableConfiguration[];
  readonly streams: Readonly<Record<string, StreamConfiguration>>;
  readonly targets: Readonly<Record<string, TargetConfiguration>>;
  readonly wake: 'auto' | 'notify' | 'poll';
  readonly commit: 'auto' | 'prepared' | 'staged';
  readonly limits: LimitsConfiguration;
  readonly captureReplicated: boolean;
}

export interface DatabaseConfiguration {
  /** May hold `${NAME}`, filled in by the process that connects; stored as written. */
  readonly dsn: string;
}

/**
 * A table's name taken apart, as in the catalog; `table` is `*` for every table of a schema. A table that is listed
 * by name as well as by `*` goes by its own entry.
 */
export interface QualifiedName {
  readonly schema: string;
  readonly table: string;
}

export type Operation = 'insert' | 'update' | 'delete' | 'truncate';

export interface TableConfiguration {
  readonly name: QualifiedName;
  /** Undefined: all columns, also those added later. */
  readonly columns?: readonly string[];
  readonly exclude?: readonly string[];
  /** Undefined: primary key, else a usable unique index. `none`: no message key, whole old rows. */
  readonly key?: readonly string[] | 'none';
  readonly before: 'key' | 'full';
  readonly unchangedWide: 'include' | 'omit';
  /** The filter in its one spelling (`formatWhere`); the grammar is in model/where.ts. */
  readonly where?: string;
  readonly operations: readonly Operation[];
  readonly capture: 'row' | 'statement';
}

export type StreamFormat = 'shovel' | 'debezium' | 'golconde';

/** Debezium's options under Debezium's names, defaults filled in (its own, which are Kafka Connect's). */
export interface DebeziumOptions {
  readonly 'decimal.handling.mode': 'precise' | 'double' | 'string';
  readonly 'time.precision.mode': 'adaptive' | 'adaptive_time_microseconds' | 'connect' | 'isostring';
  readonly 'binary.handling.mode': 'bytes' | 'base64' | 'base64-url-safe' | 'hex';
  readonly 'schemas.enable': boolean;
  readonly 'tombstones.on.delete': boolean;
  /** Operations that are not published, of `c u d t`; sorted, without `none`. */
  readonly 'skipped.operations': readonly string[];
  /** Goes with the stream's `transactions`. */
  readonly 'provide.transaction.metadata': boolean;
  /** 0: no heartbeats. */
  readonly 'heartbeat.interval.ms': number;
}

/** Files are named by path, or hold PEM text. Any text may hold `${NAME}`. */
export interface TlsConfiguration {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly passphrase?: string;
  readonly servername?: string;
  /** False: the server's certificate is not checked. */
  readonly rejectUnauthorized: boolean;
}

interface StreamCommon {
  readonly format: StreamFormat;
  /** Given where the format is `debezium`. */
  readonly debezium?: DebeziumOptions;
  /** Undefined: all of the set. */
  readonly tables?: readonly QualifiedName[];
  readonly transactions: boolean;
  /** `start`: from what the log still holds; undefined: from the first ticket after its version is active. */
  readonly from?: 'start';
}

export interface SaslConfiguration {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
  readonly username: string;
  readonly password: string;
}

export interface KafkaStreamConfiguration extends StreamCommon {
  readonly kind: 'kafka';
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly partitions: number;
  readonly ssl: boolean | TlsConfiguration;
  readonly sasl?: SaslConfiguration;
  readonly compression: 'none' | 'gzip';
}

export interface StompStreamConfiguration extends StreamCommon {
  readonly kind: 'stomp';
  readonly url: string;
  readonly destination: string;
  readonly login?: string;
  readonly passcode?: string;
  readonly tls?: boolean | TlsConfiguration;
}

export interface FileStreamConfiguration extends StreamCommon {
  readonly kind: 'file';
  /** `-` is stdout. */
  readonly path: string;
}

export type StreamConfiguration =
  | KafkaStreamConfiguration
  | StompStreamConfiguration
  | FileStreamConfiguration;

/** Where a table's rows go in a PostgreSQL target. */
export interface TargetTable {
  readonly from: QualifiedName;
  /** Undefined: the same name. */
  readonly to?: QualifiedName;
  /** Source column → target column; others keep their names. */
  readonly columns: Readonly<Record<string, string>>;
}

export interface PostgresTargetSettings {
  /** May hold `${NAME}`. */
  readonly dsn: string;
  /** Only tables that go by other names; the rest of the stream keep theirs. Sorted by `from`. */
  readonly tables: readonly TargetTable[];
  readonly truncate: 'delete' | 'native';
  /** Targets of one group commit together. */
  readonly atomic?: string;
}

export interface RedisTargetSettings {
  /** May hold `${NAME}`. */
  readonly url: string;
  /** A template; besides the usual placeholders `{column}` is a column's text. */
  readonly key: string;
  readonly as: 'hash' | 'json';
  readonly ttlSeconds?: number;
}

export interface HandlerTargetSettings {
  /** Path of a module, relative to where the applier is started. */
  readonly module: string;
  /** The database whose transaction the handler gets. */
  readonly postgres?: { readonly dsn: string };
  readonly atomic?: string;
}

export type TargetConfiguration =
  | { readonly kind: 'postgres'; readonly stream: string; readonly settings: PostgresTargetSettings }
  | { readonly kind: 'redis'; readonly stream: string; readonly settings: RedisTargetSettings }
  | { readonly kind: 'handler'; readonly stream: string; readonly settings: HandlerTargetSettings };

export interface LimitsConfiguration {
  readonly logBytes: number;
  readonly lagMs: number;
  readonly rowBytes: number;
  readonly policy: 'warn' | 'suspend';
}
