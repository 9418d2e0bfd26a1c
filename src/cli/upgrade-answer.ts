/** The answer of commands that give a set its next version. */
import type { Operation } from '../coordinator/coordinator.js';
import type { Answer } from './output.js';
import { planAnswer } from './plan-answer.js';

export type UpgradeResult =
  | {
      readonly kind: 'upgraded' | 'unchanged';
      readonly name: string;
      readonly version: number;
      readonly nodes: readonly { readonly database: string; readonly nodeId: string }[];
      /** Databases that were left as they are. */
      readonly left: readonly string[];
    }
  | {
      readonly kind: 'plan';
      readonly name: string;
      readonly version: number;
      readonly nodes: readonly { readonly database: string; readonly statements: readonly string[] }[];
      readonly operations: readonly Operation[];
    };

/** `verb`: what was done, behind `is`. */
export function upgradeAnswer(
  result: UpgradeResult,
  options: { readonly coordinator: string; readonly verb: string },
): Answer {
  if (result.kind === 'plan') return planAnswer(result, { ...result, coordinator: options.coordinator });
  const { kind, name, version, left } = result;
  const nodes = result.nodes.map(({ database, nodeId }) => ({ database, node_id: nodeId }));
  return {
    document: { name, version, changed: kind === 'upgraded', nodes, left },
    lines: ({ bold, yellow, dim }) => [
      kind === 'upgraded'
        ? `Set ${bold(name)} is ${options.verb}: version ${version}.`
        : `Set ${bold(name)} is that already: version ${version}. Nothing was changed.`,
      ...left.map((database) => yellow(`Database ${database} is left as it is.`)),
      dim(`Relays that run go on with it. See: shovel set history ${name}`),
    ],
  };
}
