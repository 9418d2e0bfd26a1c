/**
 * One connection to a Kafka cluster through kafkajs, which is loaded here, on first use, and nowhere else. Decides
 * what the library is allowed to do by itself: small delays, no retry that could reorder or drop, no logging of its
 * own (texts of its errors may quote messages). `discard` ends everything at once, with sockets, whatever is under
 * way: kafkajs' own disconnect waits for answers that may never come.
 */

import { createRequire } from 'node:module';
import net from 'node:net';
import tls from 'node:tls';
import type { ISocketFactoryArgs, Kafka, KafkaConfig, SASLOptions } from 'kafkajs';
import { ConfigurationError } from '../../errors.js';

export interface KafkaClientOptions {
  readonly brokers: readonly string[];
  /** True, or options of node:tls (`ca`, `cert`, `key`, `servername`, …). */
  readonly ssl?: boolean | Readonly<Record<string, unknown>>;
  readonly sasl?: { readonly mechanism: string; readonly username: string; readonly password: string };
  readonly clientId: string;
  /** For one TCP and TLS handshake; default 3000. */
  readonly connectTimeoutMs?: number;
  /** For one request; default 20000. */
  readonly requestTimeoutMs?: number;
}

export interface KafkaClient {
  readonly kafka: Kafka;
  /** Closes every socket, those opened later too; requests under way fail. May be called twice. */
  discard(): void;
}

const KEEP_ALIVE_MS = 60_000;

/**
 * Connects nothing yet.
 * @throws ConfigurationError for a SASL mechanism that is not supported.
 */
export async function openKafkaClient(options: KafkaClientOptions): Promise<KafkaClient> {
  const { Kafka, logLevel } = await import('kafkajs');
  shortenDelays();
  const sockets = new Set<net.Socket>();
  let discarded = false;

  const connect = ({ host, port, ssl, onConnect }: ISocketFactoryArgs): net.Socket => {
    const socket = ssl
      ? tls.connect({ ...(net.isIP(host) ? {} : { servername: host }), ...ssl, host, port }, onConnect)
      : net.connect({ host, port }, onConnect);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    if (discarded) socket.destroy(new Error('client discarded'));
    return socket;
  };

  const config: KafkaConfig = {
    clientId: options.clientId,
    brokers: [...options.brokers],
    logLevel: logLevel.NOTHING,
    connectionTimeout: options.connectTimeoutMs ?? 3000,
    requestTimeout: options.requestTimeoutMs ?? 20_000,
    retry: { initialRetryTime: 20, maxRetryTime: 500, retries: Math.max(2, options.brokers.length) },
    socketFactory: connect,
  };
  if (options.ssl !== undefined && options.ssl !== false)
    config.ssl = options.ssl === true ? true : { ...options.ssl };
  if (options.sasl !== undefined) config.sasl = saslOf(options.sasl);

  return {
    kafka: new Kafka(config),
    discard: () => {
      discarded = true;
      for (const socket of sockets) socket.destroy(new Error('client discarded'));
    },
  };
}

function saslOf(sasl: { mechanism: string; username: string; password: string }): SASLOptions {
  const { username, password } = sasl;
  switch (sasl.mechanism.toLowerCase()) {
    case 'plain':
      return { mechanism: 'plain', username, password };
    case 'scram-sha-256':
      return { mechanism: 'scram-sha-256', username, password };
    case 'scram-sha-512':
      return { mechanism: 'scram-sha-512', username, password };
    default:
      throw new ConfigurationError(
        'kafka_sasl_mechanism',
        `SASL mechanism "${sasl.mechanism}" is not supported`,
        {
          hint: 'Use plain, scram-sha-256 or scram-sha-512.',
        },
      );
  }
}

/**
 * InitProducerId and TxnOffsetCommit retry by kafkajs' built-in defaults, whatever a client asks for; their first
 * delay of 300 ms would be paid at every start. The defaults are an object that its retry module reads each time.
 */
function shortenDelays(): void {
  const require = createRequire(import.meta.url);
  for (const module of ['kafkajs/src/retry/defaults', 'kafkajs/src/retry/defaults.test']) {
    const defaults: unknown = require(module);
    if (typeof defaults === 'object' && defaults !== null) {
      Object.assign(defaults, {
        initialRetryTime: 20,
        maxRetryTime: 500,
        factor: 0.2,
        multiplier: 2,
        retries: 5,
      });
    }
  }
}
