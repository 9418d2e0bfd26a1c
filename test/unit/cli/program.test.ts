import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { allCommands, cliPage } from '../../../scripts/cli-page.js';
import { errorsPage } from '../../../scripts/errors-page.js';
import { main } from '../../../src/cli/main.js';
import { variableOf } from '../../../src/cli/option-values.js';
import { buildProgram } from '../../../src/cli/program.js';
import { fullName } from '../../../src/cli/shovel-command.js';
import { testHost } from '../../support/host.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const runner = { run: async () => undefined, exitCode: () => 0 };
const commands = allCommands(buildProgram(runner, { stdout: { write: () => undefined } })).map(
  (command) => [fullName(command), command] as const,
);

async function shovel(...argv: readonly string[]) {
  const host = testHost();
  const code = await main(argv, host);
  return { code, ...host.printed };
}

describe('every command', () => {
  it.each(commands)('%s says what it does, with an example that it takes', async (name) => {
    const argv = [...name.split(' ').slice(1), '--help'];
    const { code, stdout, stderr } = await shovel(...argv);
    expect(code).toBe(0);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/\nExamples?:\n {2}\$ shovel /);
    expect(stdout).toContain('--zookeeper-hosts');
    expect(stdout).toContain('SHOVEL_ZOOKEEPER_HOSTS');
    for (const [, example = ''] of stdout.matchAll(/^ {2}\$ (shovel.*?)(?: {2,}#.*)?$/gm)) {
      expect(`${example} `.startsWith(`${name} `)).toBe(true);
    }
  });

  it.each(commands)('%s has a variable for every option', (_, command) => {
    for (const option of command.options) {
      if (option.name() === 'version') continue;
      expect(variableOf(option)).toMatch(/^SHOVEL_[A-Z_]+$/);
    }
  });
});

describe('a wrong command line', () => {
  it.each([
    ['command_missing', ['set'], 'shovel set needs a command.', 'create, upgrade'],
    ['command_missing', ['cluster'], 'shovel cluster needs a command.', 'shovel cluster --help'],
    ['unknown_command', ['set', 'crate'], "Unknown command 'crate'.", 'Did you mean create?'],
    ['unknown_command', ['stauts'], "Unknown command 'stauts'.", 'shovel --help'],
    [
      'unknown_option',
      ['set', 'create', '--dryrun'],
      "Unknown option '--dryrun'.",
      'Did you mean --dry-run?',
    ],
    [
      'missing_argument',
      ['set', 'inspect'],
      "Missing required argument 'name'.",
      'shovel set inspect --help',
    ],
    ['excess_arguments', ['set', 'list', 'x'], 'Too many arguments', 'shovel set list --help'],
    [
      'option_missing_argument',
      ['relay', '--from'],
      "Option '--from <ticket>' argument missing.",
      'shovel relay --help',
    ],
    [
      'invalid_argument',
      ['relay', '--from', '0'],
      "argument '0' is invalid. A ticket is a number from 1.",
      'shovel relay --help',
    ],
    [
      'set_missing',
      ['relay', '--from', '1'],
      'The options --from and --database are about one set.',
      'Name the set: shovel relay NAME.',
    ],
    [
      'set_missing',
      ['relay', 'a', 'b', '--database', 'eu'],
      'The options --from and --database are about one set.',
      'Name the set: shovel relay NAME.',
    ],
    [
      'version_needed',
      ['set', 'rollback', 'example'],
      'The version that example is to go back to is missing.',
      'shovel set history example',
    ],
    [
      'zookeeper_hosts_invalid',
      ['set', 'list', '--zookeeper-hosts', 'zk1:2181,zk2:port'],
      "The server 2 of the ZooKeeper hosts can't be read.",
      'host:port,host:port/chroot',
    ],
    [
      'coordinator_url_invalid',
      ['set', 'list', '--coordinator', 'zookeeper://me@zk1:2181'],
      'lacks a user or a password before the @',
      'Write zookeeper://host:2181,host2:2181/chroot or postgres://host/database; user:password@ goes before',
    ],
    [
      'coordinator_ambiguous',
      ['set', 'list', '--coordinator', 'zookeeper://zk1', '--zookeeper-hosts', 'zk1'],
      'Both --zookeeper-hosts and --coordinator are given.',
      'Give one of them',
    ],
  ])('%s: %j ends with 2 and two lines', async (expected, argv, message, hint) => {
    const { code, stdout, stderr } = await shovel(...argv);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    const lines = stderr.trimEnd().split('\n');
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain(message);
    expect(lines[1]).toContain(hint);
    const document = await shovel(...argv.slice(0, 1), '--json', ...argv.slice(1));
    expect(document).toMatchObject({ code: 2, stderr: '' });
    expect(JSON.parse(document.stdout)).toMatchObject({ error: { code: expected } });
  });
});

it('shows help where nothing, or help, is asked for', async () => {
  expect((await shovel()).stdout).toContain('shovel cluster init');
  expect((await shovel('help', 'set', 'drop')).stdout).toContain('Usage: shovel set drop');
});

it('tells its version', async () => {
  const { version } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8'));
  expect((await shovel('--version')).stdout).toBe(`${version}\n`);
  expect((await shovel('version')).stdout).toBe(`shovel ${version}\n`);
});

describe('generated pages are up to date (npx tsx scripts/build-docs.ts)', () => {
  it('docs/cli.md', () => {
    expect(readFileSync(`${ROOT}docs/cli.md`, 'utf8')).toBe(cliPage());
  });

  it('docs/errors.md', () => {
    expect(readFileSync(`${ROOT}docs/errors.md`, 'utf8')).toBe(errorsPage(`${ROOT}src`));
  });
});
