/**
 * Names: our own (sets, databases, streams, targets, clusters), and PostgreSQL's, read as psql reads them. Decides
 * what a name may look like; whether the thing exists is for a database to say.
 *
 * PostgreSQL's rules (manual, section 4.1.1): unquoted identifiers start with a letter or underscore, go on with
 * letters, digits, underscores and dollar signs, and are folded to lower case (ASCII only, as in every UTF-8
 * database); quoted ones hold anything but NUL, a double quote written twice; 63 bytes at most. PostgreSQL cuts
 * longer ones with a notice; here they are refused.
 */
import type { QualifiedName } from './set-configuration.js';

/** Clusters, sets, databases, streams and targets. */
export const NAME_PATTERN = /^[a-z][a-z0-9_]{0,39}$/;

/** In words, for messages. */
export const NAME_RULE = 'a lower-case letter, then at most 39 lower-case letters, digits or underscores';

const IDENTIFIER_START = /[A-Za-z_\u0080-\u{10ffff}]/u;
const IDENTIFIER_PLAIN = /^[a-z_][a-z0-9_$]*$/;
const IDENTIFIER_BYTES = 63;
const UNQUOTED = /[A-Za-z_\u0080-\u{10ffff}][A-Za-z0-9_$\u0080-\u{10ffff}]*/uy;

/** Whether `text` may name a cluster, set, database, stream or target. */
export function isName(text: string): boolean {
  return NAME_PATTERN.test(text);
}

/** What is wrong, and what to write instead; `offset` counts UTF-16 units from the start of the text. */
export interface NameProblem {
  readonly problem: string;
  readonly hint: string;
  readonly offset: number;
}

export type IdentifierScan = { readonly name: string; readonly end: number } | NameProblem;

/** Reads one identifier, quoted or not, that starts at `offset`; `end` is the offset behind it. */
export function scanIdentifier(text: string, offset: number): IdentifierScan {
  return text[offset] === '"' ? scanQuoted(text, offset) : scanUnquoted(text, offset);
}

function scanQuoted(text: string, offset: number): IdentifierScan {
  let name = '';
  let from = offset + 1;
  for (;;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) {
      return { problem: 'a double quote is never closed', hint: 'close it', offset };
    }
    name += text.slice(from, quote);
    if (text[quote + 1] !== '"') {
      return checked(name, { offset, end: quote + 1 });
    }
    name += '"';
    from = quote + 2;
  }
}

function scanUnquoted(text: string, offset: number): IdentifierScan {
  UNQUOTED.lastIndex = offset;
  const word = UNQUOTED.exec(text)?.[0];
  if (word === undefined) {
    return {
      problem: offset >= text.length ? 'a name is missing' : `a name can't start with ${text[offset] ?? ''}`,
      hint: 'put odd names into double quotes: public."Order Items"',
      offset,
    };
  }
  return checked(
    word.replace(/[A-Z]/g, (letter) => letter.toLowerCase()),
    { offset, end: offset + word.length },
  );
}

function checked(name: string, place: { readonly offset: number; readonly end: number }): IdentifierScan {
  const problem = identifierProblem(name);
  return problem === undefined
    ? { name, end: place.end }
    : { problem, hint: 'write the name as it stands in the database', offset: place.offset };
}

/** Why no schema, table or column can have this name; undefined where one can. */
export function identifierProblem(name: string): string | undefined {
  if (name === '') {
    return 'a name is empty';
  }
  if (name.includes('\0')) {
    return 'a name holds a NUL character';
  }
  if (utf8Length(name) > IDENTIFIER_BYTES) {
    return `a name is longer than PostgreSQL's ${IDENTIFIER_BYTES} bytes`;
  }
  return undefined;
}

/** Bytes of the text in UTF-8. */
export function utf8Length(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const point = character.codePointAt(0) ?? 0;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return bytes;
}

/**
 * Reads `schema.table`, `table` (schema public) or `schema.*` as PostgreSQL would. A table whose name is `*` can't
 * be told from all tables and is refused.
 */
