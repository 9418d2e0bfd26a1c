import { describe, expect, it } from 'vitest';
import { fillAll, fillVariables } from '../../../src/app/fill-variables.js';
import { openCoordinator } from '../../../src/app/open-coordinator.js';
import { createPublisher } from '../../../src/app/publishers.js';
import { parseCoordinatorAddress } from '../../../src/coordinator/coordinator-url.js';
import type { StreamConfiguration } from '../../../src/model/set-configuration.js';
import { parseSetFile } from '../../../src/model/set-file.js';
import { silentLogger } from '../../../src/runtime/logger.js';

const about = { variables: { A: 'one', B: '${A}', EMPTY: '' }, where: 'stream events' };

describe('variables', () => {
  it('are filled in once, wherever they stand', () => {
    expect(fillVariables('${A}-${B}-${EMPTY}', about)).toBe('one-${A}-');
    expect(fillAll({ list: ['${A}', 3, null, true], deep: { text: '${A}' } }, about)).toEqual({
      list: ['one', 3, null, true],
      deep: { text: 'one' },
    });
  });

  it('that are missing are named all at once, with what needs them', () => {
    expect(() => fillVariables('${X} ${A} ${Y} ${X}', about)).toThrow(
      expect.objectContaining({
        code: 'variable_missing',
        exitCode: 20,
        message: 'The environment lacks X, Y, which stream events needs.',
      }),
    );
  });
});

function stream(text: string): StreamConfiguration {
  const parsed = parseSetFile(
    `name: example
databases: { main: { dsn: "postgres://db/app" } }
tables: [{ name: accounts }]
streams: { events: ${text} }`,
    { file: 'test' },
  );
  const configuration = parsed.configuration?.streams.events;
  if (configuration === undefined) throw new Error(JSON.stringify(parsed.issues));
  return configuration;
}

describe('a publisher', () => {
  const create = async (text: string, variables: Readonly<Record<string, string>> = {}) =>
    createPublisher({
      cluster: 'default',
      set: 'example',
      nodeId: '6f3b0c5e-0000-4000-8000-000000000000',
      nodeIds: ['6f3b0c5e-0000-4000-8000-000000000000'],
      stream: 'events',
      configuration: fillAll(stream(text), { variables, where: 'stream events' }),
      logger: silentLogger(),
    });

  it('of a file writes where the template says', async () => {
    const publisher = await create('{ file: { path: "${DIR}/{cluster}/{set}.jsonl" } }', { DIR: '/var/lib' });
    expect(publisher.display).toBe('file /var/lib/default/example.jsonl');
  });

  it('of Kafka takes several brokers from one variable', async () => {
    const publisher = await create('{ kafka: { brokers: ["${KAFKA}", "c:3"], topic: "x.{table}" } }', {
      KAFKA: 'a:1,b:2',
    });
    expect(publisher.display).toBe('kafka a:1,b:2,c:3');
  });

  it('says which variable it lacks', async () => {
    await expect(create('{ kafka: { brokers: ["${KAFKA}"] } }')).rejects.toMatchObject({
      code: 'variable_missing',
      message: 'The environment lacks KAFKA, which stream events needs.',
    });
  });

  it('names the file for TLS that it can not read', async () => {
    const text = '{ kafka: { brokers: ["a:1"], ssl: { ca: "/no/such/ca.pem" } } }';
    await expect(create(text)).rejects.toMatchObject({
      code: 'file_unreadable',
      exitCode: 20,
      message: expect.stringContaining('/no/such/ca.pem'),
    });
  });

  it('of STOMP is refused by this version', async () => {
    const text = '{ stomp: { url: "stomp://127.0.0.1:61613", destination: "/queue/x" } }';
    await expect(create(text)).rejects.toMatchObject({ code: 'stream_not_supported', exitCode: 20 });
  });
});

describe('a coordinator', () => {
  it('that is given up before it answers is not waited for', async () => {
    const given = new AbortController();
    given.abort(new Error('told to stop'));
    const coordinator = parseCoordinatorAddress({ zookeeperHosts: '127.0.0.1:1' });
    await expect(
      openCoordinator({ coordinator, logger: silentLogger(), signal: given.signal }),
    ).rejects.toThrow('told to stop');
  });
});
