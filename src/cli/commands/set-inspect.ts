/** `shovel set inspect` */
import { administer } from '../app-settings.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import { setReference } from '../set-arguments.js';
import type { ShovelCommand } from '../shovel-command.js';
import { renderTable } from '../table.js';

export function addSetInspect(set: ShovelCommand, runner: Runner): void {
  const command = set
    .subcommand('inspect <name>')
    .description(
      'a set with its configuration and the state of its nodes; NAME@VERSION: only if it is at that one',
    )
    .examples(
      ['shovel set inspect example'],
      ['shovel set inspect example --json', 'the configuration too, every default written out'],
    );
  command.action((name: string) =>
    runner.run(command, ONE_SHOT, (invocation) => {
      const reference = setReference(name);
      return administer(invocation, async (context) => {
        const { inspectSet } = await import('../../admin/inspect-set.js');
        const inspected = await inspectSet(context, reference);
        return {
          document: inspected,
          lines: ({ bold }) => [
            `Set ${bold(inspected.name)}, version ${inspected.version}, created ${inspected.created_at}`,
            '',
            ...renderTable(inspected.nodes, [
              { title: 'DATABASE', text: ({ database }) => database },
              {
                title: 'STATE',
                text: ({ state, error }) => (error === undefined ? state : `${state}: ${error}`),
              },
              { title: 'VERSION', text: ({ version }) => String(version ?? ''), align: 'right' },
              { title: 'INCARNATION', text: ({ incarnation }) => String(incarnation), align: 'right' },
              { title: 'NODE', text: ({ node_id: nodeId }) => nodeId },
            ]),
            '',
            JSON.stringify(inspected.config, null, 2),
          ],
        };
      });
    }),
  );
}
