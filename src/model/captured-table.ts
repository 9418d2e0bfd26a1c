/**
 * What a log row's `rel` stands for: a table as its capture functions were made for one version. Stored beside the
 * log as JSON and all that publishing knows of a table, so that no later DDL changes what a mutation means.
 */
import { z } from 'zod';

const schema = z.strictObject({
  schema: z.string(),
  table: z.string(),
  /** Names of the key columns; null: `key: none`. */
  key: z.array(z.string()).nullable(),
  /** Only these are published, in this order; null: whatever the row has. */
  columns: z.array(z.string()).nullable(),
  before: z.enum(['key', 'full']),
  operations: z.array(z.enum(['insert', 'update', 'delete', 'truncate'])),
  partitioned: z.boolean(),
  /** What the names of its functions and triggers begin with. */
  base: z.string(),
  /** Absent: every row is published. */
  where: z
    .strictObject({
      /** Logged in the old image too, beside the key. */
      columns: z.array(z.string()),
      /**
       * SQL over a log row `l`: does the old, the new row pass? Null where it can't be told because a column that
       * the filter names is gone.
       */
      old: z.string(),
      new: z.string(),
    })
    .optional(),
  /** Absent: row. */
  capture: z.enum(['row', 'statement']).optional(),
  /** What inspection holds the catalog against. */
  made: z
    .strictObject({
      /** All columns that the table had. */
      columns: z.array(z.string()),
      /** Of those that are captured, as format_type prints them. */
      types: z.record(z.string(), z.string()),
      /** Hash of each function's body, by the letter that its name ends with; `@rel@` stands for rel. */
      bodies: z.record(z.string(), z.string()),
    })
    .optional(),
});

export type CapturedTable = Readonly<z.infer<typeof schema>>;

export function encodeCapturedTable(table: CapturedTable): string {
  return JSON.stringify(table);
}

/** @throws ZodError where the stored text is not one of ours */
export function decodeCapturedTable(text: string): CapturedTable {
  return schema.parse(JSON.parse(text));
}
