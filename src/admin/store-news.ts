/**
 * Says once that the store gives requests no answer, and once that it does again, however many requests come meanwhile.
 */
import { type Clock, sleep } from "../base/clock.ts";
import { type CodedError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Store } from "../store/store.ts";

export interface StoreNews {
  /** A request failed for this reason. */
  failed(error: CodedError): void;
  /** Idempotent. */
  stop(): void;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

/** @param key of a record that is read to find out whether the store answers again */
export function openStoreNews(store: Store, key: string, clock: Clock, log: Log): StoreNews {
  const stopping = new AbortController();
  const { signal } = stopping;
  let isAway = false;
  const untilBack = async (): Promise<void> => {
    for (let pauseMs = FIRST_PAUSE_MS; !signal.aborted; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
      await sleep(clock, pauseMs * (0.5 + Math.random()), signal);
      try {
        await store.get(key, signal);
        break;
      } catch {
        // Still away, which has been said.
      }
    }
    if (signal.aborted) return;
    isAway = false;
    log.info({}, "the store answers again");
  };
  return {
    failed(error) {
      if (isAway || signal.aborted) return;
      isAway = true;
      log.warn({ code: error.code, error: messageOf(error) }, "the store does not answer; requests are answered 503");
      void untilBack();
    },
    stop: () => stopping.abort(),
  };
}
