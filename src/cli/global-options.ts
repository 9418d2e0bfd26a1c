/** The options that every command has: what they are called, and what they mean once all levels are looked at. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import {
  type CoordinatorAddress,
  DEFAULT_ZOOKEEPER_HOSTS,
  parseCoordinatorAddress,
} from '../coordinator/coordinator-url.js';
import { DURATION_RULE, parseDuration } from '../model/duration.js';
import { isName, NAME_RULE } from '../model/names.js';
import type { LogLevel } from '../runtime/logger.js';
import type { OptionLevel, OptionValues } from './option-values.js';

export interface GlobalOptions {
  readonly cluster: string;
  readonly coordinator: CoordinatorAddress;
  /** Undefined: the command's own default. */
  readonly logLevel: LogLevel | undefined;
  /** Undefined: pretty on a terminal, else json. */
  readonly logFormat: 'pretty' | 'json' | undefined;
  readonly sentryDsn: string | undefined;
  readonly lockTimeoutMs: number;
  /** Undefined: the command's own default. */
  readonly leaseTimeMs: number | undefined;
  readonly json: boolean;
}

const LOG_LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error', 'silent'];
const LOG_FORMATS = ['pretty', 'json'] as const;
const DEFAULT_LOCK_TIMEOUT_MS = 40;

export function addGlobalOptions(program: Command): void {
  program
    .addOption(option('--cluster <name>', 'namespace of the sets', oneName).default('default'))
    .addOption(
      option('--zookeeper-hosts <hosts>', 'host:port,host:port/chroot', verbatim).default(
        undefined,
        DEFAULT_ZOOKEEPER_HOSTS,
      ),
    )
    .addOption(
      option(
        '--coordinator <url>',
        'a zookeeper:// or postgres:// URL instead of --zookeeper-hosts',
        verbatim,
      ),
    )
    .addOption(
      option('--log-level <level>', LOG_LEVELS.join(', '), oneOf(LOG_LEVELS)).default(
        undefined,
        'info for commands that go on, else warn',
      ),
    )
    .addOption(
      option('--log-format <format>', LOG_FORMATS.join(' or '), oneOf(LOG_FORMATS)).default(
        undefined,
        'pretty on a terminal, else json',
      ),
    )
    .addOption(option('--sentry-dsn <dsn>', 'where bugs are reported to', verbatim))
    .addOption(
      option('--lock-timeout <duration>', 'how long a statement may wait for a lock', oneDuration).default(
        `${DEFAULT_LOCK_TIMEOUT_MS}ms`,
      ),
    )
    .addOption(
      option(
        '--lease-time <duration>',
        'others take over after so long without a sign of this process',
        oneLeaseTime,
      ).default(undefined, '15s for relays, else 6s'),
    )
    .addOption(new Option('--json', 'one JSON document on standard output'));
}

/** @throws UsageError `coordinator_ambiguous`, `coordinator_url_invalid`, `zookeeper_hosts_invalid` */
export function globalOptions(values: OptionValues): GlobalOptions {
  return {
    cluster: values.text('cluster') ?? 'default',
    coordinator: coordinatorAddress(values),
    logLevel: LOG_LEVELS.find((level) => level === values.text('log-level')),
    logFormat: LOG_FORMATS.find((format) => format === values.text('log-format')),
    sentryDsn: values.text('sentry-dsn'),
    lockTimeoutMs: parseDuration(values.text('lock-timeout') ?? '') ?? DEFAULT_LOCK_TIMEOUT_MS,
    leaseTimeMs: parseDuration(values.text('lease-time') ?? ''),
    json: values.flag('json'),
  };
}

const RANK: Readonly<Record<OptionLevel, number>> = { flag: 3, environment: 2, '.env': 1, default: 0 };

/** The one that was said on the higher level; both on the same are refused. */
function coordinatorAddress(values: OptionValues): CoordinatorAddress {
  const hosts = RANK[values.level('zookeeper-hosts')];
  const url = RANK[values.level('coordinator')];
  return parseCoordinatorAddress({
    ...(hosts > 0 && hosts >= url ? { zookeeperHosts: values.text('zookeeper-hosts') } : {}),
    ...(url > 0 && url >= hosts ? { coordinator: values.text('coordinator') } : {}),
  });
}

function option(flags: string, description: string, parse: (text: string) => string): Option {
  return new Option(flags, description).argParser(parse);
}

function verbatim(text: string): string {
  if (text === '') throw new InvalidArgumentError('It is empty.');
  return text;
}

function oneOf(choices: readonly string[]): (text: string) => string {
  return (text) => {
    if (choices.includes(text)) return text;
    throw new InvalidArgumentError(`Allowed are ${choices.join(', ')}.`);
  };
}

function oneName(text: string): string {
  if (isName(text)) return text;
  throw new InvalidArgumentError(`A name is ${NAME_RULE}.`);
}

function oneDuration(text: string): string {
  if (parseDuration(text) !== undefined) return text;
  throw new InvalidArgumentError(`Write ${DURATION_RULE}.`);
}

/** Shorter ones pass on while a busy machine still works; others wait for a dead process no longer than 25 s. */
function oneLeaseTime(text: string): string {
  const ms = parseDuration(text);
  if (ms !== undefined && ms >= 1_000 && ms <= 20_000) return text;
  throw new InvalidArgumentError('Write a duration from 1s to 20s.');
}
