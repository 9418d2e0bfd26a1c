/** `shovel cluster destroy` */
import { administer } from '../app-settings.js';
import { planAnswer } from '../plan-answer.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import type { ShovelCommand } from '../shovel-command.js';

export function addClusterDestroy(cluster: ShovelCommand, runner: Runner): void {
  const command = cluster
    .subcommand('destroy')
    .description('remove a cluster without sets from the coordinator, with the history of those it had')
    .option('--dry-run', 'show what would be removed, remove nothing')
    .examples(
      ['shovel cluster destroy', 'fails, changing nothing, while there are sets'],
      ['shovel cluster destroy --cluster billing --dry-run'],
    );
  command.action(() =>
    runner.run(command, ONE_SHOT, (invocation) =>
      administer(invocation, async (context) => {
        const { destroyCluster } = await import('../../admin/destroy-cluster.js');
        const dryRun = invocation.values.flag('dry-run');
        const { kind, cluster: name, operations } = await destroyCluster(context, { dryRun });
        const coordinator = context.coordinator.display;
        if (kind === 'plan') {
          const plan = { kind, cluster: name, coordinator, operations };
          return planAnswer(plan, { coordinator, operations, nodes: [] });
        }
        return {
          document: { cluster: name, coordinator },
          lines: ({ bold }) => [`Cluster ${bold(name)} is gone from ${coordinator}.`],
        };
      }),
    ),
  );
}
