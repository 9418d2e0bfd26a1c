/** Runs tools that install something, with the caller's environment, and finds programs on its PATH. */

import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Site } from '../site.js';

export interface ToolOutcome {
  readonly code: number;
  /** Standard output and error together. */
  readonly output: string;
}

export interface ToolOptions {
  readonly site: Site;
  readonly args: readonly string[];
  readonly directory?: string;
  /** On top of the site's. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
}

/** Runs to the end; never rejects. Code -1 when it could not be started or a signal ended it. */
export function runTool(command: string, options: ToolOptions): Promise<ToolOutcome> {
  return new Promise((resolve) => {
    const child = spawn(command, [...options.args], {
      cwd: options.directory,
      env: { ...options.site.environment, ...options.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk));
    const end = (code: number, more: string) =>
      resolve({ code, output: Buffer.concat(chunks).toString('utf8') + more });
    child.once('error', (error) => end(-1, error.message));
    child.once('close', (code) => end(code ?? -1, ''));
  });
}

/** Absolute path of a program on the site's PATH. */
export function findProgram(site: Site, name: string): string | undefined {
  const folders = (site.environment.PATH ?? '').split(delimiter).filter((folder) => folder.startsWith('/'));
  return folders.map((folder) => join(folder, name)).find(isProgram);
}

export function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** The last lines of a tool's output, for a hint. */
export function tail(output: string, count = 3): string {
  return output.trimEnd().split('\n').slice(-count).join(' | ');
}
