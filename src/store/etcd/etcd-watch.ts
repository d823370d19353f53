/**
 * One watch on etcd's raw stream with our own resume point; etcd3's Watcher loses what lies between a cut and the head.
 * Promise: each revision once, whole and in order, or the watch ends and says why. Nothing is repaired in place.
 * It starts AT the last applied revision and drops what is known: from the future, newer servers answer no progress request.
 */

import type { Etcd3, IEvent, IWatchResponse } from "etcd3";
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Change, KeyRange, Revision, WatchEnd, WatchSink } from "../store.ts";
import { Slice } from "../store-follow.ts";
import { translate } from "./etcd-errors.ts";
import { toKeyValue } from "./etcd-values.ts";

/** How often the member is asked for a sign of life. */
const BEAT_MS = 2_000;
/** Silence longer than this ends the watch, once the member has shown that it answers. */
const DEAD_MS = 6_000;
/** To read a message with more events took a turn of its own; they are applied in the next one. */
const LARGE_EVENTS = 1_000;
/** A timer this late means that our own loop was blocked; silence proves nothing then. */
const LATE_MS = 1_000;

interface RevisionBatch {
  readonly revision: Revision;
  readonly changes: readonly Change[];
}

/** What a gRPC stream is beside etcd3's narrow type of it: a Node stream that can be held back. */
interface Pausable {
  pause(): unknown;
  resume(): unknown;
}

type WatchStream = Awaited<ReturnType<Etcd3["watchClient"]["watch"]>>;

interface WatchOrder {
  readonly range: KeyRange;
  /** The last revision that is known. */
  readonly after: Revision;
  /**
   * Whether the member may cut what is larger than it likes to send. Only where nothing else helps: it measures a piece
   * anew for each event (seen in 3.4.23), so that 100,000 deletes in one revision keep it busy for minutes, for each watch.
   */
  readonly inPieces: boolean;
}

/** One watch. Settles once; never throws. */
export async function watchEtcd(
  client: Etcd3,
  clock: Clock,
  order: WatchOrder,
  sink: WatchSink,
  signal: AbortSignal,
): Promise<WatchEnd> {
  if (signal.aborted) return { kind: "stopped" };
  let stream: WatchStream;
  try {
    stream = await client.watchClient.watch();
  } catch (thrown) {
    return endOf(thrown);
  }
  return await new Watch(stream, clock, order.after, sink, signal).run(order);
}

function endOf(thrown: unknown): WatchEnd {
  const { error } = translate(thrown, "read");
  return error.code === "STORE_DENIED" ? { kind: "refused", reason: error.message } : { kind: "broken", cause: error };
}

class Watch {
  readonly #stream: WatchStream;
  readonly #clock: Clock;
  readonly #after: Revision;
  readonly #sink: WatchSink;
  readonly #signal: AbortSignal;
  readonly #slice: Slice;
  #queue: RevisionBatch[] = [];
  #draining = false;
  /** Events of a response that is not complete yet. */
  #pending: IEvent[] = [];
  #next: Revision;
  #lastByteMs: number;
  #lastTickMs: number;
  /** Silence means something only once a progress request was answered. */
  #answers = false;
  #created = false;
  #done = false;
  #timer: Timer | undefined;
  #resolve: (end: WatchEnd) => void = () => {};

  constructor(stream: WatchStream, clock: Clock, after: Revision, sink: WatchSink, signal: AbortSignal) {
    this.#stream = stream;
    this.#clock = clock;
    this.#after = after;
    this.#next = after + 1n;
    this.#sink = sink;
    this.#signal = signal;
    this.#slice = new Slice(clock);
    this.#lastByteMs = clock.monotonicMs();
    this.#lastTickMs = this.#lastByteMs;
  }

