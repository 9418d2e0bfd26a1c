import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readSetFile, setArguments, setReference, withSetFile } from '../../../src/cli/set-arguments.js';
import { ConfigurationError } from '../../../src/errors.js';
import { testHost } from '../../support/host.js';
import { temporaryFolder } from '../../support/temporary-folder.js';

const SET = `
databases: { main: { dsn: "postgres://db/app" } }
tables: [{ name: accounts }]
streams: { trail: { file: { path: "-" } } }
`;

describe('NAME and FILE', () => {
  it.each([
    [['-'], undefined, '-'],
    [['./example'], undefined, './example'],
    [['example.yaml'], undefined, 'example.yaml'],
    [['example'], 'example', '-'],
    [['example', '-'], 'example', '-'],
    [['example', 'file'], 'example', 'file'],
    [[], undefined, '-'],
  ])('of %j', (args, name, file) => {
    const found = setArguments(args[0], args[1]);
    expect(found.reference?.name).toBe(name);
    expect(found.file).toBe(file);
  });

  it('with a version as precondition', () => {
    expect(setArguments('example@3', 'x.yaml').reference).toEqual({ name: 'example', version: 3 });
    expect(setReference('example').version).toBeUndefined();
  });

  it.each([
    ['Example', 'name_invalid'],
    ['example@', 'version_invalid'],
    ['example@0', 'version_invalid'],
    ['example@3x', 'version_invalid'],
    ['@3', 'name_invalid'],
  ])('refuse %s', (text, code) => {
    expect(() => setReference(text)).toThrow(expect.objectContaining({ code, exitCode: 2 }));
  });

  it('say so where they are swapped', () => {
    expect(() => setArguments('x.yaml', 'example')).toThrow(
      expect.objectContaining({ code: 'arguments_swapped' }),
    );
  });
});

describe('a set file', () => {
  const args = (first?: string, second?: string) => setArguments(first, second);

  it('is read from standard input, under the name of the command', async () => {
    const configuration = await readSetFile(args('example'), testHost({ stdin: SET }));
    expect(configuration.name).toBe('example');
  });

  it('is read from a file that names the set', async () => {
    const path = join(temporaryFolder('unit'), 'set.yaml');
    writeFileSync(path, `name: billing\n${SET}`);
    expect((await readSetFile(args(path), testHost())).name).toBe('billing');
  });

  it('is not waited for on a terminal', async () => {
    await expect(readSetFile(args(), testHost())).rejects.toMatchObject({
      code: 'stdin_is_terminal',
      exitCode: 2,
    });
  });

  it('is named where it is missing', async () => {
    await expect(readSetFile(args('./none.yaml'), testHost())).rejects.toMatchObject({
      code: 'set_file_unreadable',
      exitCode: 20,
      message: "The set file ./none.yaml can't be read: it does not exist.",
    });
  });

  it('has places for what databases have against its tables', async () => {
    const text = `name: billing
databases: { main: { dsn: "postgres://db/app" } }
tables:
  - { name: Accounts }
  - columns: [id]
    name: sales.*
`;
    const issue = (table: string) => ({ table, code: 'table_missing', message: 'no', hint: 'h' });
    const work = () =>
      Promise.reject(
        new ConfigurationError('table_missing', 'm', {
          hint: 'h',
          details: { issues: [issue('public.accounts'), issue('sales.one'), issue('other.one')] },
        }),
      );
    await expect(withSetFile(args('-'), testHost({ stdin: text }), work)).rejects.toMatchObject({
      code: 'table_missing',
      exitCode: 20,
      details: {
        issues: [
          { ...issue('public.accounts'), file: 'stdin', line: 4, column: 13 },
          { ...issue('sales.one'), file: 'stdin', line: 6, column: 11 },
          issue('other.one'),
        ],
      },
    });
  });

  it('is told wrong as a whole, with its places', async () => {
    const error: unknown = await readSetFile(args('-'), testHost({ stdin: 'nme: x\ntables: 3\n' })).catch(
      (caught: unknown) => caught,
    );
    expect(error).toMatchObject({ code: 'set_file_invalid', exitCode: 20 });
    expect(error).toHaveProperty('details.issues.1.line');
    expect(error).toHaveProperty('details.issues.0.file', 'stdin');
  });
});
