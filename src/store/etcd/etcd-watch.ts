/**
 * One watch on etcd's raw stream with our own resume point; etcd3's Watcher loses what lies between a cut and the head.
 * Promise: each revision once, whole and in order, or the watch ends and says why. Nothing is repaired in place.
 * It starts AT the last applied revision and drops what is known: from the future, newer servers answer no progress request.
 */

import type { Etcd3 } from "etcd3";
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Change, KeyRange, Revision, WatchEnd, WatchSink } from "../store.ts";
import { Slice } from "../store-follow.ts";
import { translate } from "./etcd-errors.ts";
import { readWatchResponse, type WatchResponse } from "./watch-response.ts";

/** How often the member is asked for a sign of life. */
const BEAT_MS = 2_000;
/** Silence longer than this ends the watch, once the member has shown that it answers. */
const DEAD_MS = 6_000;
/** A revision with more changes is applied in a turn of its own. */
const LARGE_CHANGES = 1_000;
/** A timer this late means that our own loop was blocked; silence proves nothing then. */
const LATE_MS = 1_000;

interface RevisionBatch {
  readonly revision: Revision;
  readonly changes: Change[];
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
  /** Messages that are not read to their end, and how many events of the first one are. */
  #messages: WatchResponse[] = [];
  #read = 0;
  /** The revision that is being read. */
  #growing: RevisionBatch | undefined;
  /** It is complete, and to be delivered next. */
  #whole: RevisionBatch | undefined;
  #draining = false;
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
      // True: openEtcd leaves the messages of watches as they are.
      this.#stream.on("data", (message) => this.#hear(message as unknown as Buffer));
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

  #hear(bytes: Buffer): void {
    if (this.#done) return;
    this.#lastByteMs = this.#clock.monotonicMs();
    try {
      const message = readWatchResponse(bytes);
      if (message.canceled) this.#cancelled(message);
      else if (message.created) this.#opened(message.revision);
      else if (message.count === 0) {
        this.#answers = true;
        // It says that everything before was shown; of that, what still waits here has not been passed on.
        if (this.#messages.length === 0 && !this.#growing && !this.#whole) this.#sink.progress(message.revision);
      } else {
        this.#messages.push(message);
        if (this.#draining) return;
        this.#slice.restart();
        this.#drain();
      }
    } catch (thrown) {
      this.#fail(`a change could not be applied: ${messageOf(thrown)}`, thrown);
    }
  }

  #cancelled({ compactRevision: at, cancelReason }: WatchResponse): void {
    this.#finish(
      at > 0n ? { kind: "compacted", at } : { kind: "refused", reason: cancelReason || "cancelled by etcd" },
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

  /** Reads and delivers for one slice of time; holds the stream back while there is more than that. */
  #drain(): void {
    while (!this.#done && (this.#deliver() || this.#readOn())) {
      const isLarge = this.#whole !== undefined && this.#whole.changes.length > LARGE_CHANGES;
      if (!isLarge && !this.#slice.isOver()) continue;
      this.#drainLater();
      return;
    }
    if (this.#done || !this.#draining) return;
    this.#draining = false;
    this.#flow().resume();
  }

  /** @returns whether a revision was complete */
  #deliver(): boolean {
    if (!this.#whole) return false;
    const { revision, changes } = this.#whole;
    this.#whole = undefined;
    if (revision < this.#next) return true;
    this.#sink.batch(revision, changes);
    this.#next = revision + 1n;
    return true;
  }

  /** Reads one event, or leaves a message that has no more. @returns whether there was one */
  #readOn(): boolean {
    const [message] = this.#messages;
    if (!message) return false;
    if (this.#read === message.count) {
      this.#messages.shift();
      this.#read = 0;
      if (!message.fragment) this.#complete(); // else the rest of it is still to come
      return true;
    }
    const { revision, change } = message.event(this.#read++);
    if (this.#growing && this.#growing.revision !== revision) this.#complete();
    this.#growing ??= { revision, changes: [] };
    this.#growing.changes.push(change);
    return true;
  }

  #complete(): void {
    this.#whole = this.#growing;
    this.#growing = undefined;
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
    this.#messages = [];
    this.#growing = undefined;
    this.#stream.cancel();
    this.#resolve(end);
  }
}
