/**
 * Cuts what one transaction publishes into rounds, each of them one request a broker. A client's request carries
 * one record batch per partition, and a broker refuses a batch past the topic's `max.message.bytes`: so a round
 * ends before any partition's share would pass it. Order within each partition is the order of the messages.
 * What a topic takes is the caller's to know; whether a lone message is too large, too.
 */

export interface Addressed {
  readonly topic: string;
  readonly partition: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Readonly<Record<string, string>>;
  /** From `recordBytes`. */
  readonly bytes: number;
  /** The most that one batch may hold for this topic, in bytes. */
  readonly batchBytes: number;
}

export interface Round {
  /** Per topic, in order. */
  readonly topics: ReadonlyMap<string, readonly Addressed[]>;
  /** `topic/partition` of every partition that has to answer. */
  readonly partitions: ReadonlySet<string>;
}

export interface RoundLimits {
  readonly messages: number;
  readonly bytes: number;
}

/** Bytes of a record batch's own header, added once a partition. */
export const BATCH_OVERHEAD_BYTES = 61;

/** Most bytes that a record takes on the wire before compression: five-byte lengths everywhere. */
export function recordBytes(
  key: Buffer | null,
  value: Buffer | null,
  headers: Readonly<Record<string, string>>,
): number {
  let bytes = 32 + (key?.length ?? 0) + (value?.length ?? 0);
  for (const [name, text] of Object.entries(headers)) {
    bytes += 10 + Buffer.byteLength(name) + Buffer.byteLength(text);
  }
  return bytes;
}

export function partitionName(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}

/** Every message is in exactly one round; a message larger than its batch's limit has the batch to itself. */
export function* intoRounds(messages: Iterable<Addressed>, limits: RoundLimits): Generator<Round> {
  let topics = new Map<string, Addressed[]>();
  let shares = new Map<string, number>();
  let count = 0;
  let bytes = 0;
  for (const message of messages) {
    const name = partitionName(message.topic, message.partition);
    const share = shares.get(name);
    const full =
      count >= limits.messages ||
      (count > 0 && bytes + message.bytes > limits.bytes) ||
      (share !== undefined && share + message.bytes > message.batchBytes);
    if (full) {
      yield { topics, partitions: new Set(shares.keys()) };
      topics = new Map();
      shares = new Map();
      count = 0;
      bytes = 0;
    }
    const list = topics.get(message.topic);
    if (list === undefined) topics.set(message.topic, [message]);
    else list.push(message);
    shares.set(name, (shares.get(name) ?? BATCH_OVERHEAD_BYTES) + message.bytes);
    count += 1;
    bytes += message.bytes;
  }
  if (count > 0) yield { topics, partitions: new Set(shares.keys()) };
}
