/** `shovel demo` */
import type { DemoResult, DemoScreen, LiveState } from '../../app/demo/run-demo.js';
import type { OutputStream } from '../host.js';
import type { Colors, Output } from '../output.js';
import type { Runner } from '../run-command.js';
import type { ShovelCommand } from '../shovel-command.js';
import { renderTable } from '../table.js';

const OPEN_MS = 8_000;

export function addDemo(program: ShovelCommand, runner: Runner): void {
  const command = program
    .subcommand('demo')
    .description(
      'see it work on a PostgreSQL of its own: a shop under load, captured, published, replayed, compared',
    )
    .option('--keep', 'leave the server and the published file until told to stop, and say how to connect')
    .examples(['shovel demo'], ['shovel demo --keep', 'look around in it with psql']);
  command.action(() =>
    runner.run(command, { goesOn: (values) => values.flag('keep') }, async (invocation) => {
      const { output, logger, host, signal, values } = invocation;
      const { runDemo } = await import('../../app/demo/run-demo.js');
      const result = await runDemo({
        openMs: OPEN_MS,
        keep: values.flag('keep'),
        logger,
        signal,
        screen: createScreen(output, host.stderr),
      });
      return { document: result, lines: (colors) => verdict(result, colors) };
    }),
  );
}

/** Everything but the verdict goes to standard error, so that --json stays one document. */
function createScreen(output: Output, stderr: OutputStream): DemoScreen {
  const { bold, dim, cyan } = output.colors;
  const terminal = stderr.isTTY === true;
  let open = false;
  let toldMs = Number.NEGATIVE_INFINITY;
  const line = (text: string) => {
    if (open) stderr.write('\n');
    open = false;
    output.say(text);
  };
  return {
    step: (text) => line(`${cyan('▸')} ${bold(text)}`),
    show: (text) => line(dim(text.trimEnd().replaceAll(/^/gm, '    '))),
    live: (state) => {
      if (terminal) {
        stderr.write(`\r\u001b[2K    ${liveLine(state)}`);
        open = true;
      } else if (state.elapsedMs - toldMs >= 2_000) {
        toldMs = state.elapsedMs;
        line(`    ${liveLine(state)}`);
      }
    },
    kept: ({ url, trail, setFile }) => {
      line(`${cyan('▸')} ${bold('Kept until you stop it (Ctrl-C):')}`);
      line(`    psql '${url}'`);
      line(`    tail -f ${trail}`);
      line(`    set file: ${setFile}`);
    },
  };
}

function liveLine({ committed, published, perSecond, lagMs }: LiveState): string {
  const number = (n: number) => Math.round(n).toLocaleString('en');
  return `${number(committed)} transactions · ${number(published)} mutations published · ${number(perSecond)}/s · lag ${number(lagMs)} ms`;
}

function verdict(result: DemoResult, { bold, green, dim }: Colors): readonly string[] {
  return [
    '',
    ...renderTable(result.tables, [
      { title: 'TABLE', text: (one) => one.table },
      { title: 'ROWS', text: (one) => String(one.rows), align: 'right' },
      { title: 'MISSING', text: (one) => String(one.missing), align: 'right' },
      { title: 'EXTRA', text: (one) => String(one.extra), align: 'right' },
      { title: 'DIFFERENT', text: (one) => String(one.different), align: 'right' },
    ]),
    '',
    green(
      `Equal: ${bold(result.mutations.toLocaleString('en'))} mutations in ${result.batches.toLocaleString('en')} batches rebuild every row, byte for byte.`,
    ),
    dim('Next: the tutorial in README.md, or shovel demo --keep to look around.'),
  ];
}
