/**
 * Row filters as text: the one spelling in which they are stored (`formatWhere`), and SQL (`renderWhere`), in which
 * every constant is a quoted literal cast to its column's type, so that PostgreSQL alone decides what is equal.
 */
import { formatIdentifier } from './names.js';
import { WHERE_WORDS, type Where, type WhereConstant, type WhereOperator } from './where.js';

/** How a column stands in SQL. Both texts are trusted and placed as they are. */
export interface WhereColumn {
  /** An expression of the column's type, e.g. `(l.old ->> 'balance')::numeric`; put into parentheses here. */
  readonly sql: string;
  /**
   * The type as it stands behind `::`, schema-qualified and quoted, e.g. `pg_catalog."numeric"`; without modifier,
   * since a cast to `varchar(3)` cuts the constant.
   */
  readonly type: string;
  /**
   * Schema of the type's comparison operators, quoted where it needs that; makes `operator(pg_catalog.=)`, which no
   * `search_path` can bend. Undefined: plain operators.
   */
  readonly operatorSchema?: string;
  /** Compared by enum_eq and its like: beside an implicit cast to text the operators of enums are not unique. */
  readonly enumeration?: boolean;
}

/** The filter as a boolean SQL expression in parentheses. `column` is called for every mention of a column. */
export function renderWhere(where: Where, column: (name: string) => WhereColumn): string {
  switch (where.kind) {
    case 'compare':
      return comparison(column(where.column), where);
    case 'in':
      return membership(column(where.column), where);
    case 'null':
      return `((${column(where.column).sql}) is ${where.negated ? 'not null' : 'null'})`;
    case 'not':
      return `(not ${renderWhere(where.term, column)})`;
    default:
      return `(${where.terms.map((term) => renderWhere(term, column)).join(` ${where.kind} `)})`;
  }
}

function comparison(
  column: WhereColumn,
  test: { readonly operator: WhereOperator; readonly constant: WhereConstant },
): string {
  const constant = `${quoteLiteral(test.constant.text)}::${column.type}`;
  if (column.enumeration === true) {
    return `pg_catalog.${ENUM_FUNCTIONS[test.operator]}((${column.sql}), ${constant})`;
  }
  const operator =
    column.operatorSchema === undefined
      ? test.operator
      : `operator(${column.operatorSchema}.${test.operator})`;
  return `((${column.sql}) ${operator} ${constant})`;
}

const ENUM_FUNCTIONS: Readonly<Record<WhereOperator, string>> = {
  '=': 'enum_eq',
  '<>': 'enum_ne',
  '<': 'enum_lt',
  '<=': 'enum_le',
  '>': 'enum_gt',
  '>=': 'enum_ge',
};

/** `in` itself looks its operator up by `search_path`, hence a chain. */
function membership(
  column: WhereColumn,
  test: { readonly negated: boolean; readonly constants: readonly WhereConstant[] },
): string {
  const chain = test.constants
    .map((constant) => comparison(column, { operator: '=', constant }))
    .join(' or ');
  return test.negated ? `(not (${chain}))` : `(${chain})`;
}

/** A literal that reads the same under either setting of `standard_conforming_strings`. */
function quoteLiteral(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`;
  return text.includes('\\') ? `E${quoted.replaceAll('\\', '\\\\')}` : quoted;
}

/** The one spelling of a filter's meaning: `parseWhere` gives the same tree back. */
export function formatWhere(where: Where): string {
  return format(where, 'or');
}

/** `within` is the loosest operator that may stand here without parentheses. */
function format(where: Where, within: 'or' | 'and' | 'not'): string {
  switch (where.kind) {
    case 'compare':
      return `${formatColumn(where.column)} ${where.operator} ${formatConstant(where.constant)}`;
    case 'in': {
      const list = where.constants.map(formatConstant).join(', ');
      return `${formatColumn(where.column)} ${where.negated ? 'not in' : 'in'} (${list})`;
    }
    case 'null':
      return `${formatColumn(where.column)} is ${where.negated ? 'not null' : 'null'}`;
    case 'not':
      return `not ${format(where.term, 'not')}`;
    case 'and': {
      const text = where.terms.map((term) => format(term, 'not')).join(' and ');
      return within === 'not' ? `(${text})` : text;
    }
    case 'or': {
      const text = where.terms.map((term) => format(term, 'and')).join(' or ');
      return within === 'or' ? text : `(${text})`;
    }
  }
}

function formatColumn(name: string): string {
  return WHERE_WORDS.has(name) ? `"${name}"` : formatIdentifier(name);
}

function formatConstant(constant: WhereConstant): string {
  return constant.kind === 'text' ? `'${constant.text.replaceAll("'", "''")}'` : constant.text;
}
