import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import {
  ConfigurationError,
  EXIT,
  FencedError,
  IntegrityError,
  ShovelError,
  UnreachableError,
} from '../../../src/errors.js';
import { translateKafkaError } from '../../../src/streams/kafka/errors.js';

const require = createRequire(import.meta.url);
const errors: Record<string, new (...args: unknown[]) => Error> = require('kafkajs/src/errors');
const protocol: {
  errorCodes: { type: string; code: number }[];
  createErrorFromCode: (code: number) => Error;
} = require('kafkajs/src/protocol/error');

const context = { brokers: ['k1:9092', 'k2:9092'], transactionalId: 'shovel.t', positionGroup: 'shovel.g' };
const SECRET = 'value-of-a-row';

function make(name: string, ...args: unknown[]): Error {
  const Class = errors[name];
  if (Class === undefined) throw new Error(`kafkajs has no ${name}`);
  return new Class(...args);
}
function ofType(type: string): Error {
  const entry = protocol.errorCodes.find((error) => error.type === type);
  return protocol.createErrorFromCode(entry?.code ?? 12345);
}
function translate(error: unknown): ShovelError {
  return translateKafkaError(error, context);
}

describe('by the name of the protocol error', () => {
  const expected: Readonly<Record<string, readonly [typeof ShovelError | typeof FencedError, string]>> = {
    INVALID_PRODUCER_EPOCH: [FencedError, 'stream_fenced'],
    SASL_AUTHENTICATION_FAILED: [ConfigurationError, 'kafka_login_refused'],
    UNSUPPORTED_SASL_MECHANISM: [ConfigurationError, 'kafka_login_refused'],
    TOPIC_AUTHORIZATION_FAILED: [ConfigurationError, 'kafka_denied'],
    GROUP_AUTHORIZATION_FAILED: [ConfigurationError, 'kafka_denied'],
    CLUSTER_AUTHORIZATION_FAILED: [ConfigurationError, 'kafka_denied'],
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED: [ConfigurationError, 'kafka_denied'],
    MESSAGE_TOO_LARGE: [IntegrityError, 'message_too_large'],
    RECORD_LIST_TOO_LARGE: [IntegrityError, 'message_too_large'],
    INVALID_TRANSACTION_TIMEOUT: [ConfigurationError, 'kafka_refused'],
    INVALID_TOPIC_EXCEPTION: [ConfigurationError, 'kafka_refused'],
    POLICY_VIOLATION: [ConfigurationError, 'kafka_refused'],
    INVALID_RECORD: [ConfigurationError, 'kafka_refused'],
    UNSUPPORTED_VERSION: [ConfigurationError, 'kafka_refused'],
    OUT_OF_ORDER_SEQUENCE_NUMBER: [UnreachableError, 'kafka_unavailable'],
    UNKNOWN_PRODUCER_ID: [UnreachableError, 'kafka_unavailable'],
    INVALID_PRODUCER_ID_MAPPING: [UnreachableError, 'kafka_unavailable'],
    INVALID_TXN_STATE: [UnreachableError, 'kafka_unavailable'],
    CONCURRENT_TRANSACTIONS: [UnreachableError, 'kafka_unavailable'],
    GROUP_COORDINATOR_NOT_AVAILABLE: [UnreachableError, 'kafka_unavailable'],
    GROUP_LOAD_IN_PROGRESS: [UnreachableError, 'kafka_unavailable'],
    NOT_COORDINATOR_FOR_GROUP: [UnreachableError, 'kafka_unavailable'],
    NOT_LEADER_FOR_PARTITION: [UnreachableError, 'kafka_unavailable'],
    NOT_ENOUGH_REPLICAS: [UnreachableError, 'kafka_unavailable'],
    UNKNOWN_TOPIC_OR_PARTITION: [UnreachableError, 'kafka_unavailable'],
    REQUEST_TIMED_OUT: [UnreachableError, 'kafka_unavailable'],
    UNKNOWN: [UnreachableError, 'kafka_unavailable'],
  };
  test.each(Object.entries(expected))('%s', (type, [Class, code]) => {
    const failure = translate(ofType(type));
    expect(failure).toBeInstanceOf(Class);
    expect(failure.code).toBe(code);
    expect(failure.retryable).toBe(Class === UnreachableError);
  });

  test('every one that kafkajs knows becomes a ShovelError that names it or says what to do', () => {
    expect(protocol.errorCodes.length).toBeGreaterThan(80);
    for (const { code, type } of protocol.errorCodes) {
      const failure = translate(protocol.createErrorFromCode(code));
      expect(failure, type).toBeInstanceOf(ShovelError);
      expect(failure.exitCode, type).not.toBe(EXIT.bug);
      expect(failure.hint.length, type).toBeGreaterThan(10);
      expect(failure.message, type).not.toContain('\n');
    }
  });

  test('PRODUCER_FENCED, which kafkajs has no name for', () => {
    expect(translate(protocol.createErrorFromCode(90))).toBeInstanceOf(FencedError);
  });

  test('a code of the future is tried again', () => {
    const failure = translate(protocol.createErrorFromCode(999));
    expect(failure).toMatchObject({ code: 'kafka_unavailable', retryable: true });
    expect(failure.message).toContain('error 999');
  });

  test('is found behind wrappers, and in an aggregate', () => {
    const denied = ofType('TOPIC_AUTHORIZATION_FAILED');
    const wrapped = make('KafkaJSNonRetriableError', denied, { cause: denied });
    expect(translate(wrapped).code).toBe('kafka_denied');
    const missing = ofType('UNKNOWN_TOPIC_OR_PARTITION');
    const exceeded = make('KafkaJSNumberOfRetriesExceeded', missing, { retryCount: 5, retryTime: 1 });
    expect(translate(exceeded).retryable).toBe(true);
    expect(translate(make('KafkaJSAggregateError', 'several', [denied])).code).toBe('kafka_denied');
  });
});

