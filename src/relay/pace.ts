/**
 * How long drawing pauses: short while something happens, longer the longer nothing does, and so long that drawing
 * costs at most a fifth of the time; but one long draw, of a huge transaction, makes nobody wait for more than the
 * longest pause. Whether nothing can be pending is decided by `canRest`.
 */
import type { Snapshot } from '../model/snapshot.js';

export interface PaceOptions {
  /** Default 50 ms. */
  readonly shortestMs?: number;
  /** Default 1 s. */
  readonly longestMs?: number;
}

export class Pace {
  readonly #shortestMs: number;
  readonly #longestMs: number;
  #quietSinceMs: number | undefined;

  constructor(options: PaceOptions = {}) {
    this.#shortestMs = options.shortestMs ?? 50;
    this.#longestMs = options.longestMs ?? 1000;
  }

  /**
   * The pause after a look that took `tookMs`. `quiet`: nothing is pending, and nothing in flight can become so.
   * Pauses grow to a tenth of the time that it has been quiet.
   */
  pauseMs({ nowMs, tookMs, quiet }: { nowMs: number; tookMs: number; quiet: boolean }): number {
    if (!quiet) this.#quietSinceMs = undefined;
    else this.#quietSinceMs ??= nowMs;
    return Math.min(this.#longestMs, Math.max(this.restMs(nowMs), tookMs * 4));
  }

  /** Something moved: pauses are short again. */
  stir(): void {
    this.#quietSinceMs = undefined;
  }

  /** The pause between two looks at a sequence that stands. */
  restMs(nowMs: number): number {
    const quietMs = this.#quietSinceMs === undefined ? 0 : nowMs - this.#quietSinceMs;
    return Math.min(this.#longestMs, Math.max(this.#shortestMs, quietMs / 10));
  }

  /** Whether it has been quiet for so long that pauses grow: time to ask for a bell. */
  isSlow(nowMs: number): boolean {
    return this.restMs(nowMs) > this.#shortestMs;
  }

  get longestMs(): number {
    return this.#longestMs;
  }
}

/** A number and a transaction id: whoever took a number up to `floorSeq` has a lower xid than `xid`. */
export interface Mark {
  readonly floorSeq: bigint;
  readonly xid: bigint;
}

/**
 * Nothing is pending, nor can become so without the sequence moving: a look that saw nothing was taken when everyone
 * who had a number by the time of the mark had ended, and no number was taken since.
 */
export function canRest(
  mark: Mark,
  { look, seq }: { readonly look: Snapshot; readonly seq: bigint },
): boolean {
  return seq === mark.floorSeq && look.xmin > mark.xid;
}
