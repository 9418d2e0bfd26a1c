/** Plain data to configuration: schema, rules, defaults, in one step, for files and stores alike. */
import type { SetConfiguration } from './set-configuration.js';
import { buildConfiguration } from './set-file-build.js';
import { type Finding, schemaFindings } from './set-file-issues.js';
import { ruleFindings } from './set-file-rules.js';
import { setFileSchema } from './set-file-schema.js';

/** `name` is the set's name where the command line gives one. All findings at once, in no order. */
export function checkSetFile(
  data: unknown,
  options: { readonly name?: string },
): { readonly configuration: SetConfiguration } | { readonly findings: readonly Finding[] } {
  const result = setFileSchema.safeParse(data);
  const findings = [
    ...(result.success ? [] : schemaFindings(result.error.issues, data)),
    ...ruleFindings(data, options),
  ];
  if (!result.success || findings.length > 0) {
    return { findings };
  }
  return { configuration: buildConfiguration(result.data, { name: options.name ?? '' }) };
}
