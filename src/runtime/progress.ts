/**
 * How far long work is: a bar on a terminal, a log line a few seconds apart elsewhere. Decides how often something is
 * shown; draws only on `update` and `finish`, so it holds no timer that would keep a process alive.
 */
import type { Logger } from './logger.js';

export interface ProgressTerminal {
  write(text: string): void;
  /** Width in characters, as far as known. */
  readonly columns?: number | undefined;
}

export interface ProgressOptions {
  /** What is being done: `copying public.accounts`. */
  readonly label: string;
  /** What is counted, in the plural: `rows`. */
  readonly unit: string;
  /** Undefined where nobody knows. */
  readonly total?: number;
  /** Where to draw a bar; undefined: log lines. */
  readonly terminal?: ProgressTerminal | undefined;
  readonly logger: Logger;
  /** Milliseconds of any steady clock. */
  readonly now: () => number;
}

export interface Progress {
  /** `done` counts from the start; a total that was an estimate may be corrected. */
  update(done: number, total?: number): void;
  /** Shows where it ended; nothing is drawn after that. May be called twice. */
  finish(): void;
}

const DRAW_EVERY_MS = 100;
const LOG_EVERY_MS = 5_000;
const BAR_CELLS = 24;

export function createProgress(options: ProgressOptions): Progress {
  const startedMs = options.now();
  const everyMs = options.terminal === undefined ? LOG_EVERY_MS : DRAW_EVERY_MS;
  let shownMs = options.terminal === undefined ? startedMs : Number.NEGATIVE_INFINITY;
  let state: ProgressState = { done: 0, total: options.total, elapsedMs: 0 };
  let finished = false;

  const show = (last: boolean) => {
    const { terminal, logger, label, unit } = options;
    const line = progressLine(state, { label, unit });
    if (terminal !== undefined) {
      const width = Math.max(20, (terminal.columns ?? 80) - 1);
      terminal.write(`\r\u001b[2K${line.slice(0, width)}${last ? '\n' : ''}`);
    } else {
      const total = state.total === undefined ? {} : { total: state.total };
      logger.info({ done: state.done, ...total, elapsed_ms: Math.round(state.elapsedMs) }, line);
    }
  };

  return {
    update(done, total) {
      if (finished) return;
      const now = options.now();
      state = { done, total: total ?? state.total, elapsedMs: now - startedMs };
      if (now - shownMs < everyMs) return;
      shownMs = now;
      show(false);
    },
    finish() {
      if (finished) return;
      finished = true;
      state = { ...state, elapsedMs: options.now() - startedMs };
      show(true);
    },
  };
}

interface ProgressState {
  readonly done: number;
  readonly total: number | undefined;
  readonly elapsedMs: number;
}

function progressLine(
  state: ProgressState,
  words: { readonly label: string; readonly unit: string },
): string {
  const { done, total, elapsedMs } = state;
  const perSecond = elapsedMs > 0 ? (done * 1000) / elapsedMs : 0;
  const rate = `${count(Math.round(perSecond))} ${words.unit}/s`;
  if (total === undefined || total <= 0) return `${words.label}: ${count(done)} ${words.unit}, ${rate}`;
  const share = Math.min(1, done / total);
  const full = Math.round(share * BAR_CELLS);
  const bar = `${'█'.repeat(full)}${'░'.repeat(BAR_CELLS - full)}`;
  const percent = `${Math.floor(share * 100)} %`.padStart(5);
  const left = share < 1 && perSecond > 0 ? `, ${duration((total - done) / perSecond)} left` : '';
  return `${words.label} ${bar} ${percent} ${count(done)} of ${count(total)} ${words.unit}, ${rate}${left}`;
}

/** Thousands apart, so that large numbers can be read. */
function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ' ');
}

function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
