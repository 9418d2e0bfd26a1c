/**
 * The shape of a set file: keys, types, spellings, defaults, each with the words that editors show. Decides what one
 * value may be by itself; what must hold between values is in set-file-rules.ts. docs/set-file.schema.json is made
 * from this schema (scripts/build-schema.ts).
 */
import { z } from 'zod';
import { DURATION_RULE, parseDuration } from './duration.js';
import { NAME_PATTERN, NAME_RULE, parseColumnName, parseTableName } from './names.js';
import { parseSize, SIZE_RULE } from './size.js';
import { strayVariableOffset } from './variables.js';
import { parseWhere } from './where-parse.js';

/** What a refinement adds to its message. */
export interface IssueParams {
  readonly hint: string;
  readonly offset: number;
}

/** An unknown key's issue carries the keys that would have been known, parted by spaces, as its message. */
function map<Shape extends z.ZodRawShape>(shape: Shape) {
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? Object.keys(shape).join(' ') : undefined),
  });
}

type Verdict =
  | { readonly problem: string; readonly hint: string; readonly offset?: number }
  | { readonly problem?: never };

function text(check: (value: string) => Verdict, otherwise?: string) {
  return z
    .string(otherwise === undefined ? undefined : { error: otherwise })
    .superRefine((value, context) => {
      const verdict = check(value);
      if (verdict.problem !== undefined) {
        const params: IssueParams = { hint: verdict.hint, offset: verdict.offset ?? 0 };
        context.addIssue({ code: 'custom', message: verdict.problem, params });
      }
    });
}

const FINE: Verdict = {};

const name = z.string().regex(NAME_PATTERN, { error: `not a name: ${NAME_RULE}` });

/** A map by name. The names are checked by the rules, so that a bad one does not hide what is wrong below it. */
function named<Value extends z.ZodType>(value: Value) {
  return z.record(z.string(), value).meta({ propertyNames: { pattern: NAME_PATTERN.source } });
}

const tableName = text((value) => {
  const parsed = parseTableName(value);
  return 'problem' in parsed ? parsed : FINE;
});

const plainTableName = text((value) => {
  const parsed = parseTableName(value);
  if ('problem' in parsed) {
    return parsed;
  }
  return parsed.name.table === '*'
    ? { problem: 'one table is meant here, not all of a schema', hint: 'write schema.table' }
    : FINE;
});

const columnName = text((value) => {
  const parsed = parseColumnName(value);
  return 'problem' in parsed ? parsed : FINE;
});

const columnList = z.array(columnName).min(1, { error: 'the list is empty' });

/** A text that may hold `${NAME}`. */
const open = text((value) => {
  const offset = strayVariableOffset(value);
  if (offset !== undefined) {
    return { problem: '${ begins no variable', hint: 'write ${NAME}: letters, digits, underscores', offset };
  }
  return value.includes('\0') ? { problem: 'a text holds a NUL character', hint: 'remove it' } : FINE;
});

const filled = open.min(1, { error: 'the text is empty' });

const size = z.union([
  text((value) =>
    parseSize(value) === undefined ? { problem: `not a size: ${value}`, hint: SIZE_RULE } : FINE,
  ),
  z.int().positive({ error: 'a size is a number above 0' }),
]);

const duration = text(
  (value) =>
    parseDuration(value) === undefined ? { problem: `not a duration: ${value}`, hint: DURATION_RULE } : FINE,
  `not a duration: write ${DURATION_RULE}`,
);

const whereText = text((value) => {
  const parsed = parseWhere(value);
  return 'problem' in parsed ? parsed : FINE;
});

const database = map({
  dsn: open.describe('libpq connection string or URL; ${NAME} is taken from the environment of who connects'),
});

const operation = z.enum(['insert', 'update', 'delete', 'truncate']);

