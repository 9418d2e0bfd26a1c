/**
 * Looks at a cluster, the coordinator and every database of its sets, and says what is wrong with what mends it.
 * Changes nothing, waits for no lock, and goes on where something can't be looked at: what is not known is told apart
 * from what is well.
 */
import type { Coordinator } from '../../coordinator/coordinator.js';
import { EXIT, type ExitCode, ShovelError } from '../../errors.js';
import { decodeDocument, type SetDocument } from '../../model/change-records.js';
import type { PostgresConnection } from '../../postgres/connect.js';
import { type AdminContext, namesOf } from '../context.js';
import { setNotFound } from '../load-set.js';
import type { Place } from '../node-histories.js';
import { type DatabaseIdentity, type NodeRow, readIdentity, readNodeRows } from '../node-rows.js';
import { checkCapture, checkDrift, checkWide } from './check-capture.js';
import { changesOf, checkChanges } from './check-changes.js';
import { checkLog, checkLogTables, checkRelay } from './check-log.js';
import { checkDumps, checkRoles } from './check-roles.js';
import { checkSchema } from './check-schema.js';
import {
  checkAutovacuum,
  checkPublications,
  checkReplication,
  checkTransactions,
  checkWake,
} from './check-server.js';
import { checkVersions } from './check-versions.js';
import { type Finding, ranked, type Unchecked } from './finding.js';
import { type CoordinatorView, lookAtCoordinator } from './look-coordinator.js';
import type { NodeCheck, NodeProbe, SetCheck, SetProbe, Thresholds } from './probe.js';

export interface DoctorContext extends Pick<AdminContext, 'cluster' | 'openNode' | 'clock' | 'signal'> {
  /** Started; or why there is none. */
  readonly coordinator: Coordinator | ShovelError;
}

export interface DoctorOptions {
  /** Only this set, and the databases that it is in. */
  readonly set?: string | undefined;
  /** DSNs of databases to look at besides those that the coordinator knows; others are found by them. */
  readonly nodes?: readonly string[];
  readonly thresholds?: Partial<Thresholds>;
}

export interface Diagnosis {
  /** Gravest first. */
  readonly findings: readonly Finding[];
  readonly unchecked: readonly Unchecked[];
  /** 22 where something other than an `info` was found, else that of the first thing that could not be looked at. */
  readonly exitCode: ExitCode;
}

const THRESHOLDS: Thresholds = {
  transactionMs: 15 * 60_000,
  relayMs: 60_000,
  xmins: 10_000_000,
  updates: 1000,
};

/** No statement of ours takes longer, or waits for a lock longer. */
const STATEMENT_TIMEOUT = '20s';
const LOCK_TIMEOUT = '1s';

const NODE_CHECKS: Readonly<Record<string, NodeCheck>> = {
  versions: checkVersions,
  changes: checkChanges,
  schema: checkSchema,
  roles: checkRoles,
  publications: checkPublications,
  transactions: checkTransactions,
  replication: checkReplication,
  autovacuum: checkAutovacuum,
  dumps: checkDumps,
};

const SET_CHECKS: Readonly<Record<string, SetCheck>> = {
  capture: checkCapture,
  drift: checkDrift,
  log: checkLog,
  relay: checkRelay,
  'log tables': checkLogTables,
  'wide columns': checkWide,
  wake: checkWake,
};

/** @throws RefusedError `set_not_found`: neither the coordinator nor a database that was asked knows the set */
export async function runDoctor(context: DoctorContext, options: DoctorOptions = {}): Promise<Diagnosis> {
  const doctor = new Doctor(context, options);
  try {
    return await doctor.run();
  } finally {
    await doctor.close();
  }
}

interface Patient {
  readonly connection: PostgresConnection;
  readonly database: string;
  readonly identity: DatabaseIdentity;
  readonly rows: readonly NodeRow[];
}

class Doctor {
  readonly #context: DoctorContext;
  readonly #options: DoctorOptions;
  readonly #findings: Finding[] = [];
  readonly #unchecked: Unchecked[] = [];
  readonly #connections: PostgresConnection[] = [];
  #excuse: ExitCode | undefined;

  constructor(context: DoctorContext, options: DoctorOptions) {
    this.#context = context;
    this.#options = options;
  }

