/**
 * Follows a small range of keys: list, watch, and from the start again whenever the watch ends.
 * For ranges whose listing costs nothing (the node registry, acknowledgements); records are followed by sync/watcher.ts.
 */
import { type Clock, sleep } from "../base/clock.ts";
import { isGatewayError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Change, KeyRange, KeyValue, Revision, StoreSource } from "./store.ts";

export interface StoreFollow {
  /** Everything in the range now; what is missing is gone. */
  listed(kvs: readonly KeyValue[], revision: Revision): void;
  changed(changes: readonly Change[], revision: Revision): void;
}

const BACK_OFF_MS = 100;
const BACK_OFF_LIMIT_MS = 2_000;

/** Returns the way to stop it, which resolves when it has ended. */
export function follow(
  source: StoreSource,
  range: KeyRange,
  follower: StoreFollow,
  clock: Clock,
  log: Log,
): () => Promise<void> {
  const stopping = new AbortController();
  const running = run(source, range, follower, clock, log, stopping.signal);
  return () => {
    stopping.abort();
    return running;
  };
}

async function run(
  source: StoreSource,
  range: KeyRange,
  follower: StoreFollow,
  clock: Clock,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  let failures = 0;
  for (let turn = Math.floor(Math.random() * 1_000); !signal.aborted; turn++) {
    const store = source.openMember(turn);
    try {
      const all: KeyValue[] = [];
      let revision: Revision = 0n;
      for await (const page of store.list(range, { signal })) {
        all.push(...page.kvs);
        revision = page.revision;
      }
      follower.listed(all, revision);
      const created = (): void => {
        failures = 0;
      };
      const batch = (at: Revision, changes: readonly Change[]): void => follower.changed(changes, at);
      await store.watch(range, revision, { created, batch, progress: () => {} }, signal);
    } catch (error) {
      // Not worth a line each: whoever needs the range says what is missing.
      if (!signal.aborted)
        log.debug(
          { range: range.start, error: messageOf(error), store: isGatewayError(error) },
          "following a range failed",
        );
    } finally {
      await store.close();
    }
    await sleep(clock, Math.random() * Math.min(BACK_OFF_LIMIT_MS, BACK_OFF_MS * 2 ** failures++), signal);
  }
}
