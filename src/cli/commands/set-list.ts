/** `shovel set list` */
import { administer } from '../app-settings.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import type { ShovelCommand } from '../shovel-command.js';
import { renderTable } from '../table.js';

export function addSetList(set: ShovelCommand, runner: Runner): void {
  const command = set
    .subcommand('list')
    .description('the sets of the cluster')
    .examples(['shovel set list'], ['shovel set list --json', 'for scripts']);
  command.action(() =>
    runner.run(command, ONE_SHOT, (invocation) =>
      administer(invocation, async (context) => {
        const { listSets } = await import('../../admin/list-sets.js');
        const sets = await listSets(context);
        return {
          document: sets,
          lines: ({ dim }) =>
            sets.length === 0
              ? [`No sets in cluster ${context.cluster} yet.`, dim('Next: shovel set create FILE')]
              : renderTable(sets, [
                  { title: 'NAME', text: ({ name }) => name },
                  { title: 'VERSION', text: ({ version }) => String(version), align: 'right' },
                  { title: 'TABLES', text: ({ tables }) => String(tables), align: 'right' },
                  { title: 'DATABASES', text: ({ databases }) => databases.join(', ') },
                  { title: 'STREAMS', text: ({ streams }) => streams.join(', ') },
                  { title: 'TARGETS', text: ({ targets }) => targets.join(', ') },
                ]),
        };
      }),
    ),
  );
}
