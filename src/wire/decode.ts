/**
 * Reads messages of format `shovel` without losing anything: rows, keys and numbers stay the text that was sent.
 * What is wrong with a message is said by name; what to do about it is the reader's to decide.
 */
import { IntegrityError } from '../errors.js';
import { members } from '../model/json-text.js';

/** 64-bit numbers are bigints; `raw` members are JSON text. */
export interface MessageSource {
  readonly name: string;
  readonly set: string;
  readonly setVersion: number;
  readonly node: string;
  readonly incarnation: number;
  readonly ticket: bigint;
}

export interface MutationSource extends MessageSource {
  readonly version: string;
  readonly db: string;
  readonly schema: string;
  readonly table: string;
  /** The statement's time, milliseconds since the epoch. */
  readonly tsMs: number;
  readonly snapshot: string;
  readonly txId: bigint;
  readonly seq: bigint;
  /** JSON text of the application's context; undefined where it gave none. */
  readonly metadata: string | undefined;
  /** Columns that hold a JSON null: of the row that the message carries, and of a whole old row beside it. */
  readonly jsonNull: readonly string[];
  readonly jsonNullBefore: readonly string[];
  /** Columns that an update left out because it did not change them. */
  readonly unchanged: readonly string[];
  /** The partition that alone was truncated, and its bound. */
  readonly partition: string | undefined;
  readonly bound: string | undefined;
}

export type DecodedMessage =
  | {
      readonly kind: 'begin';
      readonly tsMs: number;
      readonly source: MessageSource;
      readonly previous: bigint;
      readonly snapshot: string;
      readonly previousSnapshot: string;
    }
  | {
      readonly kind: 'end';
      readonly source: MessageSource;
      readonly count: bigint;
      /** `sha256:` and hex. */
      readonly checksum: string;
    }
  | {
      readonly kind: 'mutation';
      readonly op: 'c' | 'u' | 'd' | 't' | 'r';
      /** JSON text of the row or its key; undefined where the message says null. */
      readonly before: string | undefined;
      readonly after: string | undefined;
      readonly tsMs: number;
      readonly source: MutationSource;
    };

/** @throws IntegrityError `message_invalid` */
export function decodeMessage(value: string): DecodedMessage {
  // One that was cut off is refused: what comes last is looked for, too.
  if (!value.endsWith('}')) throw invalid('the end of message');
  const fields = new Fields(value, 'message');
  const op = fields.text('op');
  if (op === 'b') {
    return {
      kind: 'begin',
      tsMs: fields.number('ts_ms'),
      source: messageSource(fields.object('source')),
      previous: fields.bigint('previous'),
      snapshot: fields.text('snapshot'),
      previousSnapshot: fields.text('previous_snapshot'),
    };
  }
  if (op === 'e') {
    return {
      kind: 'end',
      source: messageSource(fields.object('source')),
      count: fields.bigint('count'),
      checksum: fields.text('checksum'),
    };
  }
  if (op !== 'c' && op !== 'u' && op !== 'd' && op !== 't' && op !== 'r') throw invalid('op of message');
  const after = fields.row('after');
  if (after === undefined && op !== 'd' && op !== 't') throw invalid('after of message');
  if (fields.optional('transaction') === undefined) throw invalid('transaction of message');
  return {
    kind: 'mutation',
    op,
    before: fields.row('before'),
    after,
    tsMs: fields.number('ts_ms'),
    source: mutationSource(fields.object('source')),
  };
}

function messageSource(fields: Fields): MessageSource {
  return {
    name: fields.text('name'),
    set: fields.text('set'),
    setVersion: fields.number('set_version'),
    node: fields.text('node'),
    incarnation: fields.number('incarnation'),
    ticket: fields.bigint('ticket'),
  };
}

function mutationSource(fields: Fields): MutationSource {
  return {
    ...messageSource(fields),
    version: fields.text('version'),
    db: fields.text('db'),
    schema: fields.text('schema'),
    table: fields.text('table'),
    tsMs: fields.number('ts_ms'),
    snapshot: fields.text('snapshot'),
    txId: fields.bigint('txId'),
    seq: fields.bigint('seq'),
    metadata: fields.optional('metadata'),
    jsonNull: fields.names('json_null'),
    jsonNullBefore: fields.names('json_null_before'),
    unchanged: fields.names('unchanged'),
    partition: fields.optionalText('partition'),
    bound: fields.optionalText('bound'),
  };
}

/** The members of one object, each read as what it must be. */
class Fields {
  readonly #raw: ReadonlyMap<string, string>;
  readonly #what: string;

  constructor(json: string, what: string) {
    this.#raw = new Map(members(json));
    this.#what = what;
  }

  optional(name: string): string | undefined {
    return this.#raw.get(name);
  }

  row(name: string): string | undefined {
    const raw = this.#required(name);
    if (raw === 'null') return undefined;
    if (!raw.startsWith('{')) throw this.#wrong(name);
    return raw;
  }

  object(name: string): Fields {
    return new Fields(this.#required(name), `${name} of ${this.#what}`);
  }

  text(name: string): string {
    const text = this.optionalText(name);
    if (text === undefined) throw this.#wrong(name);
    return text;
  }

  /** Undefined where it is missing or null. */
  optionalText(name: string): string | undefined {
    const raw = this.#raw.get(name);
    if (raw === undefined || raw === 'null') return undefined;
    const text = this.#parse(name, raw);
    if (typeof text !== 'string') throw this.#wrong(name);
    return text;
  }

  names(name: string): readonly string[] {
    const raw = this.#raw.get(name);
    if (raw === undefined) return [];
    const list = this.#parse(name, raw);
    if (!Array.isArray(list) || !list.every((item) => typeof item === 'string')) throw this.#wrong(name);
    return list;
  }

  /** Small enough for a double: versions, times. */
  number(name: string): number {
    const value = Number(this.#required(name));
    if (!Number.isSafeInteger(value)) throw this.#wrong(name);
    return value;
  }

  /** A JSON number or a decimal string. */
  bigint(name: string): bigint {
    const digits = this.#required(name).replace(/^"|"$/g, '');
    if (!/^[0-9]+$/.test(digits)) throw this.#wrong(name);
    return BigInt(digits);
  }

  #required(name: string): string {
    const raw = this.#raw.get(name);
    if (raw === undefined) throw this.#wrong(name);
    return raw;
  }

  #parse(name: string, raw: string): unknown {
    try {
      return JSON.parse(raw);
    } catch {
      throw this.#wrong(name);
    }
  }

  #wrong(name: string): IntegrityError {
    return invalid(`${name} of ${this.#what}`);
  }
}

function invalid(what: string): IntegrityError {
  return new IntegrityError(
    'message_invalid',
    `A message is not of format shovel: ${what} is missing or wrong.`,
    {
      hint: 'Does something else write to this destination, or a newer release than this one reads?',
    },
  );
}
