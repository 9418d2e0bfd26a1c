/** Every relative link of the documentation leads somewhere, headings included. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, it } from 'vitest';

function markdown(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.isDirectory())
      return folder === '.' && entry.name !== 'docs' ? [] : markdown(join(folder, entry.name));
    return entry.name.endsWith('.md') ? [join(folder, entry.name)] : [];
  });
}

/** As GitHub makes anchors: lower case, punctuation dropped, spaces to hyphens. */
function anchors(text: string): ReadonlySet<string> {
  const headings = [...text.matchAll(/^#+ +(.*)$/gm)].map(([, heading]) => heading ?? '');
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

it.each(markdown('.'))('%s', (file) => {
  const text = readFileSync(file, 'utf8');
  const broken: string[] = [];
  for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(target)) continue;
    const [path = '', anchor] = target.split('#');
    const place = path === '' ? file : join(dirname(file), path);
    if (!existsSync(place)) broken.push(relative('.', place));
    else if (
      anchor !== undefined &&
      place.endsWith('.md') &&
      !anchors(readFileSync(place, 'utf8')).has(anchor)
    ) {
      broken.push(target);
    }
  }
  expect(broken).toEqual([]);
});
