import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addGlobalOptions, type GlobalOptions, globalOptions } from '../../../src/cli/global-options.js';
import type { Environment } from '../../../src/cli/host.js';
import { resolveOptions } from '../../../src/cli/option-values.js';
import { ShovelCommand } from '../../../src/cli/shovel-command.js';
import { UsageError } from '../../../src/errors.js';

function parse(argv: readonly string[], environment: Partial<Environment> = {}) {
  const program = new ShovelCommand('shovel').exitOverride();
  addGlobalOptions(program);
  const command = program
    .subcommand('set')
    .subcommand('drop')
    .option('--force', 'x')
    .option('--from <ticket>', 'x')
    .option('--nodes [dsns]', 'x');
  command.action(() => undefined);
  program.parse(['set', 'drop', ...argv], { from: 'user' });
  return resolveOptions(command, { process: {}, file: {}, ...environment });
}

function globals(argv: readonly string[], environment: Partial<Environment> = {}): GlobalOptions {
  return globalOptions(parse(argv, environment));
}

function usageError(work: () => unknown): UsageError {
  try {
    work();
  } catch (error) {
    if (error instanceof UsageError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('options', () => {
  it('come from the command line before the environment, that before .env, that before the default', () => {
    const all = { process: { SHOVEL_CLUSTER: 'b' }, file: { SHOVEL_CLUSTER: 'c' } };
    expect(globals(['--cluster', 'a'], all).cluster).toBe('a');
    expect(globals([], all).cluster).toBe('b');
    expect(globals([], { file: all.file }).cluster).toBe('c');
    expect(globals([]).cluster).toBe('default');
  });

  it('keep that order for any mix of levels', () => {
    const name = fc.option(fc.constantFrom('a', 'b', 'c', 'd'), { nil: undefined });
    fc.assert(
      fc.property(name, name, name, (flag, process, file) => {
        const { cluster } = globals(flag === undefined ? [] : ['--cluster', flag], {
          process: process === undefined ? {} : { SHOVEL_CLUSTER: process },
          file: file === undefined ? {} : { SHOVEL_CLUSTER: file },
        });
        expect(cluster).toBe(flag ?? process ?? file ?? 'default');
      }),
    );
  });

  it('stand before or behind the command', () => {
    expect(globals(['--json']).json).toBe(true);
    expect(globals([]).json).toBe(false);
  });

  it('have a variable each, of the command too, and an empty one says nothing', () => {
    const values = parse([], { process: { SHOVEL_FORCE: 'yes', SHOVEL_FROM: '', SHOVEL_LOG_LEVEL: '' } });
    expect(values.flag('force')).toBe(true);
    expect(values.text('from')).toBeUndefined();
    expect(parse([], { process: { SHOVEL_FROM: '12' } }).text('from')).toBe('12');
  });

  it.each(['false', '0', 'no', 'OFF'])('are off where the variable of a switch says %s', (text) => {
    expect(parse([], { process: { SHOVEL_FORCE: text } }).flag('force')).toBe(false);
    expect(parse(['--force'], { process: { SHOVEL_FORCE: text } }).flag('force')).toBe(true);
  });

  it('with a value that may be left out are switches too', () => {
    const said = (text: string) => parse([], { process: { SHOVEL_NODES: text } });
    expect(said('true').flag('nodes')).toBe(true);
    expect(said('true').text('nodes')).toBeUndefined();
    expect(said('no').flag('nodes')).toBe(false);
    expect(said('a b').text('nodes')).toBe('a b');
    expect(parse(['--nodes']).flag('nodes')).toBe(true);
    expect(parse(['--nodes', 'a b']).text('nodes')).toBe('a b');
  });

  it('are checked wherever they come from, and the variable is named', () => {
    const error = usageError(() => globals([], { process: { SHOVEL_CLUSTER: 'Billing' } }));
    expect(error.code).toBe('option_invalid');
    expect(error.message).toContain('SHOVEL_CLUSTER');
    expect(usageError(() => parse([], { process: { SHOVEL_FORCE: 'maybe' } })).message).toContain(
      'SHOVEL_FORCE',
    );
    expect(usageError(() => globals(['--log-level', 'loud'])).code).toBe('invalid_argument');
    expect(usageError(() => globals(['--lock-timeout', '40'])).message).toContain('--lock-timeout');
  });

  it('have the defaults of the contract', () => {
    expect(globals([])).toEqual({
      cluster: 'default',
      coordinator: expect.objectContaining({ kind: 'zookeeper', hosts: '127.0.0.1:2181' }),
      logLevel: undefined,
      logFormat: undefined,
      sentryDsn: undefined,
      lockTimeoutMs: 40,
      leaseTimeMs: undefined,
      json: false,
    });
    expect(globals(['--lock-timeout', '1.5s']).lockTimeoutMs).toBe(1500);
    expect(globals(['--lease-time', '2s']).leaseTimeMs).toBe(2000);
    expect(usageError(() => globals(['--lease-time', '1m'])).message).toContain('from 1s to 20s');
  });
});

describe('the coordinator', () => {
  const zk = ['--zookeeper-hosts', 'zk:2181'];
  const pg = ['--coordinator', 'postgres://me:s3cret@db/c'];
  const inEnvironment = {
    zk: { SHOVEL_ZOOKEEPER_HOSTS: 'zk:2181' },
    pg: { SHOVEL_COORDINATOR: 'postgres://me:s3cret@db/c' },
  };

  it('is the one that was named on the highest level', () => {
    expect(globals(pg, { process: inEnvironment.zk }).coordinator.kind).toBe('postgres');
    expect(globals(zk, { process: inEnvironment.pg }).coordinator.kind).toBe('zookeeper');
    expect(globals([], { process: inEnvironment.pg, file: inEnvironment.zk }).coordinator.kind).toBe(
      'postgres',
    );
    expect(globals([], { file: inEnvironment.pg }).coordinator.kind).toBe('postgres');
  });

  it.each([
    ['on the command line', [...zk, ...pg], {}],
    ['in the environment', [], { process: { ...inEnvironment.zk, ...inEnvironment.pg } }],
    ['in .env', [], { file: { ...inEnvironment.zk, ...inEnvironment.pg } }],
  ])('is refused where both ways stand %s', (_, argv, environment) => {
    const error = usageError(() => globals(argv, environment));
    expect(error.code).toBe('coordinator_ambiguous');
    expect(error.exitCode).toBe(2);
    expect(error.message + error.hint).not.toContain('s3cret');
  });
});
