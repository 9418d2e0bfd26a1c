/**
 * Publishes to Kafka exactly once for `read_committed` consumers: the messages and the stream's position are one
 * Kafka transaction. Decides when a producer can still be trusted; how a batch is cut into parts, and whether a
 * fenced relay is still the owner, is the relay's to decide.
 *
 * Maintained invariant: a producer that met any error is never used again. Its transaction's outcome is unknown, and
 * only a new InitProducerId settles it; so `publish` fails until `start` has made another producer and read the
 * position, in that order. (What kafkajs would retry by itself loses messages when a leader moves: see
 * docs/decisions/0020-kafka-exactly-once.md.)
 *
 *   stopped --start--> live --publish--> live
 *   live --any error--> broken --start--> live
 *   any --stop--> stopped
 */

import { setTimeout as delay } from 'node:timers/promises';
import type { Admin, Producer, Transaction } from 'kafkajs';
import { EXIT, ShovelError } from '../../errors.js';
import type { Logger } from '../../runtime/logger.js';
import type { OutgoingMessage, Publisher, StreamPosition } from '../publisher.js';
import { Turns } from '../turns.js';
import { Addresser } from './addresser.js';
import { type KafkaErrorContext, translateKafkaError } from './errors.js';
import { type KafkaClient, type KafkaClientOptions, openKafkaClient } from './kafka-client.js';
import { type PositionPlace, positionOffsets, readPosition } from './position-group.js';
import { intoRounds } from './rounds.js';
import { ensureTopic } from './topics.js';
import { sendRound, withinTransaction } from './transaction.js';

export interface KafkaPublisherOptions extends Omit<KafkaClientOptions, 'clientId'> {
  readonly compression: 'none' | 'gzip';
  /** Unique to stream and node: whoever starts with it later fences whoever had it before. */
  readonly transactionalId: string;
  /** Reserved: no consumer may ever use it. */
  readonly positionGroup: string;
  /** A topic of the stream; deleting it deletes the position. */
  readonly positionTopic: string;
  /** Of topics that have to be made; default 1. */
  readonly partitions?: number;
  /** After which brokers abort a transaction whose publisher is gone; default 60000, brokers allow 900000. */
  readonly transactionTimeoutMs?: number;
  /** How long `start` tries; default 8000. */
  readonly startTimeoutMs?: number;
  /** How often an idle position is committed again, so that it never expires; default one day. */
  readonly refreshMs?: number;
  readonly limits?: Publisher['limits'];
  readonly logger: Logger;
}

const DAY_MS = 86_400_000;
const STOP_WITHIN_MS = 5000;
const DEFAULT_LIMITS = { messages: 10_000, bytes: 16 * 1024 * 1024 };
const ROUND_LIMITS = { messages: 1000, bytes: 8 * 1024 * 1024 };

interface Live {
  readonly client: KafkaClient;
  readonly producer: Producer;
  readonly addresser: Addresser;
  /** Begun, empty; the broker knows nothing of it yet. */
  transaction: Transaction | undefined;
}

export function createKafkaPublisher(options: KafkaPublisherOptions): Publisher {
  return new KafkaPublisher(options);
}

class KafkaPublisher implements Publisher {
  readonly display: string;
  readonly limits: Publisher['limits'];
  readonly #options: KafkaPublisherOptions;
  readonly #errors: KafkaErrorContext;
  readonly #place: PositionPlace;
  #live: Live | undefined;
  /** Why the last producer was thrown away, where nobody has been told yet. */
  #failure: ShovelError | undefined;
  readonly #turns = new Turns();
  #stopping = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #position: StreamPosition | undefined;
  #idle = true;
  /** Learnt from refusals; topic to bytes. */
  readonly #batchLimits = new Map<string, number>();

  constructor(options: KafkaPublisherOptions) {
    this.#options = options;
    this.display = `kafka ${options.brokers.join(',')}`;
    this.limits = options.limits ?? DEFAULT_LIMITS;
    this.#errors = options;
    this.#place = { group: options.positionGroup, topic: options.positionTopic };
  }

  async start(): Promise<StreamPosition | undefined> {
    this.#stopping.abort();
    const stopping = new AbortController();
    this.#stopping = stopping;
    return this.#turns.take(() => this.#startNow(stopping.signal));
  }

