/**
 * The mutable state of one watcher: what is applied, what was heard, what is wrong. Knows no store.
 */
import type { Clock } from "../base/clock.ts";
import { type Log, unfailing } from "../base/log.ts";
import type { Revision } from "../store/store.ts";
import type { StoreIdentity } from "../store/store-identity.ts";
import {
  type BeatStatus,
  LIST_REASONS,
  type ListReason,
  type Position,
  type SavedPosition,
  SESSION_ENDS,
  type SessionEnd,
  type SyncProblem,
  type SyncStatus,
  zeroes,
} from "./sync-status.ts";

const CONNECTED_MS = 6_000;
const FRESH_MS = 15_000;
/** A problem that lasts is logged again after this long. */
const LOG_AGAIN_MS = 10_000;

export class SyncState {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #sessions = zeroes(SESSION_ENDS);
  readonly #lists = zeroes(LIST_REASONS);
  loaded = false;
  applied: Revision = 0n;
  identity: StoreIdentity | undefined;
  clusterId: string | undefined;
  reachable = false;
  beat: BeatStatus | undefined;
  auditDifferences = 0;
  /** The store was another one; growing past what is held does not make it ours again. */
  doubted = false;
  /** What the refused store says it is; kept until a list is applied. */
  refused: StoreIdentity | undefined;
  /** A list is being applied, in several turns. */
  listing = false;
  /** Why the next session must list; undefined when it can resume. */
  listNext: ListReason | undefined = "first";
  #head: Revision = 0n;
  /** The newest revision of records that is known of and could not be applied yet. */
  #owed: Revision = 0n;
  /** A list was there and could not be applied. */
  #listFailed = false;
  /** The store's head when the watch was opened: until it is reached, or the watch says that nothing is missing. */
  #catchUpTo: Revision = 0n;
  #lastByteMs: number;
  /** When what is applied was last shown to be all there is. */
  #provenMs: number;
  #hasContact = false;
  #proven = false;
  #problem: SyncProblem | undefined;
  #loggedAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, log: Log, saved: SavedPosition | undefined) {
    this.#clock = clock;
    this.#log = unfailing(log);
    this.#lastByteMs = clock.monotonicMs();
    this.#provenMs = this.#lastByteMs;
    if (saved === undefined) return;
    this.loaded = true;
    this.listNext = undefined;
    this.applied = saved.applied;
    this.identity = saved.identity;
    this.clusterId = saved.clusterId;
    this.#provenMs -= Math.max(0, clock.nowMs() - saved.savedAtMs);
  }

  get problem(): SyncProblem | undefined {
    return this.#problem;
  }

  /** Bytes came from the watch; that says nothing of what is applied. */
  noteContact(): void {
    this.#hasContact = true;
    this.#lastByteMs = this.#clock.monotonicMs();
  }

  /** The watch begins behind `applied`; what comes before `head` is still to be shown. */
  opened(head: Revision): void {
    this.noteContact();
    this.sawHead(head);
    this.#catchUpTo = head;
    this.#prove();
  }

  /** Everything up to `applied` was taken in. */
  tookIn(): void {
    this.#prove();
  }

  /** A list was applied: it is all there is. */
  tookList(): void {
    this.#listFailed = false;
    this.#owed = 0n;
    this.#catchUpTo = 0n;
    this.#prove();
  }

  /** The watch says that it has shown everything up to `head`. */
  shown(head: Revision): void {
    this.noteContact();
    this.sawHead(head);
    this.#catchUpTo = 0n;
    this.#prove();
  }

  #prove(): void {
    if (!this.loaded || this.#catchUpTo > this.applied || this.#owed > this.applied) return;
    this.#proven = true;
    this.#provenMs = this.#clock.monotonicMs();
    this.settle();
  }

  /** There is a change at this revision. */
  owes(revision: Revision): void {
    if (revision > this.#owed) this.#owed = revision;
  }

  /**
   * A change is there and cannot be taken in: this program's own failure, tried again with each session.
   * @param revision undefined: while a list was applied
   */
  failed(revision: Revision | undefined, text: string): void {
    if (revision !== undefined) this.owes(revision);
    else this.#listFailed = this.listNext !== undefined;
    this.report(
      "apply-failed",
      `${revision === undefined ? "a list" : `revision ${revision}`} cannot be applied: ${text}`,
    );
  }

  /** Such a change is still owed: then it is not the store that is to blame. */
  get isFailing(): boolean {
    return this.#problem?.code === "apply-failed" && (this.#listFailed || this.#owed > this.applied);
  }

  get head(): Revision {
    return this.#head;
  }

  /** The store was seen at this revision; a probe may show an older one, of another store. */
  sawHead(head: Revision): void {
    this.#head = head;
  }

  ended(end: SessionEnd): void {
    this.#sessions[end]++;
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
    const problem = this.#problem;
    if (problem === undefined || this.isFailing) return;
    this.#problem = undefined;
    this.#loggedAtMs = Number.NEGATIVE_INFINITY;
    this.#log.info(
      { problem: problem.code, applied: this.applied.toString() },
      "the configuration is in step with the store again",
    );
  }

  /** Undefined while the table is not exactly at a revision. */
  position(): Position | undefined {
    if (!this.loaded || this.listing) return undefined;
    return { applied: this.applied, identity: this.identity, clusterId: this.clusterId };
  }

  facts(records: number): SyncStatus {
    const now = this.#clock.monotonicMs();
    const staleMs = now - this.#provenMs;
    const code = this.#problem?.code;
    const isAway = !this.reachable || code === "store-changed" || code === "file-invalid" || this.isFailing;
    return {
      loaded: this.loaded,
      connected: this.#hasContact && now - this.#lastByteMs < CONNECTED_MS,
      fresh: this.loaded && this.#proven && staleMs < FRESH_MS && !isAway,
      stalenessSeconds: staleMs / 1_000,
      appliedRevision: this.applied,
      storeHeadRevision: this.#head,
      identity: this.identity,
      clusterId: this.clusterId,
      reachable: this.reachable,
      problem: this.#problem,
      beat: this.beat,
      records,
      epochs: { ...this.#sessions },
      lists: { ...this.#lists },
      auditDifferences: this.auditDifferences,
    };
  }
}
