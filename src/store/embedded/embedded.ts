/**
 * The store port on one machine's disk (LMDB): real storage with revisions, transactions, history, watches and leases.
 * One process per folder; within it any number of Store handles share one environment, and closing a handle closes only
 * its own watches. The data closes with the source.
 */
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { CodedError, messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type {
  GetResult,
  KeyRange,
  LeaseId,
  ListOptions,
  ListPage,
  Revision,
  Store,
  StoreSource,
  Txn,
  TxnResult,
  WatchEnd,
  WatchSink,
} from "../store.ts";
import { nextTurn } from "../store-follow.ts";
import { checkTxn } from "../store-limits.ts";
import { checkStoreFile } from "./embedded-check.ts";
import { encodeKey } from "./embedded-codec.ts";
import type { EmbeddedData } from "./embedded-data.ts";
import { EmbeddedEngine } from "./embedded-engine.ts";
import { watchEmbedded } from "./embedded-watch.ts";
import { lockFolder } from "./folder-lock.ts";

interface EmbeddedSettings {
  /** Created when missing; readable by its owner only. */
  readonly folder: string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface EmbeddedSource extends StoreSource {
  /** Ends all watches, finishes what is being written, closes the data, frees the folder. Idempotent. */
  close(): Promise<void>;
}

const PAGE_SIZE = 1_000;

/** @throws CodedError STORE_UNAVAILABLE naming the folder when it is in use, unreadable or not a store */
export async function openEmbeddedSource(settings: EmbeddedSettings): Promise<EmbeddedSource> {
  const folder = resolve(settings.folder);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const lock = await lockFolder(folder);
    try {
      checkStoreFile(folder);
      return new Source(new EmbeddedEngine(folder, settings.clock, settings.log), settings.clock, () => lock.release());
    } catch (error) {
      lock.release();
      throw error;
    }
  } catch (thrown) {
    if (thrown instanceof CodedError) throw thrown;
    throw new CodedError("STORE_UNAVAILABLE", {
      message: `cannot open the store in ${folder}: ${messageOf(thrown)}`,
      cause: thrown,
    });
  }
}

class Source implements EmbeddedSource {
  readonly kind = "embedded";
  readonly #engine: EmbeddedEngine;
  readonly #clock: Clock;
  readonly #release: () => void;
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;

  constructor(engine: EmbeddedEngine, clock: Clock, release: () => void) {
    this.#engine = engine;
    this.#clock = clock;
    this.#release = release;
  }

  open(): Store {
    return new EmbeddedStore(this.#engine, this.#clock, this.#closing.signal);
  }

  openMember(): Store {
    return this.open();
  }

  close(): Promise<void> {
    this.#closing.abort();
    this.#closed ??= this.#engine.close().finally(this.#release);
    return this.#closed;
  }
}

class EmbeddedStore implements Store {
  readonly kind = "embedded";
  readonly #engine: EmbeddedEngine;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly #closed: AbortSignal;

  constructor(engine: EmbeddedEngine, clock: Clock, sourceClosed: AbortSignal) {
    this.#engine = engine;
    this.#clock = clock;
    this.#closed = AbortSignal.any([this.#closing.signal, sourceClosed]);
  }

  async get(key: string): Promise<GetResult> {
    this.#checkOpen();
    const { data } = this.#engine;
    data.refresh();
    return { kv: data.get(key), revision: data.head(), clusterId: data.clusterId };
  }

  list(range: KeyRange, options: ListOptions = {}): AsyncGenerator<ListPage> {
    return listEmbedded(this.#engine.data, range, options, () => this.#checkOpen());
  }

  async txn(txn: Txn): Promise<TxnResult> {
    this.#checkOpen();
    checkTxn(txn);
    return await this.#engine.txn(txn);
  }

  watch(range: KeyRange, after: Revision, sink: WatchSink, signal: AbortSignal): Promise<WatchEnd> {
    return watchEmbedded(this.#engine, this.#clock, range, after, sink, AbortSignal.any([signal, this.#closed]));
  }

  async grantLease(ttlSeconds: number): Promise<LeaseId> {
    this.#checkOpen();
    return await this.#engine.grant(ttlSeconds);
  }

  async keepAlive(lease: LeaseId): Promise<number> {
    this.#checkOpen();
    return await this.#engine.keepAlive(lease);
  }

  async revokeLease(lease: LeaseId): Promise<void> {
    this.#checkOpen();
    await this.#engine.revoke(lease);
  }

  async compact(revision: Revision): Promise<void> {
    this.#checkOpen();
    await this.#engine.compact(revision);
  }

  async close(): Promise<void> {
    this.#closing.abort();
  }

  #checkOpen(): void {
    if (this.#closed.aborted) throw new CodedError("STORE_CLOSED", { message: "the store is closed" });
  }
}

/** @param check throws when the store is closed */
export async function* listEmbedded(
  data: EmbeddedData,
  range: KeyRange,
  options: ListOptions,
  check: () => void,
): AsyncGenerator<ListPage> {
  const end = encodeKey(range.end);
  let start = encodeKey(range.start);
  let revision = options.revision;
  for (;;) {
    check();
    if (options.signal?.aborted) throw new CodedError("STORE_UNAVAILABLE", { message: "stopped by the caller" });
    data.refresh();
    revision ??= data.head();
    if (revision < data.compacted())
      throw new CodedError("STORE_COMPACTED", { message: `revision ${revision} has been compacted` });
    if (revision > data.head())
      throw new CodedError("STORE_BAD_REVISION", { message: `revision ${revision} lies in the future` });
    const { kvs, next } = data.page(start, end, revision, options.pageSize ?? PAGE_SIZE, options.keysOnly ?? false);
    yield { revision, kvs, more: next !== undefined };
    if (next === undefined) return;
    start = next;
    await nextTurn();
  }
}
