/**
 * The language of row filters: comparisons of a column with a constant, `in`, `is [not] null`, and, or, not,
 * parentheses. Decides what a filter means; the tokens are in where-tokens.ts, the parser in where-parse.ts, SQL in
 * where-render.ts. Whether the columns exist and the constants suit their types is for PostgreSQL to say.
 *
 *   filter     = term { "or" term }
 *   term       = factor { "and" factor }
 *   factor     = "not" factor | "(" filter ")" | predicate
 *   predicate  = column operator constant | constant operator column
 *              | column ["not"] "in" "(" constant { "," constant } ")" | column "is" ["not"] "null"
 *   operator   = "=" | "<>" | "!=" | "<" | "<=" | ">" | ">="
 *   constant   = 'text' | number | "true" | "false"
 *
 * Columns are identifiers as in SQL: folded to lower case unless in double quotes. A constant takes the type of the
 * column that it is compared with. NULL behaves as in SQL: a row passes only where the filter is true.
 */

/** The language's own words: they name a column only in double quotes. */
export const WHERE_WORDS: ReadonlySet<string> = new Set([
  'and',
  'or',
  'not',
  'in',
  'is',
  'null',
  'true',
  'false',
]);

export type WhereOperator = '=' | '<>' | '<' | '<=' | '>' | '>=';

/** `text` of a number is as written, with every digit; of a boolean it is `true` or `false`. */
export interface WhereConstant {
  readonly kind: 'text' | 'number' | 'boolean';
  readonly text: string;
}

export type Where =
  | {
      readonly kind: 'compare';
      readonly column: string;
      readonly operator: WhereOperator;
      readonly constant: WhereConstant;
    }
  | {
      readonly kind: 'in';
      readonly column: string;
      readonly negated: boolean;
      readonly constants: readonly WhereConstant[];
    }
  | { readonly kind: 'null'; readonly column: string; readonly negated: boolean }
  | { readonly kind: 'and' | 'or'; readonly terms: readonly Where[] }
  | { readonly kind: 'not'; readonly term: Where };

/** What is wrong with a filter; `offset` counts UTF-16 units from its start. */
export interface WhereProblem {
  readonly problem: string;
  readonly hint: string;
  readonly offset: number;
}

/** The columns that a filter names, each once, in the order of their first mention. */
export function whereColumns(where: Where): readonly string[] {
  const columns = new Set<string>();
  collect(where, columns);
  return [...columns];
}

function collect(where: Where, columns: Set<string>): void {
  switch (where.kind) {
    case 'and':
    case 'or':
      for (const term of where.terms) {
        collect(term, columns);
      }
      return;
    case 'not':
      collect(where.term, columns);
      return;
    default:
      columns.add(where.column);
  }
}
