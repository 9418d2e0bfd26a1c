/** `shovel cluster recover` */
import { InDoubtError } from '../../errors.js';
import { administer } from '../app-settings.js';
import type { OptionValues } from '../option-values.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import type { ShovelCommand } from '../shovel-command.js';

export function addClusterRecover(cluster: ShovelCommand, runner: Runner): void {
  const command = cluster
    .subcommand('recover')
    .description(
      'finish or undo changes that were left half done, and bring databases that fell behind along',
    )
    .option(
      '--from-nodes [dsns]',
      'refill a lost or older coordinator from what databases hold; with DSNs, separated by spaces, where it knows none',
    )
    .examples(
      ['shovel cluster recover', 'after a crash; writing commands and relays do it too'],
      ['shovel cluster recover --from-nodes', 'the coordinator came back from a backup'],
      ["shovel cluster recover --from-nodes '${MAIN_DSN}'", 'the coordinator is empty'],
    );
  command.action(() =>
    runner.run(command, ONE_SHOT, (invocation) =>
      administer(invocation, async (context) => {
        const { recoverCluster } = await import('../../admin/recover-cluster.js');
        const recovered = await recoverCluster(context, fromNodes(invocation.values));
        const { refilled, changes, healed, strays, problems } = recovered;
        const [first] = problems;
        if (first !== undefined) {
          throw new InDoubtError(
            'recovery_incomplete',
            `Cluster ${context.cluster}: ${problems.length} thing(s) can't be settled now; the first: ${first.message}`,
            { hint: first.hint, details: { ...recovered, issues: problems } },
          );
        }
        return {
          document: recovered,
          lines: ({ bold }) => [
            ...refilled.map(
              ({ set, version, versions }) =>
                `Set ${set}: at version ${version}; written again: ${versions.join(', ')}.`,
            ),
            ...changes.map(({ set, version, outcome }) =>
              outcome === 'alive'
                ? `Set ${set}: another administrator is changing it to version ${version}.`
                : `Set ${set}: change to version ${version} ${outcome}.`,
            ),
            ...healed.map(({ set, database }) => `Set ${set}: database ${database} is at its version again.`),
            ...(strays === 0 ? [] : [`${strays} change(s) that no coordinator knew of are closed.`]),
            ...(changes.some(({ outcome }) => outcome === 'alive')
              ? []
              : [`Cluster ${bold(context.cluster)}: nothing is in doubt.`]),
          ],
        };
      }),
    ),
  );
}

function fromNodes(values: OptionValues): { readonly fromNodes?: readonly string[] } {
  const dsns = values.text('from-nodes');
  if (dsns !== undefined) return { fromNodes: dsns.split(/\s+/).filter((dsn) => dsn !== '') };
  return values.flag('from-nodes') ? { fromNodes: [] } : {};
}
