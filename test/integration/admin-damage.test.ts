/**
 * A coordinator whose entries were emptied, changed or removed by hand: every command says so with an exit code of its
 * own and changes nothing, and the databases give back all that there was, history included.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { clusterStatus } from '../../src/admin/cluster-status.js';
import { createSet } from '../../src/admin/create-set.js';
import { dropSet } from '../../src/admin/drop-set.js';
import { initCluster } from '../../src/admin/init-cluster.js';
import { listSets } from '../../src/admin/list-sets.js';
import { previewRecovery } from '../../src/admin/preview-recovery.js';
import { recoverCluster } from '../../src/admin/recover-cluster.js';
import { setHistory } from '../../src/admin/set-history.js';
import { rollbackSet, upgradeSet } from '../../src/admin/upgrade-set.js';
import type { Coordinator } from '../../src/coordinator/coordinator.js';
import { ShovelError } from '../../src/errors.js';
import {
  type AdminCluster,
  type Administrator,
  catalogOf,
  configurationOf,
  makeMainAndEu,
  type NodeDatabase,
} from '../support/admin-cluster.js';

const plain = { wait: false, dryRun: false } as const;

let cluster: AdminCluster;
let admin: Administrator;
let coordinator: Coordinator;
let main: NodeDatabase;
let eu: NodeDatabase;
let root: string;
/** Path → data, as it was before any damage. */
let whole: ReadonlyMap<string, string>;

beforeAll(async () => {
  ({ cluster, admin, main, eu } = await makeMainAndEu());
  coordinator = admin.coordinator;
  root = `/shovel/${cluster.name}`;
  await createSet(admin.context, { configuration: configurationOf({ databases: { main, eu } }), ...plain });
  for (const tables of [['public.accounts', 'public.orders'], ['public.orders']]) {
    const configuration = configurationOf({ databases: { main, eu }, tables });
    await upgradeSet(admin.context, { configuration, ...plain });
  }
  await createSet(admin.context, {
    configuration: configurationOf({ name: 'other', databases: { eu } }),
    ...plain,
  });
  whole = await entries();
});
afterAll(() => cluster.remove());

async function entries(path = root): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const entry = await coordinator.read(path);
  if (entry) found.set(path, entry.data);
  for (const name of (await coordinator.list(path)) ?? []) {
    for (const [below, data] of await entries(`${path}/${name}`)) found.set(below, data);
  }
  return found;
}

async function set(path: string, data: string): Promise<void> {
  const entry = await coordinator.read(path);
  expect(
    await coordinator.multi([
      entry ? { kind: 'set', path, data, version: entry.version } : { kind: 'create', path, data },
    ]),
  ).toEqual({ kind: 'done' });
}

async function remove(path: string): Promise<void> {
  for (const below of [...(await entries(path)).keys()].toReversed()) {
    const entry = await coordinator.read(below);
    const version = entry?.version ?? 0;
    expect(await coordinator.multi([{ kind: 'remove', path: below, version }])).toEqual({ kind: 'done' });
  }
}

const next = () => configurationOf({ databases: { main, eu }, tables: ['public.orders', 'public.accounts'] });

/** Commands of people and of relays, each of which must refuse. */
const COMMANDS: Readonly<Record<string, () => Promise<unknown>>> = {
  list: () => listSets(admin.context),
  create: () =>
    createSet(admin.context, {
      configuration: configurationOf({ name: 'example', databases: { main, eu } }),
      ...plain,
    }),
  upgrade: () => upgradeSet(admin.context, { configuration: next(), ...plain }),
  rollback: () => rollbackSet(admin.context, { name: 'example', version: 1, ...plain }),
  drop: () => dropSet(admin.context, { name: 'example', force: false, dryRun: false }),
  'drop --force': () => dropSet(admin.context, { name: 'example', force: true, dryRun: false }),
  status: () => clusterStatus(admin.context),
  recover: () => recoverCluster(admin.context),
};

async function codes(names: readonly string[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of names) {
    const error = await COMMANDS[name]?.().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    found.push(
      error instanceof ShovelError ? `${error.exitCode} ${error.code}` : `${name}: ${String(error)}`,
    );
  }
  return found;
}

const ALL = Object.keys(COMMANDS);
const catalogs = () => Promise.all([catalogOf(main), catalogOf(eu)]);

