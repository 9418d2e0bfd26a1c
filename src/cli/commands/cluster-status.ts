/** `shovel cluster status` */
import { administer } from '../app-settings.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import type { ShovelCommand } from '../shovel-command.js';
import { renderTable } from '../table.js';

export function addClusterStatus(cluster: ShovelCommand, runner: Runner): void {
  const command = cluster
    .subcommand('status')
    .description('what the coordinator holds, and changes whose outcome is not settled yet')
    .examples(['shovel cluster status'], ['shovel cluster status --json', 'for scripts']);
  command.action(() =>
    runner.run(command, ONE_SHOT, (invocation) =>
      administer(invocation, async (context) => {
        const { clusterStatus } = await import('../../admin/cluster-status.js');
        const status = await clusterStatus(context);
        return {
          document: status,
          lines: ({ bold, yellow, dim }) => [
            `Cluster ${bold(status.cluster)} at ${status.coordinator}`,
            `Sets: ${status.sets}`,
            ...(status.in_doubt.length === 0
              ? ['In doubt: nothing']
              : [
                  yellow('In doubt:'),
                  ...renderTable(status.in_doubt, [
                    { title: 'SET', text: ({ set }) => set },
                    { title: 'DATABASE', text: ({ database }) => database },
                    { title: 'AGE', text: ({ age_s: age }) => `${age} s`, align: 'right' },
                    { title: 'DECISION', text: ({ decision }) => decision },
                    { title: 'TRANSACTION', text: ({ gid }) => gid },
                  ]),
                  dim('Next: shovel cluster recover'),
                ]),
            ...status.unreachable.map(({ set, database, error }) =>
              yellow(`Not asked: database ${database} of set ${set}: ${error}`),
            ),
          ],
        };
      }),
    ),
  );
}
