/**
 * What SIGINT and SIGTERM mean: the first asks the work to stop, the second ends the process at once, and so does
 * time: a process that was told to stop is gone after ten seconds.
 */
import { type Host, SIGNAL_EXIT, type StopSignal } from './host.js';

/** Some of the ten seconds are left for ending itself. */
const STOP_WITHIN_MS = 9_500;

export interface StopWatch {
  /** Aborts with the first signal. */
  readonly signal: AbortSignal;
  /** The signal that came. */
  received(): StopSignal | undefined;
  /** Gives the signals back; no timer is left. */
  end(): void;
}

export function watchStopSignals(host: Host): StopWatch {
  const controller = new AbortController();
  let received: StopSignal | undefined;
  let timer: NodeJS.Timeout | undefined;
  const unsubscribe = host.onStopSignal((signal) => {
    if (received !== undefined) {
      host.exit(SIGNAL_EXIT[signal]);
      return;
    }
    received = signal;
    timer = setTimeout(() => host.exit(SIGNAL_EXIT[signal]), STOP_WITHIN_MS);
    controller.abort();
  });
  return {
    signal: controller.signal,
    received: () => received,
    end: () => {
      clearTimeout(timer);
      unsubscribe();
    },
  };
}
