/**
 * Everything that kafkajs or a socket throws, as a ShovelError: one total function, used wherever an error leaves
 * this folder. Decides what is worth a retry; a retry is always a fresh producer that reads the position first, so
 * whatever a new connection may cure counts as unreachable. Texts are ours: kafkajs' own may quote messages.
 */

import {
  ConfigurationError,
  type ErrorOptions,
  EXIT,
  FencedError,
  IntegrityError,
  ShovelError,
  UnreachableError,
} from '../../errors.js';

export interface KafkaErrorContext {
  /** `host:port`, shown to people. */
  readonly brokers: readonly string[];
  readonly transactionalId: string;
  readonly positionGroup: string;
}

/** Codes younger than kafkajs have no name there, only this text. */
const UNNAMED = /^Unknown error code (-?[0-9]+)$/;
const NAMES: Readonly<Record<string, string>> = { '90': 'PRODUCER_FENCED' };
const FENCED = new Set(['INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED']);
const LOGIN = new Set(['SASL_AUTHENTICATION_FAILED', 'UNSUPPORTED_SASL_MECHANISM', 'ILLEGAL_SASL_STATE']);
const DENIED = new Set([
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
  'DELEGATION_TOKEN_AUTHORIZATION_FAILED',
]);
const TOO_LARGE = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE']);
/** What no retry cures: the broker's or the topic's settings, or its version. */
const REFUSED = new Set([
  'INVALID_TOPIC_EXCEPTION',
  'INVALID_TRANSACTION_TIMEOUT',
  'INVALID_REQUIRED_ACKS',
  'INVALID_GROUP_ID',
  'INVALID_COMMIT_OFFSET_SIZE',
  'INVALID_TIMESTAMP',
  'INVALID_PARTITIONS',
  'INVALID_REPLICATION_FACTOR',
  'INVALID_REPLICA_ASSIGNMENT',
  'INVALID_CONFIG',
  'INVALID_REQUEST',
  'INVALID_RECORD',
  'OFFSET_METADATA_TOO_LARGE',
  'POLICY_VIOLATION',
  'SECURITY_DISABLED',
  'UNSUPPORTED_VERSION',
  'UNSUPPORTED_FOR_MESSAGE_FORMAT',
  'UNSUPPORTED_COMPRESSION_TYPE',
]);
const REFUSED_NAMES = new Set(['KafkaJSNotImplemented', 'KafkaJSServerDoesNotSupportApiKey']);
const CONNECTION_NAMES = new Set([
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSTimeout',
  'KafkaJSLockTimeout',
  'KafkaJSBrokerNotFound',
  'KafkaJSNoBrokerAvailableError',
]);
const TLS_CODES =
  /^(ERR_TLS_|ERR_SSL_|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|EPROTO$)/;

interface Link {
  readonly name: string;
  readonly type: string | undefined;
  readonly code: string | number | undefined;
}

/** Kafka's name of an error (`UNKNOWN_TOPIC_OR_PARTITION`), looked for along `cause`; undefined where none has one. */
export function kafkaErrorType(error: unknown): string | undefined {
  for (const link of chain(error)) {
    if (link.type !== undefined) return link.type;
  }
  return undefined;
}

/** Total: whatever comes in, a ShovelError comes out; one that is already is returned as it is. */
export function translateKafkaError(error: unknown, context: KafkaErrorContext): ShovelError {
  if (error instanceof ShovelError) return error;
  const where = context.brokers.join(', ');
  const links = chain(error);
  const type = kafkaErrorType(error);
  if (type !== undefined) return fromType(type, { where, context, error });

  const tls = links.find((link) => typeof link.code === 'string' && TLS_CODES.test(link.code));
  if (tls !== undefined) {
    return new ConfigurationError('kafka_tls', `TLS with Kafka at ${where} fails: ${String(tls.code)}`, {
      hint: 'Check ssl of the stream (ca, cert, key, servername) and that the port is the TLS listener.',
      details: { brokers: context.brokers, reason: tls.code },
      cause: error,
    });
  }
  if (links.some((link) => link.name === 'KafkaJSSASLAuthenticationError')) {
    return loginRefused(where, context, error);
  }
  const refused = links.find((link) => REFUSED_NAMES.has(link.name));
  if (refused !== undefined) return refusedBy(refused.name, { where, context, error });

  if (links.some((link) => link.name === 'KafkaJSGroupCoordinatorNotFound')) {
    return new UnreachableError('kafka_unavailable', `Kafka at ${where} names no transaction coordinator`, {
      hint: `If it lasts: check the broker's log, and that the user has Write on TransactionalId "${context.transactionalId}" (a denied one looks the same).`,
      details: { brokers: context.brokers, transactional_id: context.transactionalId },
      cause: error,
    });
  }
  const connection = links.find((link) => CONNECTION_NAMES.has(link.name) || typeof link.code === 'string');
  if (connection !== undefined || links.some((link) => link.name.startsWith('KafkaJS'))) {
    const reason = reasonOf(links);
    return new UnreachableError('kafka_unreachable', `Kafka at ${where} can't be reached: ${reason}`, {
      hint: 'Check that the brokers run, that host and port are right, and that ssl and sasl fit the listener.',
      details: { brokers: context.brokers, reason },
      cause: error,
    });
  }
  const name = links[0]?.name ?? typeof error;
  if (thrownByLibrary(error)) {
    return new UnreachableError('kafka_client_failed', `the client of Kafka at ${where} gave up: ${name}`, {
      hint: "Tried again by itself with a new client; if it lasts, look at the brokers' logs.",
      details: { brokers: context.brokers, reason: name },
      cause: error,
    });
  }
  return new ShovelError(
    { code: 'kafka_unexpected', exitCode: EXIT.bug, retryable: false },
    `publishing to Kafka at ${where} met an unexpected ${name}`,
    { hint: 'This is a bug: please report it with the stack trace (--log-level debug).', cause: error },
  );
}

