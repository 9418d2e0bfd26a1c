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
    [['set'], 'shovel set needs a command.', 'create, upgrade'],
    [['set', 'crate'], "Unknown command 'crate'.", 'Did you mean create?'],
    [['stauts'], "Unknown command 'stauts'.", 'shovel --help'],
    [['set', 'create', '--dryrun'], "Unknown option '--dryrun'.", 'Did you mean --dry-run?'],
    [['set', 'inspect'], "Missing required argument 'name'.", 'shovel set inspect --help'],
    [['set', 'list', 'x'], 'Too many arguments', 'shovel set list --help'],
    [['relay', '--from'], "Option '--from <ticket>' argument missing.", 'shovel relay --help'],
    [
      ['relay', '--from', '0'],
      "argument '0' is invalid. A ticket is a number from 1.",
      'shovel relay --help',
    ],
    [['relay', '--from', '1'], 'The options --from and --database are about one set.', 'Name the set'],
  ])('%j ends with 2 and two lines', async (argv, message, hint) => {
    const { code, stdout, stderr } = await shovel(...argv);
    expect(code).toBe(2);
    expect(stdout).toBe('');
    const lines = stderr.trimEnd().split('\n');
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain(message);
    expect(lines[1]).toContain(hint);
  });

  it('is a document with --json', async () => {
    const { code, stdout, stderr } = await shovel('set', 'crate', '--json');
    expect(code).toBe(2);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'unknown_command' } });
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
