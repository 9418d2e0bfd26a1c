/**
 * Message format `shovel` (docs/message-format.md): encodes log rows, and the markers around a batch. A row's text
 * goes into the message as it stands, so that every digit does; the same row makes the same bytes for ever. Decides
 * nothing about where a message goes or when.
 */
import { EXIT, IntegrityError, ShovelError } from '../errors.js';
import type { CapturedTable } from '../model/captured-table.js';
import { pickMembers } from '../model/json-text.js';
import type { Mutation } from '../model/mutation.js';
import { type ImageExtra, imageExtra, rowImage, unchangedColumns } from './row-image.js';
import { markerSource, type SourceBatch, type SourceText, sourceText } from './shovel-source.js';

/** `c` insert, `u` update, `d` delete, `t` truncate; `b` and `e` begin and end of a batch. */
export type MessageOperation = 'c' | 'u' | 'd' | 't' | 'b' | 'e';

export interface EncodedMessage {
  readonly op: MessageOperation;
  /** JSON text of the key; null where the table has none, for truncates and markers. */
  readonly key: string | null;
  /** JSON text on one line. */
  readonly value: string;
}

export interface ShovelBatchOptions extends SourceBatch {
  /** pg_snapshot texts of this ticket and of the one before. */
  readonly snapshot: string;
  readonly previousTicket: string;
  readonly previousSnapshot: string;
  /** Messages are keyed by row, so that a change of key is a `d` and a `c` instead of one `u`. */
  readonly keyed: boolean;
  /** Mutations come transaction by transaction: each message says which it is of, and its place there. */
  readonly transactions: boolean;
}

/** Encodes the messages of one batch. */
export interface ShovelBatch {
  begin(): EncodedMessage;
  /**
   * One message, or two where a keyed row's key changes.
   * @throws IntegrityError `row_oversized`, `row_unreadable`; a retryable ShovelError `row_key_missing`
   */
  mutation(mutation: Mutation, table: CapturedTable): readonly EncodedMessage[];
  /** `count` messages between the markers, and the hex sha256 over their values, each followed by a newline. */
  end(count: bigint, checksum: string): EncodedMessage;
}

export function createShovelBatch(options: ShovelBatchOptions): ShovelBatch {
  return new Encoder(options);
}

function jsonNullRemark(name: string, extra: ImageExtra): string {
  return extra.jsonNull === undefined ? '' : `,"${name}":${extra.jsonNull}`;
}

function unchangedRemark(omit: ReadonlySet<string> | undefined): string {
  return omit === undefined ? '' : `,"unchanged":${JSON.stringify([...omit])}`;
}

class Encoder implements ShovelBatch {
  readonly #options: ShovelBatchOptions;
  readonly #sources = new Map<CapturedTable, SourceText>();
  readonly #places = new TransactionPlaces();

  constructor(options: ShovelBatchOptions) {
    this.#options = options;
  }

  begin(): EncodedMessage {
    const { tsMs, previousTicket, snapshot, previousSnapshot } = this.#options;
    const value = `{"op":"b","ts_ms":${tsMs},"source":${markerSource(this.#options)},"previous":"${previousTicket}","snapshot":"${snapshot}","previous_snapshot":"${previousSnapshot}"}`;
    return { op: 'b', key: null, value };
  }

  end(count: bigint, checksum: string): EncodedMessage {
    const value = `{"op":"e","source":${markerSource(this.#options)},"count":"${count}","checksum":"sha256:${checksum}"}`;
    return { op: 'e', key: null, value };
  }