export function parseTableName(text: string): { readonly name: QualifiedName } | NameProblem {
  const parts: string[] = [];
  let at = skipSpace(text, 0);
  let wildcard = false;
  for (;;) {
    const start = at;
    if (text[at] === '*') {
      wildcard = true;
      parts.push('*');
      at += 1;
    } else {
      const scan = scanIdentifier(text, at);
      if ('problem' in scan) {
        return scan;
      }
      parts.push(scan.name);
      at = scan.end;
    }
    at = skipSpace(text, at);
    if (text[at] === '.' && !wildcard && parts.length < 2) {
      at = skipSpace(text, at + 1);
      continue;
    }
    if (at < text.length) {
      return trailing(text, { at, parts: parts.length, wildcard });
    }
    return qualified(parts, { wildcard, offset: start });
  }
}

function trailing(
  text: string,
  state: { readonly at: number; readonly parts: number; readonly wildcard: boolean },
): NameProblem {
  const { at } = state;
  if (text[at] === '.' && state.parts === 2) {
    return { problem: 'a name has more than two parts', hint: 'write schema.table', offset: at };
  }
  if (text[at] === '*') {
    return {
      problem: '* stands for all tables of a schema, not for a part of a name',
      hint: 'write schema.*, or list the tables',
      offset: at,
    };
  }
  return {
    problem: `unexpected ${text[at] ?? 'end'} in a table's name`,
    hint: 'put odd names into double quotes: public."Order Items"',
    offset: at,
  };
}

function qualified(
  parts: readonly string[],
  state: { readonly wildcard: boolean; readonly offset: number },
): { readonly name: QualifiedName } | NameProblem {
  const [first, second] = parts;
  if (second === undefined) {
    return first === undefined || state.wildcard
      ? {
          problem: '* needs a schema',
          hint: 'write public.* for all tables of schema public',
          offset: state.offset,
        }
      : { name: { schema: 'public', table: first } };
  }
  if (second === '*' && !state.wildcard) {
    return {
      problem: 'a table whose name is * is not supported',
      hint: 'rename the table, or write schema.* for all tables',
      offset: state.offset,
    };
  }
  return { name: { schema: first ?? 'public', table: second } };
}

function skipSpace(text: string, offset: number): number {
  let at = offset;
  while (at < text.length && /\s/.test(text[at] ?? '')) {
    at += 1;
  }
  return at;
}

/**
 * Cuts `a, public."b,c"` into its names, at commas outside of double quotes, for options that take several tables.
 * Empty parts are kept, so that parsing names them.
 */
export function splitNames(text: string): readonly string[] {
  const names: string[] = [];
  let quoted = false;
  let from = 0;
  for (let at = 0; at < text.length; at += 1) {
    if (text[at] === '"') {
      quoted = !quoted;
    } else if (text[at] === ',' && !quoted) {
      names.push(text.slice(from, at).trim());
      from = at + 1;
    }
  }
  names.push(text.slice(from).trim());
  return names;
}

/** An identifier as people write it: in double quotes only where it needs them. Not for SQL: keywords stay bare. */
export function formatIdentifier(name: string): string {
  return IDENTIFIER_PLAIN.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}

/** `schema.table` or `schema.*`, so that `parseTableName` gives the same name back. */
export function formatTableName(name: QualifiedName): string {
  return `${formatIdentifier(name.schema)}.${name.table === '*' ? '*' : formatIdentifier(name.table)}`;
}

/**
 * A column in a list of the set file: written as it stands in the table and in messages, without quotes; a text in
 * double quotes is taken as SQL takes it, so that both habits work.
 */
export function parseColumnName(text: string): { readonly name: string } | NameProblem {
  if (text.length > 1 && text.startsWith('"') && text.endsWith('"')) {
    const scan = scanQuoted(text, 0);
    if ('problem' in scan) {
      return scan;
    }
    return scan.end === text.length
      ? { name: scan.name }
      : { problem: 'a double quote stands alone in a quoted name', hint: 'write it twice', offset: scan.end };
  }
  const problem = identifierProblem(text);
  return problem === undefined
    ? { name: text }
    : { problem, hint: 'write the name as it stands in the table', offset: 0 };
}

/** A column's name so that `parseColumnName` gives it back. */
export function formatColumnName(name: string): string {
  return name.length > 1 && name.startsWith('"') && name.endsWith('"')
    ? `"${name.replaceAll('"', '""')}"`
    : name;
}

/** Whether an unquoted identifier may start with this character. */
export function isIdentifierStart(character: string): boolean {
  return IDENTIFIER_START.test(character);
}
