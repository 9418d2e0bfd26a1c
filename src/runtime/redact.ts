/**
 * The last barrier before something is printed, logged or reported: no password, no DSN's secret, no row value of a
 * server's message gets past. Decides by the name of a field and by the look of a text; who writes a message still
 * has to keep secrets out of it.
 */
import { ShovelError } from '../errors.js';

const REDACTED = '***';

/** `scheme://user:password@`; the password goes up to the last @, as people forget to encode theirs. */
const URL_PASSWORD = /\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):([^\s"'<>]*)@/gi;
/** `password=…` of a libpq string or of a query. */
const ASSIGNED =
  /\b((?:ssl)?pass(?:word|wd|code|phrase)?|secret|token|api_?key)(\s*=\s*)('[^']*'|"[^"]*"|[^\s&'",;]+)/gi;
/** The same as a member of JSON, also within SQL. */
const JSON_MEMBER = /("[a-z_]*(?:pass(?:word|wd|code|phrase)|secret|token)"\s*:\s*)("(?:[^"\\]|\\.)*")/gi;
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g;
/** A secret that is not here: its name may be shown. */
const VARIABLE = /^["']?\$\{\w+\}["']?$/;
const SECRET_FIELD =
  /pass(word|wd|code|phrase)|secret|token|credential|^auth$|authorization|api_?key|^dsn$|_dsn$|Dsn$/i;

const PASSWORD_FIELD = /pass(word|wd|code|phrase)$|secret$/i;

const DEEPEST = 6;

/** The text without passwords. `${NAME}` in the place of one stays. */
export function redactText(text: string): string {
  return text
    .replace(URL_PASSWORD, (all, start: string, password: string) =>
      hidden(password, { redacted: `${start}:${REDACTED}@`, shown: all }),
    )
    .replace(ASSIGNED, (all, name: string, sign: string, value: string) =>
      hidden(value, { redacted: `${name}${sign}${REDACTED}`, shown: all }),
    )
    .replace(JSON_MEMBER, (all, name: string, value: string) =>
      hidden(value, { redacted: `${name}"${REDACTED}"`, shown: all }),
    )
    .replace(PRIVATE_KEY, REDACTED);
}

/** `shown` where the secret is only named, else `redacted`. */
function hidden(secret: string, choice: { readonly redacted: string; readonly shown: string }): string {
  return VARIABLE.test(secret) ? choice.shown : choice.redacted;
}

/** A copy of an answer that may be printed. Names of things are all kept; only passwords and private keys go. */
export function redactDocument(value: unknown): unknown {
  if (typeof value === 'string') return redactText(value);
  if (Array.isArray(value)) return value.map(redactDocument);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, item]): [string, unknown] => [
    name,
    PASSWORD_FIELD.test(name) && typeof item === 'string'
      ? hidden(item, { redacted: REDACTED, shown: item })
      : redactDocument(item),
  ]);
  return Object.fromEntries(entries);
}

/** A copy of log fields or error details that may be printed: secrets out, bigints as text, errors as plain data. */
export function redactFields(
  fields: Readonly<Record<string, unknown>>,
  options: { readonly stacks: boolean },
): Record<string, unknown> {
  return redactRecord(fields, { ...options, depth: 0 });
}

interface Walk {
  readonly stacks: boolean;
  readonly depth: number;
}

function redactRecord(fields: object, walk: Walk): Record<string, unknown> {
  const entries = Object.entries(fields).map(([name, value]): [string, unknown] => [
    name,
    SECRET_FIELD.test(name) && value !== undefined && value !== null ? REDACTED : redactValue(value, walk),
  ]);
  return Object.fromEntries(entries);
}

function redactValue(value: unknown, walk: Walk): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Error) return describeError(value, walk);
  if (typeof value !== 'object' || value === null) return value;
  if (walk.depth >= DEEPEST) return '…';
  const deeper = { ...walk, depth: walk.depth + 1 };
  return Array.isArray(value) ? value.map((item) => redactValue(item, deeper)) : redactRecord(value, deeper);
}

/** An error as data: a ShovelError's code, message and hint; of any other only what can't quote a value. */
function describeError(error: Error, options: { readonly stacks: boolean }): Record<string, unknown> {
  const stack = options.stacks ? { stack: safeStack(error) } : {};
  if (error instanceof ShovelError) {
    const { code, hint } = error;
    return { code, message: safeMessage(error), hint: redactText(hint), ...stack };
  }
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  return { ...code, message: safeMessage(error), ...stack };
}

/**
 * The message of an error, without passwords. A PostgreSQL server's own message may quote a row's values, and so may
 * that of a failed JSON.parse: of these only the kind is told.
 */
export function safeMessage(error: Error): string {
  if (error instanceof ShovelError) return redactText(error.message);
  if ('severity' in error) {
    return `PostgreSQL error${'code' in error ? ` ${String(error.code)}` : ''} (message withheld)`;
  }
  if (error instanceof SyntaxError && error.message.includes('JSON')) return 'text is not valid JSON';
  return redactText(error.message);
}

/** The stack of an error and of its causes, with safe messages. */
export function safeStack(error: Error): string {
  const parts: string[] = [];
  for (let at: unknown = error; at instanceof Error && parts.length < DEEPEST; at = at.cause) {
    parts.push([`${at.name}: ${safeMessage(at)}`, ...frames(at)].join('\n'));
  }
  return parts.join('\ncaused by ');
}

function frames(error: Error): readonly string[] {
  return (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
}
