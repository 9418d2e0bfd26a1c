/** `shovel cluster recover` */
import type { AdminContext } from '../../admin/context.js';
import type { RecoveryPreview } from '../../admin/preview-recovery.js';
import type { RecoveredCluster } from '../../admin/recover-cluster.js';
import { InDoubtError } from '../../errors.js';
import { administer } from '../app-settings.js';
import type { OptionValues } from '../option-values.js';
import type { Answer } from '../output.js';
import { operationLine } from '../plan-answer.js';
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
    .option('--dry-run', 'show what would be settled and written, write nothing')
    .examples(
      ['shovel cluster recover', 'after a crash; writing commands and relays do it too'],
      ['shovel cluster recover --from-nodes', 'the coordinator came back from a backup'],
      ["shovel cluster recover --from-nodes '${MAIN_DSN}'", 'the coordinator is empty'],
    );
  command.action(() =>
    runner.run(command, ONE_SHOT, (invocation) =>
      administer(invocation, async (context) => {
        if (invocation.values.flag('dry-run')) {
          const { previewRecovery } = await import('../../admin/preview-recovery.js');
          return previewAnswer(await previewRecovery(context, fromNodes(invocation.values)), context);
        }
        const { recoverCluster } = await import('../../admin/recover-cluster.js');
        const recovered = await recoverCluster(context, fromNodes(invocation.values));
        const { refilled, changes, healed, strays, problems } = recovered;
        if (problems.length > 0) throw incomplete(context, recovered);
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

function incomplete({ cluster }: AdminContext, recovered: RecoveredCluster): InDoubtError {
  const issues = recovered.problems.map((problem) => ({
    ...problem,
    message: `Set ${problem.set}: ${problem.message}`,
  }));
  const [first, ...others] = issues;
  const what =
    others.length === 0
      ? "one thing can't be settled now"
      : `${issues.length} things can't be settled now; the first`;
  const again = 'run shovel cluster recover again.';
  return new InDoubtError('recovery_incomplete', `Cluster ${cluster}: ${what}: ${first?.message ?? ''}`, {
    hint: others.length === 0 ? `${first?.hint ?? ''} Then ${again}` : `When these are mended, ${again}`,
    details: { ...recovered, issues },
  });
}

function previewAnswer(preview: RecoveryPreview, context: AdminContext): Answer {
  const { refilled, changes, behind, strays, problems, operations } = preview;
  return {
    document: preview,
    lines: ({ bold, yellow }) => [
      ...refilled.map(
        ({ set, version, versions }) =>
          `Set ${set}: would be at version ${version}; versions to be written again: ${versions.join(', ')}.`,
      ),
      ...changes.map(({ set, version, outcome }) =>
        outcome === 'alive'
          ? `Set ${set}: another administrator is changing it to version ${version}.`
          : `Set ${set}: the change to version ${version} would be ${outcome}.`,
      ),
      ...behind.map(
        ({ set, database }) => `Set ${set}: database ${database} would be brought to its version.`,
      ),
      ...(strays === 0 ? [] : [`${strays} change(s) that no coordinator knows of would be closed.`]),
      ...problems.map(({ set, message, hint }) => yellow(`Set ${set}: ${message} ${hint}`)),
      ...(operations.length === 0
        ? []
        : ['', bold(`-- coordinator ${context.coordinator.display}`), ...operations.map(operationLine), '']),
      ...(changes.length + behind.length + strays + problems.length + operations.length === 0
        ? [`Cluster ${bold(context.cluster)}: nothing is in doubt.`]
        : []),
      'Nothing was changed: this is what would be done without --dry-run.',
    ],
  };
}

function fromNodes(values: OptionValues): { readonly fromNodes?: readonly string[] } {
  const dsns = values.text('from-nodes');
  if (dsns !== undefined) return { fromNodes: dsns.split(/\s+/).filter((dsn) => dsn !== '') };
  return values.flag('from-nodes') ? { fromNodes: [] } : {};
}
