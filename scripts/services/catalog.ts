/**
 * What services there are: name, kind, version, how many ports each takes, and the TEST_* variable that tells tests
 * where it is. Pure; how a kind is installed and run is the business of recipes/.
 */

export type ServiceKind = 'postgres' | 'zookeeper' | 'kafka' | 'stomp' | 'redis';

export interface Service {
  readonly name: string;
  readonly kind: ServiceKind;
  /** PostgreSQL: the major version. Kafka: the profile of pom.xml. Others: what `status` prints. */
  readonly version: string;
  readonly variable: string;
  /** How many processes; each takes `portsOf(service.kind)` ports. */
  readonly members: number;
  /** Settings on top of the kind's own. */
  readonly settings: Readonly<Record<string, string>>;
}

const TWO_PHASE = { max_prepared_transactions: '64' };

/** PostgreSQL 14 is not published for arm64 and macOS: the oldest that is stands in. */
const OLDEST_POSTGRES = process.platform === 'linux' && process.arch === 'x64' ? '14' : '15';

function postgres(name: string, version: string, options: { variable: string; twoPhase: boolean }): Service {
  const settings = options.twoPhase ? TWO_PHASE : { max_prepared_transactions: '0' };
  return { name, kind: 'postgres', version, variable: options.variable, members: 1, settings };
}

function single(name: string, kind: ServiceKind, about: { version: string; variable: string }): Service {
  return { name, kind, ...about, members: 1, settings: {} };
}

/** Every service, in the order of `env` and `status`. */
export const SERVICES: readonly Service[] = [
  postgres('pg', '18', { variable: 'TEST_PG_URL', twoPhase: true }),
  postgres('pg-no2pc', OLDEST_POSTGRES, { variable: 'TEST_PG_NO_2PC_URL', twoPhase: false }),
  single('zk', 'zookeeper', { version: '3.9.5', variable: 'TEST_ZK_HOSTS' }),
  single('kafka', 'kafka', { version: '4.2.1', variable: 'TEST_KAFKA_BROKERS' }),
  single('stomp', 'stomp', { version: '6.3.1', variable: 'TEST_STOMP_URL' }),
  single('redis', 'redis', { version: 'any', variable: 'TEST_REDIS_URL' }),
  postgres('pg14', '14', { variable: 'TEST_PG14_URL', twoPhase: true }),
  postgres('pg15', '15', { variable: 'TEST_PG15_URL', twoPhase: true }),
  postgres('pg16', '16', { variable: 'TEST_PG16_URL', twoPhase: true }),
  postgres('pg17', '17', { variable: 'TEST_PG17_URL', twoPhase: true }),
  {
    ...single('zk-ensemble', 'zookeeper', { version: '3.9.5', variable: 'TEST_ZK_ENSEMBLE_HOSTS' }),
    members: 3,
  },
  single('kafka39', 'kafka', { version: '3.9.2', variable: 'TEST_KAFKA39_BROKERS' }),
];

/** What `up` starts when nothing is named, and what a test run needs. */
export const DEFAULT_SERVICES: readonly string[] = ['pg', 'pg-no2pc', 'zk', 'kafka', 'stomp', 'redis'];

/** The user and password that the STOMP broker knows; no login at all is let in too. */
export const STOMP_LOGIN = { user: 'shovel', password: 'shovel' } as const;

export function findService(name: string): Service | undefined {
  return SERVICES.find((service) => service.name === name);
}

/** Ports that one process takes: ZooKeeper in an ensemble has two more for its peers, Kafka one for its controller. */
export function portsPerMember(service: Service): number {
  if (service.kind === 'kafka') return 2;
  return service.kind === 'zookeeper' && service.members > 1 ? 3 : 1;
}

export function portCount(service: Service): number {
  return service.members * portsPerMember(service);
}

/** The value of the service's variable. The client port is the first of each member. */
export function addressOf(service: Service, ports: readonly number[]): string {
  const each = portsPerMember(service);
  const hosts = ports.filter((_, i) => i % each === 0).map((port) => `127.0.0.1:${port}`);
  switch (service.kind) {
    case 'postgres':
      return `postgres://postgres@${hosts[0]}/postgres`;
    case 'stomp':
      return `stomp://${STOMP_LOGIN.user}:${STOMP_LOGIN.password}@${hosts[0]}`;
    case 'redis':
      return `redis://${hosts[0]}`;
    case 'zookeeper':
    case 'kafka':
      return hosts.join(',');
  }
}
