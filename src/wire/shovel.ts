/**
 * Message format `shovel` (docs/message-format.md): encodes log rows, and the markers around a batch. A row's text
 * goes into the message as it stands, so that every digit does; the same row makes the same bytes for ever. Decides
 * nothing about where a message goes or when.
 */
import { EXIT, IntegrityError, ShovelError } from '../errors.js';
import type { CapturedTable } from '../model/captured-table.js';
import { memberText, pickMembers, spaceLineBreaks } from '../model/json-text.js';
import type { Mutation } from '../model/mutation.js';
import { imageExtra, rowImage, unchangedColumns } from './row-image.js';
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

class Encoder implements ShovelBatch {
  readonly #options: ShovelBatchOptions;
  readonly #sources = new Map<CapturedTable, SourceText>();

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
        return this.#update(mutation, table);
      case 'D':
        return [this.#delete(mutation, table)];
      case 'T':
        return [this.#truncate(mutation, table)];
    }
  }

  #insert(mutation: Mutation, table: CapturedTable): EncodedMessage {
    const { new: row } = mutation;
    if (row === null) throw this.#damaged(mutation, table);
    if (mutation.extra === null && table.columns === null) {
      const after = spaceLineBreaks(row);
      return {
        op: 'c',
        key: this.#key(mutation, table, after),
        value: this.#value(mutation, table, { op: 'c', before: 'null', after }),
      };
    }
    const extra = imageExtra(mutation.extra, 'new');
    const after = rowImage(row, { columns: table.columns, extra });
    const remarks = extra.jsonNull === undefined ? '' : `,"json_null":${extra.jsonNull}`;
    return {
      op: 'c',
      key: this.#key(mutation, table, row),
      value: this.#value(mutation, table, { op: 'c', before: 'null', after, remarks }),
    };
  }

  #update(mutation: Mutation, table: CapturedTable): readonly EncodedMessage[] {
    const { old, new: row, extra } = mutation;
    if (row === null || (old === null && (table.key !== null || table.before === 'full'))) {
      throw this.#damaged(mutation, table);
    }
    const key = this.#key(mutation, table, row);
    const moved = table.key !== null && old !== null && this.#keyMoved(mutation, { table, old, row });
    const oldKey = moved && old !== null ? this.#key(mutation, table, old) : key;
    const plain = extra === null && table.columns === null;
    const newExtra = imageExtra(extra, 'new');
    const oldExtra = imageExtra(extra, 'old');
    const omit = unchangedColumns(extra);
    const after = plain
      ? spaceLineBreaks(row)
      : rowImage(row, { columns: table.columns, extra: newExtra, omit });
    const before =
      table.before === 'full' && old !== null
        ? rowImage(old, { columns: table.columns, extra: oldExtra })
        : moved
          ? (oldKey ?? 'null')
          : 'null';
    let remarks = '';
    if (!plain) {
      if (newExtra.jsonNull !== undefined) remarks += `,"json_null":${newExtra.jsonNull}`;
      if (oldExtra.jsonNull !== undefined) remarks += `,"json_null_before":${oldExtra.jsonNull}`;
      if (omit !== undefined) remarks += `,"unchanged":${JSON.stringify([...omit])}`;
    }
    if (!moved || !this.#options.keyed) {
      return [{ op: 'u', key, value: this.#value(mutation, table, { op: 'u', before, after, remarks }) }];
    }
    return [
      { op: 'd', key: oldKey, value: this.#value(mutation, table, { op: 'd', before, after: 'null' }) },
      { op: 'c', key, value: this.#value(mutation, table, { op: 'c', before: 'null', after, remarks }) },
    ];
  }

  #delete(mutation: Mutation, table: CapturedTable): EncodedMessage {
    const { old } = mutation;
    if (old === null) throw this.#damaged(mutation, table);
    const key = this.#key(mutation, table, old);
    if (table.before === 'key') {
      return {
        op: 'd',
        key,
        value: this.#value(mutation, table, { op: 'd', before: key ?? 'null', after: 'null' }),
      };
    }
    const extra = imageExtra(mutation.extra, 'old');
    const before = rowImage(old, { columns: table.columns, extra });
    const remarks = extra.jsonNull === undefined ? '' : `,"json_null":${extra.jsonNull}`;
    return { op: 'd', key, value: this.#value(mutation, table, { op: 'd', before, after: 'null', remarks }) };
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
    return `{"before":${parts.before},"after":${parts.after},"op":"${parts.op}","ts_ms":${this.#options.tsMs},"source":${source.head}${atMs}${source.beforeXid}${xid}${source.beforeVersion}${version}${source.beforeSeq}${seq}"${context}${parts.remarks ?? ''}},"transaction":null}`;
  }

  /** Of the image as it was captured: the same text whether the row was inserted, changed or deleted. */
  #key(mutation: Mutation, table: CapturedTable, image: string): string | null {
    if (table.key === null) return null;
    const key = pickMembers(image, table.key);
    if (key === undefined) throw this.#keyMissing(mutation, table);
    return spaceLineBreaks(key);
  }

  #keyMoved(mutation: Mutation, images: { table: CapturedTable; old: string; row: string }): boolean {
    const { table, old, row } = images;
    for (const name of table.key ?? []) {
      const was = memberText(old, name);
      if (was === undefined) throw this.#keyMissing(mutation, table);
      if (was !== memberText(row, name)) return true;
    }
    return false;
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
