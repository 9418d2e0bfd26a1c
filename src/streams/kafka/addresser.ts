/**
 * Turns outgoing messages into what goes onto the wire: bytes, and an explicit partition number that is known to
 * exist (kafkajs drops a message for an unknown one without a word). Learns about a topic when it is first written to
 * and remembers it until the publisher starts again, so that keys and `all` mean the same partitions throughout.
 * Decides what a broker would refuse as too large before anything of the batch is sent.
 */

import { gzipSync } from 'node:zlib';
import type { Admin } from 'kafkajs';
import { ConfigurationError, IntegrityError } from '../../errors.js';
import type { OutgoingMessage } from '../publisher.js';
import { partitionOfKey } from './partition.js';
import { type Addressed, BATCH_OVERHEAD_BYTES, recordBytes } from './rounds.js';
import { ensureTopic, type TopicInfo } from './topics.js';

export interface AddresserOptions {
  readonly withAdmin: <T>(use: (admin: Admin) => Promise<T>) => Promise<T>;
  /** Of topics that have to be made. */
  readonly partitions: number;
  readonly brokers: readonly string[];
  readonly compression: 'none' | 'gzip';
  /** Bytes a batch that topics turned out to take; outlives the addresser. */
  readonly batchLimits: Map<string, number>;
}

/** Below the brokers' default of 1048588, with room for what an estimate misses. */
const BATCH_BYTES = 900_000;

interface Destination extends TopicInfo {
  readonly batchBytes: number;
}

export class Addresser {
  readonly #options: AddresserOptions;
  readonly #destinations = new Map<string, Destination>();

  constructor(options: AddresserOptions) {
    this.#options = options;
  }

  /**
   * In the order given; a message for `all` partitions once for each.
   * @throws ConfigurationError `partition_missing`, `topic_missing`; IntegrityError `message_too_large`.
   */
  async address(messages: readonly OutgoingMessage[]): Promise<Addressed[]> {
    const addressed: Addressed[] = [];
    for (const message of messages) {
      const topic = message.destination;
      const destination = this.#destinations.get(topic) ?? (await this.#learn(topic));
      const key = message.key === null ? null : Buffer.from(message.key);
      const value = message.value === null ? null : Buffer.from(message.value);
      const { headers } = message;
      const bytes = recordBytes(key, value, headers);
      const { batchBytes } = destination;
      if (bytes + BATCH_OVERHEAD_BYTES > batchBytes)
        this.#refuseTooLarge(message, { bytes, value, destination });
      for (const partition of partitionsOf(message, key, destination.partitions)) {
        addressed.push({ topic, partition, key, value, headers, bytes, batchBytes });
      }
    }
    return addressed;
  }

  /**
   * After a broker refused a request of several messages: a quarter of what was tried from now on, so that the one
   * that is too large stands alone within a few attempts.
   */
  shrink(topics: Iterable<string>): void {
    for (const topic of topics) {
      const current = this.#destinations.get(topic)?.batchBytes ?? BATCH_BYTES;
      this.#options.batchLimits.set(topic, Math.max(1, Math.floor(current / 4)));
    }
  }

  async #learn(topic: string): Promise<Destination> {
    const { withAdmin, partitions, brokers, batchLimits } = this.#options;
    const info = await withAdmin((admin) => ensureTopic(admin, { topic, partitions, brokers }));
    const allowed =
      info.maxMessageBytes === undefined ? BATCH_BYTES : Math.min(BATCH_BYTES, info.maxMessageBytes);
    const destination = { ...info, batchBytes: Math.min(allowed, batchLimits.get(topic) ?? allowed) };
    this.#destinations.set(topic, destination);
    return destination;
  }

  #refuseTooLarge(
    message: OutgoingMessage,
    record: { readonly bytes: number; readonly value: Buffer | null; readonly destination: Destination },
  ): void {
    const limit = record.destination.maxMessageBytes;
    if (limit === undefined || record.bytes + BATCH_OVERHEAD_BYTES <= limit) return;
    if (this.#options.compression === 'gzip') {
      const others = record.bytes - (record.value?.length ?? 0) + BATCH_OVERHEAD_BYTES;
      if (others + gzipSync(record.value ?? Buffer.alloc(0)).length <= limit) return;
    }
    throw messageTooLarge(message, { bytes: record.bytes, limit });
  }
}

/** Names the mutation by its id, never by its key or values. */
export function messageTooLarge(
  message: Pick<OutgoingMessage, 'destination' | 'headers'>,
  size: { readonly bytes: number; readonly limit: number | undefined },
): IntegrityError {
  const id = message.headers['shovel-id'] ?? 'without id';
  const limit =
    size.limit === undefined ? 'the broker takes' : `the topic's max.message.bytes of ${size.limit}`;
  return new IntegrityError(
    'message_too_large',
    `a message of ${size.bytes} bytes for topic "${message.destination}" (mutation ${id}) is larger than ${limit}`,
    {
      hint: 'Raise max.message.bytes of the topic, or leave the message out with shovel stream skip.',
      details: { topic: message.destination, mutation: id, bytes: size.bytes, limit: size.limit ?? null },
    },
  );
}

function partitionsOf(message: OutgoingMessage, key: Buffer | null, partitions: number): readonly number[] {
  if (message.partition === 'by-key') return [partitionOfKey(key, partitions)];
  if (message.partition === 'all') return Array.from({ length: partitions }, (_, index) => index);
  if (message.partition >= 0 && message.partition < partitions) return [message.partition];
  throw new ConfigurationError(
    'partition_missing',
    `topic "${message.destination}" has ${partitions} partitions, so there is no partition ${message.partition}`,
    {
      hint: `Add partitions: kafka-topics.sh --bootstrap-server HOST:PORT --alter --topic ${message.destination} --partitions ${message.partition + 1}`,
      details: { topic: message.destination, partitions, partition: message.partition },
    },
  );
}
