/**
 * The mutable state of one watcher: what is applied, what was heard, what is wrong. Knows no store.
 */
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Revision } from "../store/store.ts";
import type { StoreIdentity } from "../store/store-identity.ts";
import {
  type BeatFacts,
  EPOCH_ENDS,
  type EpochEnd,
  LIST_REASONS,
  type ListReason,
  type Position,
  type SavedPosition,
  type SyncFacts,
  type SyncProblem,
  zeroes,
} from "./sync-status.ts";

const CONNECTED_MS = 6_000;
const FRESH_MS = 15_000;
/** A problem that lasts is logged again after this long. */
const LOG_AGAIN_MS = 10_000;

export class SyncState {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #epochs = zeroes(EPOCH_ENDS);
  readonly #lists = zeroes(LIST_REASONS);
  loaded = false;
  applied: Revision = 0n;
  identity: StoreIdentity | undefined;
  clusterId: string | undefined;
  reachable = false;
  beat: BeatFacts | undefined;
  auditDifferences = 0;
  /** The store was another one; growing past what is held does not make it ours again. */
  doubted = false;
  /** What the refused store says it is; kept until a list is applied. */
  refused: StoreIdentity | undefined;
  /** A list is being applied, in several turns. */
  listing = false;
  /** Why the next epoch must list; undefined when it can resume. */
  listNext: ListReason | undefined = "first";
  #head: Revision = 0n;
  #lastByteMs: number;
  #heard = false;
  #problem: SyncProblem | undefined;
  #loggedAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, log: Log, saved: SavedPosition | undefined) {
    this.#clock = clock;
    this.#log = log;
    this.#lastByteMs = clock.monotonicMs();
    if (saved === undefined) return;
    this.loaded = true;
    this.listNext = undefined;
    this.applied = saved.applied;
    this.identity = saved.identity;
    this.clusterId = saved.clusterId;
    this.#lastByteMs -= Math.max(0, clock.nowMs() - saved.savedAtMs);
  }

  get problem(): SyncProblem | undefined {
    return this.#problem;
  }

  /** Bytes came from the watch. */
  heard(): void {
    this.#heard = true;
    this.#lastByteMs = this.#clock.monotonicMs();
  }

  get head(): Revision {
    return this.#head;
  }

  /** The store was seen at this revision; a probe may show an older one, of another store. */
  sawHead(head: Revision): void {
    this.#head = head;
  }

  ended(end: EpochEnd): void {
    this.#epochs[end]++;
  }

  listed(why: ListReason): void {
    this.#lists[why]++;
  }

  report(code: SyncProblem["code"], text: string): void {
    const changed = this.#problem?.code !== code || this.#problem.text !== text;
    if (changed)
      this.#problem = {
        code,
        text,
        sinceMs: this.#problem?.code === code ? this.#problem.sinceMs : this.#clock.nowMs(),
      };
    const now = this.#clock.monotonicMs();
    if (now - this.#loggedAtMs < LOG_AGAIN_MS) return;
    this.#loggedAtMs = now;
    this.#log.warn(
      { problem: code, applied: this.applied.toString(), text },
      "the configuration is not in step with the store",
    );
  }

  settle(): void {
    if (this.#problem === undefined) return;
    this.#log.info(
      { problem: this.#problem.code, applied: this.applied.toString() },
      "the configuration is in step with the store again",
    );
    this.#problem = undefined;
    this.#loggedAtMs = Number.NEGATIVE_INFINITY;
  }

  /** Undefined while the table is not exactly at a revision. */
  position(): Position | undefined {
    if (!this.loaded || this.listing) return undefined;
    return { applied: this.applied, identity: this.identity, clusterId: this.clusterId };
  }

  facts(records: number): SyncFacts {
    const silentMs = this.#clock.monotonicMs() - this.#lastByteMs;
    return {
      loaded: this.loaded,
      connected: this.#heard && silentMs < CONNECTED_MS,
      fresh: this.loaded && this.#heard && silentMs < FRESH_MS && this.#problem?.code !== "store-changed",
      stalenessSeconds: silentMs / 1_000,
      appliedRevision: this.applied,
      storeHeadRevision: this.#head,
      identity: this.identity,
      clusterId: this.clusterId,
      reachable: this.reachable,
      problem: this.#problem,
      beat: this.beat,
      records,
      epochs: { ...this.#epochs },
      lists: { ...this.#lists },
      auditDifferences: this.auditDifferences,
    };
  }
}
