import { describe, expect, it } from 'vitest';
import { ConfigurationError } from '../../../src/errors.js';
import { createLogger, type LoggerOptions } from '../../../src/runtime/logger.js';

function logTo(lines: string[], options: Partial<LoggerOptions> = {}) {
  const destination = { write: (text: string) => void lines.push(text) };
  return createLogger({ level: 'info', format: 'json', destination, ...options });
}

const SECRETS = { dsn: 'postgres://app:s3cret@db/app', sasl: { password: 's3cret' } };

describe('a logger', () => {
  it('writes one JSON document a line', () => {
    const lines: string[] = [];
    logTo(lines).child({ set: 'example' }).info({ ticket: 42n }, 'drawn');
    expect(lines).toHaveLength(1);
    const line: unknown = JSON.parse(lines[0] ?? '');
    expect(line).toMatchObject({ level: 'info', set: 'example', ticket: '42', message: 'drawn' });
    expect(line).toHaveProperty('time', expect.stringMatching(/^\d{4}-\d\d-\d\dT/));
  });

  it.each(['json', 'pretty'] as const)('never writes a secret, as %s', (format) => {
    const lines: string[] = [];
    const log = logTo(lines, { format, level: 'debug' });
    const error = new ConfigurationError('x', 'no login for postgres://app:s3cret@db', {
      hint: 'password=s3cret',
    });
    log.child(SECRETS).info({ ...SECRETS, error }, 'connecting to postgres://app:s3cret@db/app');
    const text = lines.join('');
    expect(text).toContain('connecting to postgres://app:***@db/app');
    expect(text).not.toContain('s3cret');
  });

  it('leaves out what is below its level', () => {
    const lines: string[] = [];
    const log = logTo(lines, { level: 'warn' });
    log.debug({}, 'a');
    log.info({}, 'b');
    log.warn({}, 'c');
    log.error({}, 'd');
    expect(lines.map((line) => JSON.parse(line).message)).toEqual(['c', 'd']);
    logTo(lines, { level: 'silent' }).error({}, 'e');
    expect(lines).toHaveLength(2);
  });

  it('writes stacks at level debug only', () => {
    const lines: string[] = [];
    const error = new Error('boom');
    logTo(lines).error({ error }, 'failed');
    expect(lines.join('')).not.toContain('logger.test.ts');
    logTo(lines, { level: 'debug' }).error({ error }, 'failed');
    expect(lines.join('')).toContain('logger.test.ts');
  });

  it('is pretty on one line', () => {
    const lines: string[] = [];
    logTo(lines, { format: 'pretty' }).info({ set: 'example' }, 'drawn');
    expect(lines.join('')).toMatch(/INFO: drawn .*"set":"example"/);
  });
});
