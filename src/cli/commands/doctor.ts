/** `shovel doctor` */
import type { Diagnosis } from '../../admin/doctor/doctor.js';
import type { Finding } from '../../admin/doctor/finding.js';
import { appSettings } from '../app-settings.js';
import type { Colors } from '../output.js';
import { ONE_SHOT, type Runner } from '../run-command.js';
import { setName } from '../set-arguments.js';
import type { ShovelCommand } from '../shovel-command.js';

export function addDoctor(program: ShovelCommand, runner: Runner): void {
  const command = program
    .subcommand('doctor [name]')
    .description('what is wrong with a cluster, or one set, and what mends it; changes nothing')
    .option(
      '--nodes <dsns>',
      'databases to look at too, separated by spaces; needed where the coordinator is away or lost',
    )
    .examples(
      ['shovel doctor', 'exit 0: nothing found, 22: something, 23: could not look'],
      ['shovel doctor example --json', 'for scripts'],
      ["shovel doctor --nodes '${MAIN_DSN}'", 'the coordinator is away'],
    );
  command.action((name: string | undefined) =>
    runner.run(command, ONE_SHOT, async (invocation) => {
      const { diagnose } = await import('../../app/run-doctor.js');
      const nodes = (invocation.values.text('nodes') ?? '').split(/\s+/).filter((dsn) => dsn !== '');
      const set = name === undefined ? undefined : setName(name);
      const { exitCode, ...document } = await diagnose(appSettings(invocation), { set, nodes });
      return { document, exitCode, lines: (colors) => diagnosisLines(document, colors) };
    }),
  );
}

function diagnosisLines(
  { findings, unchecked }: Pick<Diagnosis, 'findings' | 'unchecked'>,
  colors: Colors,
): readonly string[] {
  const { dim, yellow, green } = colors;
  const counts = (['error', 'warning', 'info'] as const).map(
    (severity) => `${findings.filter((one) => one.severity === severity).length} ${severity}`,
  );
  const sound = findings.every((one) => one.severity === 'info') && unchecked.length === 0;
  return [
    ...findings.flatMap((one) => findingLines(one, colors)),
    ...unchecked.flatMap(({ check, why }) => [`${yellow('not checked')}  ${check}`, `  ${why}`]),
    ...(findings.length + unchecked.length > 0 ? [''] : []),
    sound ? green('Nothing is wrong.') : `Found: ${counts.join(', ')}; not checked: ${unchecked.length}.`,
    ...(sound ? [] : [dim('What each code means: docs/doctor.md')]),
  ];
}

function findingLines({ code, severity, object, message, fix }: Finding, colors: Colors): readonly string[] {
  const { red, yellow, blue, bold, cyan } = colors;
  const paint = { error: red, warning: yellow, info: blue }[severity];
  return [`${paint(severity)}  ${bold(object)}  ${code}`, `  ${message}`, `  ${cyan('fix:')} ${fix}`];
}
