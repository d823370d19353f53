/**
 * The store port: what both adapters (etcd, embedded) promise, checked by one contract suite.
 * Keys are text, values bytes. Every change has a revision; a transaction is one revision.
 */
export type Revision = bigint;

export interface KeyValue {
  readonly key: string;
  readonly value: Buffer;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  /** How often the key was written since it was created; 1 after creation. */
  readonly version: bigint;
  /** 0n when the key has no lease. */
  readonly lease: LeaseId;
}

export type LeaseId = bigint;

/** Half-open range [start, end) in byte order of UTF-8. */
export interface KeyRange {
  readonly start: string;
  readonly end: string;
}

/** The range of all keys that begin with `prefix`. */
export function prefixRange(prefix: string): KeyRange {
  const bytes = Buffer.from(prefix, "utf8");
  const last = bytes.at(-1);
  if (last === undefined || last > 0x7e) throw new TypeError(`not an ASCII prefix: ${prefix}`);
  return { start: prefix, end: `${prefix.slice(0, -1)}${String.fromCharCode(last + 1)}` };
}

/** A condition of a transaction; an absent key has revision and version 0. */
export type Compare =
  | {
      readonly key: string;
      readonly target: "createRevision" | "modRevision" | "version";
      readonly is: "==" | ">" | "<";
      readonly value: bigint;
    }
  | { readonly key: string; readonly target: "value"; readonly is: "=="; readonly value: Buffer };

export type Operation =
  | { readonly op: "put"; readonly key: string; readonly value: Buffer; readonly lease?: LeaseId }
  | { readonly op: "delete"; readonly key: string }
  | { readonly op: "deleteRange"; readonly range: KeyRange }
  | { readonly op: "get"; readonly key: string };

export interface Txn {
  /** At most 128. */
  readonly compare: readonly Compare[];
  /** Done when all compares hold; at most 128, no key written twice. */
  readonly then: readonly Operation[];
  /** Done otherwise; usually `get`s that show why. */
  readonly else?: readonly Operation[];
}

export type OperationResult =
  | { readonly op: "put" }
  | { readonly op: "delete" | "deleteRange"; readonly deleted: number }
  | { readonly op: "get"; readonly kv: KeyValue | undefined };

export interface TxnResult {
  readonly succeeded: boolean;
  /** Of this transaction when it wrote, else the head it read. */
  readonly revision: Revision;
  readonly results: readonly OperationResult[];
}

export interface GetResult {
  readonly kv: KeyValue | undefined;
  /** The store's head when it answered. */
  readonly revision: Revision;
  /** What the store calls itself; a wiped etcd member started with the same flags says the same. */
  readonly clusterId?: string;
}

export interface ListOptions {
  /** All pages show this revision; default: the head at the first page. */
  readonly revision?: Revision;
  /** Default 1,000. */
  readonly pageSize?: number;
  readonly keysOnly?: boolean;
  readonly signal?: AbortSignal;
}

/** Pages of one listing; all carry the same revision, keys ascend over all pages. */
export interface ListPage {
  readonly revision: Revision;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
}

export interface Change {
  readonly type: "put" | "delete";
  readonly key: string;
  /** Absent for deletes. */
  readonly kv: KeyValue | undefined;
}

/** How a watch ended. It never throws. */
export type WatchEnd =
  | { readonly kind: "stopped" }
  | { readonly kind: "compacted"; readonly at: Revision }
  | { readonly kind: "behind"; readonly head: Revision }
  | { readonly kind: "refused"; readonly reason: string }
  | { readonly kind: "broken"; readonly cause: Error };

export interface WatchSink {
  /** The watch is established; `head` is the store's revision then. */
  created(head: Revision): void;
  /** All changes of exactly one revision, in order, never twice, never torn. */
  batch(revision: Revision, changes: readonly Change[]): void;
  /** Proof of life; `revision` is the head the member knows. */
  progress(revision: Revision): void;
}

/**
 * A connection to a store. Unary calls reject with CodedError STORE_* and have a deadline of their own.
 * Calls are never retried behind the caller's back.
 */
export interface Store {
  readonly kind: "etcd" | "embedded" | "file";
  get(key: string, signal?: AbortSignal): Promise<GetResult>;
  list(range: KeyRange, options?: ListOptions): AsyncIterable<ListPage>;
  txn(txn: Txn): Promise<TxnResult>;
  /** One watch after revision `after`; settles once with the reason it ended. */
  watch(range: KeyRange, after: Revision, sink: WatchSink, signal: AbortSignal): Promise<WatchEnd>;
  grantLease(ttlSeconds: number): Promise<LeaseId>;
  /** The remaining seconds, 0 when the lease is gone. */
  keepAlive(lease: LeaseId): Promise<number>;
  revokeLease(lease: LeaseId): Promise<void>;
  /** Forgets history before `revision`. */
  compact(revision: Revision): Promise<void>;
  /** Idempotent; open watches end as "stopped". */
  close(): Promise<void>;
}

/**
 * Opens a store for one session of a watcher: one fresh connection to one member,
 * so that any doubt is answered by closing it and opening the next.
 */
export interface StoreSource {
  readonly kind: "etcd" | "embedded" | "file";
  /** For long-lived users (the admin): all members. */
  open(): Store;
  /** For one session: member `turn` modulo their number. */
  openMember(turn: number): Store;
}
