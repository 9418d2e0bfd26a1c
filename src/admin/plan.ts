/** What a command would do, for --dry-run: read from what stands there now, and nothing is written. */
import { planGround } from '../capture/ground.js';
import type { Operation } from '../coordinator/coordinator.js';
import type { ChangePlan } from '../model/change-protocol.js';
import type { SetDocument } from '../model/change-records.js';
import { planNodeSchema } from '../postgres/migrate.js';
import { planRoles } from '../postgres/roles.js';
import { type AdminContext, GIVE_UP_MS, namesOf } from './context.js';
import { activation } from './node-install.js';
import type { SurveyedNode } from './survey.js';

/** What a command would do: SQL per database in order, then the decision in the coordinator. */
export interface Plan {
  readonly kind: 'plan';
  readonly name: string;
  readonly version: number;
  readonly nodes: readonly { readonly database: string; readonly statements: readonly string[] }[];
  readonly operations: readonly Operation[];
}

/** `surveyed`: the databases of the wanted version; those that leave are left to the caller. */
export async function planOf(
  context: AdminContext,
  { plan, surveyed }: { plan: ChangePlan & { document: SetDocument }; surveyed: readonly SurveyedNode[] },
): Promise<Plan> {
  const names = namesOf(context);
  const nodes = await Promise.all(
    plan.intent.nodes
      .flatMap((node) => {
        const found = surveyed.find((one) => one.database === node.database);
        return found ? [{ node, ...found }] : [];
      })
      .map(async ({ node, connection, tables }) => ({
        database: node.database,
        statements: [
          ...(await planRoles(connection, names)),
          ...(node.role === 'join' ? await planNodeSchema(connection, names) : []),
          ...(await planGround(connection, {
            names,
            set: plan.document.set,
            tables,
            lockTimeoutMs: context.lockTimeoutMs,
            giveUpMs: context.giveUpMs ?? GIVE_UP_MS,
            waiting: context.say,
          })),
          ...(await activation({ connection, node, document: plan.document }, { names, tables })),
        ],
      })),
  );
  return {
    kind: 'plan',
    name: plan.document.set,
    version: plan.document.version,
    nodes,
    operations: decisionOf(plan),
  };
}

/** What the coordinator would be told, for people: the entries and their data. */
export function decisionOf(plan: ChangePlan & { document: SetDocument }): readonly Operation[] {
  const { paths, intent } = plan;
  const path = paths.set(intent.set);
  return [
    { kind: 'check', path: paths.cluster, version: plan.clusterVersion },
    ...(plan.recordVersion === null
      ? ([{ kind: 'create', path, data: '' }] as const)
      : ([{ kind: 'set', path, version: plan.recordVersion, data: '' }] as const)),
    { kind: 'create', path: paths.version(intent.set, intent.to), data: intent.document },
  ];
}
