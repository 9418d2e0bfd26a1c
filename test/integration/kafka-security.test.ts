/** The publisher to a Kafka that asks for TLS and a login, and what it says when either is wrong. */

import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import kafkajs, {
  AclOperationTypes,
  AclPermissionTypes,
  AclResourceTypes,
  ResourcePatternTypes,
} from 'kafkajs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type EphemeralService, startEphemeral } from '../../scripts/services/index.js';
import { createKafkaPublisher, type KafkaPublisherOptions } from '../../src/streams/kafka/kafka-publisher.js';
import { kafkaTestOptions } from '../support/kafka.js';
import { sampleBatch, samplePosition } from '../support/sample-batches.js';
import { temporaryFolder } from '../support/temporary-folder.js';

const run = promisify(execFile);
const STORE_PASSWORD = 'changeit';
const LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required';

let directory: string;
let broker: EphemeralService;
let ca: string;
const sasl = { mechanism: 'PLAIN', username: 'shovel', password: 'right' };

/** A key pair that signs itself, made by the JDK's own tool; its certificate as PEM. */
async function makeKeyStore(store: string): Promise<string> {
  const common = [
    '-keystore',
    store,
    '-storetype',
    'PKCS12',
    '-storepass',
    STORE_PASSWORD,
    '-alias',
    'broker',
  ];
  const names = ['-dname', 'CN=localhost', '-ext', 'san=dns:localhost,ip:127.0.0.1'];
  await run('keytool', [
    '-genkeypair',
    '-keyalg',
    'RSA',
    '-keysize',
    '2048',
    '-validity',
    '2',
    ...names,
    ...common,
  ]);
  await run('keytool', ['-exportcert', '-rfc', '-file', `${store}.pem`, ...common]);
  return readFile(`${store}.pem`, 'utf8');
}

beforeAll(async () => {
  directory = temporaryFolder('tls');
  const store = join(directory, 'broker.p12');
  ca = await makeKeyStore(store);
  broker = await startEphemeral('kafka', {
    settings: {
      'listener.security.protocol.map': 'PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT',
      'inter.broker.listener.name': 'PLAINTEXT',
      'ssl.keystore.location': store,
      'ssl.keystore.type': 'PKCS12',
      'ssl.keystore.password': STORE_PASSWORD,
      'ssl.truststore.location': store,
      'ssl.truststore.type': 'PKCS12',
      'ssl.truststore.password': STORE_PASSWORD,
      'sasl.enabled.mechanisms': 'PLAIN',
      'sasl.mechanism.inter.broker.protocol': 'PLAIN',
      'listener.name.plaintext.plain.sasl.jaas.config': `${LOGIN} username="broker" password="own" user_broker="own" user_shovel="right" user_guest="may";`,
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': 'User:ANONYMOUS;User:broker;User:shovel',
    },
  });
});
afterAll(() => broker?.close());

async function startError(extra: Partial<KafkaPublisherOptions>): Promise<unknown> {
  const publisher = createKafkaPublisher(
    kafkaTestOptions([broker.address], { startTimeoutMs: 2000, requestTimeoutMs: 2000, ...extra }),
  );
  try {
    await publisher.start();
    return 'started';
  } catch (error) {
    return error;
  } finally {
    await publisher.stop();
  }
}

test('publishes over TLS with a login', async () => {
  const options = kafkaTestOptions([broker.address], { ssl: { ca }, sasl });
  const publisher = createKafkaPublisher(options);
  await publisher.start();
  const batch = sampleBatch({ destination: options.positionTopic, ticket: 1n, count: 5 });
  await publisher.publish(batch, samplePosition(1n));
  expect(await publisher.start()).toEqual(samplePosition(1n));
  await publisher.stop();
});

test('a user who may write a topic that is not there, and not make it', async () => {
  const options = kafkaTestOptions([broker.address], { ssl: { ca }, sasl, partitions: 3 });
  const { positionTopic: topic } = options;
  const kafka = new kafkajs.Kafka({
    brokers: [broker.address],
    ssl: { ca },
    sasl: { mechanism: 'plain', username: 'broker', password: 'own' },
    logLevel: kafkajs.logLevel.NOTHING,
  });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createAcls({
    acl: [
      { resourceType: AclResourceTypes.TOPIC, operation: AclOperationTypes.DESCRIBE },
      { resourceType: AclResourceTypes.TOPIC, operation: AclOperationTypes.WRITE },
      { resourceType: AclResourceTypes.TOPIC, operation: AclOperationTypes.READ },
      { resourceType: AclResourceTypes.GROUP, operation: AclOperationTypes.ALL },
      { resourceType: AclResourceTypes.TRANSACTIONAL_ID, operation: AclOperationTypes.ALL },
    ].map((one) => ({
      ...one,
      resourceName: '*',
      resourcePatternType: ResourcePatternTypes.LITERAL,
      principal: 'User:guest',
      host: '*',
      permissionType: AclPermissionTypes.ALLOW,
    })),
  });
  const guest = { mechanism: 'PLAIN', username: 'guest', password: 'may' };
  expect(await startError({ ...options, sasl: guest })).toMatchObject({
    code: 'topic_missing',
    exitCode: 20,
    retryable: false,
    message: expect.stringContaining(`topic "${topic}" does not exist`),
    hint: `Make it: kafka-topics.sh --bootstrap-server ${broker.address} --create --topic ${topic} --partitions 3`,
    details: { topic, partitions: 3, kafka_error: 'TOPIC_AUTHORIZATION_FAILED' },
  });
  // What the hint says; the settings of the topic are not for this user to see.
  await admin.createTopics({ topics: [{ topic, numPartitions: 3 }], waitForLeaders: true });
  await admin.disconnect();
  const publisher = createKafkaPublisher({ ...options, sasl: guest });
  expect(await publisher.start()).toBeUndefined();
  await publisher.publish(sampleBatch({ destination: topic, ticket: 1n, count: 2 }), samplePosition(1n));
  await publisher.stop();
});

test('a certificate that nobody known has signed', async () => {
  expect(await startError({ ssl: true, sasl })).toMatchObject({ code: 'kafka_tls', exitCode: 20 });
});

test('a wrong password, which the error does not repeat', async () => {
  const failure = await startError({ ssl: { ca }, sasl: { ...sasl, password: 'wrong-secret' } });
  expect(failure).toMatchObject({ code: 'kafka_login_refused', exitCode: 20, retryable: false });
  expect(`${failure} ${JSON.stringify(failure)}`).not.toContain('wrong-secret');
});

test('a mechanism that the broker does not offer', async () => {
  const failure = await startError({ ssl: { ca }, sasl: { ...sasl, mechanism: 'scram-sha-256' } });
  expect(failure).toMatchObject({ code: 'kafka_login_refused', exitCode: 20 });
});

test('no TLS and no login where both are asked for', async () => {
  expect(await startError({})).toMatchObject({ exitCode: 23, retryable: true });
});
