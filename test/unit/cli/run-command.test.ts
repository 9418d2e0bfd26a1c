import { describe, expect, it } from 'vitest';
import { addGlobalOptions } from '../../../src/cli/global-options.js';
import { type Action, createRunner, type RunOptions } from '../../../src/cli/run-command.js';
import { ShovelCommand } from '../../../src/cli/shovel-command.js';
import { IntegrityError, RefusedError, UnreachableError } from '../../../src/errors.js';
import { type TestHost, testHost } from '../../support/host.js';

interface Run {
  readonly host?: TestHost;
  readonly argv?: readonly string[];
  readonly goesOn?: boolean;
}

async function run(
  action: Action,
  { host = testHost(), argv = [], goesOn = false }: Run = {},
): Promise<number> {
  const program = new ShovelCommand('shovel');
  addGlobalOptions(program);
  const runner = createRunner(host, host.readEnvironment());
  const options: RunOptions = { goesOn: () => goesOn };
  const command = program.subcommand('test');
  command.action(() => runner.run(command, options, action));
  await program.parseAsync(['test', ...argv], { from: 'user' });
  expect(host.listeners()).toBe(0);
  return runner.exitCode();
}

/** Resolves when the signal aborts. */
const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));

const refused = new RefusedError('set_exists', 'Set example exists already.', {
  hint: 'Choose another name.',
  details: { set: 'example', ticket: 42n },
});

describe('an answer', () => {
  const answer = async () => ({ document: { ticket: 42n }, lines: () => ['one', 'two'] });

  it('is lines for people', async () => {
    const host = testHost();
    expect(await run(answer, { host })).toBe(0);
    expect(host.printed).toEqual({ stdout: 'one\ntwo\n', stderr: '' });
  });

  it('is one document with --json', async () => {
    const host = testHost();
    expect(await run(answer, { host, argv: ['--json'] })).toBe(0);
    expect(host.printed.stdout).toBe('{"ticket":"42"}\n');
  });

  it.each([
    ['on a terminal', {}, true],
    ['not where NO_COLOR is set', { NO_COLOR: '1' }, false],
    ['not on a dumb terminal', { TERM: 'dumb' }, false],
  ])('has colour %s', async (_, process, colored) => {
    const host = testHost({ terminal: true, process });
    await run(async () => ({ document: null, lines: ({ red }) => [red('x')] }), { host });
    expect(host.printed.stdout.includes('\u001b[')).toBe(colored);
  });
});

describe('an error', () => {
  it('is two lines and its exit code', async () => {
    const host = testHost();
    expect(await run(() => Promise.reject(refused), { host })).toBe(21);
    expect(host.printed).toEqual({
      stdout: '',
      stderr: 'error: Set example exists already.\nhint:  Choose another name.\n',
    });
  });

  it('is a document with --json', async () => {
    const host = testHost();
    expect(await run(() => Promise.reject(refused), { host, argv: ['--json'] })).toBe(21);
    expect(JSON.parse(host.printed.stdout)).toEqual({
      error: {
        code: 'set_exists',
        message: 'Set example exists already.',
        hint: 'Choose another name.',
        details: { set: 'example', ticket: '42' },
      },
    });
    expect(host.printed.stderr).toBe('');
  });

  it('has a stack at --log-level debug', async () => {
    const host = testHost();
    await run(() => Promise.reject(refused), { host, argv: ['--log-level', 'debug'] });
    expect(host.printed.stderr).toContain('run-command.test.ts');
  });

  it('that is a bug has a stack, no value, and exit code 1', async () => {
    const host = testHost();
    const bug = Object.assign(new Error('bad input "alice"'), { severity: 'ERROR', code: '22P02' });
    expect(await run(() => Promise.reject(bug), { host })).toBe(1);
    expect(host.printed.stderr).toContain('This is a bug in shovel');
    expect(host.printed.stderr).toContain('run-command.test.ts');
    expect(host.printed.stderr).not.toContain('alice');
  });

  it('lists all that is wrong with a set file', async () => {
    const host = testHost();
    const issues = [
      { file: 'a.yaml', line: 1, column: 2, path: 'nme', message: 'unknown key', hint: 'did you mean name?' },
      { file: 'a.yaml', line: 3, column: 4, path: '', message: 'missing key tables' },
    ];
    const error = new RefusedError('x', 'a.yaml:1:2: unknown key, and 1 more', {
      hint: 'h',
      details: { issues },
    });
    await run(() => Promise.reject(error), { host });
    expect(host.printed.stderr.split('\n').slice(0, 2)).toEqual([
      'error: a.yaml:1:2: unknown key (nme); did you mean name?',
      'error: a.yaml:3:4: missing key tables',
    ]);
  });

  it('never shows a password', async () => {
    const host = testHost();
    const error = new UnreachableError('x', 'postgres://a:s3cret@h is away', {
      hint: 'password=s3cret',
      details: { dsn: 'postgres://a:s3cret@h', sasl: { password: 's3cret' } },
    });
    await run(() => Promise.reject(error), { host });
    await run(() => Promise.reject(error), { host, argv: ['--json', '--log-level', 'debug'] });
    expect(host.printed.stdout + host.printed.stderr).toContain('***');
    expect(host.printed.stdout + host.printed.stderr).not.toContain('s3cret');
  });
});

describe('a signal', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s interrupts a one-shot command', async (signal, code) => {
    const host = testHost();
    const exit = run(
      async (invocation) => {
        host.raise(signal);
        invocation.signal.throwIfAborted();
        return undefined;
      },
      { host },
    );
    expect(await exit).toBe(code);
    expect(host.printed.stderr).toContain(`Interrupted by ${signal}.`);
    expect(host.exits).toEqual([]);
  });

  it('leaves a one-shot command that is done all the same at 0', async () => {
    const host = testHost();
    const action: Action = async () => {
      host.raise('SIGTERM');
      return undefined;
    };
    expect(await run(action, { host })).toBe(0);
  });

  it('does not hide what someone has to look at', async () => {
    const host = testHost();
    const action: Action = async () => {
      host.raise('SIGTERM');
      throw new IntegrityError('gap', 'A ticket is missing.', { hint: 'h' });
    };
    expect(await run(action, { host })).toBe(143);
    expect(host.printed.stderr).toContain('A ticket is missing.');
  });

  it('ends a command that goes on with 0', async () => {
    const host = testHost();
    const action: Action = async ({ signal }) => {
      const stopped = aborted(signal);
      host.raise('SIGTERM');
      await stopped;
      return undefined;
    };
    expect(await run(action, { host, goesOn: true })).toBe(0);
  });

  it('ends a command that goes on with the code of the error that it met while stopping', async () => {
    const host = testHost();
    const action: Action = async () => {
      host.raise('SIGTERM');
      throw refused;
    };
    expect(await run(action, { host, goesOn: true })).toBe(21);
  });

  it('ends the process at once when it comes again', async () => {
    const host = testHost();
    const action: Action = async () => {
      host.raise('SIGTERM');
      expect(host.exits).toEqual([]);
      host.raise('SIGINT');
      return undefined;
    };
    await run(action, { host, goesOn: true });
    expect(host.exits).toEqual([130]);
  });
});

it('ends with 1 and a stack for what nobody caught', async () => {
  const host = testHost();
  await run(
    async () => {
      host.crash(new TypeError('x is not a function'));
      return undefined;
    },
    { host },
  );
  expect(host.exits).toEqual([1]);
  expect(host.printed.stderr).toContain('This is a bug in shovel: x is not a function');
});
