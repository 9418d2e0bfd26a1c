/** `shovel set drop` */
import { administer } from '../app-settings.js';
import { planAnswer } from '../plan-answer.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import { setReference } from '../set-arguments.js';
import type { ShovelCommand } from '../shovel-command.js';

export function addSetDrop(set: ShovelCommand, runner: Runner): void {
  const command = set
    .subcommand('drop <name>')
    .description('end the capture of a set and remove its log; NAME@VERSION: only if it is at that version')
    .option('--force', 'leave behind databases that can not be reached or are not what they were')
    .option('--dry-run', 'show the exact plan, write nothing')
    .examples(
      ['shovel set drop example'],
      ['shovel set drop example@3', 'fails where it is not at version 3'],
    );
  command.action((name: string) =>
    runner.run(command, ONE_SHOT, (invocation) => {
      const reference = setReference(name);
      return administer(invocation, async (context) => {
        const { dropSet } = await import('../../admin/drop-set.js');
        const { values } = invocation;
        const result = await dropSet(context, {
          ...reference,
          force: values.flag('force'),
          dryRun: values.flag('dry-run'),
        });
        const coordinator = context.coordinator.display;
        if (result.kind === 'plan') return planAnswer(result, { ...result, coordinator });
        const { name: dropped, version, left } = result;
        return {
          document: { name: dropped, version, left },
          lines: ({ bold, yellow, dim }) => [
            `Set ${bold(dropped)} is dropped.`,
            ...left.map((database) =>
              yellow(`Database ${database} is left as it is; creating a set of that name there tidies it.`),
            ),
            dim('What was published stays where it is. Next: shovel set list'),
          ],
        };
      });
    }),
  );
}
