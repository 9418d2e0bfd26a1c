/**
 * The functions of a set's log: made with the log, and made again by `cluster upgrade` where this release has another
 * text. A file says what it needs to be called with; what is called differently gets another argument list, beside
 * the function that relays of older releases go on calling, and one that may go is dropped by a migration.
 */
import type { PostgresConnection } from '../postgres/connect.js';
import { noteFile, readSetFile, type SqlFile } from '../postgres/release-files.js';
import { type NodeNames, quoteIdentifier } from '../postgres/sql-files.js';

/** In the order to be run, below sql/set/. */
const FILES = [
  'window',
  'peek',
  'nested',
  'store_order',
  'draw',
  'turn',
  'doorbell',
  'suspend',
  'note_metadata',
] as const;

/** Functions in them that writers call through their triggers. */
const OF_CAPTURE: Readonly<Partial<Record<(typeof FILES)[number], (set: string) => string>>> = {
  note_metadata: (set) => `note_metadata_${set}()`,
  doorbell: (set) => `ring_${set}(bigint)`,
};

/** All of them, to be run as the owner role. */
export async function setFunctionStatements(names: NodeNames, set: string): Promise<readonly string[]> {
  return statements(await readFiles(names, set), { names, set });
}

/** Those that the node has in another text, or not at all; none where all is as it should be. Reads only. */
export async function planSetFunctions(
  connection: PostgresConnection,
  { names, set }: { readonly names: NodeNames; readonly set: string },
): Promise<readonly string[]> {
  const rows = await connection.query(
    `select f.path, f.checksum from ${quoteIdentifier(names.schema)}.installed_file f`,
  );
  const installed = new Map(rows.map((row) => [row.path ?? '', row.checksum]));
  const files = (await readFiles(names, set)).filter(
    ({ file }) => installed.get(file.path) !== file.checksum,
  );
  return statements(files, { names, set });
}

interface SetFile {
  readonly name: (typeof FILES)[number];
  readonly file: SqlFile;
}

function readFiles(names: NodeNames, set: string): Promise<readonly SetFile[]> {
  return Promise.all(FILES.map(async (name) => ({ name, file: await readSetFile(name, names, set) })));
}

function statements(
  files: readonly SetFile[],
  { names, set }: { names: NodeNames; set: string },
): readonly string[] {
  return files.flatMap(({ name, file }) => {
    const ofCapture = OF_CAPTURE[name]?.(set);
    return [
      file.sql,
      ...(ofCapture === undefined ? [] : handOver(names, [ofCapture])),
      noteFile(file, names),
    ];
  });
}

/**
 * Functions become the capture role's, which needs CREATE on the schema for just that moment. Nobody else may call
 * them; triggers fire without asking.
 */
export function handOver(names: NodeNames, functions: readonly string[]): readonly string[] {
  const schema = quoteIdentifier(names.schema);
  const capture = quoteIdentifier(names.capture);
  return [
    `grant create on schema ${schema} to ${capture}`,
    ...functions.flatMap((one) => [
      `revoke all on function ${schema}.${one} from public`,
      `alter function ${schema}.${one} owner to ${capture}`,
    ]),
    `revoke create on schema ${schema} from ${capture}`,
  ];
}
