/** `${NAME}` in texts of a set's configuration, filled in where they are used. What it gives may be secret. */
import { ConfigurationError } from '../errors.js';
import { expandVariables } from '../model/variables.js';
import type { Variables } from './settings.js';

/**
 * `where` names the owner of the text, for people: `database main`, `stream events`.
 * @throws ConfigurationError `variable_missing`
 */
export function fillVariables(
  text: string,
  options: { readonly variables: Variables; readonly where: string },
): string {
  const filled = expandVariables(text, options.variables);
  if ('text' in filled) return filled.text;
  const names = filled.missing.join(', ');
  throw new ConfigurationError(
    'variable_missing',
    `The environment lacks ${names}, which ${options.where} needs.`,
    { hint: `Set ${names}, or write it into .env.`, details: { variables: filled.missing } },
  );
}

/** The same for every text within a value; the rest stays as it is. */
export function fillAll<Value>(
  value: Value,
  options: { readonly variables: Variables; readonly where: string },
): Value;
export function fillAll(
  value: unknown,
  options: { readonly variables: Variables; readonly where: string },
): unknown {
  if (typeof value === 'string') return fillVariables(value, options);
  if (Array.isArray(value)) return value.map((item: unknown) => fillAll(item, options));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fillAll(item, options)]));
}
