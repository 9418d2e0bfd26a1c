/** `shovel set upgrade` */
import { administer } from '../app-settings.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import { setArguments, withSetFile } from '../set-arguments.js';
import type { ShovelCommand } from '../shovel-command.js';
import { upgradeAnswer } from '../upgrade-answer.js';

export function addSetUpgrade(set: ShovelCommand, runner: Runner): void {
  const command = set
    .subcommand('upgrade [name] [file]')
    .description(
      'give a set the configuration of a file, in all databases or in none; NAME@VERSION: only from there',
    )
    .option('--wait', 'return when capture covers every transaction that writes')
    .option(
      '--force',
      'though a publication would carry the log, or a leaving database is away or lost the set',
    )
    .option('--dry-run', 'show the exact plan, write nothing')
    .examples(
      ['shovel set upgrade example.yaml'],
      ['shovel set upgrade example@3 example.yaml', 'fails where it is not at version 3'],
      ['shovel set upgrade example.yaml --dry-run', 'what would be run, per database'],
    );
  command.action((first: string | undefined, second: string | undefined) =>
    runner.run(command, ONE_SHOT, async (invocation) => {
      const args = setArguments(first, second);
      return withSetFile(args, invocation.host, (configuration) =>
        administer(invocation, async (context) => {
          const { upgradeSet } = await import('../../admin/upgrade-set.js');
          const { values } = invocation;
          const result = await upgradeSet(context, {
            configuration,
            version: args.reference?.version,
            wait: values.flag('wait'),
            dryRun: values.flag('dry-run'),
            force: values.flag('force'),
          });
          return upgradeAnswer(result, { coordinator: context.coordinator.display, verb: 'upgraded' });
        }),
      );
    }),
  );
}
