/**
 * What a path and a multi may look like, checked before anything is sent, the same for every implementation.
 * Whether a multi holds is decided by the store alone.
 */
import { RefusedError } from '../errors.js';
import { MAX_DATA_BYTES, type Operation } from './coordinator.js';

/**
 * Bytes of one request as ZooKeeper counts them: its jute.maxbuffer is 1,048,575 by default, and a server that
 * gets more cuts the connection, which looks like an outage.
 */
const MAX_REQUEST_BYTES = 1_040_000;
/** What an operation costs beside path and data: headers, lengths, version, one ACL entry with its reply. */
const OPERATION_BYTES = 96;
const MAX_PATH_BYTES = 1_000;

const PART = /^[a-z0-9_.-]+$/;

/** @throws RefusedError `coordinator_path_invalid` */
export function checkPath(path: string): void {
  if (path === '/') return;
  const parts = path.split('/');
  const valid =
    parts.shift() === '' &&
    parts.length > 0 &&
    path.length <= MAX_PATH_BYTES &&
    parts.every((part) => PART.test(part) && part !== '.' && part !== '..');
  if (!valid) {
    throw new RefusedError(
      'coordinator_path_invalid',
      `${JSON.stringify(path)} is no path of a coordinator.`,
      {
        hint: 'Parts are of a to z, 0 to 9, underscore, dot and hyphen, and start after a slash.',
      },
    );
  }
}

/** `/a/b` → `/a`, `/a` → `/`. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf('/');
  return slash <= 0 ? '/' : path.slice(0, slash);
}

/** `/a/b` → `b`. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/**
 * `chrootBytes` is what the implementation puts in front of every path.
 * @throws RefusedError `coordinator_path_invalid`, `coordinator_too_large`
 * @throws RangeError for a version that is none: a bug of the caller
 */
export function checkOperations(operations: readonly Operation[], chrootBytes: number): void {
  let dataBytes = 0;
  let requestBytes = 0;
  for (const operation of operations) {
    checkPath(operation.path);
    if (operation.path === '/' && (operation.kind === 'create' || operation.kind === 'remove')) {
      throw new RefusedError(
        'coordinator_path_invalid',
        `The root can't be the path of a ${operation.kind}.`,
        {
          hint: 'Name an entry below it.',
        },
      );
    }
    if (operation.kind !== 'create' && !(Number.isSafeInteger(operation.version) && operation.version >= 0)) {
      throw new RangeError(`${operation.version} is no version of ${operation.path}`);
    }
    const data = operation.kind === 'create' || operation.kind === 'set' ? utf8Bytes(operation.data) : 0;
    dataBytes += data;
    requestBytes += data + chrootBytes + operation.path.length + OPERATION_BYTES;
  }
  if (dataBytes > MAX_DATA_BYTES || requestBytes > MAX_REQUEST_BYTES) {
    throw new RefusedError(
      'coordinator_too_large',
      `A change of ${operations.length} entries and ${dataBytes} bytes is too large for a coordinator.`,
      {
        hint: `At most ${MAX_DATA_BYTES} bytes fit into one change: shorten the set file, or divide the set.`,
        details: { operations: operations.length, bytes: dataBytes, limit: MAX_DATA_BYTES },
      },
    );
  }
}

const encoder = new TextEncoder();

function utf8Bytes(text: string): number {
  return encoder.encode(text).length;
}

/** Whether the multi makes something at the top, as only the initialisation of a cluster does. */
export function createsAtTop(operations: readonly Operation[]): boolean {
  return operations.some((operation) => operation.kind === 'create' && parentOf(operation.path) === '/');
}
