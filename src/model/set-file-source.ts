/**
 * A set file's text as plain data, with the place of every key and value. Decides what YAML is accepted: version 1.2,
 * one document, unique keys that are strings, no tags of one's own, no numbers that would lose digits. What the data
 * mean is for the schema and the rules.
 */
import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  Scalar,
  type YAMLMap,
} from 'yaml';

export type Path = ReadonlyArray<string | number>;

/** A problem at a place of the file; line and column count from 1, columns in UTF-16 units. */
interface SourceProblem {
  readonly line: number;
  readonly column: number;
  readonly path: Path;
  readonly message: string;
  readonly hint?: string;
}

/** Line and column count from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

export interface Source {
  /** Plain data: null, booleans, numbers, strings, arrays, objects without prototype surprises. */
  readonly data: unknown;
  readonly problems: readonly SourceProblem[];
  /** Whether some of the text could not be read, so that what seems to be missing may be there. */
  readonly broken: boolean;
  /** Where the value at `path` stands, or of what encloses it; `offset` units into a text where that is on one line. */
  valuePlace(path: Path, offset?: number): Place;
  /** Where the key at `path` stands, or what encloses it. */
  keyPlace(path: Path): Place;
}

/** More than this is a mistake or an attack; aliases count each time they are used. */
const MAX_NODES = 100_000;
const MAX_DEPTH = 50;

export function readSource(text: string): Source {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    version: '1.2',
    intAsBigInt: true,
    prettyErrors: false,
    uniqueKeys: true,
  });
  const place = (offset: number): Place => {
    const { line, col } = lines.linePos(Math.min(offset, text.length));
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const reader = new Reader({ document, place });
  const data = reader.read();
  const syntax = [...document.errors, ...document.warnings].map(({ code, message, pos }) => ({
    ...place(pos[0]),
    path: [],
    ...yamlWords(code, message),
  }));
  return {
    data,
    problems: [...syntax, ...reader.problems],
    broken: document.errors.some(({ code }) => code !== 'DUPLICATE_KEY'),
    valuePlace: (path, offset) => place(valueOffset(document, { path, offset: offset ?? 0, text })),
    keyPlace: (path) => place(keyOffset(document, path)),
  };
}

function yamlWords(code: string, message: string): { readonly message: string; readonly hint: string } {
  const words = message.replace(/\s+/g, ' ').trim();
  switch (code) {
    case 'DUPLICATE_KEY':
      return { message: 'this key stands twice in one map', hint: 'remove one of the two' };
    case 'TAG_RESOLVE_FAILED':
      return { message: words, hint: 'remove the tag (!…), or put the text into quotes' };
    case 'MULTIPLE_DOCS':
      return {
        message: 'the file holds more than one document',
        hint: 'write one file per set, without ---',
      };
    default:
      return { message: words, hint: 'mend the YAML here' };
  }
}

/** Turns nodes into data, once. */
class Reader {
  readonly problems: SourceProblem[] = [];
  readonly #document: Document.Parsed;
  readonly #place: (offset: number) => Place;
  #nodes = 0;
  #full = false;

  constructor(from: { readonly document: Document.Parsed; readonly place: (offset: number) => Place }) {
    this.#document = from.document;
    this.#place = from.place;
  }

  read(): unknown {
    return this.#value(this.#document.contents, []);
  }

  #value(node: unknown, path: Path): unknown {
    this.#nodes += 1;
    if (this.#full || this.#nodes > MAX_NODES || path.length > MAX_DEPTH) {
      if (!this.#full) {
        this.#full = true;
        this.#problem(node, path, { message: 'the file is too large or too deep', hint: 'split the set' });
      }
      return null;
    }
    if (isAlias(node)) {
      const target = node.resolve(this.#document);
      return target === undefined ? null : this.#value(target, path);
    }
    if (isMap(node)) {
      return this.#map(node, path);
    }
    if (isSeq(node)) {
      return node.items.map((item, index) => this.#value(item, [...path, index]));
    }
    return isScalar(node) ? this.#scalar(node, path) : null;
  }

  #map(map: YAMLMap, path: Path): Record<string, unknown> {
    const entries: Array<[string, unknown]> = [];
    for (const pair of map.items) {
      const key = keyText(pair);
      if (key === undefined) {
        this.#problem(pair.key, path, { message: 'a key is no text', hint: 'put the key into quotes' });
      } else {
        entries.push([key, this.#value(pair.value, [...path, key])]);
      }
    }
    return Object.fromEntries(entries);
  }

  #scalar(node: Scalar, path: Path): unknown {
    const { value } = node;
    if (typeof value === 'bigint') {
      const number = Number(value);
      return Number.isSafeInteger(number) ? number : this.#lossy(node, path);
    }
    if (typeof value === 'number' && Number.isFinite(value) && !isExact(node.source ?? '', value)) {
      return this.#lossy(node, path);
    }
    return value;
  }

  #lossy(node: Scalar, path: Path): unknown {
    this.#problem(node, path, {
      message: `the number ${node.source ?? ''} would lose digits`,
      hint: 'put it into quotes if it is a text',
    });
    // A number all the same, so that one mistake is one message.
    return Number(node.value);
  }

  #problem(node: unknown, path: Path, words: { readonly message: string; readonly hint: string }): void {
    this.problems.push({ ...this.#place(startOf(node) ?? 0), path, ...words });
  }
}

