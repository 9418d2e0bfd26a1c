import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { IntegrityError, UnreachableError } from '../../../src/errors.js';
import { createErrorReporter } from '../../../src/runtime/error-reporter.js';
import { createLogger, silentLogger } from '../../../src/runtime/logger.js';

const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A server that takes what Sentry's client sends. */
async function collector(): Promise<{ dsn: string; received: string[] }> {
  const received: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      received.push(
        (request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : body).toString('utf8'),
      );
      response.end('{}');
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { dsn: `http://key@127.0.0.1:${port}/1`, received };
}

describe('the error reporter', () => {
  it('sends what someone has to look at, without secrets, values or names of hosts', async () => {
    const { dsn, received } = await collector();
    const reporter = await createErrorReporter({ dsn, release: '1.2.3', logger: silentLogger() });
    const cause = Object.assign(new Error('value too long: "alice"'), { severity: 'ERROR', code: '22001' });
    reporter.report(new IntegrityError('gap', 'no postgres://a:s3cret@db', { hint: 'h', cause }));
    reporter.report(new TypeError('x is not a function'));
    reporter.report(new UnreachableError('database_unreachable', 'db is down', { hint: 'h' }));
    await reporter.close(5_000);
    const text = received.join('\n');
    expect(text).toContain('shovel@1.2.3');
    expect(text).toContain('IntegrityError');
    expect(text).toContain('no postgres://a:***@db');
    expect(text).toContain('x is not a function');
    expect(text).not.toContain('db is down');
    expect(text).not.toMatch(/s3cret|alice|server_name|"contexts":\{"(?!trace)/);
  });

  it('does nothing without a DSN', async () => {
    const reporter = await createErrorReporter({ dsn: undefined, release: '1', logger: silentLogger() });
    reporter.report(new Error('x'));
    await reporter.close(1);
  });

  it('says so where the DSN is wrong, without the DSN, and goes on', async () => {
    const lines: string[] = [];
    const logger = createLogger({
      level: 'warn',
      format: 'json',
      destination: { write: (text) => void lines.push(text) },
    });
    const printed = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const reporter = await createErrorReporter({ dsn: 'nonsense:s3cret', release: '1', logger });
    reporter.report(new Error('x'));
    await reporter.close(1);
    expect(printed).not.toHaveBeenCalled();
    printed.mockRestore();
    expect(lines.join('')).toContain('errors are not reported');
    expect(lines.join('')).not.toContain('s3cret');
  });
});
