/**
 * What the site remembers between commands: the ports of each service (kept when it stops, so that `env` stays the
 * same), its processes, and which services a person asked for. Written whole, then renamed. What can't be read counts
 * as empty: the sweep finds the processes all the same.
 */

import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Site } from './site.js';

/** A process; `started` keeps a number that the system gave to another one from being taken for it. */
export interface ServerRecord {
  readonly name: string;
  readonly pid: number;
  readonly started: string;
}

export interface ServiceRecord {
  readonly ports: readonly number[];
  readonly servers: readonly ServerRecord[];
}

export interface State {
  readonly services: Readonly<Record<string, ServiceRecord>>;
  /** Names that `up` was called for by a person: no test run stops them. */
  readonly byHand: readonly string[];
}

const EMPTY: State = { services: {}, byHand: [] };

export function readState(site: Site): State {
  try {
    return parseState(readFileSync(stateFile(site), 'utf8'));
  } catch {
    return EMPTY;
  }
}

export function writeState(site: Site, state: State): void {
  const part = `${stateFile(site)}.${process.pid}`;
  writeFileSync(part, `${JSON.stringify(state, null, 2)}\n`);
  renameSync(part, stateFile(site));
}

/** The state in a text; what is not of the right shape is left out. */
export function parseState(text: string): State {
  const root = parseJson(text);
  if (!isObject(root)) return EMPTY;
  const services: Record<string, ServiceRecord> = {};
  for (const [name, value] of Object.entries(isObject(root.services) ? root.services : {})) {
    if (isService(value)) services[name] = value;
  }
  return { services, byHand: Array.isArray(root.byHand) ? root.byHand.filter(isString) : [] };
}

/** A state with one service's record replaced. */
export function withService(state: State, name: string, record: ServiceRecord): State {
  return { ...state, services: { ...state.services, [name]: record } };
}

/** Every port that is given out. */
export function takenPorts(state: State): Set<number> {
  return new Set(Object.values(state.services).flatMap((service) => service.ports));
}

function stateFile(site: Site): string {
  return join(site.directory, 'state.json');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isString(value: unknown): value is string {
  return typeof value === 'string';
}

function isPort(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) > 0 && Number(value) < 65_536;
}

function isServer(value: unknown): value is ServerRecord {
  return (
    isObject(value) &&
    isString(value.name) &&
    isString(value.started) &&
    Number.isInteger(value.pid) &&
    Number(value.pid) > 1
  );
}

function isService(value: unknown): value is ServiceRecord {
  return (
    isObject(value) &&
    Array.isArray(value.ports) &&
    value.ports.every(isPort) &&
    Array.isArray(value.servers) &&
    value.servers.every(isServer)
  );
}
