/** SHA-256 as lower-case hex: content hashes of configurations, snapshots and batches. Texts are hashed as UTF-8. */
import { createHash } from 'node:crypto';

export function sha256Hex(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

/** A hash over text that comes in pieces: the same as over the pieces joined. */
export interface RunningHash {
  update(text: string): void;
  /** The hash of all that came so far; more may come after it. */
  hex(): string;
}

export function createSha256(): RunningHash {
  const hash = createHash('sha256');
  return {
    update: (text) => {
      hash.update(text, 'utf8');
    },
    hex: () => hash.copy().digest('hex'),
  };
}
