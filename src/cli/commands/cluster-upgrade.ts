/** `shovel cluster upgrade` */
import { administer } from '../app-settings.js';
import { planAnswer } from '../plan-answer.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import type { ShovelCommand } from '../shovel-command.js';
import { renderTable } from '../table.js';

export function addClusterUpgrade(cluster: ShovelCommand, runner: Runner): void {
  const command = cluster
    .subcommand('upgrade')
    .description("bring shovel's own schema in every database of the cluster to this release; never back")
    .option('--dry-run', 'show the exact plan, write nothing')
    .examples(
      ['shovel cluster upgrade', 'first of all with a new release, then restart relays'],
      ['shovel cluster upgrade --dry-run', 'the SQL for each database'],
    );
  command.action(() =>
    runner.run(command, ONE_SHOT, (invocation) =>
      administer(invocation, async (context) => {
        const { upgradeCluster } = await import('../../admin/upgrade-cluster.js');
        const result = await upgradeCluster(context, { dryRun: invocation.values.flag('dry-run') });
        const coordinator = context.coordinator.display;
        if (result.kind === 'plan') return planAnswer({ ...result, coordinator }, { ...result, coordinator });
        const { cluster: name, release, nodes } = result;
        return {
          document: { cluster: name, release, nodes },
          lines: ({ bold }) => [
            ...(nodes.length === 0
              ? []
              : renderTable(nodes, [
                  { title: 'DATABASE', text: ({ database }) => database },
                  { title: 'SETS', text: ({ sets }) => sets.join(', ') },
                  { title: 'OUTCOME', text: ({ outcome }) => outcome },
                ])),
            `Cluster ${bold(name)} is at release ${release}.`,
          ],
        };
      }),
    ),
  );
}
