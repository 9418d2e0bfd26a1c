/** The command line of a Java server: small, quick to start, and with nothing written outside its folder. */

import { readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { Program } from '../../../src/postgres/embedded/launch.js';
import { openFolder } from '../site.js';

export interface JavaProgram {
  readonly java: string;
  /** Folder whose jars are the class path, in the order of their names. */
  readonly jars: string;
  readonly heapMb: number;
  readonly properties?: Readonly<Record<string, string>>;
  readonly main: string;
  readonly args: readonly string[];
}

export function javaProgram(directory: string, options: JavaProgram): Program {
  const classPath = readdirSync(options.jars)
    .filter((name) => name.endsWith('.jar'))
    .sort();
  const properties = {
    'java.io.tmpdir': openFolder(join(directory, 'tmp')),
    'org.slf4j.simpleLogger.defaultLogLevel': 'warn',
    'org.slf4j.simpleLogger.showDateTime': 'true',
    'org.slf4j.simpleLogger.dateTimeFormat': 'HH:mm:ss.SSS',
    ...options.properties,
  };
  return {
    command: options.java,
    args: [
      `-Xmx${options.heapMb}m`,
      ...['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-XX:-UsePerfData', '-Xshare:auto'],
      ...Object.entries(properties).map(([name, value]) => `-D${name}=${value}`),
      ...['-cp', classPath.map((name) => join(options.jars, name)).join(delimiter)],
      options.main,
      ...options.args,
    ],
    directory,
  };
}

/** A .properties file, for values without line breaks or backslashes. */
export function propertiesText(properties: Readonly<Record<string, string>>): string {
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${value}\n`)
    .join('');
}
