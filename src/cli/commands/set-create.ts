/** `shovel set create` */
import { administer } from '../app-settings.js';
import { planAnswer } from '../plan-answer.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import { setArguments, withSetFile } from '../set-arguments.js';
import type { ShovelCommand } from '../shovel-command.js';

export function addSetCreate(set: ShovelCommand, runner: Runner): void {
  const command = set
    .subcommand('create [name] [file]')
    .description(
      'begin to capture the tables of a set file; FILE may be -, NAME is needed where the file names no set',
    )
    .option('--wait', 'return when capture covers every transaction that writes')
    .option('--force', 'though a publication would carry what is captured to its subscribers')
    .option('--dry-run', 'show the exact plan, write nothing')
    .examples(
      ['shovel set create example.yaml'],
      ['shovel set create example.yaml --dry-run', 'what would be run, per database'],
      ['shovel set create billing - < example.yaml', 'from standard input, under this name'],
    );
  command.action((first: string | undefined, second: string | undefined) =>
    runner.run(command, ONE_SHOT, (invocation) =>
      withSetFile(setArguments(first, second), invocation.host, (configuration) =>
        administer(invocation, async (context) => {
          const { createSet } = await import('../../admin/create-set.js');
          const { values } = invocation;
          const result = await createSet(context, {
            configuration,
            wait: values.flag('wait'),
            dryRun: values.flag('dry-run'),
            force: values.flag('force'),
          });
          const coordinator = context.coordinator.display;
          if (result.kind === 'plan') return planAnswer(result, { ...result, coordinator });
          const { name, version } = result;
          const nodes = result.nodes.map(({ database, nodeId }) => ({ database, node_id: nodeId }));
          return {
            document: { name, version, nodes },
            lines: ({ bold, dim }) => [
              `Set ${bold(name)} is created, at version ${version}.`,
              dim(`Next: shovel relay ${name}`),
            ],
          };
        }),
      ),
    ),
  );
}