  mutation(mutation: Mutation, table: CapturedTable): readonly EncodedMessage[] {
    if (mutation.mark === 'o' || mutation.mark === 'u') throw this.#uncaptured(mutation, table);
    switch (mutation.op) {
      case 'I':
        return [this.#insert(mutation, table)];
      case 'U':
      case 'K':
        return this.#update(mutation, table);
      case 'D':
        return [this.#delete(mutation, table)];
      case 'T':
        return [this.#truncate(mutation, table)];
    }
  }

  #insert(mutation: Mutation, table: CapturedTable): EncodedMessage {
    if (mutation.new === null) throw this.#damaged(mutation, table);
    const extra = imageExtra(mutation.extra, 'new');
    // An update by which a row entered a filter is published as an insert, and may lack what it did not change.
    const omit = unchangedColumns(mutation.extra);
    const after = rowImage(mutation.new, { columns: table.columns, extra, omit });
    const remarks = jsonNullRemark('json_null', extra) + unchangedRemark(omit);
    return {
      op: 'c',
      key: this.#key(mutation, table, after),
      value: this.#value(mutation, table, { op: 'c', before: 'null', after, remarks }),
    };
  }

  #update(mutation: Mutation, table: CapturedTable): readonly EncodedMessage[] {
    if (mutation.new === null) throw this.#damaged(mutation, table);
    const full = table.before === 'full';
    const newExtra = imageExtra(mutation.extra, 'new');
    const omit = unchangedColumns(mutation.extra);
    const after = rowImage(mutation.new, { columns: table.columns, extra: newExtra, omit });
    const key = this.#key(mutation, table, after);
    let before = 'null';
    let oldKey = key;
    let remarks = jsonNullRemark('json_null', newExtra);
    // An old key that is the same as the new one is never looked at: the capture function has compared them.
    if (full || mutation.op === 'K' || mutation.mark === 'f') {
      if (mutation.old === null) throw this.#damaged(mutation, table);
      const oldExtra = imageExtra(mutation.extra, 'old');
      const old = rowImage(mutation.old, { columns: full ? table.columns : table.key, extra: oldExtra });
      oldKey = this.#key(mutation, table, old);
      if (full) {
        before = old;
        remarks += jsonNullRemark('json_null_before', oldExtra);
      } else if (oldKey !== null && oldKey !== key) {
        before = oldKey;
      }
    }
    remarks += unchangedRemark(omit);
    if (!this.#options.keyed || oldKey === key) {
      return [{ op: 'u', key, value: this.#value(mutation, table, { op: 'u', before, after, remarks }) }];
    }
    return [
      { op: 'd', key: oldKey, value: this.#value(mutation, table, { op: 'd', before, after: 'null' }) },
      { op: 'c', key, value: this.#value(mutation, table, { op: 'c', before: 'null', after, remarks }) },
    ];
  }

  #delete(mutation: Mutation, table: CapturedTable): EncodedMessage {
    if (mutation.old === null) throw this.#damaged(mutation, table);
    const full = table.before === 'full';
    const extra = imageExtra(mutation.extra, 'old');
    const old = rowImage(mutation.old, { columns: full ? table.columns : table.key, extra });
    const key = this.#key(mutation, table, old);
    const before = full ? old : (key ?? 'null');
    const remarks = full ? jsonNullRemark('json_null', extra) : '';
    return {
      op: 'd',
      key,
      value: this.#value(mutation, table, { op: 'd', before, after: 'null', remarks }),
    };
  }

  #truncate(mutation: Mutation, table: CapturedTable): EncodedMessage {
    const { partition } = mutation;
    const remarks = partition === null ? '' : `,"partition":${partition.name},"bound":${partition.bound}`;
    return {
      op: 't',
      key: null,
      value: this.#value(mutation, table, { op: 't', before: 'null', after: 'null', remarks }),
    };
  }

  #value(
    mutation: Mutation,
    table: CapturedTable,
    parts: { op: MessageOperation; before: string; after: string; remarks?: string },
  ): string {
    let source = this.#sources.get(table);
    if (source === undefined) {
      source = sourceText(this.#options, table);
      this.#sources.set(table, source);
    }
    const { seq, xid, atMs, version, metadata } = mutation;
    const context = metadata === null ? '' : `,"metadata":${metadata}`;
    return `{"before":${parts.before},"after":${parts.after},"op":"${parts.op}","ts_ms":${this.#options.tsMs},"source":${source.head}${atMs}${source.beforeXid}${xid}${source.beforeVersion}${version}${source.beforeSeq}${seq}"${context}${parts.remarks ?? ''}},"transaction":${this.#options.transactions ? this.#places.next(xid, table) : 'null'}}`;
  }

  /** Of an image in its published form, so that a key is the same text in whatever message it stands. */
  #key(mutation: Mutation, table: CapturedTable, image: string): string | null {
    if (table.key === null) return null;
    const key = pickMembers(image, table.key);
    if (key === undefined) throw this.#keyMissing(mutation, table);
    return key;
  }

  #where(mutation: Mutation, table: CapturedTable) {
    const { set, ticket } = this.#options;
    const details = { set, schema: table.schema, table: table.table, ticket, seq: mutation.seq };
    return { name: `${table.schema}.${table.table}`, details };
  }

  #uncaptured(mutation: Mutation, table: CapturedTable): IntegrityError {
    const { name, details } = this.#where(mutation, table);
    if (mutation.mark === 'o') {
      return new IntegrityError(
        'row_oversized',
        `Table ${name}: the row of mutation ${mutation.seq} is larger than limits.row_bytes and was not captured.`,
        {
          hint: `Leave it out (shovel stream skip with --ticket ${this.#options.ticket} --seq ${mutation.seq}) and raise the limit.`,
          details,
        },
      );
    }
    const state = mutation.extra === null ? '' : ` (SQLSTATE ${mutation.extra})`;
    return new IntegrityError(
      'row_unreadable',
      `Table ${name}: the row of mutation ${mutation.seq} could not be printed as JSON${state}.`,
      {
        hint: `Mend the cast or type that fails, then leave it out: shovel stream skip with --ticket ${this.#options.ticket} --seq ${mutation.seq}.`,
        details,
      },
    );
  }

  /** Worth waiting for: an upgrade of the set tells the key's new name. */
  #keyMissing(mutation: Mutation, table: CapturedTable): ShovelError {
    const { name, details } = this.#where(mutation, table);
    return new ShovelError(
      { code: 'row_key_missing', exitCode: EXIT.integrity, retryable: true },
      `Table ${name}: the row of mutation ${mutation.seq} has no column ${table.key?.join(', ') ?? ''} any more.`,
      { hint: 'Was a key column renamed or dropped? Run shovel set upgrade with its new name.', details },
    );
  }

  #damaged(mutation: Mutation, table: CapturedTable): IntegrityError {
    const { name, details } = this.#where(mutation, table);
    return new IntegrityError(
      'log_row_damaged',
      `Table ${name}: mutation ${mutation.seq} lacks its row in the log.`,
      {
        hint: 'Was the log changed by hand? The stream has to be bootstrapped again.',
        details,
      },
    );
  }
}

/** Debezium's block of a message: the how-manieth of its transaction it is, and of its table there. From 1. */
class TransactionPlaces {
  #xid = '';
  #total = 0;
  readonly #byTable = new Map<string, number>();

  next(xid: string, { schema, table }: CapturedTable): string {
    if (xid !== this.#xid) {
      this.#xid = xid;
      this.#total = 0;
      this.#byTable.clear();
    }
    this.#total += 1;
    const name = JSON.stringify([schema, table]);
    const own = (this.#byTable.get(name) ?? 0) + 1;
    this.#byTable.set(name, own);
    return `{"id":"${xid}","total_order":${this.#total},"data_collection_order":${own}}`;
  }
}
