/** Holds what a database has of each set against what the coordinator has decided. */
import { decodeDocument, recordOf, type SetDocument } from '../../model/change-records.js';
import { judgeNode } from '../../model/change-recovery.js';
import { type NodeRow, viewNode } from '../node-rows.js';
import { sameDatabase } from '../survey.js';
import { type Finding, finding } from './finding.js';
import { RECOVER, REFILL } from './look-coordinator.js';
import type { NodeProbe } from './probe.js';

export async function checkVersions(probe: NodeProbe): Promise<readonly Finding[]> {
  const { coordinator, rows, decided, identity, database } = probe;
  if (coordinator?.clusterId === undefined) return [];
  const findings: Finding[] = [];
  for (const row of rows) {
    const object = `${row.set}/${database}`;
    if (!sameDatabase(row, identity)) {
      findings.push(
        finding('node_copied', {
          object,
          message: `Database ${database} holds set ${row.set} of another database: it is a copy, or was restored. Nothing is published from it.`,
          fix: `If it is to go on as that node: shovel node adopt ${row.set} ${database}`,
        }),
      );
    } else {
      findings.push(...unexpected(row, { probe, object, clusterId: coordinator.clusterId }));
    }
  }
  for (const document of decided) findings.push(...(await expected(document, probe)));
  return findings;
}

/** A row that the coordinator has no live set for, or another database. */
function unexpected(
  row: NodeRow,
  { probe, object, clusterId }: { probe: NodeProbe; object: string; clusterId: string },
): readonly Finding[] {
  const { coordinator, database } = probe;
  const where = `Database ${database} is at version ${row.version} of set ${row.set}`;
  if (decodeDocument(row.document, object).clusterId !== clusterId) {
    return [
      finding('schema_shared', {
        object,
        message: `${where}, of a cluster ${probe.cluster} at another coordinator, or of this one before it was lost and made anew.`,
        fix: `If it was lost: ${REFILL}; else choose another --cluster`,
      }),
    ];
  }
  const known = coordinator?.sets.get(row.set);
  if (known === undefined) {
    return [
      finding('set_unknown', {
        object,
        message: `${where}, which the coordinator does not know: it has lost it. Capture goes on; no relay can be started.`,
        fix: REFILL,
      }),
    ];
  }
  if (known.kind === 'dropped' && row.version > known.version)
    return [ahead(object, { where, is: known.version })];
  const left =
    known.kind === 'dropped' ||
    (known.kind === 'live' && !known.document.nodes.some((node) => node.nodeId === row.nodeId));
  const alive = coordinator?.intents.some(({ intent, alive: living }) => intent.set === row.set && living);
  if (!left || alive) return [];
  return [
    finding('set_left_behind', {
      object,
      message: `${where}, which was dropped, or which it left while it could not be reached: it still captures, and its log is never trimmed.`,
      fix: `Create a set ${row.set} in it again and drop that: both tidy up`,
    }),
  ];
}

async function expected(document: SetDocument, probe: NodeProbe): Promise<readonly Finding[]> {
  const { connection, names, cluster, database, rows, identity, coordinator } = probe;
  const { set, version } = document;
  const node = document.nodes.find((one) => one.database === database);
  const row = rows.find((one) => one.set === set);
  if (!node || (row && !sameDatabase(row, identity))) return [];
  const view = await viewNode(connection, { names, cluster, set, nodeId: node.nodeId });
  const object = `${set}/${database}`;
  const verdict = judgeNode(recordOf(document), node, view);
  switch (verdict.kind) {
    case 'current':
      return [];
    case 'ahead':
      return [
        ahead(object, {
          where: `Database ${database} is at version ${verdict.version} of set ${set}`,
          is: version,
        }),
      ];
    case 'behind':
      if (coordinator?.intents.some(({ intent, alive }) => intent.set === set && alive)) return [];
      return [
        finding('node_behind', {
          object,
          message:
            verdict.version === version
              ? `Database ${database} has another version ${version} of set ${set} than was decided.`
              : `Database ${database} is at version ${verdict.version ?? 'none'} of set ${set}, decided is ${version}.`,
          fix: RECOVER,
        }),
      ];
    case 'replaced':
      return [
        finding('node_replaced', {
          object,
          message: `Database ${database} is not the one that joined set ${set}.`,
          fix: `Correct its DSN: shovel set upgrade ${set} FILE; after a restore: shovel node adopt ${set} ${database}`,
        }),
      ];
    case 'lost':
      return [
        finding('node_lost', {
          object,
          message: `Database ${database} holds nothing of set ${set} any more: nothing is captured there.`,
          fix: `Correct its DSN, or take it out of the set file (shovel set upgrade ${set} FILE --force) and in again; if the set was dropped since: shovel set drop ${set} --force`,
        }),
      ];
  }
}

function ahead(object: string, { where, is }: { where: string; is: number }): Finding {
  return finding('node_ahead', {
    object,
    message: `${where}, the coordinator at ${is}: it has lost history, as after a restore of its backup. Every command that writes refuses.`,
    fix: REFILL,
  });
}
