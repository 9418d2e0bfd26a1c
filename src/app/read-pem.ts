/** Files that a configuration names for TLS. */
import { readFile } from 'node:fs/promises';
import { ConfigurationError } from '../errors.js';

/** The text of a PEM file. @throws ConfigurationError `file_unreadable` */
export async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new ConfigurationError('file_unreadable', `The file ${path} can't be read: ${code}.`, {
      hint: 'It is named for TLS; check path and permissions.',
      cause: error,
    });
  }
}

/** PEM text as it stands, or the text of the file that is named. */
export function pemText(pemOrPath: string): Promise<string> {
  return pemOrPath.includes('-----BEGIN') ? Promise.resolve(pemOrPath) : readPem(pemOrPath);
}