const table = map({
  name: tableName.describe(
    'schema.table, or schema.* for every table of a schema; odd names in double quotes',
  ),
  columns: columnList.optional().describe('Columns that are captured; default: all, also those added later'),
  exclude: columnList.optional().describe('Columns that are never captured; all others are'),
  key: z
    .union([z.literal('none'), columnList])
    .optional()
    .describe('Columns of the message key; default: primary key, else a usable unique index. none: no key'),
  before: z
    .enum(['key', 'full'])
    .optional()
    .describe('What before holds: the old key (default), or the old row'),
  unchanged_wide: z
    .enum(['include', 'omit'])
    .optional()
    .describe('Whether an update repeats wide columns that it did not change (default include)'),
  where: whereText
    .optional()
    .describe("Publishes only rows that pass, e.g. balance <> 0 and kind in ('a', 'b')"),
  operations: z
    .array(operation)
    .min(1, { error: 'the list is empty' })
    .optional()
    .describe('What is captured; default: all four'),
  capture: z.enum(['row', 'statement']).optional().describe('Row triggers (default) or statement triggers'),
});

const tls = map({
  ca: filled.optional().describe('PEM text or path of the authorities to trust'),
  cert: filled.optional().describe("PEM text or path of the client's certificate"),
  key: filled.optional().describe("PEM text or path of the client's private key"),
  passphrase: filled.optional().describe('Of the private key; better ${NAME}'),
  servername: filled.optional().describe("Name that the server's certificate is for"),
  reject_unauthorized: z.boolean().optional().describe("false: the server's certificate is not checked"),
});

const tlsChoice = z.union([z.boolean(), tls]);

const kafka = map({
  brokers: z
    .array(filled)
    .min(1, { error: 'the list is empty' })
    .describe('host:port of one or more brokers to begin with'),
  topic: filled
    .optional()
    .describe(
      'Template {cluster} {set} {node} {schema} {table}; with {table} keyed by row, else whole batches',
    ),
  partitions: z
    .int()
    .min(1, { error: 'a topic has at least one partition' })
    .max(10_000, { error: 'more than 10000 partitions' })
    .optional()
    .describe('Of a topic that is made; default 1'),
  ssl: tlsChoice.optional().describe('true, or certificates'),
  sasl: map({
    mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']),
    username: filled,
    password: filled.describe('Better ${NAME}: the set file is stored as written'),
  }).optional(),
  compression: z.enum(['none', 'gzip']).optional().describe('Default none'),
});

const stomp = map({
  url: filled.describe('stomp://host:port, or stomp+ssl://host:port'),
  destination: filled.describe('Template {cluster} {set} {node} {schema} {table}, e.g. /queue/shovel.{set}'),
  login: filled.optional(),
  passcode: filled.optional().describe('Better ${NAME}: the set file is stored as written'),
  tls: tlsChoice.optional().describe('true, or certificates'),
});

const file = map({
  path: filled.describe('Template {cluster} {set} {node} {schema} {table}; - is stdout'),
});

/** Debezium's options, under its names. */
const debezium = map({
  'decimal.handling.mode': z.enum(['precise', 'double', 'string']).optional(),
  'time.precision.mode': z
    .enum(['adaptive', 'adaptive_time_microseconds', 'connect', 'isostring'])
    .optional(),
  'binary.handling.mode': z.enum(['bytes', 'base64', 'base64-url-safe', 'hex']).optional(),
  'schemas.enable': z.boolean().optional(),
  'tombstones.on.delete': z.boolean().optional(),
  'skipped.operations': text((value) =>
    /^(?:none|[cudt](?:, ?[cudt])*)$/.test(value)
      ? FINE
      : { problem: `not a list of operations: ${value}`, hint: 'letters of c, u, d, t with commas, or none' },
  )
    .optional()
    .describe('Letters of c, u, d, t with commas, or none; default t'),
  'provide.transaction.metadata': z.boolean().optional(),
  'heartbeat.interval.ms': z.int().min(0, { error: 'an interval is not below 0' }).optional(),
});

