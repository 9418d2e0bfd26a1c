/** A place in a set file's data as people write it: `tables[0].columns[1]`, `targets.dw.tables["public.a"]`. */
import type { Path } from './set-file-source.js';

export function formatPath(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') {
      text += `[${step}]`;
    } else if (/^[A-Za-z_][\w-]*$/.test(step)) {
      text += text === '' ? step : `.${step}`;
    } else {
      text += `[${JSON.stringify(step)}]`;
    }
  }
  return text;
}
