/**
 * `${NAME}` in the texts of a set file: stored as written, filled in by the process that connects, so that no secret
 * is stored. Decides the spelling; where the environment comes from is the caller's.
 */

/** A variable of the environment: letters, digits, underscores, no digit first. */
const VARIABLE = /\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

/**
 * Fills in every `${NAME}`. `missing` names each variable that the environment lacks, once, in order; an empty value
 * is a value. What is filled in is not looked at again.
 */
export function expandVariables(
  text: string,
  environment: Readonly<Record<string, string | undefined>>,
): { readonly text: string } | { readonly missing: readonly string[] } {
  const missing = new Set<string>();
  const expanded = text.replace(VARIABLE, (_, name: string) => {
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined;
    if (value === undefined) {
      missing.add(name);
      return '';
    }
    return value;
  });
  return missing.size > 0 ? { missing: [...missing] } : { text: expanded };
}

/** The variables that a text names, each once. */
export function variablesOf(text: string): readonly string[] {
  return [...new Set([...text.matchAll(VARIABLE)].map((match) => match[1] ?? ''))];
}

/** The text without its variables: what is known of it now. */
export function withoutVariables(text: string): string {
  return text.replace(VARIABLE, '');
}

/** Offset of the first `${` that begins no variable; undefined where there is none. */
export function strayVariableOffset(text: string): number | undefined {
  const stray = /\$\{(?![A-Za-z_][A-Za-z0-9_]*\})/.exec(text);
  return stray?.index;
}