  run({ range, inPieces }: WatchOrder): Promise<WatchEnd> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      if (this.#signal.aborted) {
        this.#finish({ kind: "stopped" });
        return;
      }
      this.#signal.addEventListener("abort", this.#stop, { once: true });
      this.#timer = this.#clock.every(BEAT_MS, () => this.#tick());
      this.#stream.on("error", (thrown) => this.#finish(endOf(thrown))); // stays attached: cancel() emits one more
      this.#stream.on("end", () => this.#fail("etcd ended the watch"));
      this.#stream.on("data", (message) => this.#read(message));
      this.#stream.write({
        create_request: {
          key: Buffer.from(range.start, "utf8"),
          range_end: Buffer.from(range.end, "utf8"),
          start_revision: (this.#after > 0n ? this.#after : 1n).toString(), // 0 would mean "from now on"
          progress_notify: true,
          fragment: inPieces,
        },
      });
    });
  }

  #read(message: IWatchResponse): void {
    if (this.#done) return;
    this.#lastByteMs = this.#clock.monotonicMs();
    try {
      if (message.canceled) this.#cancelled(message);
      else if (message.created) this.#opened(BigInt(message.header.revision));
      else if (message.events.length === 0) {
        this.#answers = true;
        // It says that everything before was shown; of that, what still waits here has not been passed on.
        if (this.#queue.length === 0) this.#sink.progress(BigInt(message.header.revision));
      } else this.#receive(message);
    } catch (thrown) {
      this.#fail(`a change could not be applied: ${messageOf(thrown)}`, thrown);
    }
  }

  #cancelled(message: IWatchResponse): void {
    const at = BigInt(message.compact_revision);
    this.#finish(
      at > 0n ? { kind: "compacted", at } : { kind: "refused", reason: message.cancel_reason || "cancelled by etcd" },
    );
  }

  #opened(head: Revision): void {
    this.#created = true;
    if (head < this.#after) this.#finish({ kind: "behind", head });
    else {
      this.#sink.created(head);
      this.#stream.write({ progress_request: {} }); // whether anything is missing is wanted to be known now
    }
  }

  #receive(message: IWatchResponse): void {
    const events = this.#pending.length === 0 ? message.events : this.#pending.concat(message.events);
    this.#pending = [];
    const last = events.at(-1)?.kv.mod_revision;
    for (let i = 0, j = 0; i < events.length; i = j) {
      const revision = events[i]?.kv.mod_revision;
      while (j < events.length && events[j]?.kv.mod_revision === revision) j++;
      if (message.fragment && revision === last)
        this.#pending = events.slice(i, j); // the rest of it is still to come
      else this.#queue.push({ revision: BigInt(revision ?? 0), changes: events.slice(i, j).map(toChange) });
    }
    if (this.#draining || this.#queue.length === 0) return;
    if (events.length > LARGE_EVENTS) {
      this.#drainLater();
      return;
    }
    this.#slice.restart();
    this.#drain();
  }

  /** Delivers for one slice of time; holds the stream back while there is more than that. */
  #drain(): void {
    let done = 0;
    for (const { revision, changes } of this.#queue) {
      if (this.#done) return;
      if (done > 0 && this.#slice.isOver()) break;
      done++;
      if (revision < this.#next) continue;
      this.#sink.batch(revision, changes);
      this.#next = revision + 1n;
    }
    this.#queue = done === this.#queue.length ? [] : this.#queue.slice(done);
    if (this.#queue.length > 0) this.#drainLater();
    else if (this.#draining) {
      this.#draining = false;
      this.#flow().resume();
    }
  }

  #drainLater(): void {
    if (!this.#draining) {
      this.#draining = true;
      this.#flow().pause();
    }
    setImmediate(() => {
      if (this.#done) return;
      this.#lastByteMs = this.#clock.monotonicMs(); // held back by us, not silent
      this.#slice.restart();
      try {
        this.#drain();
      } catch (thrown) {
        this.#fail(`a change could not be applied: ${messageOf(thrown)}`, thrown);
      }
    });
  }

  /** True of grpc-js 1.x: a call object is a Duplex, which etcd3's type leaves out. */
  #flow(): Pausable {
    return this.#stream as unknown as Pausable;
  }

  #tick(): void {
    const now = this.#clock.monotonicMs();
    const late = now - this.#lastTickMs > BEAT_MS + LATE_MS;
    this.#lastTickMs = now;
    if (late) this.#lastByteMs = Math.max(this.#lastByteMs, now - BEAT_MS);
    if ((this.#answers || !this.#created) && now - this.#lastByteMs > DEAD_MS) {
      this.#fail(this.#created ? "etcd fell silent" : "etcd did not open the watch");
    } else if (this.#created) this.#stream.write({ progress_request: {} });
  }

  readonly #stop = (): void => this.#finish({ kind: "stopped" });

  #fail(message: string, cause?: unknown): void {
    this.#finish({ kind: "broken", cause: new Error(message, cause === undefined ? undefined : { cause }) });
  }

  #finish(end: WatchEnd): void {
    if (this.#done) return;
    this.#done = true;
    this.#timer?.cancel();
    this.#signal.removeEventListener("abort", this.#stop);
    this.#queue = [];
    this.#stream.cancel();
    this.#resolve(end);
  }
}

function toChange(event: IEvent): Change {
  if (event.type === "Delete") return { type: "delete", key: event.kv.key.toString("utf8"), kv: undefined };
  const kv = toKeyValue(event.kv);
  return { type: "put", key: kv.key, kv };
}
