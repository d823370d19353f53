/**
 * One watch on the embedded store: first from the log, in slices, then from each commit as it happens.
 * Promise: each revision that touches the range once, whole and in order; what was committed meanwhile is read from the log.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Change, KeyRange, Revision, WatchEnd, WatchSink } from "../store.ts";
import { Slice } from "../store-follow.ts";
import { isInRange } from "../store-limits.ts";
import type { EmbeddedEngine } from "./embedded-engine.ts";

/** As often as an etcd member answers progress requests. */
const BEAT_MS = 2_000;

export function watchEmbedded(
  engine: EmbeddedEngine,
  clock: Clock,
  range: KeyRange,
  after: Revision,
  sink: WatchSink,
  signal: AbortSignal,
): Promise<WatchEnd> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve({ kind: "stopped" });
      return;
    }
    engine.data.refresh();
    const head = engine.data.head();
    const compacted = engine.data.compacted();
    if (head < after) resolve({ kind: "behind", head });
    else if (after < compacted) resolve({ kind: "compacted", at: compacted });
    else new Watch(engine, clock, range, after, sink, signal, resolve).start(head);
  });
}

class Watch {
  readonly #engine: EmbeddedEngine;
  readonly #range: KeyRange;
  readonly #sink: WatchSink;
  readonly #signal: AbortSignal;
  readonly #resolve: (end: WatchEnd) => void;
  readonly #slice: Slice;
  readonly #timer: Timer;
  /** Everything below was delivered or does not touch the range. */
  #next: Revision;
  #catchingUp = false;
  #done = false;
  #unlisten: () => void = () => {};

  constructor(
    engine: EmbeddedEngine,
    clock: Clock,
    range: KeyRange,
    after: Revision,
    sink: WatchSink,
    signal: AbortSignal,
    resolve: (end: WatchEnd) => void,
  ) {
    this.#engine = engine;
    this.#range = range;
    this.#sink = sink;
    this.#signal = signal;
    this.#resolve = resolve;
    this.#next = after + 1n;
    this.#slice = new Slice(clock);
    this.#timer = clock.every(BEAT_MS, () => this.#beat());
  }

  start(head: Revision): void {
    this.#signal.addEventListener("abort", this.#stop, { once: true });
    this.#unlisten = this.#engine.listen((revision, changes) => this.#committed(revision, changes));
    this.#guard(() => this.#sink.created(head));
    this.#catchUp();
  }

  #committed(revision: Revision, changes: readonly Change[]): void {
    if (this.#done || this.#catchingUp) return; // the log has it
    if (revision === this.#next) this.#guard(() => this.#deliver(revision, changes));
    else if (revision > this.#next) this.#catchUp();
  }

  #catchUp(): void {
    if (this.#done) return;
    this.#slice.restart();
    this.#catchingUp = false;
    const { data } = this.#engine;
    data.refresh();
    const compacted = data.compacted();
    if (this.#next <= compacted) {
      this.#finish({ kind: "compacted", at: compacted }); // history went while we were held back
      return;
    }
    this.#guard(() => {
      for (const { revision, changes } of data.changes(this.#next)) {
        this.#deliver(revision, changes);
        if (this.#done) return;
        if (!this.#slice.isOver()) continue;
        this.#catchingUp = true;
        setImmediate(() => this.#catchUp());
        return;
      }
    });
  }

  #deliver(revision: Revision, changes: readonly Change[]): void {
    const ours = changes.filter((change) => isInRange(change.key, this.#range));
    this.#next = revision + 1n;
    if (ours.length > 0) this.#sink.batch(revision, ours);
  }

  #beat(): void {
    if (this.#done || this.#catchingUp) return;
    this.#guard(() => this.#sink.progress(this.#next - 1n));
  }

  #guard(run: () => void): void {
    try {
      run();
    } catch (thrown) {
      const cause = new Error(`a change could not be applied: ${messageOf(thrown)}`, { cause: thrown });
      this.#finish({ kind: "broken", cause });
    }
  }

  readonly #stop = (): void => this.#finish({ kind: "stopped" });

  #finish(end: WatchEnd): void {
    if (this.#done) return;
    this.#done = true;
    this.#timer.cancel();
    this.#unlisten();
    this.#signal.removeEventListener("abort", this.#stop);
    this.#resolve(end);
  }
}
