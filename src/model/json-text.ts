/**
 * JSON as text: finds members and takes rows apart without parsing a value, so that numbers keep every digit and a
 * row's own bytes are what is published. Reads what PostgreSQL's `row_to_json` prints, and any other valid JSON
 * object; on a text that is not valid it ends early and never loops. Runs for each published row: stops at the
 * first hit, and leaps over strings by `indexOf`. Measured on rows of seven columns and 230 bytes, Node 20: a member
 * in first place 0.1 µs, in last place 0.5 µs, all members 0.7 µs, JSON.parse 0.9 µs.
 */

const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const BACKSLASH = 92;
const OPEN_LIST = 91;
const CLOSE_LIST = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

/** The raw text of a top-level member, as it stands; undefined where there is none. Of equal names, the first. */
export function memberText(json: string, name: string): string | undefined {
  const start = firstValueStart(json, name);
  if (start > 0) {
    return json.slice(start, skipValue(json, start));
  }
  const scan = new Scan(json);
  while (scan.next()) {
    if (scan.isNamed(name)) {
      return scan.value();
    }
  }
  return undefined;
}

/** The top-level members in their order: names decoded, values as raw text. Not an object: none. */
export function* members(json: string): Generator<readonly [name: string, rawText: string], void, undefined> {
  const scan = new Scan(json);
  while (scan.next()) {
    yield [scan.name(), scan.value()];
  }
}

/**
 * `{"id":1,"at":"…"}` of the named members' own texts, in the order of `names`; undefined where the object lacks one
 * of them. No names give `{}`.
 */
export function pickMembers(json: string, names: readonly string[]): string | undefined {
  const [first] = names;
  if (first !== undefined && names.length === 1) {
    const start = firstValueStart(json, first);
    if (start > 0) {
      return `${json.slice(0, skipValue(json, start))}}`;
    }
    const text = memberText(json, first);
    return text === undefined ? undefined : `{${JSON.stringify(first)}:${text}}`;
  }
  const found = new Array<string | undefined>(names.length).fill(undefined);
  const scan = new Scan(json);
  let missing = names.length;
  while (missing > 0 && scan.next()) {
    for (let index = 0; index < names.length; index += 1) {
      const name = names[index];
      if (name !== undefined && found[index] === undefined && scan.isNamed(name)) {
        found[index] = scan.member(name);
        missing -= 1;
      }
    }
  }
  return missing > 0 ? undefined : `{${found.join(',')}}`;
}

/** Whether the text is JSON, strictly by RFC 8259 (whose grammar is ECMA-404's, and JSON.parse's). */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Raw line breaks, which can only stand between tokens, as spaces; everything else as it is. */
export function spaceLineBreaks(json: string): string {
  return json.indexOf('\n') < 0 && json.indexOf('\r') < 0 ? json : json.replace(/[\r\n]/g, ' ');
}

/**
 * The commonest case, a key that is the first column of `row_to_json`'s text, without any state: the offset of the
 * value where the text begins with `{"name":` and no space, else 0.
 */
function firstValueStart(json: string, name: string): number {
  const end = name.length + 2;
  return json.charCodeAt(0) === OPEN_OBJECT &&
    json.charCodeAt(1) === QUOTE &&
    json.charCodeAt(end) === QUOTE &&
    json.charCodeAt(end + 1) === COLON &&
    json.charCodeAt(end + 2) > 32 &&
    json.startsWith(name, 2) &&
    !name.includes('"') &&
    !name.includes('\\')
    ? end + 2
    : 0;
}

/**
 * Walks over the top-level members of one object. After `next` returned true, name and value are those of one
 * member; values are skipped lazily, so that a search that stops early never looks at the rest.
 */
class Scan {
  readonly #json: string;
  #nameStart = 0;
  #nameEnd = 0;
  #valueStart = 0;
  /** Behind the current value; -1 while nobody has needed it. */
  #valueEnd: number;

  constructor(json: string) {
    this.#json = json;
    const start = skipSpace(json, 0);
    this.#valueEnd = json.charCodeAt(start) === OPEN_OBJECT ? start : json.length;
  }

