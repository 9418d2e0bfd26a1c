/** `shovel set rollback` */
import { UsageError } from '../../errors.js';
import { administer } from '../app-settings.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import { setReference } from '../set-arguments.js';
import type { ShovelCommand } from '../shovel-command.js';
import { upgradeAnswer } from '../upgrade-answer.js';

export function addSetRollback(set: ShovelCommand, runner: Runner): void {
  const command = set
    .subcommand('rollback <name@version>')
    .description('give a set the configuration of one of its versions again, as a new version')
    .option('--wait', 'return when capture covers every transaction that writes')
    .option('--force', 'though a publication would carry the log, or a leaving database is away')
    .option('--dry-run', 'show the exact plan, write nothing')
    .examples(['shovel set rollback example@2', 'versions: shovel set history example']);
  command.action((argument: string) =>
    runner.run(command, ONE_SHOT, async (invocation) => {
      const { name, version } = setReference(argument);
      if (version === undefined) {
        throw new UsageError('version_needed', `The version that ${name} is to go back to is missing.`, {
          hint: `Write ${name}@2; shovel set history ${name} lists the versions.`,
        });
      }
      return administer(invocation, async (context) => {
        const { rollbackSet } = await import('../../admin/upgrade-set.js');
        const { values } = invocation;
        const result = await rollbackSet(context, {
          name,
          version,
          wait: values.flag('wait'),
          dryRun: values.flag('dry-run'),
          force: values.flag('force'),
        });
        const verb = `as at version ${version} again`;
        return upgradeAnswer(result, { coordinator: context.coordinator.display, verb });
      });
    }),
  );
}
