/**
 * LISTEN on one channel of one database, for ever: a listener that lost its connection comes back by itself and says
 * so, because notifications may have been missed. pg-listen does the listening; its own way to reconnect is switched
 * off (it can't be stopped, keeps to one host, and never notices a connection that died without a word), and this
 * file starts a new subscriber instead, at the next host of the DSN.
 */
import net from 'node:net';
import pgListen from 'pg-listen';
import { parseDsn } from './dsn.js';
import { translatePostgresError } from './sqlstate.js';

export interface ListenOptions {
  /** Variables already filled in. */
  readonly dsn: string;
  /** For errors: `database main of set example`. */
  readonly name: string;
  readonly applicationName: string;
  readonly channel: string;
  /** For connecting, and for any answer of the server. Default 5 s. */
  readonly connectTimeoutMs?: number;
  /** How often an idle connection is tried: a dead one is noticed within the sum of both. Default 10 s. */
  readonly checkIntervalMs?: number;
  readonly onNotification: (payload: string) => void;
  /** Listening again after a loss: what was sent meanwhile is gone. */
  readonly onReconnected: () => void;
}

export interface Listener {
  /** Waits for nothing, may be called twice. */
  stop(): Promise<void>;
}

const RETRY_MS = 500;
const ANSWER_MS = 5_000;

/**
 * Resolves when the channel is listened to.
 * @throws UnreachableError, ConfigurationError when no host lets it, the first time
 */
export async function openListener(options: ListenOptions): Promise<Listener> {
  const listener = new ReconnectingListener(options);
  await listener.start();
  return listener;
}

class ReconnectingListener implements Listener {
  readonly #options: ListenOptions;
  readonly #urls: readonly string[];
  readonly #display: string;
  #current: Subscription | undefined;
  #retry: NodeJS.Timeout | undefined;
  #stopped = false;
  #next = 0;

  constructor(options: ListenOptions) {
    const dsn = parseDsn(options.dsn, options.name);
    this.#options = options;
    this.#urls = dsn.urls;
    this.#display = dsn.display;
  }

  async start(): Promise<void> {
    let last: unknown;
    for (const _ of this.#urls) {
      try {
        return await this.#subscribe();
      } catch (error) {
        last = error;
      }
    }
    throw translatePostgresError(last, this.#display);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#retry);
    this.#current?.end();
    this.#current = undefined;
  }

  async #subscribe(): Promise<void> {
    const url = this.#urls[this.#next % this.#urls.length] ?? '';
    this.#next += 1;
    const subscription = new Subscription(url, this.#options);
    try {
      await subscription.open();
    } catch (error) {
      subscription.end();
      throw error;
    }
    if (this.#stopped) {
      subscription.end();
      return;
    }
    this.#current = subscription;
    void subscription.lost.then(() => {
      subscription.end();
      if (!this.#stopped) this.#reconnect(0);
    });
  }

  #reconnect(delayMs: number): void {
    this.#retry = setTimeout(() => {
      this.#subscribe().then(
        () => {
          if (!this.#stopped) this.#options.onReconnected();
        },
        () => {
          if (!this.#stopped) this.#reconnect(RETRY_MS);
        },
      );
    }, delayMs);
  }
}

/** One life of one connection. */
class Subscription {
  readonly lost: Promise<void>;
  readonly #options: ListenOptions;
  readonly #subscriber: ReturnType<typeof pgListen.default>;
  readonly #sockets: net.Socket[] = [];

  constructor(url: string, options: ListenOptions) {
    this.#options = options;
    const client = {
      connectionString: url,
      application_name: options.applicationName,
      connectionTimeoutMillis: options.connectTimeoutMs ?? ANSWER_MS,
      query_timeout: options.connectTimeoutMs ?? ANSWER_MS,
      // The socket is kept so that `end` is one even where the other side says nothing any more.
      stream: () => {
        const socket = new net.Socket();
        this.#sockets.push(socket);
        return socket;
      },
    };
    this.#subscriber = pgListen.default(client, {
      // One attempt, that is none: its `reconnect` fails at once and is told as an error.
      retryLimit: 1,
      paranoidChecking: options.checkIntervalMs ?? 10_000,
      parse: (text) => text,
    });
    this.lost = new Promise((resolve) => this.#subscriber.events.on('error', () => resolve()));
    this.#subscriber.events.on('notification', ({ payload }) => {
      options.onNotification(typeof payload === 'string' ? payload : '');
    });
  }

  async open(): Promise<void> {
    await this.#subscriber.connect();
    await this.#subscriber.listenTo(this.#options.channel);
  }

  end(): void {
    this.#subscriber.close().catch(() => undefined);
    for (const socket of this.#sockets) socket.destroy();
  }
}