  next(): boolean {
    const json = this.#json;
    const end = this.#valueEnd < 0 ? skipValue(json, this.#valueStart) : this.#valueEnd;
    // At the opening brace, or at the comma behind the last value.
    const separator = skipSpace(json, end);
    const code = json.charCodeAt(separator);
    if (code !== COMMA && code !== OPEN_OBJECT) {
      return this.#stop();
    }
    const quote = skipSpace(json, separator + 1);
    if (json.charCodeAt(quote) !== QUOTE) {
      return this.#stop();
    }
    const nameEnd = skipString(json, quote);
    const colon = skipSpace(json, nameEnd);
    if (json.charCodeAt(colon) !== COLON) {
      return this.#stop();
    }
    this.#nameStart = quote + 1;
    this.#nameEnd = nameEnd - 1;
    this.#valueStart = skipSpace(json, colon + 1);
    this.#valueEnd = -1;
    return true;
  }

  isNamed(name: string): boolean {
    const json = this.#json;
    const length = this.#nameEnd - this.#nameStart;
    if (length === name.length && json.startsWith(name, this.#nameStart)) {
      // Equal as written; a backslash in it would mean something else.
      return !name.includes('\\');
    }
    // An escape is longer than what it stands for.
    return length > name.length && hasEscape(json, this.#nameStart, this.#nameEnd) && this.name() === name;
  }

  name(): string {
    const raw = this.#json.slice(this.#nameStart, this.#nameEnd);
    return raw.includes('\\') ? decodeString(raw) : raw;
  }

  /** `"name":value` without space, for a member that is named so; in one cut where it stands like that. */
  member(name: string): string {
    const value = this.value();
    return this.#valueStart === this.#nameEnd + 2 && this.#nameEnd - this.#nameStart === name.length
      ? this.#json.slice(this.#nameStart - 1, this.#valueEnd)
      : `${JSON.stringify(name)}:${value}`;
  }

  value(): string {
    if (this.#valueEnd < 0) {
      this.#valueEnd = skipValue(this.#json, this.#valueStart);
    }
    return this.#json.slice(this.#valueStart, this.#valueEnd);
  }

  #stop(): false {
    this.#valueEnd = this.#json.length;
    return false;
  }
}

function decodeString(raw: string): string {
  try {
    return String(JSON.parse(`"${raw}"`));
  } catch {
    return raw;
  }
}

function hasEscape(json: string, from: number, to: number): boolean {
  for (let at = from; at < to; at += 1) {
    if (json.charCodeAt(at) === BACKSLASH) {
      return true;
    }
  }
  return false;
}

function skipSpace(json: string, from: number): number {
  let at = from;
  for (;;) {
    const code = json.charCodeAt(at);
    if (code !== 32 && code !== 10 && code !== 13 && code !== 9) {
      return at;
    }
    at += 1;
  }
}

/** `from` is at the opening quote; returns the offset behind the closing one, or the end of the text. */
function skipString(json: string, from: number): number {
  let quote = from;
  for (;;) {
    quote = json.indexOf('"', quote + 1);
    if (quote < 0) {
      return json.length;
    }
    if (json.charCodeAt(quote - 1) !== BACKSLASH || !isEscaped(json, quote)) {
      return quote + 1;
    }
  }
}

/** Whether an odd number of backslashes stands before this quote. The opening quote stops the count. */
function isEscaped(json: string, quote: number): boolean {
  let at = quote - 1;
  while (json.charCodeAt(at) === BACKSLASH) {
    at -= 1;
  }
  return (quote - at) % 2 === 0;
}

/** `from` is at the value's first character; returns the offset behind its last. */
function skipValue(json: string, from: number): number {
  const first = json.charCodeAt(from);
  if (first === QUOTE) {
    return skipString(json, from);
  }
  if (first === OPEN_OBJECT || first === OPEN_LIST) {
    return skipNested(json, from);
  }
  return skipScalar(json, from);
}

function skipScalar(json: string, from: number): number {
  let at = from;
  while (at < json.length) {
    const code = json.charCodeAt(at);
    if (code === COMMA || code === CLOSE_OBJECT || code === CLOSE_LIST || code <= 32) {
      return at;
    }
    at += 1;
  }
  return at;
}

function skipNested(json: string, from: number): number {
  let depth = 0;
  let at = from;
  while (at < json.length) {
    const code = json.charCodeAt(at);
    if (code === QUOTE) {
      at = skipString(json, at);
      continue;
    }
    at += 1;
    if (code === OPEN_OBJECT || code === OPEN_LIST) {
      depth += 1;
    } else if (code === CLOSE_OBJECT || code === CLOSE_LIST) {
      depth -= 1;
      if (depth === 0) {
        return at;
      }
    }
  }
  return at;
}
