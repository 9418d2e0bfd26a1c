/** `shovel relay` */
import { InvalidArgumentError } from 'commander';
import { UsageError } from '../../errors.js';
import { isName, NAME_RULE } from '../../model/names.js';
import type { RelaySummary } from '../../relay/relay-options.js';
import type { StreamStats } from '../../relay/stream-state.js';
import { appSettings } from '../app-settings.js';
import type { Answer } from '../output.js';
import type { Runner } from '../run-command.js';
import { setName } from '../set-arguments.js';
import type { ShovelCommand } from '../shovel-command.js';

export function addRelay(program: ShovelCommand, runner: Runner): void {
  const command = program
    .subcommand('relay [name...]')
    .description(
      'publish what sets have captured to their streams, until told to stop; all sets where none is named',
    )
    .option('--once', 'publish all that is pending, then exit')
    .option('--from <ticket>', 'publish again from this ticket on', oneTicket)
    .option('--database <name>', 'only this database of the set', oneDatabase)
    .examples(
      ['shovel relay', 'every set of the cluster'],
      ['shovel relay example --once', 'from cron, or before maintenance'],
      ['shovel relay example --database eu --from 1200', 'publish again'],
    );
  command.action((names: readonly string[]) =>
    runner.run(command, { goesOn: (values) => !values.flag('once') }, async (invocation) => {
      const { values, output } = invocation;
      const sets = names.map(setName);
      const fromTicket = values.text('from');
      const database = values.text('database');
      if (sets.length !== 1 && (fromTicket !== undefined || database !== undefined)) {
        throw new UsageError('set_missing', 'The options --from and --database are about one set.', {
          hint: 'Name the set: shovel relay NAME.',
        });
      }
      const { runRelays } = await import('../../app/run-relays.js');
      const once = values.flag('once');
      const summaries = await runRelays(appSettings(invocation), {
        sets,
        once,
        ...(database === undefined ? {} : { database }),
        ...(fromTicket === undefined ? {} : { fromTicket: BigInt(fromTicket) }),
        stdoutTaken: output.json,
        say: output.say,
        ...(once ? {} : { stats: changesOnly((stats) => output.answer(changeAnswer(stats))) }),
      });
      if (once) for (const line of summaries.flatMap(summaryLines)) output.say(line);
      const document = { relays: summaries.map(summaryDocument) };
      return once ? { document, lines: () => [] } : undefined;
    }),
  );
}

function oneTicket(text: string): string {
  if (/^[1-9][0-9]{0,17}$/.test(text)) return text;
  throw new InvalidArgumentError('A ticket is a number from 1.');
}

function oneDatabase(text: string): string {
  if (isName(text)) return text;
  throw new InvalidArgumentError(`A name is ${NAME_RULE}.`);
}

/** Tells of a stream only when its state or its error is another than before. */
function changesOnly(tell: (stats: StreamStats) => void): (stats: StreamStats) => void {
  const told = new Map<string, string>();
  return (stats) => {
    const stream = `${stats.set}/${stats.database}/${stats.stream}`;
    const state = `${stats.state} ${stats.error?.message ?? ''}`;
    if (told.get(stream) === state) return;
    told.set(stream, state);
    tell(stats);
  };
}

/** A line of --json; people read the log. */
function changeAnswer(stats: StreamStats): Answer {
  const { set, database } = stats;
  return { document: { set, database, ...streamDocument(stats) }, lines: () => [] };
}

function summaryDocument({ set, database, ended, streams }: RelaySummary) {
  return { set, database, ended, streams: streams.map(streamDocument) };
}

function streamDocument({ stream, state, ticket, messages, error }: StreamStats) {
  const why = error === undefined ? null : { code: error.code, message: error.message, hint: error.hint };
  return { stream, state, ticket, messages, error: why };
}

/** On standard error: standard output may be a stream's. */
function summaryLines({ set, database, ended, streams }: RelaySummary): readonly string[] {
  if (ended === 'dropped') return [`Set ${set}, database ${database}: the set was dropped.`];
  return streams.map(
    ({ stream, ticket, messages }) =>
      `Set ${set}, database ${database}: stream ${stream} is at ticket ${ticket}, ${messages} messages sent.`,
  );
}
