/**
 * Templates of topics, destinations, paths and Redis keys: `{cluster} {set} {node} {schema} {table}`, and `{column}`
 * in Redis keys. Decides the spelling and how odd names are written; who fills them in knows the values.
 *
 * Names of schemas and tables may hold anything, topics may not (`[a-zA-Z0-9._-]{1,249}`), and a `.` or `/` inside a
 * name must not look like the one between names. So every UTF-8 byte of a schema's or table's name other than
 * `[a-zA-Z0-9_]` is written `-xx`, two lower-case hexadecimal digits, the hyphen itself included (`-2d`):
 * `Order Items` → `Order-20Items`. No two names are written the same, and everyday names stay as they are.
 */
import { ConfigurationError } from '../errors.js';

const PLACEHOLDERS: ReadonlySet<string> = new Set(['cluster', 'set', 'node', 'schema', 'table']);

/** In words, for messages. */
const PLACEHOLDER_LIST = '{cluster} {set} {node} {schema} {table}';

/** `variable` is a `${NAME}` left as written. */
export type TemplatePart =
  | { readonly kind: 'text' | 'variable'; readonly text: string; readonly offset: number }
  | { readonly kind: 'placeholder'; readonly name: string; readonly offset: number };

export interface TemplateProblem {
  readonly problem: string;
  readonly hint: string;
  readonly offset: number;
}

/** What stands for the placeholders; `schema` and `table` as they are in the database, encoded here. */
export interface TemplateValues {
  readonly cluster?: string;
  readonly set?: string;
  readonly node?: string;
  readonly schema?: string;
  readonly table?: string;
}

const TOPIC = /^[a-zA-Z0-9._-]{1,249}$/;
const TOKEN = /\$\{[A-Za-z_][A-Za-z0-9_]*\}|\{([^{}]*)\}|[{}]/g;

/** Takes a template apart. `columns: true` allows `{anything}`, for Redis keys. */
export function parseTemplate(
  text: string,
  options: { readonly columns?: boolean } = {},
): readonly TemplatePart[] | TemplateProblem {
  const parts: TemplatePart[] = [];
  let from = 0;
  for (const match of text.matchAll(TOKEN)) {
    const offset = match.index;
    const [token, name] = match;
    if (offset > from) {
      parts.push({ kind: 'text', text: text.slice(from, offset), offset: from });
    }
    from = offset + token.length;
    if (token.startsWith('$')) {
      parts.push({ kind: 'variable', text: token, offset });
    } else if (name === undefined) {
      return { problem: `a ${token} stands alone`, hint: `placeholders are ${PLACEHOLDER_LIST}`, offset };
    } else if (PLACEHOLDERS.has(name) || (options.columns === true && name !== '')) {
      parts.push({ kind: 'placeholder', name, offset });
    } else {
      return {
        problem: `unknown placeholder {${name}}`,
        hint: `placeholders are ${PLACEHOLDER_LIST}`,
        offset,
      };
    }
  }
  if (from < text.length) {
    parts.push({ kind: 'text', text: text.slice(from), offset: from });
  }
  return parts;
}

/** Whether the template names this placeholder. A text that is no template names none. */
export function hasPlaceholder(text: string, name: string): boolean {
  const parts = parseTemplate(text, { columns: true });
  return !('problem' in parts) && parts.some((part) => part.kind === 'placeholder' && part.name === name);
}

/**
 * The template with its placeholders filled in; `${NAME}` stays as written.
 * @throws ConfigurationError `template_invalid` for an unknown placeholder, or one whose value is not given.
 */
export function renderTemplate(text: string, values: TemplateValues): string {
  const parts = parseTemplate(text);
  if ('problem' in parts) {
    throw invalid(text, parts.problem);
  }
  return parts
    .map((part) =>
      part.kind === 'placeholder' ? placeholderText(part.name, { template: text, values }) : part.text,
    )
    .join('');
}

function placeholderText(
  name: string,
  context: { readonly template: string; readonly values: TemplateValues },
): string {
  const value = placeholderValue(name, context.values);
  if (value === undefined) {
    throw invalid(context.template, `{${name}} has no value here`);
  }
  return name === 'schema' || name === 'table' ? encodeName(value) : value;
}

function placeholderValue(name: string, values: TemplateValues): string | undefined {
  switch (name) {
    case 'cluster':
      return values.cluster;
    case 'set':
      return values.set;
    case 'node':
      return values.node;
    case 'schema':
      return values.schema;
    case 'table':
      return values.table;
    default:
      return undefined;
  }
}

function invalid(template: string, problem: string): ConfigurationError {
  return new ConfigurationError('template_invalid', `template ${template}: ${problem}`, {
    hint: `placeholders are ${PLACEHOLDER_LIST}`,
    details: { template },
  });
}

/**
 * The topic that a template names.
 * @throws ConfigurationError `topic_invalid` where Kafka would not take it: 1 to 249 of [a-zA-Z0-9._-], not `.`, `..`.
 */
export function renderTopic(template: string, values: TemplateValues): string {
  const topic = renderTemplate(template, values);
  const problem = topicProblem(topic);
  if (problem !== undefined) {
    throw new ConfigurationError('topic_invalid', `topic ${topic}: ${problem}`, {
      hint: `change the stream's topic ${template}`,
      details: { topic, template },
    });
  }
  return topic;
}

/** Why Kafka would not take this name for a topic; undefined where it would. */
export function topicProblem(topic: string): string | undefined {
  if (TOPIC.test(topic)) {
    return topic === '.' || topic === '..' ? `Kafka takes no topic ${topic}` : undefined;
  }
  if (topic === '') {
    return 'a topic needs a name';
  }
  return topic.length > 249 && /^[a-zA-Z0-9._-]+$/.test(topic)
    ? `${topic.length} characters, Kafka takes 249`
    : 'Kafka takes letters, digits, dots, underscores and hyphens only';
}

/** A name with every UTF-8 byte other than [a-zA-Z0-9_] written `-xx`. */
export function encodeName(name: string): string {
  return name.replace(/[^a-zA-Z0-9_]/gu, (character) => {
    const point = character.codePointAt(0) ?? 0;
    return utf8Bytes(point)
      .map((byte) => `-${byte.toString(16).padStart(2, '0')}`)
      .join('');
  });
}

function utf8Bytes(point: number): readonly number[] {
  if (point < 0x80) {
    return [point];
  }
  const tail = (shift: number) => 0x80 | ((point >> shift) & 0x3f);
  if (point < 0x800) {
    return [0xc0 | (point >> 6), tail(0)];
  }
  if (point < 0x10000) {
    return [0xe0 | (point >> 12), tail(6), tail(0)];
  }
  return [0xf0 | (point >> 18), tail(12), tail(6), tail(0)];
}
