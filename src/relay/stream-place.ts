/**
 * Where a stream's batches go while its configuration changes. A batch goes to the place that its ticket's version
 * names; how that place is reached (addresses, logins) is taken from the newest version that names the same one, so that
 * what was written before a broker moved can still be sent.
 */
import type { StreamConfiguration } from '../model/set-configuration.js';

/** A topic, queue or file, as a template: brokers may move, what they hold goes along. */
export function samePlace(a: StreamConfiguration, b: StreamConfiguration): boolean {
  return a.kind === b.kind && templateOf(a) === templateOf(b);
}

export function templateOf(configuration: StreamConfiguration): string {
  switch (configuration.kind) {
    case 'kafka':
      return configuration.topic;
    case 'file':
      return configuration.path;
    case 'stomp':
      return configuration.destination;
  }
}

/** `of` is what a ticket's version says; the answer says the same, and how to get there now. */
export function reachable(of: StreamConfiguration, current: StreamConfiguration): StreamConfiguration {
  if (!samePlace(of, current)) return of;
  if (of.kind === 'kafka' && current.kind === 'kafka') {
    const { brokers, ssl, compression, sasl } = current;
    const { sasl: _before, ...rest } = of;
    return { ...rest, brokers, ssl, compression, ...(sasl === undefined ? {} : { sasl }) };
  }
  if (of.kind === 'stomp' && current.kind === 'stomp') {
    const { url, login, passcode, tls } = current;
    const { login: _login, passcode: _passcode, tls: _tls, ...rest } = of;
    return {
      ...rest,
      url,
      ...(login === undefined ? {} : { login }),
      ...(passcode === undefined ? {} : { passcode }),
      ...(tls === undefined ? {} : { tls }),
    };
  }
  return of;
}

/** The same place, said to be somewhere else: perhaps other brokers, that hold nothing of it. */
export function brokersMoved(before: StreamConfiguration, now: StreamConfiguration): boolean {
  if (before.kind !== 'kafka' || now.kind !== 'kafka' || !samePlace(before, now)) return false;
  return before.brokers.toSorted().join(',') !== now.brokers.toSorted().join(',');
}
