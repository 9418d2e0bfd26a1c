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

/** A table's name taken apart; `table` is `*` for every table of a schema. */
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
  /** The filter's text as written; its grammar is in model/where.ts. */
  readonly where?: string;
  readonly operations: readonly Operation[];
  readonly capture: 'row' | 'statement';
}

export type StreamFormat = 'shovel' | 'debezium' | 'golconde';

interface StreamCommon {
  readonly format: StreamFormat;
  /** Undefined: all of the set. */
  readonly tables?: readonly QualifiedName[];
  readonly transactions: boolean;
  /** `start`: from what the log still holds; undefined: from the first ticket after its version is active. */
  readonly from?: 'start';
}

export interface KafkaStreamConfiguration extends StreamCommon {
  readonly kind: 'kafka';
  readonly brokers: readonly string[];
  readonly topic: string;
  readonly partitions: number;
  readonly ssl: boolean | Readonly<Record<string, unknown>>;
  readonly sasl?: { readonly mechanism: string; readonly username: string; readonly password: string };
  readonly compression: 'none' | 'gzip';
}

export interface StompStreamConfiguration extends StreamCommon {
  readonly kind: 'stomp';
  readonly url: string;
  readonly destination: string;
  readonly login?: string;
  readonly passcode?: string;
  readonly tls?: boolean | Readonly<Record<string, unknown>>;
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

export interface TargetConfiguration {
  readonly stream: string;
  /** Kept as validated plain data; the applier that reads it knows its shape. */
  readonly settings: Readonly<Record<string, unknown>>;
}

export interface LimitsConfiguration {
  readonly logBytes: number;
  readonly lagMs: number;
  readonly rowBytes: number;
  readonly policy: 'warn' | 'suspend';
}