  async publish(messages: readonly OutgoingMessage[], position: StreamPosition): Promise<void> {
    await this.#turns.take(async () => {
      this.#idle = false;
      await this.#publishNow(messages, position);
    });
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    clearTimeout(this.#timer);
    await this.#turns.idle(STOP_WITHIN_MS);
    this.#discard();
    this.#failure = undefined;
  }

  async #startNow(signal: AbortSignal): Promise<StreamPosition | undefined> {
    const deadline = Date.now() + (this.#options.startTimeoutMs ?? 8000);
    this.#discard();
    this.#failure = undefined;
    for (let pauseMs = 50; ; pauseMs = Math.min(pauseMs * 2, 500)) {
      try {
        this.#position = await this.#open();
        break;
      } catch (error) {
        const failure = translateKafkaError(error, this.#errors);
        if (!failure.retryable || signal.aborted || Date.now() + pauseMs > deadline) throw failure;
        this.#options.logger.debug(
          { code: failure.code, pause_ms: pauseMs },
          'Kafka is not ready, trying again',
        );
        await delay(pauseMs, undefined, { signal }).catch(() => undefined);
      }
    }
    if (!signal.aborted) this.#scheduleRefresh((this.#options.refreshMs ?? DAY_MS) / 1440);
    return this.#position;
  }

  /** The order is the point: fence first, read the position after. */
  async #open(): Promise<StreamPosition | undefined> {
    const { transactionalId, transactionTimeoutMs, partitions, brokers } = this.#options;
    const client = await openKafkaClient({ ...this.#options, clientId: transactionalId });
    try {
      const admin = client.kafka.admin();
      await admin.connect();
      await ensureTopic(admin, { topic: this.#place.topic, partitions: partitions ?? 1, brokers });
      const producer = client.kafka.producer({
        transactionalId,
        transactionTimeout: transactionTimeoutMs ?? 60_000,
        idempotent: false,
        maxInFlightRequests: 1,
        allowAutoTopicCreation: false,
        metadataMaxAge: 60_000,
        retry: { retries: 0 },
      });
      await producer.connect();
      const transaction = await producer.transaction();
      const position = await readPosition(admin, this.#place);
      await admin.disconnect();
      const addresser = new Addresser({
        withAdmin: (use) => withAdmin(client, use),
        partitions: partitions ?? 1,
        brokers,
        compression: this.#options.compression,
        batchLimits: this.#batchLimits,
      });
      this.#live = { client, producer, addresser, transaction };
      return position;
    } catch (error) {
      client.discard();
      throw error;
    }
  }

  async #publishNow(messages: readonly OutgoingMessage[], position: StreamPosition): Promise<void> {
    const live = this.#live;
    if (live === undefined) throw this.#failure ?? notStarted(this.#options.transactionalId);
    try {
      const addressed = await live.addresser.address(messages);
      const transaction = live.transaction ?? (await live.producer.transaction());
      live.transaction = undefined;
      // First the offset: AddOffsetsToTxn is what meets the end of the transaction before, and it may be repeated.
      await withinTransaction(() =>
        transaction.sendOffsets({
          consumerGroupId: this.#place.group,
          topics: positionOffsets(this.#place, position),
        }),
      );
      const limits = { ...ROUND_LIMITS, bytes: Math.min(ROUND_LIMITS.bytes, ...this.#batchLimits.values()) };
      for (const round of intoRounds(addressed, limits)) {
        await sendRound(transaction, {
          round,
          compression: this.#options.compression,
          addresser: live.addresser,
        });
      }
      await transaction.commit();
      this.#position = position;
    } catch (error) {
      const failure = translateKafkaError(error, this.#errors);
      this.#failure = failure;
      this.#discard();
      throw failure;
    }
  }

  #scheduleRefresh(afterMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#turns
        .take(() => this.#refresh())
        .catch((error: unknown) => {
          const failure = translateKafkaError(error, this.#errors);
          this.#options.logger.warn(
            { code: failure.code },
            "the stream's idle position could not be renewed",
          );
        });
    }, afterMs);
    this.#timer.unref();
  }

  async #refresh(): Promise<void> {
    if (this.#stopping.signal.aborted || this.#live === undefined) return;
    if (this.#idle && this.#position !== undefined) await this.#publishNow([], this.#position);
    this.#idle = true;
    this.#scheduleRefresh(this.#options.refreshMs ?? DAY_MS);
  }

  #discard(): void {
    clearTimeout(this.#timer);
    const live = this.#live;
    this.#live = undefined;
    if (live === undefined) return;
    live.client.discard();
    live.producer.disconnect().catch(() => undefined);
  }
}

async function withAdmin<T>(client: KafkaClient, use: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = client.kafka.admin();
  await admin.connect();
  const result = await use(admin);
  await admin.disconnect();
  return result;
}

function notStarted(transactionalId: string): ShovelError {
  return new ShovelError(
    { code: 'stream_not_started', exitCode: EXIT.bug, retryable: false },
    `publisher "${transactionalId}" was used before start, or after an error without another start`,
    { hint: 'This is a bug: please report it.' },
  );
}
