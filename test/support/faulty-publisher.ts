/** A publisher over a real one that fails where a test says so. */
import { ShovelError } from '../../src/errors.js';
import type { OutgoingMessage, Publisher, StreamPosition } from '../../src/streams/publisher.js';

/** `before`: nothing is published; `after`: it is, and nobody is told. */
export type Fault = 'before' | 'after' | undefined;

export interface FaultyOptions {
  /** Asked for each publish; counts from 1 over all that share it. */
  readonly fault: (call: number) => Fault;
  readonly calls: { count: number };
  readonly error?: ShovelError;
}

export function faultyPublisher(publisher: Publisher, options: FaultyOptions): Publisher {
  const error = options.error ?? brokerGone();
  return {
    display: publisher.display,
    limits: publisher.limits,
    start: () => publisher.start(),
    stop: () => publisher.stop(),
    async publish(messages: readonly OutgoingMessage[], position: StreamPosition): Promise<void> {
      options.calls.count += 1;
      const fault = options.fault(options.calls.count);
      if (fault === 'before') throw error;
      await publisher.publish(messages, position);
      if (fault === 'after') throw error;
    },
  };
}

export function brokerGone(): ShovelError {
  return new ShovelError(
    { code: 'broker_unreachable', exitCode: 23, retryable: true },
    'The broker of the test is gone.',
    { hint: 'It comes back.' },
  );
}