interface Origin {
  readonly where: string;
  readonly context: KafkaErrorContext;
  readonly error: unknown;
}

function fromType(type: string, { where, context, error }: Origin): ShovelError {
  const options = (hint: string): ErrorOptions => ({
    hint,
    details: { brokers: context.brokers, kafka_error: type },
    cause: error,
  });
  if (FENCED.has(type)) {
    return new FencedError('stream_fenced', `another publisher took over "${context.transactionalId}"`, {
      hint: 'The relay starts again if it still owns the set (a transaction that timed out looks the same); otherwise nothing is to be done.',
      details: { transactional_id: context.transactionalId, kafka_error: type },
      cause: error,
    });
  }
  if (LOGIN.has(type)) return loginRefused(where, context, error);
  if (DENIED.has(type)) {
    return new ConfigurationError(
      'kafka_denied',
      `Kafka at ${where} denies what the stream needs: ${type}`,
      options(
        `Grant the user Write, Describe and Read on the stream's topics, Read on group "${context.positionGroup}", Write on TransactionalId "${context.transactionalId}".`,
      ),
    );
  }
  if (TOO_LARGE.has(type)) {
    return new IntegrityError(
      'message_too_large',
      `Kafka at ${where} refuses a message: ${type}`,
      options('Raise max.message.bytes of the topic, or leave the message out with shovel stream skip.'),
    );
  }
  if (REFUSED.has(type)) return refusedBy(type, { where, context, error });
  return new UnreachableError(
    'kafka_unavailable',
    `Kafka at ${where} can't take messages now: ${type}`,
    options("Tried again by itself; if it lasts, look at the brokers' logs."),
  );
}

function refusedBy(reason: string, { where, context, error }: Origin): ConfigurationError {
  return new ConfigurationError('kafka_refused', `Kafka at ${where} refuses the stream: ${reason}`, {
    hint: "Compare the stream's settings with those of the brokers and the topic; Kafka 3.9 to 4.2 is supported.",
    details: { brokers: context.brokers, kafka_error: reason },
    cause: error,
  });
}

function loginRefused(where: string, context: KafkaErrorContext, error: unknown): ConfigurationError {
  return new ConfigurationError('kafka_login_refused', `Kafka at ${where} refuses the login`, {
    hint: 'Check sasl of the stream: mechanism, username and password.',
    details: { brokers: context.brokers },
    cause: error,
  });
}

/**
 * kafkajs throws plain errors ("Broker not connected") and stumbles over undefined where a broker went away at a bad
 * moment. A new client cures that, so what is thrown inside it counts as its failure, not as a bug of ours.
 */
function thrownByLibrary(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const frame = error.stack?.split('\n').find((line) => line.trimStart().startsWith('at '));
  return frame !== undefined && /[\\/]node_modules[\\/]kafkajs[\\/]/.test(frame);
}

/** The most telling word: the socket's code, else what kafkajs calls it. */
function reasonOf(links: readonly Link[]): string {
  const coded = links.find((link) => typeof link.code === 'string');
  if (coded !== undefined) return String(coded.code);
  const last = links.at(-1)?.name ?? 'unknown';
  const words: Readonly<Record<string, string>> = {
    KafkaJSRequestTimeoutError: 'no answer in time',
    KafkaJSConnectionError: 'connection timed out',
    KafkaJSConnectionClosedError: 'the connection was closed',
  };
  return words[last] ?? last;
}

/** The error and its causes, outermost first, at most eight; of an aggregate the first member. */
function chain(error: unknown): readonly Link[] {
  const links: Link[] = [];
  let current: unknown = error;
  while (current instanceof Error && links.length < 8) {
    const type: unknown = Reflect.get(current, 'type');
    const code: unknown = Reflect.get(current, 'code');
    const unnamed = UNNAMED.exec(current.message)?.[1];
    links.push({
      name: current.name,
      type:
        unnamed === undefined
          ? typeof type === 'string'
            ? type
            : undefined
          : (NAMES[unnamed] ?? `error ${unnamed}`),
      code: typeof code === 'string' || typeof code === 'number' ? code : undefined,
    });
    const inner: unknown = Reflect.get(current, 'errors');
    current = current.cause ?? (Array.isArray(inner) ? inner[0] : undefined);
  }
  return links;
}
