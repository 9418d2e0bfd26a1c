/** Cuts a row filter into tokens, each with its offset; the grammar is in where-parse.ts. */
import { isIdentifierStart, scanIdentifier } from './names.js';
import type { WhereProblem } from './where.js';

export interface WhereToken {
  /** `word` is an unquoted identifier or keyword, folded; `name` a quoted identifier. */
  readonly kind: 'word' | 'name' | 'text' | 'number' | 'symbol' | 'end';
  /** The meaning: the name, the constant's text, the symbol. */
  readonly text: string;
  readonly offset: number;
}

const NUMBER = /[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?/y;
const SYMBOL = /<>|!=|<=|>=|[=<>(),]/y;
const SPACE = /\s+/y;

/** What people bring along from SQL and the language has not, with the way to say it here. */
const FOREIGN: ReadonlyArray<readonly [pattern: RegExp, problem: string, hint: string]> = [
  [
    /::/y,
    'casts are not part of the filter language',
    'leave the cast out: a constant takes the type of its column',
  ],
  [/--|\/\*/y, 'comments are not part of the filter language', 'put the comment into the set file'],
  [
    /\|\||[-+*/%^&|~#]/y,
    'expressions are not part of the filter language',
    'compare a column with a constant',
  ],
  [/\$/y, 'parameters are not part of the filter language', "write the constant itself: 'text' or a number"],
  [/;/y, 'a filter is one condition', 'leave out the semicolon'],
  [/\./y, 'a filter names columns only', 'write the column without its table'],
  [/\[/y, 'subscripts are not part of the filter language', 'compare a whole column with a constant'],
];

/** The tokens, the last of kind `end`; or the first place that is no token. */
export function whereTokens(text: string): readonly WhereToken[] | WhereProblem {
  const tokens: WhereToken[] = [];
  let at = 0;
  for (;;) {
    at += match(SPACE, text, at)?.length ?? 0;
    if (at >= text.length) {
      tokens.push({ kind: 'end', text: '', offset: text.length });
      return tokens;
    }
    const scan = nextToken(text, at);
    if ('problem' in scan) {
      return scan;
    }
    tokens.push(scan.token);
    at = scan.end;
  }
}

type TokenScan = { readonly token: WhereToken; readonly end: number } | WhereProblem;

function nextToken(text: string, offset: number): TokenScan {
  const first = text[offset] ?? '';
  if (first === "'") {
    return textToken(text, offset);
  }
  const number = match(NUMBER, text, offset);
  if (number !== undefined) {
    return numberToken(text, { offset, number });
  }
  const symbol = match(SYMBOL, text, offset);
  if (symbol !== undefined) {
    const meaning = symbol === '!=' ? '<>' : symbol;
    return { token: { kind: 'symbol', text: meaning, offset }, end: offset + symbol.length };
  }
  if (first === '"' || isIdentifierStart(String.fromCodePoint(text.codePointAt(offset) ?? 0))) {
    return wordToken(text, offset);
  }
  for (const [pattern, problem, hint] of FOREIGN) {
    if (match(pattern, text, offset) !== undefined) {
      return { problem, hint, offset };
    }
  }
  return { problem: `unexpected ${first}`, hint: 'compare a column with a constant: balance <> 0', offset };
}

function textToken(text: string, offset: number): TokenScan {
  let value = '';
  let from = offset + 1;
  for (;;) {
    const quote = text.indexOf("'", from);
    if (quote < 0) {
      return { problem: 'a text constant is never closed', hint: "close it with '", offset };
    }
    value += text.slice(from, quote);
    if (text[quote + 1] !== "'") {
      return value.includes('\0')
        ? {
            problem: 'a text constant holds a NUL character',
            hint: 'PostgreSQL stores none: remove it',
            offset,
          }
        : { token: { kind: 'text', text: value, offset }, end: quote + 1 };
    }
    value += "'";
    from = quote + 2;
  }
}

function numberToken(text: string, scan: { readonly offset: number; readonly number: string }): TokenScan {
  const end = scan.offset + scan.number.length;
  const next = text[end] ?? ' ';
  if (next === '_' || isIdentifierStart(next) || next === '.') {
    return { problem: 'a number goes on with a letter', hint: "put text constants into '…'", offset: end };
  }
  const digits = scan.number.startsWith('+') ? scan.number.slice(1) : scan.number;
  return { token: { kind: 'number', text: digits, offset: scan.offset }, end };
}

function wordToken(text: string, offset: number): TokenScan {
  const scan = scanIdentifier(text, offset);
  if ('problem' in scan) {
    return { problem: scan.problem, hint: 'put odd names into double quotes', offset: scan.offset };
  }
  const quoted = text[offset] === '"';
  if (!quoted && text[scan.end] === "'") {
    return {
      problem: `constants with a prefix (${text.slice(offset, scan.end)}'…') are not part of the filter language`,
      hint: "write '…' alone: a constant takes the type of its column",
      offset,
    };
  }
  return { token: { kind: quoted ? 'name' : 'word', text: scan.name, offset }, end: scan.end };
}

function match(pattern: RegExp, text: string, offset: number): string | undefined {
  pattern.lastIndex = offset;
  return pattern.exec(text)?.[0];
}