  async run(): Promise<Diagnosis> {
    const { set, nodes = [] } = this.#options;
    const view = await this.#coordinator();
    const all = [...(view?.sets.values() ?? [])].flatMap((one) =>
      one.kind === 'live' ? [one.document] : [],
    );
    const decided = set === undefined ? all : all.filter((document) => document.set === set);
    const whole = set === undefined || !view?.sets.has(set);
    const patients = await this.#patients([
      ...decided.flatMap(placesOf),
      ...(whole ? (view?.places ?? []) : []),
      ...nodes.map((dsn, index) => ({ database: `node ${index + 1}`, dsn })),
    ]);
    const known = set === undefined || !view || view.clusterId === undefined || view.sets.has(set);
    const held = patients.some(({ rows }) => rows.some((row) => row.set === set));
    if (!known && !held && this.#unchecked.length === 0) throw setNotFound(this.#context, set);
    for (const patient of patients) await this.#examine(patient, { view, decided });
    this.#context.signal.throwIfAborted();
    return this.#diagnosis();
  }

  async close(): Promise<void> {
    await Promise.all(this.#connections.map((connection) => connection.end()));
  }

  #diagnosis(): Diagnosis {
    const findings = ranked(this.#findings);
    const found = findings.some((one) => one.severity !== 'info');
    const exitCode = found
      ? EXIT.found
      : this.#unchecked.length > 0
        ? (this.#excuse ?? EXIT.unreachable)
        : EXIT.done;
    return { findings, unchecked: this.#unchecked, exitCode };
  }

  async #coordinator(): Promise<CoordinatorView | undefined> {
    const { coordinator, cluster, clock } = this.#context;
    if (coordinator instanceof ShovelError) {
      this.#missed('coordinator', coordinator);
      if ((this.#options.nodes ?? []).length === 0) {
        this.#unchecked.push({
          check: 'databases',
          why: 'Where they are is in the coordinator. Name one, and the others are found by it: shovel doctor --nodes DSN.',
        });
      }
      return undefined;
    }
    return this.#attempt('coordinator', async () => {
      const view = await lookAtCoordinator({ coordinator, cluster });
      const { set } = this.#options;
      const found = [...view.findings, ...changesOf(view, clock)];
      const others = new Set([...view.sets.keys()].filter((name) => set !== undefined && name !== set));
      this.#findings.push(...found.filter((one) => !others.has(one.object)));
      return view;
    });
  }

  /** Every database once, however it is called. */
  async #patients(places: readonly Place[]): Promise<readonly Patient[]> {
    const patients: Patient[] = [];
    const asked = new Set<string>();
    const queue = [...places];
    for (let place = queue.shift(); place !== undefined; place = queue.shift()) {
      if (asked.has(place.dsn)) continue;
      asked.add(place.dsn);
      const found = await this.#attempt(`database ${place.database}`, () => this.#visit(place));
      if (!found) continue;
      if (patients.some(({ identity }) => sameIdentity(identity, found.identity))) continue;
      patients.push(found);
      for (const row of found.rows) {
        if (this.#options.set !== undefined && row.set !== this.#options.set) continue;
        const document = decode(row);
        if (document) queue.push(...placesOf(document));
      }
    }
    return patients;
  }

  async #visit({ database, dsn }: Place): Promise<Patient> {
    const connection = await this.#context.openNode(database, { dsn });
    this.#connections.push(connection);
    await connection.query(
      `select pg_catalog.set_config('statement_timeout', $1, false), pg_catalog.set_config('lock_timeout', $2, false),
         pg_catalog.set_config('default_transaction_read_only', 'on', false)`,
      [STATEMENT_TIMEOUT, LOCK_TIMEOUT],
    );
    const identity = await readIdentity(connection);
    const rows = await readNodeRows(connection, { names: namesOf(this.#context) });
    const known = rows.flatMap(
      (row) => decode(row)?.nodes.filter((node) => node.nodeId === row.nodeId) ?? [],
    );
    const [seen] = await connection.query(
      `select pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') as all_sessions`,
    );
    if (seen?.all_sessions !== 't') {
      this.#unchecked.push({
        check: `transactions of other roles in database ${database}`,
        why: `${connection.display} is no member of pg_monitor, so their age is not shown to it.`,
      });
    }
    return { connection, identity, rows, database: known[0]?.database ?? database };
  }

  async #examine(
    patient: Patient,
    { view, decided }: { view: CoordinatorView | undefined; decided: readonly SetDocument[] },
  ): Promise<void> {
    const { set, thresholds } = this.#options;
    const rows = patient.rows.filter((row) => set === undefined || row.set === set);
    const probe: NodeProbe = {
      ...patient,
      rows,
      names: namesOf(this.#context),
      cluster: this.#context.cluster,
      decided: decided.filter((one) => one.nodes.some((node) => node.database === patient.database)),
      coordinator: view,
      thresholds: { ...THRESHOLDS, ...thresholds },
    };
    for (const [check, look] of Object.entries(NODE_CHECKS)) {
      await this.#check(`${check} of database ${patient.database}`, () => look(probe));
    }
    for (const row of rows) {
      const object = `${row.set}/${patient.database}`;
      await this.#check(`set ${row.set} in database ${patient.database}`, async () => {
        const document = decodeDocument(row.document, `set ${row.set} in database ${patient.database}`);
        const one: SetProbe = { ...probe, row, document, object };
        for (const [check, look] of Object.entries(SET_CHECKS)) {
          await this.#check(`${check} of ${object}`, () => look(one));
        }
        return [];
      });
    }
  }

  async #check(check: string, look: () => Promise<readonly Finding[]>): Promise<void> {
    if (this.#context.signal.aborted) return;
    const found = await this.#attempt(check, look);
    if (found) this.#findings.push(...found);
  }

  /** What can't be looked at is told, and hinders nothing else. */
  async #attempt<T>(check: string, look: () => Promise<T>): Promise<T | undefined> {
    try {
      return await look();
    } catch (error) {
      if (!(error instanceof ShovelError)) throw error;
      this.#missed(check, error);
      return undefined;
    }
  }

  #missed(check: string, error: ShovelError): void {
    this.#excuse ??= error.exitCode === EXIT.bug ? EXIT.unreachable : error.exitCode;
    this.#unchecked.push({ check, why: `${error.message} ${error.hint}` });
  }
}

const placesOf = ({ configuration }: SetDocument): readonly Place[] =>
  Object.entries(configuration.databases).map(([database, { dsn }]) => ({ database, dsn }));

function decode(row: NodeRow): SetDocument | undefined {
  try {
    return decodeDocument(row.document, row.set);
  } catch (error) {
    if (error instanceof ShovelError) return undefined;
    throw error;
  }
}

function sameIdentity(a: DatabaseIdentity, b: DatabaseIdentity): boolean {
  return a.systemIdentifier === b.systemIdentifier && a.databaseOid === b.databaseOid;
}
