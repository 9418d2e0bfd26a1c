/** What an upgrade sends to a database does not grow with the tables that it leaves as they are. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSet } from '../../src/admin/create-set.js';
import { upgradeSet } from '../../src/admin/upgrade-set.js';
import { openConnection } from '../../src/postgres/connect.js';
import { type AdminCluster, configurationOf, makeAdminCluster, postgres } from '../support/admin-cluster.js';
import { testPgNo2pcUrl } from '../support/services.js';

const plain = { wait: false, dryRun: false } as const;

describe.each([
  ['prepared', () => ({})],
  ['staged', () => ({ server: testPgNo2pcUrl() })],
])('an upgrade by one table, %s', (_, where) => {
  let cluster: AdminCluster;
  beforeEach(async () => {
    cluster = await makeAdminCluster(postgres);
  });
  afterEach(() => cluster.remove());

  async function upgradeBeside(tables: number) {
    const create = (name: string) => `create table ${name} (id int primary key, n int)`;
    const names = Array.from({ length: tables }, (_, index) => create(`t_${index}`));
    const main = await cluster.database(names.join(';'), where());
    const sent: string[] = [];
    const admin = await cluster.administrator({
      openNode: async (database, { dsn }) => {
        const connection = await openConnection({ dsn, name: database, applicationName: 'shovel admin' });
        const noting =
          <Result>(send: (text: string, values?: readonly (string | null)[]) => Promise<Result>) =>
          (text: string, values?: readonly (string | null)[]) => {
            sent.push(text);
            return send(text, values);
          };
        return {
          ...connection,
          query: noting((text, values) => connection.query(text, values)),
          arrays: noting((text, values) => connection.arrays(text, values)),
          script: noting((text) => connection.script(text)),
        };
      },
    });
    const configuration = configurationOf({ databases: { main }, tables: ['name: public.*'] });
    const set = { ...configuration, name: `beside_${tables}` };
    await createSet(admin.context, { configuration: set, ...plain });
    await main.connection.script(create('another'));
    sent.length = 0;
    expect(await upgradeSet(admin.context, { configuration: set, ...plain })).toMatchObject({ version: 2 });
    await main.connection.script('insert into t_0 values (1, 1); insert into another values (1, 1)');
    const log = await main.column(`select ver from ${cluster.names.schema}.log_${set.name} order by seq`);
    return { log, statements: sent.length, bodies: sent.join('').split('security definer').length };
  }

  it('makes the functions of that table, whatever else the set has', async () => {
    const few = await upgradeBeside(2);
    expect(few.log).toEqual(['2', '2']);
    expect(await upgradeBeside(40)).toEqual(few);
  });
});
