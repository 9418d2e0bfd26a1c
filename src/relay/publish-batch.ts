/**
 * Publishes one batch to one stream: markers around it where the destination carries whole batches, parts of the size
 * that the publisher takes, each with the position that is true once it is out. Read again after a crash, it makes
 * the same messages, and passes over those that are out already.
 */
import { IntegrityError, ShovelError } from '../errors.js';
import type { CapturedTable } from '../model/captured-table.js';
import type { Mutation } from '../model/mutation.js';
import type { DrawnTicket } from '../model/ticket.js';
import type { PostgresConnection } from '../postgres/connect.js';
import { createSha256, sha256Hex } from '../runtime/hash.js';
import type { OutgoingMessage, Publisher } from '../streams/publisher.js';
import { createShovelBatch, type EncodedMessage } from '../wire/shovel.js';
import type { SourceNode } from '../wire/shovel-source.js';
import { readMutations } from './batch-reader.js';
import type { CaptureDrift } from './capture-drift.js';
import type { CapturedTables, KnownTable } from './captured-tables.js';
import type { ChunkLimits } from './log-rows.js';
import { orderTicket } from './order-ticket.js';
import { type Part, Parts } from './parts.js';
import type { LogNames } from './relay-set.js';
import type { Routes } from './routes.js';

export interface BatchContext {
  readonly log: LogNames;
  readonly source: SourceNode;
  readonly epoch: bigint;
  readonly tables: CapturedTables;
  readonly drift: CaptureDrift;
  readonly carries: (table: KnownTable) => boolean;
  readonly routes: Routes;
  /** Whole transactions, one after another. */
  readonly transactions: boolean;
  readonly publisher: Publisher;
  readonly chunkLimits?: ChunkLimits | undefined;
  /** Called before each part; throws to leave the batch where it is. */
  readonly beforePart: () => Promise<void>;
  readonly published: (messages: number, bytes: number) => void;
}

export interface BatchToPublish {
  readonly ticket: DrawnTicket;
  readonly previous: DrawnTicket;
  readonly from: { readonly part: number; readonly lastSeq: bigint } | undefined;
}

/** @throws what the publisher, the reader and the encoder throw */
export async function publishBatch(
  connection: PostgresConnection,
  batch: BatchToPublish,
  context: BatchContext,
): Promise<void> {
  try {
    await publish(connection, batch, context);
  } finally {
    await context.drift.store(connection, context.tables);
  }
}

async function publish(
  connection: PostgresConnection,
  batch: BatchToPublish,
  context: BatchContext,
): Promise<void> {
  const { ticket, previous, from } = batch;
  const { source, routes, log, publisher } = context;
  if (ticket.nested) await storeOrder(connection, batch, context);
  const number = ticket.ticket.toString();
  const encoder = createShovelBatch({
    ...source,
    ticket: number,
    tsMs: ticket.drawnAtMs,
    setVersion: ticket.setVersion,
    snapshot: ticket.snapshot,
    previousTicket: previous.ticket.toString(),
    previousSnapshot: previous.snapshot,
    keyed: routes.keyed,
    transactions: context.transactions,
  });
  const parts = new Parts({ limits: publisher.limits, from });
  const hash = createSha256();
  const snapshotHash = sha256Hex(ticket.snapshot);
  let count = 0n;
  const marker = (message: EncodedMessage) =>
    routes.route(message, { ticket: number, seq: '', table: undefined });
  const send = async (part: Part, complete: boolean) => {
    await context.beforePart();
    const { incarnation } = source;
    await publisher.publish(part.messages, {
      incarnation,
      ticket: ticket.ticket,
      snapshotHash,
      complete,
      part: part.part,
      lastSeq: part.lastSeq,
      epoch: context.epoch,
    });
    context.published(part.messages.length, bytesOf(part.messages));
  };

  /** A key that the row does not have any more may be known to a later version of the table. */
  const heirs = new Map<string, readonly CapturedTable[]>();
  const encode = async (mutation: Mutation, table: KnownTable): Promise<readonly EncodedMessage[]> => {
    try {
      return encoder.mutation(mutation, table.captured);
    } catch (error) {
      if (!isKeyMissing(error)) throw error;
      const later =
        heirs.get(mutation.rel) ?? heirsOf(table, await context.tables.later(connection, mutation.rel));
      heirs.set(mutation.rel, later);
      for (const heir of later) {
        try {
          return encoder.mutation(mutation, heir);
        } catch (again) {
          if (!isKeyMissing(again)) throw again;
        }
      }
      throw error;
    }
  };

  if (!routes.keyed) parts.begin(marker(encoder.begin()));
  const chunks = readMutations(connection, {
    log,
    ticket,
    previousSnapshot: previous.snapshot,
    transactions: context.transactions,
    tables: context.tables,
    carries: context.carries,
    marked: (row) => context.drift.note(row),
    ...(context.chunkLimits === undefined ? {} : { limits: context.chunkLimits }),
  });
  for await (const chunk of chunks) {
    for (const { mutation, table } of chunk) {
      const encoded = await encode(mutation, table);
      const outgoing: OutgoingMessage[] = [];
      for (const message of encoded) {
        if (!routes.keyed) {
          hash.update(message.value);
          hash.update('\n');
          count += 1n;
        }
        outgoing.push(routes.route(message, { ticket: number, seq: mutation.seq, table }));
      }
      const part = parts.mutation(outgoing, BigInt(mutation.seq));
      if (part !== undefined) await send(part, false);
    }
  }
  if (parts.passing) throw partMissing(context, batch);
  await send(parts.end(routes.keyed ? undefined : marker(encoder.end(count, hash.hex()))), true);
}

/** Under the name that the table had when it was captured. */
function heirsOf({ captured }: KnownTable, later: readonly KnownTable[]): readonly CapturedTable[] {
  const { schema, table } = captured;
  return later.map((heir) => ({ ...heir.captured, schema, table }));
}

function isKeyMissing(error: unknown): boolean {
  return error instanceof ShovelError && error.code === 'row_key_missing';
}

async function storeOrder(
  connection: PostgresConnection,
  { ticket, previous }: BatchToPublish,
  { log }: BatchContext,
): Promise<void> {
  await orderTicket(
    connection,
    {
      ticket: ticket.ticket.toString(),
      snapshot: ticket.snapshot,
      previousSnapshot: previous.snapshot,
      firstSeq: (ticket.firstSeq ?? 0n).toString(),
      lastSeq: (ticket.lastSeq ?? 0n).toString(),
    },
    { names: log.names, set: log.set },
  );
}

function bytesOf(messages: readonly OutgoingMessage[]): number {
  return messages.reduce((sum, { value, key }) => sum + (value?.length ?? 0) + (key?.length ?? 0), 0);
}

function partMissing({ log }: BatchContext, { ticket, from }: BatchToPublish): IntegrityError {
  return new IntegrityError(
    'batch_changed',
    `Set ${log.display}: mutation ${from?.lastSeq} of ticket ${ticket.ticket} was published, but is not in the batch.`,
    {
      hint: `Publish the batch again: shovel relay ${log.set} --from ${ticket.ticket}. Where it was the log that was changed by hand, bootstrap the targets after that.`,
      details: { set: log.set, ticket: ticket.ticket.toString() },
    },
  );
}
