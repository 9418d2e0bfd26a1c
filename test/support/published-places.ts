/**
 * What a stream has published to several Kafka topics, perhaps of several brokers, that it has moved over: read as one
 * history. Each place by itself is in order of tickets, and no message is there twice.
 */
import { memberText } from '../../src/model/json-text.js';
import { type ReadMessage, readTopic } from './kafka.js';
import { Reader } from './reader.js';

export interface Place {
  readonly brokers: readonly string[];
  readonly topic: string;
}

export interface History {
  readonly reader: Reader;
  /** The tickets of each place, in the order in which they stand there. */
  readonly tickets: readonly (readonly bigint[])[];
}

/** Throws where a batch is missing, is there twice, is torn apart, or stands before an older one. */
export async function readHistory(places: readonly Place[]): Promise<History> {
  const batches = new Map<bigint, readonly ReadMessage[]>();
  const tickets: bigint[][] = [];
  for (const place of places) {
    const here: bigint[] = [];
    tickets.push(here);
    for (const batch of intoBatches(await messagesOf(place))) {
      const ticket = BigInt(sourceText(batch[0], 'ticket'));
      const last = here.at(-1);
      if (last !== undefined && ticket <= last) {
        throw new Error(`${place.topic}: ticket ${ticket} came after ${last}`);
      }
      if (batches.has(ticket)) throw new Error(`${place.topic}: ticket ${ticket} is elsewhere, too`);
      here.push(ticket);
      batches.set(ticket, batch);
    }
  }
  const reader = new Reader({ keys: { 'public.item': ['id'] } });
  for (const ticket of [...batches.keys()].sort((a, b) => Number(a - b))) {
    for (const { value } of batches.get(ticket) ?? []) reader.take(value ?? '');
  }
  return { reader, tickets };
}

/** Nothing where there is no such topic yet. */
export async function messagesOf({ brokers, topic }: Place): Promise<readonly ReadMessage[]> {
  try {
    return await readTopic(brokers, topic);
  } catch (error) {
    if (error instanceof Error && error.message.includes('does not host this topic-partition')) return [];
    throw error;
  }
}

/** By begin marker; each has its end. */
function intoBatches(messages: readonly ReadMessage[]): readonly (readonly ReadMessage[])[] {
  const batches: ReadMessage[][] = [];
  for (const message of messages) {
    if (message.headers['shovel-op'] === 'b') batches.push([]);
    const batch = batches.at(-1);
    if (batch === undefined) throw new Error('a message before the first marker');
    batch.push(message);
  }
  return batches;
}

function sourceText(message: ReadMessage | undefined, name: string): string {
  return String(JSON.parse(memberText(memberText(message?.value ?? '', 'source') ?? '', name) ?? '""'));
}
