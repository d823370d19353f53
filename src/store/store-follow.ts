/**
 * Follows a small range of keys: list, watch, and from the start again whenever the watch ends.
 * For ranges whose listing costs nothing (the node registry, acknowledgements); records are followed by sync/watcher.ts.
 */
import { type Clock, sleep } from "../base/clock.ts";
import { isCodedError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Change, KeyRange, KeyValue, Revision, StoreSource } from "./store.ts";

interface StoreFollow {
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
          { range: range.start, error: messageOf(error), store: isCodedError(error) },
          "following a range failed",
        );
    } finally {
      await store.close();
    }
    await sleep(clock, Math.random() * Math.min(BACK_OFF_LIMIT_MS, BACK_OFF_MS * 2 ** failures++), signal);
  }
}

/** Longest piece of background work in one turn of the event loop. */
export const SLICE_MS = 5;
/** With a standing clock (tests) slices end by count. */
const SLICE_STEPS = 1_000;

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Says when a slice is used up. */
export class Slice {
  readonly #clock: Clock;
  readonly #budgetMs: number;
  #endMs: number;
  #steps = 0;

  constructor(clock: Clock, budgetMs = SLICE_MS) {
    this.#clock = clock;
    this.#budgetMs = budgetMs;
    this.#endMs = clock.monotonicMs() + budgetMs;
  }

  /** Counts one step; true when the caller should yield. */
  isOver(): boolean {
    this.#steps++;
    return this.#steps >= SLICE_STEPS || this.#clock.monotonicMs() >= this.#endMs;
  }

  /** Lets others have their turn and starts the next slice. */
  async yield(): Promise<void> {
    await nextTurn();
    this.restart();
  }

  restart(): void {
    this.#steps = 0;
    this.#endMs = this.#clock.monotonicMs() + this.#budgetMs;
  }
}
