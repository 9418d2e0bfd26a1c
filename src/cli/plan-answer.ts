/** The answer of a `--dry-run`: what would be done where, in order, and that nothing was done. */
import type { Operation } from '../coordinator/coordinator.js';
import type { Answer } from './output.js';

export interface Plan {
  /** The name of the coordinator, for people. */
  readonly coordinator: string;
  readonly nodes: readonly { readonly database: string; readonly statements: readonly string[] }[];
  readonly operations: readonly Operation[];
}

/** `document` is the plan as --json gives it. */
export function planAnswer(document: unknown, plan: Plan): Answer {
  const { coordinator, nodes, operations } = plan;
  return {
    document,
    lines: ({ bold, dim }) => [
      ...nodes.flatMap(({ database, statements }) => [
        bold(`-- database ${database}`),
        ...(statements.length === 0 ? [dim('-- nothing to do')] : statements.map(withSemicolon)),
        '',
      ]),
      bold(`-- coordinator ${coordinator}`),
      ...operations.map(operationLine),
      '',
      'Nothing was changed: this is what would be run without --dry-run.',
    ],
  };
}

function withSemicolon(statement: string): string {
  const text = statement.trim();
  return text.endsWith(';') ? text : `${text};`;
}

/** One line for people. */
export function operationLine(operation: Operation): string {
  const { kind, path } = operation;
  if (kind === 'create') return `create ${path}${operation.data === '' ? '' : ` ${operation.data}`}`;
  return `${kind} ${path} at version ${operation.version}`;
}
