/**
 * The way of log lines to stderr.
 * Promise: who logs never waits and never gets an error. A reader that does not read, a full disk and a reader that is
 * gone cost lines, which are counted; the first line that is taken again is followed by their number.
 */
import { constants, fstatSync, openSync, writeSync } from "node:fs";
import type { Clock, Timer } from "./clock.ts";
import type { Metrics } from "./metrics.ts";

const STDERR = 2;
/** Bytes that wait for a slow reader; what comes on top is dropped. */
const WAITING_BYTES_MAX = 1_048_576;
const AGAIN_MS = 100;
/** While nothing can be written at all, one line in so long is tried. */
const REFUSED_MS = 1_000;

interface SinkOptions {
  readonly clock: Clock;
  /** A descriptor whose writes do not wait; default: that of stderr. */
  readonly fd?: number;
}

export class LogSink {
  /** Lines by what became of them. */
  written = 0;
  dropped = 0;
  /** Told how many lines were dropped, once lines are taken again. */
  onLost: ((lines: number) => void) | undefined;
  readonly #fd: number;
  readonly #clock: Clock;
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  /** Of `dropped`, what nobody was told of. */
  #untold = 0;
  #again: Timer | undefined;
  #refusedMs = Number.NEGATIVE_INFINITY;

  constructor({ clock, fd = openPatiently(STDERR, () => process.stderr) }: SinkOptions) {
    this.#clock = clock;
    this.#fd = fd;
  }

  /** @param line with its line break */
  write(line: string): void {
    const bytes = Buffer.from(line, "utf8");
    if (this.#waiting.length > 0) this.#keep(bytes);
    else if (this.#clock.monotonicMs() - this.#refusedMs < REFUSED_MS) this.#drop();
    else this.#put(bytes);
  }

  /** Tries what waits once more, as before the process ends. */
  flush(): void {
    this.#again?.cancel();
    this.#again = undefined;
    for (let next = this.#take(); next !== undefined; next = this.#take()) if (!this.#put(next)) return;
  }

  /** @returns false when the rest waits */
  #put(bytes: Buffer): boolean {
    let at = 0;
    try {
      while (at < bytes.length) at += writeSync(this.#fd, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EAGAIN") {
        // A line of which a part is out is finished before any other.
        this.#waiting.unshift(bytes.subarray(at));
        this.#waitingBytes += bytes.length - at;
        this.#again ??= this.#clock.after(AGAIN_MS, () => this.flush());
        return false;
      }
      this.#refusedMs = this.#clock.monotonicMs();
      this.#drop();
      return true;
    }
    this.written++;
    this.#tellLost();
    return true;
  }

  #take(): Buffer | undefined {
    const next = this.#waiting.shift();
    this.#waitingBytes -= next?.length ?? 0;
    return next;
  }

  #keep(bytes: Buffer): void {
    if (this.#waitingBytes + bytes.length > WAITING_BYTES_MAX) {
      this.#drop();
      return;
    }
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  #drop(): void {
    this.dropped++;
    this.#untold++;
  }

  #tellLost(): void {
    const lines = this.#untold;
    if (lines === 0 || this.#waiting.length > 0) return;
    this.#untold = 0;
    this.onLost?.(lines);
  }
}

/** Shows what became of the lines of a process. */
export function countLogLines(metrics: Metrics, sink: LogSink): void {
  metrics.counterOf(
    "jotgate_log_lines_total",
    "Lines of the program's log, by what became of them.",
    ["result"],
    () => [
      { labels: ["written"], value: sink.written },
      { labels: ["dropped"], value: sink.dropped },
    ],
  );
}

/**
 * A descriptor for the same file, pipe or terminal whose writes fail with EAGAIN instead of waiting for a reader.
 * Pipes and terminals are opened anew, so that other processes that hold them notice nothing.
 * @param stream touched where that is impossible (sockets, pipes of another user): Node opens it so that it does not wait
 */
export function openPatiently(fd: number, stream: () => unknown): number {
  try {
    const facts = fstatSync(fd);
    if (facts.isFile()) return fd; // no reader to wait for; its offset is shared with whoever else writes
    return openSync(`/dev/fd/${fd}`, constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK);
  } catch {
    stream();
    return fd;
  }
}
