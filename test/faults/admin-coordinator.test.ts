/**
 * The coordinator's answer is lost, or the request itself, at each step that writes there: whatever was decided is
 * carried out, whatever was not is taken back, and nobody is told wrong.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { inspectSet } from '../../src/admin/inspect-set.js';
import { loadSet } from '../../src/admin/load-set.js';
import { recoverCluster } from '../../src/admin/recover-cluster.js';
import {
  type AdminCluster,
  catalogOf,
  configurationOf,
  makeAdminCluster,
  type NodeDatabase,
  postgres,
  zooKeeper,
} from '../support/admin-cluster.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';

const plain = { wait: false, dryRun: false } as const;
const STATES = { begin: 'begun', announce: 'open', decide: 'decided' } as const;

describe.each([zooKeeper, postgres])('$name that does not answer', (kind) => {
  let cluster: AdminCluster;
  let proxy: TcpProxy;
  let main: NodeDatabase;
  let eu: NodeDatabase;
  beforeEach(async () => {
    cluster = await makeAdminCluster(kind);
    proxy = await startTcpProxy(cluster.place.target);
    const accounts = 'create table accounts (id int primary key)';
    main = await cluster.database(accounts);
    eu = await cluster.database(accounts);
  });
  afterEach(async () => {
    await cluster.remove();
    await proxy.close();
  });

  async function create(step: keyof typeof STATES, lose: 'loseAnswerTo' | 'loseRequest'): Promise<unknown> {
    let sprung: Promise<void> | undefined;
    const admin = await cluster.administrator({
      coordinator: cluster.place.open({ through: proxy }),
      failpoint: async (name) => {
        if (name !== `${step}.before` || sprung) return;
        sprung = proxy[lose](cluster.place.decisive(`"state":"${STATES[step]}"`));
      },
    });
    const result = await createSet(admin.context, {
      configuration: configurationOf({ databases: { main, eu } }),
      ...plain,
    }).catch((error: unknown) => error);
    await sprung;
    return result;
  }

  it.each(['begin', 'announce', 'decide'] as const)(
    'to %s: it was done, and the change goes on',
    async (step) => {
      expect(await create(step, 'loseAnswerTo')).toMatchObject({ kind: 'created', version: 1 });
      const witness = await cluster.administrator();
      const { nodes } = await inspectSet(witness.context, { name: 'example' });
      expect(nodes.map((node) => node.state)).toEqual(['capturing', 'capturing']);
      expect(await witness.coordinator.list(`/shovel/${cluster.name}/intents`)).toEqual([]);
    },
  );

  it('and never got the decision: nothing is changed', async () => {
    const before = await Promise.all([catalogOf(main), catalogOf(eu)]);
    expect(await create('decide', 'loseRequest')).toMatchObject({
      exitCode: 23,
      code: 'coordinator_unreachable',
      message: expect.stringContaining('nothing was changed'),
    });
    const witness = await cluster.administrator();
    await expect(loadSet(witness.context, 'example')).rejects.toMatchObject({ code: 'set_not_found' });
    expect(await witness.coordinator.list(`/shovel/${cluster.name}/intents`)).toEqual([]);
    expect(await Promise.all([catalogOf(main), catalogOf(eu)])).toEqual(before);
  });

  it('and stays away after the decision was sent: in doubt, until it is back', async () => {
    const admin = await cluster.administrator({
      coordinator: cluster.place.open({ through: proxy, operationTimeoutMs: 300 }),
      failpoint: async (name) => {
        if (name !== 'decide.before') return;
        void proxy
          .loseAnswerTo(cluster.place.decisive('"state":"decided"'))
          .then(() => proxy.setMode('refuse'));
      },
    });
    const result = createSet(admin.context, {
      configuration: configurationOf({ databases: { main, eu } }),
      ...plain,
    });
    await expect(result).rejects.toMatchObject({
      exitCode: 24,
      code: 'change_in_doubt',
      hint: expect.stringContaining('shovel cluster recover'),
    });
    await admin.stop();
    const witness = await cluster.administrator();
    expect(await recoverCluster(witness.context)).toMatchObject({
      changes: [{ outcome: 'finished' }],
      problems: [],
    });
    const { nodes } = await inspectSet(witness.context, { name: 'example' });
    expect(nodes.map((node) => node.state)).toEqual(['capturing', 'capturing']);
  });
});
