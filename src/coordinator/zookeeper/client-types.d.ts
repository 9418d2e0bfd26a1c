/**
 * Types of what is used of node-zookeeper-client 1.1.3, which ships none: its documented API, and those insides of
 * its connection manager that client-cures.ts replaces.
 */
declare module 'node-zookeeper-client' {
  import type { EventEmitter } from 'node:events';
  import type { Socket } from 'node:net';

  export interface Stat {
    readonly version: number;
    /** 8 bytes, big-endian. */
    readonly czxid: Buffer;
    readonly ctime: Buffer;
    /** The session that it ends with; 0 for a lasting node. */
    readonly ephemeralOwner: Buffer;
  }
  export interface Exception extends Error {
    readonly code: number;
  }
  export interface Request {
    readonly header: { readonly type: number } | null;
  }
  export interface ConnectionManager extends EventEmitter {
    servers: { host: string; port: number }[];
    state: number;
    socket: Socket | undefined;
    pendingBuffer: Buffer | null;
    sessionTimeout: number;
    pingTimeout: number;
    zxid: Buffer;
    readonly packetQueue: { readonly queue: { readonly request: Request }[] };
    readonly watcherManager: {
      dataWatchers: Record<string, unknown>;
      childWatchers: Record<string, unknown>;
      existenceWatchers: Record<string, unknown>;
    };
    setState(state: number): void;
    updateTimeout(sessionTimeoutMs: number): void;
    findNextServer(callback: (server: { host: string; port: number }) => void): void;
    connect(): void;
    close(): void;
    queue(request: Request, callback?: (error: Exception | null, response?: unknown) => void): void;
    onSocketConnected(): void;
    onSocketData(data: Buffer): void;
    onSocketDrain(): void;
    onSocketClosed(hadError: boolean): void;
  }
  export interface TransactionResult {
    readonly type: number;
    readonly err?: number;
  }
  export interface Transaction {
    readonly ops: { version?: number }[];
    create(path: string, data: Buffer, acls: readonly ACL[], mode: number): Transaction;
    setData(path: string, data: Buffer, version: number): Transaction;
    remove(path: string, version: number): Transaction;
    check(path: string, version: number): Transaction;
    commit(
      callback: (error: Exception | null | undefined, results?: readonly TransactionResult[]) => void,
    ): void;
  }
  export interface Client extends EventEmitter {
    readonly connectionManager: ConnectionManager;
    connect(): void;
    close(): void;
    addAuthInfo(scheme: string, auth: Buffer): void;
    getSessionId(): Buffer;
    transaction(): Transaction;
    create(
      path: string,
      data: Buffer,
      acls: readonly ACL[],
      mode: number,
      callback: (error: Exception | null, path?: string) => void,
    ): void;
    getData(path: string, callback: (error: Exception | null, data?: Buffer, stat?: Stat) => void): void;
    getChildren(path: string, callback: (error: Exception | null, children?: string[]) => void): void;
    exists(path: string, callback: (error: Exception | null, stat?: Stat | null) => void): void;
    exists(
      path: string,
      watcher: () => void,
      callback: (error: Exception | null, stat?: Stat | null) => void,
    ): void;
  }

  export class ACL {
    constructor(permission: number, id: Id);
    static readonly OPEN_ACL_UNSAFE: readonly ACL[];
    static readonly CREATOR_ALL_ACL: readonly ACL[];
  }
  export class Id {
    constructor(scheme: string, id: string);
  }
  export const CreateMode: { readonly PERSISTENT: 0; readonly EPHEMERAL: 1 };
  export const State: {
    readonly DISCONNECTED: object;
    readonly SYNC_CONNECTED: object;
    readonly AUTH_FAILED: object;
    readonly EXPIRED: object;
  };

  interface ZooKeeperModule {
    createClient(
      connectionString: string,
      options: { sessionTimeout: number; spinDelay: number; retries: number },
    ): Client;
    readonly ACL: typeof ACL;
    readonly CreateMode: typeof CreateMode;
    readonly State: typeof State;
  }
  const zookeeper: ZooKeeperModule;
  export default zookeeper;
}