describe('by what kafkajs or the system calls it', () => {
  const connection = (code?: string) =>
    make('KafkaJSConnectionError', `Connection error: ${SECRET}`, { broker: 'k1:9092', code });

  test.each([
    ['refused', connection('ECONNREFUSED'), 'ECONNREFUSED'],
    ['unknown host', connection('ENOTFOUND'), 'ENOTFOUND'],
    ['timeout', connection(), 'connection timed out'],
    [
      'closed',
      make('KafkaJSConnectionClosedError', 'Closed connection', { host: 'k1', port: 9092 }),
      'closed',
    ],
    ['no answer', make('KafkaJSRequestTimeoutError', 'Request timed out', {}), 'no answer in time'],
    ['no broker', make('KafkaJSBrokerNotFound', 'No brokers in the broker pool'), 'KafkaJSBrokerNotFound'],
    ['socket', Object.assign(new Error('x'), { code: 'ECONNRESET' }), 'ECONNRESET'],
  ])('%s: unreachable, and it says where', (_name, error, reason) => {
    const failure = translate(error);
    expect(failure).toBeInstanceOf(UnreachableError);
    expect(failure.message).toContain('k1:9092, k2:9092');
    expect(failure.message).toContain(reason);
    expect(failure.message).not.toContain(SECRET);
  });

  test.each(['DEPTH_ZERO_SELF_SIGNED_CERT', 'CERT_HAS_EXPIRED', 'ERR_TLS_CERT_ALTNAME_INVALID', 'EPROTO'])(
    'TLS: %s',
    (code) => {
      expect(translate(connection(code))).toMatchObject({ code: 'kafka_tls', exitCode: EXIT.configuration });
    },
  );

  test('a wrong password', () => {
    const failure = translate(make('KafkaJSSASLAuthenticationError', `SASL PLAIN failed: ${SECRET}`));
    expect(failure.code).toBe('kafka_login_refused');
    expect(failure.message).not.toContain(SECRET);
  });

  test('no coordinator may mean that the transactional id is denied', () => {
    const failure = translate(make('KafkaJSGroupCoordinatorNotFound', 'Failed to find group coordinator'));
    expect(failure.retryable).toBe(true);
    expect(failure.hint).toContain('shovel.t');
  });

  test('what the broker is too old for', () => {
    expect(translate(make('KafkaJSServerDoesNotSupportApiKey', 'x', {})).code).toBe('kafka_refused');
    expect(translate(make('KafkaJSNotImplemented', 'x')).code).toBe('kafka_refused');
  });

  test('anything else is a bug, told without its text', () => {
    for (const error of [new TypeError(SECRET), SECRET, undefined, { message: SECRET }]) {
      const failure = translate(error);
      expect(failure).toMatchObject({ code: 'kafka_unexpected', exitCode: EXIT.bug, retryable: false });
      expect(failure.message).not.toContain(SECRET);
    }
  });

  test('what kafkajs itself stumbles over is cured by a new client', () => {
    const Broker: new (options: object) => object = require('kafkajs/src/broker');
    let stumbled: unknown;
    try {
      new Broker({});
    } catch (error) {
      stumbled = error;
    }
    expect(stumbled).toBeInstanceOf(TypeError);
    expect(translate(stumbled)).toMatchObject({ code: 'kafka_client_failed', retryable: true });
  });

  test('what is translated already stays', () => {
    const failure = new UnreachableError('x', 'y', { hint: 'z' });
    expect(translate(failure)).toBe(failure);
  });
});
