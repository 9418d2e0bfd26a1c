/** Parses a row filter by recursive descent; the grammar stands in where.ts. Depth is bounded, so that no text can
 * exhaust the stack. */
import {
  WHERE_WORDS,
  type Where,
  type WhereConstant,
  type WhereOperator,
  type WhereProblem,
} from './where.js';
import { type WhereToken, whereTokens } from './where-tokens.js';

const MAX_DEPTH = 100;
const MAX_LENGTH = 10_000;

const FLIPPED: Readonly<Record<WhereOperator, WhereOperator>> = {
  '=': '=',
  '<>': '<>',
  '<': '>',
  '<=': '>=',
  '>': '<',
  '>=': '<=',
};

/** Words that are SQL, not of this language, and what to write instead. */
const FOREIGN_WORDS: Readonly<Record<string, string>> = {
  like: 'compare with =, or list the values with in (…)',
  ilike: 'compare with =, or list the values with in (…)',
  similar: 'compare with =, or list the values with in (…)',
  between: 'write a >= 1 and a <= 9',
  any: 'list the values with in (…)',
  some: 'list the values with in (…)',
  all: 'combine comparisons with and',
  exists: 'a filter sees one row only',
  select: 'a filter sees one row only',
  case: 'combine comparisons with and, or, not',
};

/** The filter's meaning, or the first thing that is wrong with it. */
export function parseWhere(text: string): { readonly where: Where } | WhereProblem {
  if (text.length > MAX_LENGTH) {
    return {
      problem: `a filter has more than ${MAX_LENGTH} characters`,
      hint: 'filter in the consumer, or by a column that is made for it',
      offset: MAX_LENGTH,
    };
  }
  const tokens = whereTokens(text);
  if ('problem' in tokens) {
    return tokens;
  }
  try {
    const parser = new Parser(tokens);
    return { where: parser.whole() };
  } catch (error) {
    if (error instanceof Stop) {
      return error.problem;
    }
    throw error;
  }
}

/** Leaves the descent at the first problem; never leaves this file. */
class Stop extends Error {
  readonly problem: WhereProblem;

  constructor(problem: WhereProblem) {
    super(problem.problem);
    this.problem = problem;
  }
}

/** Lives for one text. */
class Parser {
  readonly #tokens: readonly WhereToken[];
  readonly #end: WhereToken;
  #at = 0;
  #depth = 0;

  constructor(tokens: readonly WhereToken[]) {
    this.#tokens = tokens;
    this.#end = tokens.at(-1) ?? { kind: 'end', text: '', offset: 0 };
  }

  whole(): Where {
    if (this.#peek().kind === 'end') {
      return this.#stop('the filter is empty', 'leave where out to publish every row');
    }
    const where = this.#filter();
    const rest = this.#peek();
    if (rest.kind !== 'end') {
      return rest.kind === 'symbol' && rest.text === ')'
        ? this.#stop('a ) without its (', 'remove it')
        : this.#stop(`unexpected ${shown(rest)}`, this.#foreignHint(rest) ?? 'join conditions with and, or');
    }
    return where;
  }

