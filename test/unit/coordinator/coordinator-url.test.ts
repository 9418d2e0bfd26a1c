import { describe, expect, it } from 'vitest';
import { parseCoordinatorAddress } from '../../../src/coordinator/coordinator-url.js';
import { UsageError } from '../../../src/errors.js';

const SECRET = 's3cr3t';

describe('parseCoordinatorAddress', () => {
  it('is ZooKeeper on this machine where nothing is said', () => {
    expect(parseCoordinatorAddress({})).toEqual({
      kind: 'zookeeper',
      hosts: '127.0.0.1:2181',
      auth: undefined,
      tls: undefined,
      display: 'zookeeper://127.0.0.1:2181',
    });
  });

  it.each([
    ['a:1', 'a:1'],
    ['a', 'a:2181'],
    ['a:1,b:2/chroot', 'a:1,b:2/chroot'],
    ['a:1/', 'a:1'],
    ['a:1,b/x/y', 'a:1,b:2181/x/y'],
    ['[::1]:5,[fe80::1%eth0]', '[::1]:5,[fe80::1%eth0]:2181'],
    ['zk-1.example.org:2181, zk-2.example.org:2181', 'zk-1.example.org:2181,zk-2.example.org:2181'],
  ])('reads --zookeeper-hosts %s', (text, hosts) => {
    expect(parseCoordinatorAddress({ zookeeperHosts: text })).toMatchObject({ kind: 'zookeeper', hosts });
  });

  it('takes credentials out of a zookeeper:// URL, decoded', () => {
    const address = parseCoordinatorAddress({ coordinator: 'zookeeper://app:p%40s%3As@w@h1:1,h2:2/root' });
    expect(address).toEqual({
      kind: 'zookeeper',
      hosts: 'h1:1,h2:2/root',
      auth: { scheme: 'digest', credentials: 'app:p@s:s@w' },
      tls: undefined,
      display: 'zookeeper://h1:1,h2:2/root',
    });
  });

  it('reads TLS from the parameters', () => {
    const tls = (coordinator: string) => {
      const address = parseCoordinatorAddress({ coordinator });
      return address.kind === 'zookeeper' ? address.tls : undefined;
    };
    expect(tls('zookeeper://h:1?tls=true')).toEqual({});
    expect(tls('zookeeper://h:1/root?tls=true&ca=/ca.pem&cert=c.pem&key=k.pem')).toEqual({
      ca: '/ca.pem',
      cert: 'c.pem',
      key: 'k.pem',
    });
    expect(tls('zookeeper://h:1?tls=false')).toBeUndefined();
  });

  it.each(['postgres', 'postgresql'])('keeps a %s:// URL whole, and shows it without secrets', (scheme) => {
    const coordinator = `${scheme}://app:${SECRET}@db1:5432,db2/shovel?sslpassword=${SECRET}&target_session_attrs=read-write`;
    const address = parseCoordinatorAddress({ coordinator });
    expect(address).toEqual({
      kind: 'postgres',
      dsn: coordinator,
      display: 'postgres://db1:5432,db2/shovel',
    });
  });

  it('refuses both options of one level', () => {
    expect(() => parseCoordinatorAddress({ zookeeperHosts: 'a', coordinator: 'zookeeper://a' })).toThrow(
      expect.objectContaining({ code: 'coordinator_ambiguous', exitCode: 2 }),
    );
  });

  const url = 'coordinator_url_invalid';
  const hosts = 'zookeeper_hosts_invalid';
  it.each([
    { coordinator: `etcd://u:${SECRET}@h`, code: url },
    { coordinator: `${SECRET}`, code: url },
    { coordinator: '', code: url },
    { coordinator: `zookeeper://${SECRET}@h:1`, code: url },
    { coordinator: `zookeeper://u:@${SECRET}:x`, code: hosts },
    { coordinator: `zookeeper://:${SECRET}@h`, code: url },
    { coordinator: `zookeeper://u:${SECRET}%@h`, code: url },
    { coordinator: `zookeeper://u:${SECRET}@h:99999`, code: hosts },
    { coordinator: `zookeeper://u:${SECRET}@`, code: hosts },
    { coordinator: `zookeeper://u:${SECRET}@h:1/a//b`, code: hosts },
    { coordinator: `zookeeper://u:${SECRET}@h:1?tls=yes`, code: url },
    { coordinator: `zookeeper://u:${SECRET}@h:1?nope=1`, code: url },
    { coordinator: `zookeeper://u:${SECRET}@h:1?tls=true&cert=a`, code: url },
    { coordinator: `zookeeper://u:${SECRET}@h:1?ca=a`, code: url },
    { coordinator: `postgres://u:${SECRET}@h/db?target_session_attrs=${SECRET}`, code: url },
    { zookeeperHosts: '', code: hosts },
    { zookeeperHosts: 'a:1,,b', code: hosts },
    { zookeeperHosts: 'a:b', code: hosts },
    { zookeeperHosts: '::1:2181', code: hosts },
    { zookeeperHosts: 'a:0', code: hosts },
    { zookeeperHosts: 'a:1/../b', code: hosts },
    { zookeeperHosts: `u:${SECRET}@h:1`, code: hosts },
  ])(
    'refuses $coordinator$zookeeperHosts with $code, exit 2, advice, and no secret',
    ({ code, ...options }) => {
      let error: unknown;
      try {
        parseCoordinatorAddress(options);
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(UsageError);
      expect(error).toMatchObject({ code, exitCode: 2, hint: expect.stringMatching(/\S/) });
      const shown =
        error instanceof UsageError ? `${error.message} ${error.hint} ${JSON.stringify(error.details)}` : '';
      expect(shown).not.toContain(SECRET);
      expect(shown).not.toContain('\n');
    },
  );
});
