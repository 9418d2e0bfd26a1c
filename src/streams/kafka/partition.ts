/**
 * Which partition a key belongs to: what Kafka's default partitioner does, so that rows that other producers key
 * the same way land beside ours. The number goes onto the wire explicitly. Messages without a key go to partition
 * 0, all of them: they have no order but the one in which they are sent.
 */

const SEED = 0x9747b28c;
const MULTIPLIER = 0x5bd1e995;

/**
 * 32-bit murmur2 over the key's bytes, as `org.apache.kafka.common.utils.Utils.murmur2` computes it; signed.
 */
export function murmur2(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = bytes.byteLength;
  let hash = SEED ^ length;
  let at = 0;
  for (; at + 4 <= length; at += 4) {
    let word = Math.imul(view.getInt32(at, true), MULTIPLIER);
    word ^= word >>> 24;
    hash = Math.imul(hash, MULTIPLIER) ^ Math.imul(word, MULTIPLIER);
  }
  if (at < length) {
    for (let shift = 0; at < length; at += 1, shift += 8) hash ^= view.getUint8(at) << shift;
    hash = Math.imul(hash, MULTIPLIER);
  }
  hash ^= hash >>> 13;
  hash = Math.imul(hash, MULTIPLIER);
  return hash ^ (hash >>> 15);
}

/** 0 to `partitions` - 1. */
export function partitionOfKey(key: Uint8Array | null, partitions: number): number {
  return key === null ? 0 : (murmur2(key) & 0x7fffffff) % partitions;
}
