/**
 * Keeps a table equal to the records of a store: one session after the other, for as long as the node runs.
 * Promise: it resumes by what was applied, never by what a header says; a node that holds records never takes those of
 * another store, nor nothing at all; it never gives up and never throws.
 */
import { type Clock, sleep } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Revision, Store, StoreSource } from "../store/store.ts";
import { type ControlKeys, controlKeys } from "../store/store-keys.ts";
import type { Position, SavedPosition, SessionEnd, SyncStatus } from "./sync-status.ts";
import type { Table } from "./table.ts";
import { Waiters } from "./waiters.ts";
import { type ControlChange, runSession, type SessionContext } from "./watch-session.ts";
import { SyncState } from "./watcher-state.ts";

export interface WatcherOptions {
  readonly source: StoreSource;
  readonly table: Table;
  /** Without a trailing slash; default `/apisix`. */
  readonly prefix?: string;
  readonly clock: Clock;
  readonly log: Log;
  /** What the disk file gave; the table holds its records already, and no list is needed. */
  readonly restored?: SavedPosition | undefined;
  /** How many nodes may list at the same time; spreads them after a compaction. Default 1. */
  readonly nodes?: () => number;
  /** Our own keys under `P/jotgate/`, after the revision they came with was applied; each key also once per list. */
  readonly onControl?: (change: ControlChange) => void;
  /** After each applied revision or list. */
  readonly onApplied?: (revision: Revision) => void;
  /** The watch was opened, for the first time or again. */
  readonly onOpened?: () => void;
  /** From 0 to 1; default Math.random. */
  readonly random?: () => number;
}

const BACK_OFF_MS = 100;
const BACK_OFF_LIMIT_MS = 2_000;
const SPREAD_PER_NODE_MS = 20;
const SPREAD_LIMIT_MS = 10_000;
const MEMBERS_TO_START_AT = 1_000;

export class Watcher {
  readonly keys: ControlKeys;
  readonly #options: WatcherOptions;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #state: SyncState;
  readonly #waiters: Waiters;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #failures = 0;

  constructor(options: WatcherOptions) {
    this.keys = controlKeys(options.prefix ?? "/apisix");
    this.#options = options;
    this.#clock = options.clock;
    this.#random = options.random ?? Math.random;
    this.#state = new SyncState(options.clock, options.log, options.restored);
    this.#waiters = new Waiters(options.clock);
  }

  /** Returns at once; `waitFor` and `facts` say how far it got. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends the session under way; the table stays as it is. Idempotent. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#waiters.giveUp();
    await this.#running;
  }

  /** True once loaded and everything up to `revision` is applied; false after `timeoutMs` or when stopped. */
  async waitFor(revision: Revision, timeoutMs = 60_000): Promise<boolean> {
    if (this.#state.loaded && this.#state.applied >= revision) return true;
    if (this.#stopping.signal.aborted) return false;
    return await this.#waiters.wait(revision, timeoutMs);
  }

  /** What a restart needs to go on from here; undefined until loaded and while a list is being applied. */
  position(): Position | undefined {
    return this.#state.position();
  }

  /** As in `facts`, for those who ask often. */
  get isLoaded(): boolean {
    return this.#state.loaded;
  }

  facts(): SyncStatus {
    return this.#state.facts(this.#options.table.size);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const first = Math.floor(this.#random() * MEMBERS_TO_START_AT);
    for (let turn = first; !signal.aborted; turn++) {
      const end = await this.#session(this.#options.source.openMember(turn), signal);
      this.#state.ended(end);
      if (end === "compacted" || end === "behind" || end === "audit") this.#state.listNext ??= end;
      await sleep(this.#clock, this.#pauseAfter(end), signal);
    }
  }

  async #session(store: Store, signal: AbortSignal): Promise<SessionEnd> {
    try {
      return await runSession(store, this.#context(), signal);
    } catch (thrown) {
      // The consumer's own failure: what was applied stays counted, the same change comes again.
      this.#state.failed(undefined, messageOf(thrown));
      return signal.aborted ? "stopped" : "broken";
    } finally {
      await store.close();
    }
  }

  #context(): SessionContext {
    const { table, onApplied, onControl } = this.#options;
    return {
      state: this.#state,
      table,
      keys: this.keys,
      clock: this.#clock,
      random: this.#random,
      opened: () => {
        this.#failures = 0;
        this.#options.onOpened?.();
      },
      applied: (revision) => {
        if (this.#state.loaded) this.#waiters.reached(revision);
        onApplied?.(revision);
      },
      control: (change) => onControl?.(change),
    };
  }

  /** Full jitter, so that nodes that lost the same member do not come back together. */
  #pauseAfter(end: SessionEnd): number {
    const limit = Math.min(BACK_OFF_LIMIT_MS, BACK_OFF_MS * 2 ** this.#failures++);
    const spread =
      end === "compacted" ? Math.min(SPREAD_LIMIT_MS, (this.#options.nodes?.() ?? 1) * SPREAD_PER_NODE_MS) : 0;
    return this.#random() * limit + this.#random() * spread;
  }
}
