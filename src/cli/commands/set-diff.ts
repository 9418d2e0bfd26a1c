/** `shovel set diff` */
import { administer } from '../app-settings.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import { readSetFile, setArguments } from '../set-arguments.js';
import type { ShovelCommand } from '../shovel-command.js';

export function addSetDiff(set: ShovelCommand, runner: Runner): void {
  const command = set
    .subcommand('diff [name] [file]')
    .description('how a set file differs from what is decided; looks at no database')
    .examples(
      ['shovel set diff example.yaml'],
      ['shovel set diff example.yaml --json', 'changed: true or false'],
    );
  command.action((first: string | undefined, second: string | undefined) =>
    runner.run(command, ONE_SHOT, async (invocation) => {
      const args = setArguments(first, second);
      const configuration = await readSetFile(args, invocation.host);
      return administer(invocation, async (context) => {
        const { diffSet } = await import('../../admin/set-history.js');
        const diff = await diffSet(context, { configuration, version: args.reference?.version });
        const { name, version, changes } = diff;
        return {
          document: diff,
          lines: ({ red, green, bold, dim }) =>
            changes.length === 0
              ? [`Set ${bold(name)} is what the file says, at version ${version}.`]
              : [
                  `Set ${bold(name)}, version ${version}, and the file:`,
                  ...changes.flatMap(({ kind, path, before, after }) => [
                    `${path.join('.')} ${kind}`,
                    ...(before === undefined ? [] : [red(`  - ${before}`)]),
                    ...(after === undefined ? [] : [green(`  + ${after}`)]),
                  ]),
                  dim('Next: shovel set upgrade, with the same arguments'),
                ],
        };
      });
    }),
  );
}
