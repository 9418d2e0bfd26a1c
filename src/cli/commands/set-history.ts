/** `shovel set history` */
import { administer } from '../app-settings.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import { setName } from '../set-arguments.js';
import type { ShovelCommand } from '../shovel-command.js';
import { renderTable } from '../table.js';

export function addSetHistory(set: ShovelCommand, runner: Runner): void {
  const command = set
    .subcommand('history <name>')
    .description('all versions of a set, newest first, with what each changed; also of one that was dropped')
    .examples(['shovel set history example']);
  command.action((argument: string) =>
    runner.run(command, ONE_SHOT, (invocation) => {
      const name = setName(argument);
      return administer(invocation, async (context) => {
        const { setHistory } = await import('../../admin/set-history.js');
        const versions = await setHistory(context, { name });
        return {
          document: versions,
          lines: () =>
            renderTable(versions, [
              { title: 'VERSION', text: ({ version }) => String(version), align: 'right' },
              { title: 'DECIDED', text: ({ decided_at: decidedAt }) => decidedAt },
              { title: 'STATE', text: ({ state }) => state },
              { title: 'TABLES', text: ({ tables }) => String(tables), align: 'right' },
              { title: 'DATABASES', text: ({ databases }) => databases.join(', ') },
              {
                title: 'CHANGED',
                text: ({ changes }) => changes.map(({ path }) => path.join('.')).join(', '),
              },
            ]),
        };
      });
    }),
  );
}
