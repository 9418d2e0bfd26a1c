/**
 * What a publisher has to know of a topic: how many partitions, and how large a batch may be. Makes topics that
 * are missing, with the number of partitions that the stream asks for and the brokers' own replication, where they
 * allow it. Leaves existing topics as they are.
 */

import { setTimeout as delay } from 'node:timers/promises';
import type { Admin } from 'kafkajs';
import { ConfigurationError, UnreachableError } from '../../errors.js';
import { kafkaErrorType } from './errors.js';

export interface TopicInfo {
  readonly partitions: number;
  /** `max.message.bytes`; undefined where the user may not read it. */
  readonly maxMessageBytes: number | undefined;
}

export interface EnsureTopicOptions {
  readonly topic: string;
  /** Of a topic that has to be made. */
  readonly partitions: number;
  /** `host:port`, for the command in the hint. */
  readonly brokers: readonly string[];
}

/** How long a new topic may take to be known to the brokers. */
const VISIBLE_WITHIN_MS = 10_000;
const MISSING = 'UNKNOWN_TOPIC_OR_PARTITION';
const NOT_YET: ReadonlySet<string> = new Set([MISSING, 'LEADER_NOT_AVAILABLE', 'NOT_LEADER_FOR_PARTITION']);
const CREATION_REFUSED = /_AUTHORIZATION_FAILED$|^POLICY_VIOLATION$|^INVALID_/;
/** With the brokers' own replication: some of them are away. */
const TOO_FEW_BROKERS = 'INVALID_REPLICATION_FACTOR';
/** kafkajs' number of a topic among configuration resources. */
const TOPIC_RESOURCE = 2;

/**
 * @throws ConfigurationError `topic_missing` where there is none and none may be made; UnreachableError `topic_not_ready`;
 * kafkajs' errors as they are.
 */
export async function ensureTopic(admin: Admin, options: EnsureTopicOptions): Promise<TopicInfo> {
  const existing = await countPartitions(admin, options.topic);
  if (existing === undefined) await createTopic(admin, options);
  const partitions = existing ?? (await waitForTopic(admin, options.topic));
  return { partitions, maxMessageBytes: await readMaxMessageBytes(admin, options.topic) };
}

/** The command that makes the topic, for hints. */
function createTopicCommand(options: EnsureTopicOptions): string {
  const server = options.brokers[0] ?? 'HOST:PORT';
  return `kafka-topics.sh --bootstrap-server ${server} --create --topic ${options.topic} --partitions ${options.partitions}`;
}

async function countPartitions(admin: Admin, topic: string): Promise<number | undefined> {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    return topics.find((entry) => entry.name === topic)?.partitions.length;
  } catch (error) {
    if (kafkaErrorType(error) === MISSING) return undefined;
    throw error;
  }
}

async function createTopic(admin: Admin, options: EnsureTopicOptions): Promise<void> {
  try {
    await admin.createTopics({
      topics: [{ topic: options.topic, numPartitions: options.partitions, replicationFactor: -1 }],
      waitForLeaders: false,
    });
  } catch (error) {
    const reason = kafkaErrorType(error) ?? '';
    if (reason === 'TOPIC_ALREADY_EXISTS') return;
    if (reason === TOO_FEW_BROKERS) {
      throw new UnreachableError(
        'topic_not_ready',
        `topic "${options.topic}" can't be made now: Kafka wants more copies of it than brokers run`,
        {
          hint: `Tried again by itself when they are back; if there are no more: ${createTopicCommand(options)} --replication-factor N`,
          details: { topic: options.topic, kafka_error: reason },
          cause: error,
        },
      );
    }
    if (!CREATION_REFUSED.test(reason)) throw error;
    throw new ConfigurationError(
      'topic_missing',
      `topic "${options.topic}" does not exist, and Kafka does not let the stream make it: ${reason}`,
      {
        hint: `Make it: ${createTopicCommand(options)}`,
        details: { topic: options.topic, partitions: options.partitions, kafka_error: reason },
        cause: error,
      },
    );
  }
}

async function waitForTopic(admin: Admin, topic: string): Promise<number> {
  const deadline = Date.now() + VISIBLE_WITHIN_MS;
  for (;;) {
    try {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
      const partitions = topics.find((entry) => entry.name === topic)?.partitions ?? [];
      if (partitions.length > 0 && partitions.every((partition) => partition.leader >= 0)) {
        // Metadata may name a leader that has not heard of it itself: ask the leaders, too.
        await admin.fetchTopicOffsets(topic);
        return partitions.length;
      }
    } catch (error) {
      if (!NOT_YET.has(kafkaErrorType(error) ?? '')) throw error;
    }
    if (Date.now() > deadline) {
      throw new UnreachableError(
        'topic_not_ready',
        `topic "${topic}" was made, but its partitions have no leaders yet`,
        {
          hint: "Tried again by itself; if it lasts, look at the brokers' logs.",
          details: { topic },
        },
      );
    }
    await delay(20);
  }
}

async function readMaxMessageBytes(admin: Admin, topic: string): Promise<number | undefined> {
  try {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: TOPIC_RESOURCE, name: topic, configNames: ['max.message.bytes'] }],
    });
    const value = Number(resources[0]?.configEntries[0]?.configValue);
    return Number.isSafeInteger(value) && value > 0 ? value : undefined;
  } catch (error) {
    if (kafkaErrorType(error)?.endsWith('_AUTHORIZATION_FAILED')) return undefined;
    throw error;
  }
}
