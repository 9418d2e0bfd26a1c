/** Changes that nobody has finished: as the coordinator knows them, and as the databases do. */
import { nodeSchemaExists } from '../../postgres/node-level.js';
import { listPrepared } from '../../postgres/prepared-transaction.js';
import { quoteIdentifier } from '../../postgres/sql-files.js';
import type { Clock } from '../../runtime/clock.js';
import { gidPrefix, parseGid } from '../node-rows.js';
import { type Finding, finding } from './finding.js';
import { type CoordinatorView, decisionOn, RECOVER } from './look-coordinator.js';
import { ageText, type NodeProbe } from './probe.js';

export function changesOf(view: CoordinatorView, clock: Clock): readonly Finding[] {
  return view.intents.map(({ intent, alive }) => {
    const seconds = Math.max(0, (clock.now() - Date.parse(intent.startedAt)) / 1000);
    const what = `A change of set ${intent.set} to version ${intent.to}, begun by ${intent.owner} ${ageText(seconds)} ago`;
    return alive
      ? finding('change_under_way', {
          object: intent.set,
          message: `${what}, is under way.`,
          fix: 'Wait for it to end.',
        })
      : finding('change_in_doubt', {
          object: intent.set,
          message: `${what}, was left: ${decisionOn(view, { id: intent.intent, set: intent.set })}.`,
          fix: RECOVER,
        });
  });
}

export async function checkChanges(probe: NodeProbe): Promise<readonly Finding[]> {
  const { connection, names, cluster, coordinator, database } = probe;
  const findings: Finding[] = [];
  const told = new Set<string>();
  const known = new Map(coordinator?.intents.map(({ intent }) => [intent.intent, intent.set]));
  const owners = new Map(probe.rows.map((row) => [row.nodeId, row.set]));
  for (const { gid, ageSeconds } of await listPrepared(connection, gidPrefix(cluster))) {
    const parsed = parseGid(cluster, gid);
    if (!parsed) continue;
    told.add(parsed.intent);
    if (await coordinator?.isAlive(parsed.intent)) continue;
    const set = known.get(parsed.intent) ?? owners.get(parsed.nodeId);
    findings.push(
      finding('prepared_in_doubt', {
        object: `${set === undefined ? 'database ' : `${set}/`}${database}`,
        message: `Transaction ${gid} has been prepared for ${ageText(ageSeconds)}: ${decisionOn(coordinator, { id: parsed.intent, set })}. It blocks no writer.`,
        fix: RECOVER,
      }),
    );
  }
  if (!coordinator || !(await nodeSchemaExists(connection, names))) return findings;
  const rows = await connection.query(
    `select i.intent_id, i.set_name, i.state,
       pg_catalog.floor(extract(epoch from pg_catalog.clock_timestamp() - i.opened_at))::bigint as age
     from ${quoteIdentifier(names.schema)}.intent i order by i.opened_at`,
  );
  for (const row of rows) {
    const id = row.intent_id ?? '';
    if (told.has(id) || known.has(id) || (await coordinator.isAlive(id))) continue;
    findings.push(
      finding('change_stray', {
        object: `${row.set_name ?? ''}/${database}`,
        message: `Database ${database} knows of a change of set ${row.set_name}, begun ${ageText(Number(row.age))} ago, that the coordinator does not know.`,
        fix: RECOVER,
      }),
    );
  }
  return findings;
}
