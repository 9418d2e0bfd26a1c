/**
 * The calls inside one Kafka transaction that kafkajs leaves unsafe: the wait for the transaction before, and the
 * check that every partition has answered. Throws kafkajs' errors as they are; the publisher translates them.
 */

import { setTimeout as delay } from 'node:timers/promises';
import type { CompressionTypes, Transaction } from 'kafkajs';
import { UnreachableError } from '../../errors.js';
import { type Addresser, messageTooLarge } from './addresser.js';
import { kafkaErrorType } from './errors.js';
import { partitionName, type Round } from './rounds.js';

/** How long the markers of the transaction before may take. */
const PREVIOUS_WITHIN_MS = 10_000;
const TOO_LARGE: ReadonlySet<string> = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE']);
/** kafkajs' numbers of the codecs. */
const NONE: CompressionTypes.None = 0;
const GZIP: CompressionTypes.GZIP = 1;

/** Repeats the first call of a transaction while brokers still finish the one before, which takes 1 to 20 ms. */
export async function withinTransaction(call: () => Promise<void>): Promise<void> {
  const deadline = Date.now() + PREVIOUS_WITHIN_MS;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (kafkaErrorType(error) !== 'CONCURRENT_TRANSACTIONS' || Date.now() > deadline) throw error;
    }
    await delay(1);
  }
}

export interface SendRoundOptions {
  readonly round: Round;
  readonly compression: 'none' | 'gzip';
  readonly addresser: Addresser;
}

/**
 * @throws UnreachableError `kafka_send_incomplete` where a partition did not answer exactly once: kafkajs drops what
 *   is meant for partitions that it does not know, and reports success.
 * @throws UnreachableError `kafka_batch_too_large` where a batch of several was refused: smaller ones follow.
 * @throws IntegrityError `message_too_large` where a single message was.
 */
export async function sendRound(transaction: Transaction, options: SendRoundOptions): Promise<void> {
  const { round, compression, addresser } = options;
  const topicMessages = [...round.topics].map(([topic, messages]) => ({
    topic,
    messages: messages.map(({ key, value, headers, partition }) => ({ key, value, headers, partition })),
  }));
  try {
    const answers = await transaction.sendBatch({
      acks: -1,
      compression: compression === 'gzip' ? GZIP : NONE,
      topicMessages,
    });
    const answered = new Set(answers.map((answer) => partitionName(answer.topicName, answer.partition)));
    const whole =
      answers.length === round.partitions.size &&
      answers.every((answer) => answer.errorCode === 0) &&
      [...round.partitions].every((name) => answered.has(name));
    if (whole) return;
    const missing = [...round.partitions].filter((name) => !answered.has(name));
    throw new UnreachableError(
      'kafka_send_incomplete',
      `Kafka did not answer for ${missing.join(', ') || 'each partition once'}`,
      {
        hint: 'Tried again by itself; if it lasts, check that the partitions have leaders.',
        details: { missing },
      },
    );
  } catch (error) {
    if (!TOO_LARGE.has(kafkaErrorType(error) ?? '')) throw error;
    const messages = [...round.topics.values()].flat();
    const [first] = messages;
    if (first !== undefined && messages.length === 1) {
      throw messageTooLarge(
        { destination: first.topic, headers: first.headers },
        { bytes: first.bytes, limit: undefined },
      );
    }
    addresser.shrink(round.topics.keys());
    throw new UnreachableError(
      'kafka_batch_too_large',
      `Kafka refuses a batch of ${messages.length} messages as too large`,
      {
        hint: 'Tried again by itself in smaller batches.',
        details: { topics: [...round.topics.keys()], messages: messages.length },
        cause: error,
      },
    );
  }
}