/** Whether the number prints with the digits that were written. */
function isExact(source: string, value: number): boolean {
  const written = decimal(source);
  return written === undefined || written === decimal(String(value));
}

/** Digits without zeros at either end, and the power of ten of the last; undefined for what is not decimal. */
function decimal(text: string): string | undefined {
  const match = /^([-+]?)(\d*)(?:\.(\d*))?(?:e([-+]?\d+))?$/i.exec(text);
  if (match === null) {
    return undefined;
  }
  const [, sign, whole = '', fraction = '', exponent = '0'] = match;
  const digits = `${whole}${fraction}`.replace(/^0+/, '');
  const trimmed = digits.replace(/0+$/, '');
  if (trimmed === '') {
    return '0';
  }
  const power = Number(exponent) - fraction.length + (digits.length - trimmed.length);
  return `${sign === '-' ? '-' : ''}${trimmed}e${power}`;
}

function keyText(pair: Pair<unknown, unknown>): string | undefined {
  return isScalar(pair.key) && typeof pair.key.value === 'string' ? pair.key.value : undefined;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}

function resolved(document: Document.Parsed, node: unknown): unknown {
  return isAlias(node) ? node.resolve(document) : node;
}

function child(
  document: Document.Parsed,
  step: { readonly node: unknown; readonly key: string | number },
): unknown {
  const node = resolved(document, step.node);
  if (isMap(node)) {
    return node.items.find((pair) => keyText(pair) === step.key);
  }
  return isSeq(node) && typeof step.key === 'number' ? node.items[step.key] : undefined;
}

function isPair(node: unknown): node is Pair<unknown, unknown> {
  return typeof node === 'object' && node !== null && !isNode(node) && 'key' in node;
}

/** The deepest node on the way to `path`, and whether the way was walked to its end. */
function walk(
  document: Document.Parsed,
  path: Path,
): { readonly key: unknown; readonly value: unknown; readonly whole: boolean } {
  let key: unknown;
  let value: unknown = document.contents;
  for (const step of path) {
    const found = child(document, { node: value, key: step });
    if (found === undefined) {
      return { key, value, whole: false };
    }
    if (isPair(found)) {
      key = found.key;
      value = found.value;
    } else {
      key = found;
      value = found;
    }
  }
  return { key, value, whole: true };
}

function keyOffset(document: Document.Parsed, path: Path): number {
  const { key, value } = walk(document, path);
  return startOf(key) ?? startOf(value) ?? 0;
}

function valueOffset(
  document: Document.Parsed,
  want: { readonly path: Path; readonly offset: number; readonly text: string },
): number {
  const { key, value, whole } = walk(document, want.path);
  const start = startOf(value) ?? startOf(key) ?? 0;
  return whole && isNode(value) && want.offset > 0 ? start + inside(value, want) : start;
}

/** Only where the text stands in the file as it is (one line, no escapes) can a place within it be told. */
function inside(node: Node, want: { readonly offset: number; readonly text: string }): number {
  if (!isScalar(node) || typeof node.value !== 'string' || !node.range) {
    return 0;
  }
  const quote = node.type === Scalar.QUOTE_DOUBLE || node.type === Scalar.QUOTE_SINGLE ? 1 : 0;
  const from = node.range[0] + quote;
  return want.text.startsWith(node.value, from) ? quote + want.offset : 0;
}
