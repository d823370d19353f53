/**
 * Serves a store to another process: the side of the one that has it open.
 * Promise: a reader that does not keep up loses its watch, not this process its memory; it resumes from history.
 */
import type { Channel } from "../../base/channel.ts";
import { CodedError, messageOf } from "../../base/errors.ts";
import type { Change, ListPage, Store, StoreSource, WatchEnd } from "../store.ts";
import { COMPACT, GET, GRANT, KEEP_ALIVE, PAGE, REVOKE, TAKEN, TXN, UNWATCH, WATCH, WATCHED } from "./ipc-messages.ts";

/** Batches on their way to one watch; with more, its reader is too slow. */
const BATCHES_MAX = 4_096;

interface Watching {
  readonly stopper: AbortController;
  /** Sent and not yet taken in. */
  open: number;
  isSlow: boolean;
}

/** @returns the way to end it: watches stop, nothing is answered any more */
export function serveStore(channel: Channel, source: StoreSource): () => Promise<void> {
  const store = source.open();
  const watches = new Map<number, Watching>();
  channel.onCall(GET, ({ key }) => store.get(key));
  channel.onCall(PAGE, async ({ range, revision, pageSize, keysOnly }) => {
    const options = { keysOnly, ...(revision === undefined ? {} : { revision }) };
    return await firstPage(store, range, { ...options, ...(pageSize === undefined ? {} : { pageSize }) });
  });
  channel.onCall(TXN, (txn) => store.txn(txn));
  channel.onCall(GRANT, async ({ ttlSeconds }) => ({ lease: await store.grantLease(ttlSeconds) }));
  channel.onCall(KEEP_ALIVE, async ({ lease }) => ({ seconds: await store.keepAlive(lease) }));
  channel.onCall(REVOKE, async ({ lease }) => {
    await store.revokeLease(lease);
    return null;
  });
  channel.onCall(COMPACT, async ({ revision }) => {
    await store.compact(revision);
    return null;
  });
  channel.onTell(WATCH, ({ id, range, after }) => {
    const watching: Watching = { stopper: new AbortController(), open: 0, isSlow: false };
    watches.set(id, watching);
    const sink = {
      created: (revision: bigint) => channel.tell(WATCHED, { id, kind: "created", revision }),
      progress: (revision: bigint) => channel.tell(WATCHED, { id, kind: "progress", revision }),
      batch: (revision: bigint, changes: readonly Change[]) => {
        if (watching.isSlow) return;
        watching.isSlow = ++watching.open > BATCHES_MAX;
        if (watching.isSlow) watching.stopper.abort();
        else channel.tell(WATCHED, { id, kind: "batch", revision, changes });
      },
    };
    const ended = (end: WatchEnd): void => {
      watches.delete(id);
      const slow: WatchEnd = { kind: "broken", cause: new Error("the reader of the watch is too slow") };
      tellEnd(channel, id, watching.isSlow ? slow : end);
    };
    store.watch(range, after, sink, watching.stopper.signal).then(ended, (error: unknown) => {
      ended({ kind: "broken", cause: new Error(messageOf(error)) });
    });
  });
  channel.onTell(UNWATCH, ({ id }) => watches.get(id)?.stopper.abort());
  channel.onTell(TAKEN, ({ id }) => {
    const watching = watches.get(id);
    if (watching) watching.open--;
  });
  return async () => {
    for (const { stopper } of watches.values()) stopper.abort();
    await store.close();
  };
}

async function firstPage(store: Store, ...[range, options]: Parameters<Store["list"]>): Promise<ListPage> {
  for await (const page of store.list(range, options)) return page;
  throw new CodedError("STORE_UNAVAILABLE", { message: "the store lists nothing, not even an empty page" });
}

function tellEnd(channel: Channel, id: number, end: WatchEnd): void {
  if (end.kind === "broken") channel.tell(WATCHED, { id, kind: "broken", reason: end.cause.message });
  else channel.tell(WATCHED, { id, ...end });
}
