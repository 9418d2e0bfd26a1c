/**
 * Finds promises that nobody waits for, by their types: statements whose value is a promise, in callbacks too, and
 * functions that give a promise where the caller expects nothing (`emitter.on('x', async () => …)`). Such a promise's
 * rejection would end the process, or its work would go on after its caller has gone.
 *
 * Let pass: `void promise`, which says that it is meant, and promises whose rejection is handled
 * (`promise.catch(…)`, `promise.then(…, …)`).
 */
import ts from 'typescript';

export interface DroppedPromise {
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

const STATEMENT = 'a promise is dropped: await it, handle its rejection, or write void';
const CALLBACK = 'a function gives a promise where nobody takes one: its rejection would be lost';

export function droppedPromises(program: ts.Program, files: readonly string[]): readonly DroppedPromise[] {
  const checker = program.getTypeChecker();
  return files.flatMap((file) => {
    const source = program.getSourceFile(file);
    if (source === undefined) return [];
    const found: DroppedPromise[] = [];
    const visit = (node: ts.Node): void => {
      const message = judge(node, checker);
      if (message !== undefined) {
        const { line, character } = source.getLineAndCharacterOfPosition(node.getStart(source));
        found.push({ file, line: line + 1, column: character + 1, message });
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
    return found;
  });
}

function judge(node: ts.Node, checker: ts.TypeChecker): string | undefined {
  if (ts.isExpressionStatement(node)) {
    return dropsPromise(node.expression, checker) ? STATEMENT : undefined;
  }
  return ts.isExpression(node) && givesPromiseToNobody(node, checker) ? CALLBACK : undefined;
}

function dropsPromise(expression: ts.Node, checker: ts.TypeChecker): boolean {
  const bare = bareExpression(expression);
  if (ts.isVoidExpression(bare) || ts.isAwaitExpression(bare) || isAssignment(bare)) return false;
  if (ts.isConditionalExpression(bare)) {
    return dropsPromise(bare.whenTrue, checker) || dropsPromise(bare.whenFalse, checker);
  }
  if (ts.isBinaryExpression(bare) && SHORT_CIRCUITS.has(bare.operatorToken.kind)) {
    return dropsPromise(bare.right, checker);
  }
  const type = checker.getTypeAtLocation(bare);
  return (holdsPromise(type, checker) || holdsPromises(type, checker)) && !isHandled(bare);
}

const SHORT_CIRCUITS: ReadonlySet<ts.SyntaxKind> = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.QuestionQuestionToken,
  ts.SyntaxKind.CommaToken,
]);

function bareExpression(expression: ts.Node): ts.Node {
  return ts.isParenthesizedExpression(expression) ? bareExpression(expression.expression) : expression;
}

function isAssignment(expression: ts.Node): boolean {
  return (
    ts.isBinaryExpression(expression) &&
    expression.operatorToken.kind >= ts.SyntaxKind.FirstAssignment &&
    expression.operatorToken.kind <= ts.SyntaxKind.LastAssignment
  );
}

/** `p.catch(f)`, `p.then(f, g)`, and `finally` behind either. */
function isHandled(expression: ts.Node): boolean {
  if (!ts.isCallExpression(expression) || !ts.isPropertyAccessExpression(expression.expression)) return false;
  const { name, expression: target } = expression.expression;
  if (name.text === 'finally') return isHandled(target);
  return (
    (name.text === 'catch' && expression.arguments.length > 0) ||
    (name.text === 'then' && expression.arguments.length > 1)
  );
}

/** Whether the expression is a function whose promise goes to a caller that expects nothing. */
function givesPromiseToNobody(expression: ts.Expression, checker: ts.TypeChecker): boolean {
  if (!isHandedOver(expression)) return false;
  if (ts.isArrowFunction(expression) && !ts.isBlock(expression.body)) {
    const isAsync = expression.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.AsyncKeyword) ?? false;
    if (!isAsync && isHandled(bareExpression(expression.body))) return false;
  }
  const signatures = checker.getTypeAtLocation(expression).getCallSignatures();
  if (!signatures.some((one) => holdsPromise(one.getReturnType(), checker))) return false;
  const expected = checker.getContextualType(expression);
  if (expected === undefined) return false;
  const wanted = parts(checker.getNonNullableType(expected)).flatMap((part) => part.getCallSignatures());
  return wanted.length > 0 && wanted.every((one) => isVoid(one.getReturnType()));
}

/** Given to someone: an argument, a property, a variable, a result. Where a function is called or awaited it is not. */
function isHandedOver(node: ts.Expression): boolean {
  const { parent } = node;
  if (ts.isCallExpression(parent) || ts.isNewExpression(parent)) {
    return parent.arguments?.some((argument) => argument === node) ?? false;
  }
  if (ts.isPropertyAssignment(parent) || ts.isVariableDeclaration(parent)) return parent.initializer === node;
  if (ts.isBinaryExpression(parent)) return isAssignment(parent) && parent.right === node;
  return ts.isReturnStatement(parent) || ts.isArrowFunction(parent) || ts.isArrayLiteralExpression(parent);
}

function isVoid(type: ts.Type): boolean {
  return (type.flags & ts.TypeFlags.Void) !== 0;
}

function parts(type: ts.Type): readonly ts.Type[] {
  return type.isUnion() ? type.types : [type];
}

function holdsPromise(type: ts.Type, checker: ts.TypeChecker): boolean {
  return parts(type).some((part) => {
    if ((part.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) !== 0) return false;
    const then = checker.getApparentType(part).getProperty('then');
    return then !== undefined && checker.getTypeOfSymbol(then).getCallSignatures().length > 0;
  });
}

/** `items.map(async …)` */
function holdsPromises(type: ts.Type, checker: ts.TypeChecker): boolean {
  return parts(type).some((part) => {
    if (!checker.isArrayType(part) && !checker.isTupleType(part)) return false;
    const item = checker.getIndexTypeOfType(part, ts.IndexKind.Number);
    return item !== undefined && holdsPromise(item, checker);
  });
}