describe('a coordinator whose entries', () => {
  let before: readonly string[];
  beforeEach(async () => {
    expect(await entries()).toEqual(whole);
    before = await catalogs();
  });

  const cut = (text: string) => text.slice(0, text.length / 2);
  const record = () => `${root}/sets/example`;
  const document = () => `${root}/sets/example/versions/3`;
  const was = (path: string) => whole.get(path) ?? '';

  it.each<[string, () => Promise<void>, readonly string[], RegExp]>([
    ['the cluster’s: emptied', () => set(root, ''), ALL, /^25 record_damaged$/],
    ['the cluster’s: another’s', () => set(root, '{"schema":1}'), ALL, /^25 record_damaged$/],
    ['a record: emptied', () => set(record(), ''), ALL, /^25 record_damaged$/],
    ['a record: null', () => set(record(), 'null'), ALL, /^25 record_damaged$/],
    ['a record: cut off', () => set(record(), cut(was(record()))), ALL, /^25 record_damaged$/],
    [
      'a record: of a version that there is not',
      () => set(record(), was(record()).replace('"version":3', '"version":7')),
      ALL.filter((name) => name !== 'create'),
      /^25 record_damaged$/,
    ],
    [
      'a record: of yesterday',
      () => set(record(), was(record()).replace('"version":3', '"version":2')),
      ALL.filter((name) => name !== 'create'),
      /^25 record_damaged$/,
    ],
    ['a document: emptied', () => set(document(), ''), ['list', 'upgrade', 'drop'], /^25 record_damaged$/],
    [
      'a document: binary',
      () => set(document(), '\u0000\uffff{'),
      ['list', 'upgrade', 'rollback', 'drop', 'drop --force', 'status', 'recover'],
      /^25 record_damaged$/,
    ],
    [
      'a document: without its configuration',
      () => set(document(), was(document()).replace(/"configuration":\{.*?\},"createdAt"/, '"createdAt"')),
      ['list', 'upgrade', 'drop', 'drop --force', 'recover'],
      /^25 (record|configuration)_damaged$/,
    ],
    [
      'a document: changed by hand',
      () => set(document(), was(document()).replace('public.orders', 'public.accounts')),
      ['list', 'upgrade', 'drop', 'drop --force', 'recover'],
      /^25 record_damaged$/,
    ],
    [
      'a document: removed',
      () => remove(document()),
      ['list', 'upgrade', 'drop', 'drop --force', 'recover'],
      /^25 record_damaged$/,
    ],
    [
      'a history: removed',
      () => remove(`${root}/sets/example/versions`),
      ['list', 'upgrade', 'drop', 'drop --force', 'recover'],
      /^25 record_damaged$/,
    ],
    [
      'a set: removed',
      () => remove(record()),
      ['create', 'upgrade', 'drop', 'drop --force'],
      /^21 (set_in_database|set_not_found)$/,
    ],
    ['all sets: removed', () => remove(`${root}/sets`), ['list', 'status', 'recover'], /^25 record_damaged$/],
    [
      'changes: removed',
      () => remove(`${root}/intents`),
      ['upgrade', 'drop', 'status', 'recover'],
      /^25 record_damaged$/,
    ],
    [
      'changes: damaged',
      () => set(`${root}/intents/00000000-0000-4000-8000-000000000001`, '{"schema":'),
      ['upgrade', 'drop', 'drop --force', 'status', 'recover'],
      /^25 record_damaged$/,
    ],
    [
      'leases: removed',
      async () => {
        await remove(`${root}/leases`);
        await remove(`${root}/admins`);
      },
      ['upgrade', 'drop'],
      /^2[15] /,
    ],
    ['everything: removed', () => remove(root), ALL, /^21 cluster_missing$/],
  ])('%s', async (_, damage, commands, expected) => {
    await damage();
    for (const [index, code] of (await codes(commands)).entries()) {
      expect(code, commands[index]).toMatch(expected);
    }
    expect(await catalogs()).toEqual(before);

    const damaged = await entries();
    const preview = await previewRecovery(admin.context, { fromNodes: [main.url] });
    expect(await entries()).toEqual(damaged);
    expect(await catalogs()).toEqual(before);
    const recovered = await recoverCluster(admin.context, { fromNodes: [main.url] });
    expect(recovered.refilled).toEqual(preview.refilled);
    expect(recovered.problems).toEqual([]);
    const now = await entries();
    now.set(
      root,
      (now.get(root) ?? '').replace(/"createdAt":"[^"]*"/, was(root).match(/"createdAt":"[^"]*"/)?.[0] ?? ''),
    );
    expect(now).toEqual(whole);
    if ((await coordinator.read(root))?.data !== was(root)) await set(root, was(root));
    expect(await catalogs()).toEqual(before);
  });

  it('were put there anew by `cluster init` give way to what the databases hold', async () => {
    await remove(root);
    await initCluster(admin.context);
    expect(await codes(['create'])).toEqual(['21 schema_shared']);
    await recoverCluster(admin.context, { fromNodes: [eu.url] });
    expect((await setHistory(admin.context, { name: 'example' })).map(({ version }) => version)).toEqual([
      3, 2, 1,
    ]);
    expect(await catalogs()).toEqual(before);
    await set(root, whole.get(root) ?? '');
  });
});

describe('an older state of the coordinator', () => {
  it('with a change under way in it is never carried out again', async () => {
    // As of the moment in which version 4, which takes a table in, was announced and prepared.
    let yesterday: ReadonlyMap<string, string> = new Map();
    const watched = await cluster.administrator({
      failpoint: async (name) => {
        if (name === 'decide.before') yesterday = await entries();
      },
    });
    await upgradeSet(watched.context, { configuration: next(), ...plain });
    await watched.stop();
    expect([...yesterday.keys()].some((path) => path.startsWith(`${root}/intents/`))).toBe(true);
    const today = await entries();
    const before = await catalogs();
    for (const [path, data] of yesterday) if (path !== root) await set(path, data);
    await remove(`${root}/sets/example/versions/4`);

    // The old change is found, and undone where nothing of it stands any more.
    expect(await codes(['upgrade', 'drop', 'recover'])).toEqual([
      '25 node_ahead',
      '25 node_ahead',
      '25 node_ahead',
    ]);
    expect(await catalogs()).toEqual(before);
    expect(await recoverCluster(admin.context, { fromNodes: [] })).toMatchObject({
      refilled: [{ set: 'example', version: 4, versions: [4] }],
      problems: [],
    });
    expect(await entries()).toEqual(today);
    expect(await catalogs()).toEqual(before);
  });
});