const stream = map({
  kafka: kafka.optional(),
  stomp: stomp.optional(),
  file: file.optional(),
  format: z
    .union([z.enum(['shovel', 'debezium', 'golconde']), map({ debezium })])
    .optional()
    .describe('shovel (default), golconde, debezium, or { debezium: { option: value } }'),
  tables: z
    .array(tableName)
    .min(1, { error: 'the list is empty' })
    .optional()
    .describe('Some tables of the set; default: all'),
  transactions: z.boolean().optional().describe('Whole transactions inside a batch, one after another'),
  from: z.literal('start').optional().describe('start: from what the log still holds, not from now'),
}).meta({ oneOf: [{ required: ['kafka'] }, { required: ['stomp'] }, { required: ['file'] }] });

const targetTable = map({
  to: plainTableName.optional().describe('Name in the target; default: the same'),
  columns: z.record(columnName, columnName).optional().describe('Source column: target column'),
});

const target = map({
  stream: z.string().describe('The stream that is read'),
  postgres: map({ dsn: open.describe('As of a database; ${NAME} allowed') }).optional(),
  redis: map({
    url: filled.describe('redis://host:port/db; ${NAME} allowed'),
    key: filled.describe('Template; {column} is a value of the row, e.g. {table}:{id}'),
    as: z.enum(['hash', 'json']).optional().describe('A hash of columns (default), or one JSON text'),
    ttl: z
      .union([z.int().positive({ error: 'a time to live is above 0' }), duration])
      .optional()
      .describe('Seconds, or a duration such as 1h'),
  }).optional(),
  handler: map({
    module: filled.describe('Path of a module that exports apply(batch, transaction)'),
    postgres: map({ dsn: open }).optional(),
  }).optional(),
  tables: z
    .record(z.string(), targetTable)
    .optional()
    .describe('Tables that have another name in the target'),
  truncate: z.enum(['delete', 'native']).optional().describe('How a truncate is applied; default delete'),
  atomic: name.optional().describe('Name of a group of targets that commit together'),
}).meta({ oneOf: [{ required: ['postgres'] }, { required: ['redis'] }, { required: ['handler'] }] });

const limits = map({
  log_bytes: size.optional().describe('Of the mutation log; default 10GB'),
  lag: duration.optional().describe('Age of what is not published; default 6h'),
  row_bytes: size.optional().describe('Of one row; larger ones are logged by key; default 64MiB'),
  policy: z.enum(['warn', 'suspend']).optional().describe('What passing a limit does; default warn'),
});

/** A set file, before defaults. */
export const setFileSchema = map({
  name: name.optional().describe('Of the replication set; may be left out where the command names it'),
  databases: named(database)
    .refine((value) => Object.keys(value).length > 0, { error: 'the map is empty' })
    .describe('One database, or several of the same shape'),
  tables: z.array(table).min(1, { error: 'the list is empty' }).describe('What is captured'),
  streams: named(stream).optional().describe('Where it goes'),
  targets: named(target).optional().describe('What is kept equal to the source'),
  wake: z.enum(['auto', 'notify', 'poll']).optional().describe('How the relay learns of work; default auto'),
  commit: z
    .enum(['auto', 'prepared', 'staged'])
    .optional()
    .describe('How nodes change together; default auto'),
  limits: limits.optional(),
  capture_replicated: z
    .boolean()
    .optional()
    .describe('Also capture what replication writes (session_replication_role = replica); default false'),
});

export type SetFile = z.infer<typeof setFileSchema>;

/** JSON Schema (draft 7, which editors know) of a set file. */
export function setFileJsonSchema(): Readonly<Record<string, unknown>> {
  const { $schema, ...schema } = z.toJSONSchema(setFileSchema, { io: 'input', target: 'draft-7' });
  return { $schema, title: 'shovel set file', ...schema };
}
