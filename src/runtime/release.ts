/** The release that this program is, from the package that it came in. */
import { readFileSync } from 'node:fs';

/** As in package.json, e.g. `1.2.0` or `1.3.0-rc.1`. */
export function releaseVersion(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  const manifest: unknown = JSON.parse(text);
  const found: unknown =
    typeof manifest === 'object' && manifest !== null ? Reflect.get(manifest, 'version') : undefined;
  return typeof found === 'string' ? found : '0.0.0';
}