  #filter(): Where {
    return this.#chain('or', () => this.#chain('and', () => this.#factor()));
  }

  #chain(kind: 'and' | 'or', next: () => Where): Where {
    const terms = [next()];
    while (this.#takeWord(kind)) {
      terms.push(next());
    }
    const [only] = terms;
    return terms.length === 1 && only !== undefined ? only : { kind, terms };
  }

  #factor(): Where {
    this.#depth += 1;
    if (this.#depth > MAX_DEPTH) {
      return this.#stop(`the filter is nested deeper than ${MAX_DEPTH} levels`, 'write it flatter');
    }
    const where = this.#takeWord('not')
      ? ({ kind: 'not', term: this.#factor() } as const)
      : this.#takeSymbol('(')
        ? this.#group()
        : this.#predicate();
    this.#depth -= 1;
    return where;
  }

  #group(): Where {
    const where = this.#filter();
    this.#expectSymbol(')');
    return where;
  }

  #predicate(): Where {
    const constant = this.#takeConstant();
    if (constant !== undefined) {
      const operator = this.#operator();
      return { kind: 'compare', column: this.#column(), operator: FLIPPED[operator], constant };
    }
    const column = this.#column();
    if (this.#takeWord('is')) {
      return this.#nullTest(column);
    }
    const negated = this.#takeWord('not');
    if (this.#takeWord('in')) {
      return { kind: 'in', column, negated, constants: this.#constants() };
    }
    if (negated) {
      return this.#stop(
        `expected in after not, found ${shown(this.#peek())}`,
        this.#foreignHint(this.#peek()) ?? 'write column not in (…), or not column = …',
      );
    }
    const operator = this.#operator();
    return { kind: 'compare', column, operator, constant: this.#constant() };
  }

  #nullTest(column: string): Where {
    const negated = this.#takeWord('not');
    if (this.#takeWord('null')) {
      return { kind: 'null', column, negated };
    }
    return this.#stop(
      `expected null, found ${shown(this.#peek())}`,
      'is tests for null only; write column = true, or column <> …',
    );
  }

  #constants(): readonly WhereConstant[] {
    this.#expectSymbol('(');
    const constants = [this.#constant()];
    while (this.#takeSymbol(',')) {
      constants.push(this.#constant());
    }
    this.#expectSymbol(')');
    return constants;
  }

  #column(): string {
    const token = this.#peek();
    if (token.kind === 'name' || (token.kind === 'word' && !WHERE_WORDS.has(token.text))) {
      const hint = token.kind === 'word' ? FOREIGN_WORDS[token.text] : undefined;
      const next = this.#tokens[this.#at + 1];
      if (next?.kind === 'symbol' && next.text === '(') {
        return this.#stop(
          `${token.text}(…) is not part of the filter language`,
          hint ?? 'functions are not allowed: compare a column with a constant',
        );
      }
      this.#at += 1;
      return token.text;
    }
    return this.#stop(
      `expected a column, found ${shown(token)}`,
      token.kind === 'word'
        ? `put the name into double quotes if it is a column: "${token.text}"`
        : 'compare a column with a constant: balance <> 0',
    );
  }

  #operator(): WhereOperator {
    const token = this.#peek();
    if (token.kind === 'symbol' && isOperator(token.text)) {
      this.#at += 1;
      return token.text;
    }
    return this.#stop(
      `expected a comparison, found ${shown(token)}`,
      this.#foreignHint(token) ??
        'use = <> < <= > >=, in (…), is null; a boolean column is compared: active = true',
    );
  }

  #constant(): WhereConstant {
    const constant = this.#takeConstant();
    if (constant !== undefined) {
      return constant;
    }
    const token = this.#peek();
    if (token.kind === 'word' && token.text === 'null') {
      return this.#stop('nothing equals null', 'write column is null, or column is not null');
    }
    return this.#stop(
      `expected a constant, found ${shown(token)}`,
      token.kind === 'word' || token.kind === 'name'
        ? "columns are compared with constants only; text stands in single quotes: 'open'"
        : "write 'text', a number, true or false",
    );
  }

  #takeConstant(): WhereConstant | undefined {
    const token = this.#peek();
    if (token.kind === 'text' || token.kind === 'number') {
      this.#at += 1;
      return { kind: token.kind, text: token.text };
    }
    if (token.kind === 'word' && (token.text === 'true' || token.text === 'false')) {
      this.#at += 1;
      return { kind: 'boolean', text: token.text };
    }
    return undefined;
  }

  #takeWord(word: string): boolean {
    const token = this.#peek();
    return token.kind === 'word' && token.text === word && this.#advance();
  }

  #takeSymbol(symbol: string): boolean {
    const token = this.#peek();
    return token.kind === 'symbol' && token.text === symbol && this.#advance();
  }

  #expectSymbol(symbol: string): void {
    if (!this.#takeSymbol(symbol)) {
      this.#stop(`expected ${symbol}, found ${shown(this.#peek())}`, 'check the parentheses and commas');
    }
  }

  #advance(): true {
    this.#at += 1;
    return true;
  }

  #peek(): WhereToken {
    return this.#tokens[this.#at] ?? this.#end;
  }

  #foreignHint(token: WhereToken): string | undefined {
    return token.kind === 'word' ? FOREIGN_WORDS[token.text] : undefined;
  }

  #stop(problem: string, hint: string): never {
    throw new Stop({ problem, hint, offset: this.#peek().offset });
  }
}

function isOperator(text: string): text is WhereOperator {
  return Object.hasOwn(FLIPPED, text);
}

function shown(token: WhereToken): string {
  switch (token.kind) {
    case 'end':
      return 'the end';
    case 'text':
      return 'a text constant';
    case 'number':
      return 'a number';
    default:
      return token.text;
  }
}
