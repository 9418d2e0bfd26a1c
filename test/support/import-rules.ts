/**
 * The rules of docs/architecture.md about who may import what, checked on texts: type imports and dynamic imports
 * count like any other. Knows rooms and packages, nothing of the file system.
 */
import { posix } from 'node:path';
import ts from 'typescript';

/** A room may import from itself and from rooms of a lower rank. */
const RANKS: Readonly<Record<string, number>> = {
  'errors.ts': 0,
  model: 1,
  wire: 2,
  runtime: 2,
  postgres: 3,
  coordinator: 3,
  capture: 4,
  streams: 4,
  admin: 5,
  relay: 5,
  apply: 5,
  serve: 5,
  app: 6,
  cli: 7,
  'index.ts': 8,
};
/** Of one rank, and yet: only postgres/ may import the driver, which the coordinator in PostgreSQL needs. */
const NEIGHBOURS = new Set(['coordinator -> postgres']);
const PURE = new Set(['model', 'wire']);
/** The rooms that see ports only, and the ports. */
const PORT_USERS = new Set(['admin', 'relay', 'apply']);
const PORTS: Readonly<Record<string, readonly string[]>> = {
  coordinator: ['coordinator/coordinator.ts'],
  streams: ['streams/publisher.ts', 'streams/consumer.ts'],
};
/** Each package has one owner, a folder. */
const OWNERS: Readonly<Record<string, string>> = {
  pg: 'postgres/',
  'pg-listen': 'postgres/',
  kafkajs: 'streams/kafka/',
  'node-zookeeper-client': 'coordinator/zookeeper/',
  pino: 'runtime/',
  'pino-pretty': 'runtime/',
  '@sentry/node': 'runtime/',
  commander: 'cli/',
  picocolors: 'cli/',
  yaml: 'model/',
  zod: 'model/',
};
/** Where process.env may be read. */
const ENVIRONMENT_READER = 'cli/host.ts';

/** `sources`: path below src (`cli/main.ts`) to text. One line for each breach, sorted. */
export function importViolations(sources: ReadonlyMap<string, string>): readonly string[] {
  const violations: string[] = [];
  const graph = new Map<string, readonly string[]>();
  for (const [file, text] of sources) {
    const imports = ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
    const local = imports.filter((name) => name.startsWith('.')).map((name) => resolve(file, name));
    graph.set(file, local);
    violations.push(
      ...local.flatMap((target) => localViolation(file, target)),
      ...imports.filter((name) => !name.startsWith('.')).flatMap((name) => packageViolation(file, name)),
    );
    if (readsEnvironment(text) && file !== ENVIRONMENT_READER) violations.push(`${file} reads process.env`);
  }
  return [...new Set([...violations, ...cycles(graph)])].sort();
}

function resolve(file: string, name: string): string {
  return posix.join(posix.dirname(file), name).replace(/\.js$/, '.ts');
}

function room(file: string): string {
  return file.split('/')[0] ?? file;
}

function localViolation(file: string, target: string): readonly string[] {
  const [from, to] = [room(file), room(target)];
  if (from === to) return [];
  const [own, other] = [RANKS[from], RANKS[to]];
  if (own === undefined || other === undefined) return [`${own === undefined ? file : target} is in no room`];
  if (own <= other && !NEIGHBOURS.has(`${from} -> ${to}`)) return [`${file} imports upwards: ${target}`];
  const ports = PORTS[to];
  return PORT_USERS.has(from) && ports !== undefined && !ports.includes(target)
    ? [`${file} imports behind the port: ${target}`]
    : [];
}

function packageViolation(file: string, name: string): readonly string[] {
  if (name.startsWith('node:')) return PURE.has(room(file)) ? [`${file} is not pure: ${name}`] : [];
  const parts = name.split('/');
  const packageName = name.startsWith('@') ? parts.slice(0, 2).join('/') : (parts[0] ?? name);
  const owner = OWNERS[packageName];
  if (owner === undefined) return [`${file} imports a package without an owner: ${packageName}`];
  return file.startsWith(owner) ? [] : [`${file} imports ${packageName}, which belongs to ${owner}`];
}

function readsEnvironment(text: string): boolean {
  const code = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
  return /\bprocess\s*\.\s*env\b|\bprocess\s*\[\s*['"]env/.test(code);
}

/** Each cycle once, told from its first file in alphabetical order. */
function cycles(graph: ReadonlyMap<string, readonly string[]>): readonly string[] {
  const found = new Set<string>();
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    const at = path.indexOf(file);
    if (at !== -1) {
      const loop = path.slice(at);
      const first = loop.indexOf([...loop].sort()[0] ?? file);
      found.add(`import cycle: ${[...loop.slice(first), ...loop.slice(0, first)].join(' -> ')}`);
      return;
    }
    if (done.has(file)) return;
    for (const next of graph.get(file) ?? []) visit(next, [...path, file]);
    done.add(file);
  };
  for (const file of graph.keys()) visit(file, []);
  return [...found];
}
