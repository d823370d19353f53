/**
 * The store port on a store that another process has open (src/store/ipc/ipc-serve.ts): how workers use the embedded store.
 * Promise: as every adapter's; when the other process does not answer, calls fail as those of a store that is away do.
 */
import type { Channel } from "../../base/channel.ts";
import { CodedError, isCodedError, messageOf } from "../../base/errors.ts";
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
import { checkTxn } from "../store-limits.ts";
import {
  COMPACT,
  GET,
  GRANT,
  KEEP_ALIVE,
  PAGE,
  REVOKE,
  TAKEN,
  TXN,
  UNWATCH,
  WATCH,
  WATCHED,
  type WatchEvent,
} from "./ipc-messages.ts";

/** The other process is on this machine; a compaction may take its time. */
const ANSWER_MS = 30_000;

interface Open {
  readonly sink: WatchSink;
  end(end: WatchEnd): void;
}

/** All stores of this process share the channel. */
export function openIpcSource(channel: Channel, kind: StoreSource["kind"] = "embedded"): StoreSource {
  const line = new Line(channel);
  const open = (): Store => new IpcStore(line, kind);
  return { kind, open, openMember: open };
}

class Line {
  readonly channel: Channel;
  readonly #watches = new Map<number, Open>();
  #lastId = 0;

  constructor(channel: Channel) {
    this.channel = channel;
    channel.onTell(WATCHED, (event) => this.#take(event));
  }

  watch(range: KeyRange, after: Revision, sink: WatchSink, signal: AbortSignal): Promise<WatchEnd> {
    return new Promise((resolve) => {
      const id = ++this.#lastId;
      const end = (why: WatchEnd): void => {
        this.#watches.delete(id);
        signal.removeEventListener("abort", stop);
        resolve(why);
      };
      const stop = (): void => {
        this.channel.tell(UNWATCH, { id });
        end({ kind: "stopped" });
      };
      if (signal.aborted) return resolve({ kind: "stopped" });
      signal.addEventListener("abort", stop, { once: true });
      this.#watches.set(id, { sink, end });
      this.channel.tell(WATCH, { id, range, after });
    });
  }

  #take(event: WatchEvent): void {
    const open = this.#watches.get(event.id);
    if (!open) return; // stopped meanwhile
    try {
      switch (event.kind) {
        case "created":
          open.sink.created(event.revision);
          break;
        case "progress":
          open.sink.progress(event.revision);
          break;
        case "batch":
          open.sink.batch(event.revision, event.changes);
          this.channel.tell(TAKEN, { id: event.id });
          break;
        case "stopped":
          open.end({ kind: "stopped" });
          break;
        case "compacted":
          open.end({ kind: "compacted", at: event.at });
          break;
        case "behind":
          open.end({ kind: "behind", head: event.head });
          break;
        case "refused":
          open.end({ kind: "refused", reason: event.reason });
          break;
        case "broken":
          open.end({ kind: "broken", cause: new Error(event.reason) });
          break;
      }
    } catch (thrown) {
      this.channel.tell(UNWATCH, { id: event.id });
      open.end({ kind: "broken", cause: thrown instanceof Error ? thrown : new Error(messageOf(thrown)) });
    }
  }
}

class IpcStore implements Store {
  readonly kind: Store["kind"];
  readonly #line: Line;
  readonly #closing = new AbortController();

  constructor(line: Line, kind: Store["kind"]) {
    this.kind = kind;
    this.#line = line;
  }

  async get(key: string): Promise<GetResult> {
    return await this.#ask(() => this.#line.channel.call(GET, { key }, ANSWER_MS));
  }

  async *list(range: KeyRange, options: ListOptions = {}): AsyncGenerator<ListPage> {
    const { pageSize, keysOnly = false, signal } = options;
    let { start } = range;
    let { revision } = options;
    for (;;) {
      if (signal?.aborted) throw new CodedError("STORE_UNAVAILABLE", { message: "stopped by the caller" });
      const asked = { range: { start, end: range.end }, revision, pageSize, keysOnly };
      const page = await this.#ask(() => this.#line.channel.call(PAGE, asked, ANSWER_MS));
      yield page;
      const last = page.kvs.at(-1);
      if (!page.more || last === undefined) return;
      revision = page.revision;
      start = `${last.key}\0`; // the least key after it
    }
  }

  async txn(txn: Txn): Promise<TxnResult> {
    checkTxn(txn);
    return await this.#ask(() => this.#line.channel.call(TXN, txn, ANSWER_MS), "STORE_OUTCOME_UNKNOWN");
  }

  async watch(range: KeyRange, after: Revision, sink: WatchSink, signal: AbortSignal): Promise<WatchEnd> {
    return await this.#line.watch(range, after, sink, AbortSignal.any([signal, this.#closing.signal]));
  }

  async grantLease(ttlSeconds: number): Promise<LeaseId> {
    return (await this.#ask(() => this.#line.channel.call(GRANT, { ttlSeconds }, ANSWER_MS))).lease;
  }

  async keepAlive(lease: LeaseId): Promise<number> {
    return (await this.#ask(() => this.#line.channel.call(KEEP_ALIVE, { lease }, ANSWER_MS))).seconds;
  }

  async revokeLease(lease: LeaseId): Promise<void> {
    await this.#ask(() => this.#line.channel.call(REVOKE, { lease }, ANSWER_MS));
  }

  async compact(revision: Revision): Promise<void> {
    await this.#ask(() => this.#line.channel.call(COMPACT, { revision }, ANSWER_MS));
  }

  async close(): Promise<void> {
    this.#closing.abort();
  }

  /** @param lost what it means when the other process does not answer */
  async #ask<T>(
    ask: () => Promise<T>,
    lost: "STORE_UNAVAILABLE" | "STORE_OUTCOME_UNKNOWN" = "STORE_UNAVAILABLE",
  ): Promise<T> {
    if (this.#closing.signal.aborted) throw new CodedError("STORE_CLOSED", { message: "the store is closed" });
    try {
      return await ask();
    } catch (error) {
      if (!isCodedError(error, "WORKER_UNAVAILABLE")) throw error;
      throw new CodedError(lost, { message: error.message, cause: error });
    }
  }
}
