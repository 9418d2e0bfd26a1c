import { describe, expect, it } from 'vitest';
import { ConfigurationError } from '../../../src/errors.js';
import {
  redactDocument,
  redactFields,
  redactText,
  safeMessage,
  safeStack,
} from '../../../src/runtime/redact.js';

describe('redactText', () => {
  it.each([
    ['postgres://app:s3cret@db/app', 'postgres://app:***@db/app'],
    [
      'connect postgresql://app:p@ss@h1,h2/app?x=1 failed',
      'connect postgresql://app:***@h1,h2/app?x=1 failed',
    ],
    ['postgres://app:a/b#c@db/app', 'postgres://app:***@db/app'],
    ['zookeeper://me:pw@a:2181,b:2181/chroot', 'zookeeper://me:***@a:2181,b:2181/chroot'],
    ["host=db user=app password='s3 cret' dbname=app", 'host=db user=app password=*** dbname=app'],
    ['postgres://db/app?password=s3cret&sslmode=require', 'postgres://db/app?password=***&sslmode=require'],
    ['sslpassword=abc', 'sslpassword=***'],
    [
      `insert … '{"sasl":{"username":"a","password":"s3\\"cret"}}'`,
      `insert … '{"sasl":{"username":"a","password":"***"}}'`,
    ],
    ['x -----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY----- y', 'x *** y'],
  ])('takes the password out of %s', (text, expected) => {
    expect(redactText(text)).toBe(expected);
  });

  it.each([
    'postgres://app@db:5432/app',
    'zookeeper://127.0.0.1:2181,127.0.0.2:2181/chroot',
    'Set example exists already in cluster default.',
    'postgres://app:${APP_PASSWORD}@db/app',
    'password=${APP_PASSWORD}',
    '{"sasl":{"password":"${KAFKA_PASSWORD}"}}',
    'file /var/lib/shovel/example.jsonl:3:5',
  ])('leaves %s as it is', (text) => {
    expect(redactText(text)).toBe(text);
  });
});

describe('redactFields', () => {
  it('hides secrets by their names, at any depth', () => {
    const fields = {
      dsn: 'postgres://db/app',
      sourceDsn: 'x',
      sasl: { username: 'me', password: 's3cret', sslPassphrase: 's3cret' },
      list: [{ passcode: 's3cret', token: 1 }],
      ticket: 42n,
      password: undefined,
    };
    const text = JSON.stringify(redactFields(fields, { stacks: false }));
    expect(text).not.toContain('s3cret');
    expect(JSON.parse(text)).toEqual({
      dsn: '***',
      sourceDsn: '***',
      sasl: { username: 'me', password: '***', sslPassphrase: '***' },
      list: [{ passcode: '***', token: '***' }],
      ticket: '42',
    });
  });

  it('tells a ShovelError as code, message and hint', () => {
    const error = new ConfigurationError('dsn_invalid', 'postgres://a:pw@h is wrong', { hint: 'look' });
    expect(redactFields({ error }, { stacks: false })).toEqual({
      error: { code: 'dsn_invalid', message: 'postgres://a:***@h is wrong', hint: 'look' },
    });
  });

  it('ends where data go in a circle', () => {
    const circle: { self?: unknown } = {};
    circle.self = circle;
    expect(JSON.stringify(redactFields({ circle }, { stacks: false }))).toContain('…');
  });
});

describe('redactDocument', () => {
  it('keeps all but passwords, which may be named', () => {
    const document = {
      databases: { main: { dsn: 'postgres://app:s3cret@db/app' }, eu: { dsn: '${EU_DSN}' } },
      sasl: { username: 'me', password: 's3cret' },
      stomp: { login: 'me', passcode: '${STOMP_PASSCODE}' },
      tables: [{ key: ['id'], unchanged: null }],
    };
    expect(redactDocument(document)).toEqual({
      databases: { main: { dsn: 'postgres://app:***@db/app' }, eu: { dsn: '${EU_DSN}' } },
      sasl: { username: 'me', password: '***' },
      stomp: { login: 'me', passcode: '${STOMP_PASSCODE}' },
      tables: [{ key: ['id'], unchanged: null }],
    });
  });
});

describe('messages that may quote values', () => {
  const server = Object.assign(new Error('invalid input syntax for type integer: "alice@example.org"'), {
    severity: 'ERROR',
    code: '22P02',
  });

  it('are withheld when they come from a PostgreSQL server', () => {
    expect(safeMessage(server)).toBe('PostgreSQL error 22P02 (message withheld)');
  });

  it('are withheld when they come from JSON.parse', () => {
    let caught: unknown;
    try {
      JSON.parse('alice');
    } catch (error) {
      caught = error;
    }
    expect(caught instanceof Error && safeMessage(caught)).toBe('text is not valid JSON');
  });

  it('stay out of stacks, causes included', () => {
    const outer = new ConfigurationError('x', 'Table public.accounts is odd.', { hint: 'h', cause: server });
    const stack = safeStack(outer);
    expect(stack).toContain('Table public.accounts is odd.');
    expect(stack).toContain('caused by');
    expect(stack).toContain('redact.test.ts');
    expect(stack).not.toContain('alice');
  });
});
