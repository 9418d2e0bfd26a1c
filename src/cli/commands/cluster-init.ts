/** `shovel cluster init` */
import { administer } from '../app-settings.js';
import { planAnswer } from '../plan-answer.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import type { ShovelCommand } from '../shovel-command.js';

export function addClusterInit(cluster: ShovelCommand, runner: Runner): void {
  const command = cluster
    .subcommand('init')
    .description('make the place in the coordinator where the sets of a cluster are kept; once')
    .option('--dry-run', 'show what would be written, write nothing')
    .examples(
      ['shovel cluster init', 'cluster default, in ZooKeeper at 127.0.0.1:2181'],
      ['shovel cluster init --cluster billing --zookeeper-hosts zk1:2181,zk2:2181,zk3:2181/prod'],
      ['shovel cluster init --coordinator postgres://shovel@db/coordination'],
    );
  command.action(() =>
    runner.run(command, ONE_SHOT, (invocation) =>
      administer(invocation, async (context) => {
        const { initCluster } = await import('../../admin/init-cluster.js');
        const dryRun = invocation.values.flag('dry-run');
        const result = await initCluster(context, { dryRun });
        const { cluster: name, coordinator, operations } = result;
        if (result.kind === 'plan') return planAnswer(result, { coordinator, operations, nodes: [] });
        return {
          document: { cluster: name, coordinator },
          lines: ({ bold, dim }) => [
            `Cluster ${bold(name)} is ready at ${coordinator}.`,
            dim('Next: shovel set create FILE'),
          ],
        };
      }),
    ),
  );
}
