/** `shovel node adopt` */
import { UsageError } from '../../errors.js';
import { isName, NAME_RULE } from '../../model/names.js';
import { administer } from '../app-settings.js';
import { planAnswer } from '../plan-answer.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import { setName } from '../set-arguments.js';
import type { ShovelCommand } from '../shovel-command.js';

export function addNodeAdopt(node: ShovelCommand, runner: Runner): void {
  const command = node
    .subcommand('adopt <name> <database>')
    .description(
      'take a database on again whose history changed (restore, pg_upgrade, copy), as a new incarnation',
    )
    .option('--dry-run', 'show the exact plan, write nothing')
    .examples(
      ['shovel node adopt example main', 'after main was restored or upgraded'],
      ['shovel node adopt example main --dry-run', 'what would be run, per database'],
    );
  command.action((first: string, database: string) =>
    runner.run(command, ONE_SHOT, async (invocation) => {
      const name = setName(first);
      if (!isName(database)) {
        throw new UsageError('name_invalid', `${JSON.stringify(database)} can't name a database of a set.`, {
          hint: `It is the name in the set file: ${NAME_RULE}.`,
        });
      }
      return administer(invocation, async (context) => {
        const { adoptNode } = await import('../../admin/adopt-node.js');
        const dryRun = invocation.values.flag('dry-run');
        const result = await adoptNode(context, { name, database, dryRun });
        if (result.kind === 'plan') {
          return planAnswer(result, { ...result, coordinator: context.coordinator.display });
        }
        const { nodeId, kind: _, ...adopted } = result;
        return {
          document: { ...adopted, node_id: nodeId },
          lines: ({ bold, dim }) => [
            `Database ${bold(database)} of set ${bold(name)} is taken on as incarnation ${adopted.incarnation}, version ${adopted.version}.`,
            'Unless it was pg_upgrade, targets need a bootstrap: docs/relays.md says what comes next and what does not.',
            dim(`Next: shovel relay ${name}`),
          ],
        };
      });
    }),
  );
}
