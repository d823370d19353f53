/**
 * Lines into a file or stdout, in batches, off the request's path.
 * Promise: memory is bounded and nobody waits: what a slow disk does not take is dropped, what a full one refuses is
 * lost, both are counted; whole lines only; a file that was moved away is opened anew within a second.
 */
import { close, closeSync, constants, fstat, open, openSync, stat, write } from "node:fs";
import type { Clock, Timer } from "./clock.ts";
import { messageOf } from "./errors.ts";
import { type Log, openLimitedWarn, type Warn } from "./log.ts";
import { openPatiently } from "./log-sink.ts";
import type { Counter, Family } from "./metrics.ts";

export const FLUSH_MS = 1_000;
/** Enough to write at once. */
const BATCH_LENGTH = 65_536;
/** Of lines that wait, in characters. */
const PENDING_LENGTH_MAX = 8_388_608;
const AGAIN_MS = 100;
const CLOSE_MS = 2_000;
/** Of an eager sink between two looks for its file. */
const LOOK_MS = 100;
const STDOUT = 1;
const NO_FILE = -1;
const LINE_BREAK = 0x0a;
const FILE_MODE = 0o640;
/** Appends; where it is a pipe, a write does not wait for its reader. */
const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

interface LineSinkOptions {
  /** For the program's log. */
  readonly name: string;
  /** `stdout`, or the path of a file that is appended to. */
  readonly target: string;
  readonly clock: Clock;
  readonly log: Log;
  /** With one label: what became of a line. */
  readonly lines: Family<Counter>;
  /** A file that cannot be opened is tried again; till then lines are lost. Default: it is an error. */
  readonly isPatient?: boolean;
  /** Why a file must not be written to, looked at before it is opened. */
  readonly refuse?: (path: string) => Promise<string | undefined>;
  /** Lines are written as they come, together where they come while others are written. Default: once a second. */
  readonly isEager?: boolean;
  /** Default 8 Mi characters. */
  readonly pendingLengthMax?: number;
}

/** @throws the system's error when lines could not be written there */
export function checkTarget(target: string): void {
  if (target !== "stdout") closeSync(openSync(target, FLAGS, FILE_MODE));
}

export class LineSink {
  readonly #target: string | undefined;
  readonly #clock: Clock;
  readonly #warn: Warn;
  readonly #pendingMax: number;
  readonly #written: Counter;
  readonly #dropped: Counter;
  readonly #failed: Counter;
  readonly #timer: Timer;
  readonly #name: string;
  readonly #refuse: LineSinkOptions["refuse"];
  readonly #isEager: boolean;
  #fd = NO_FILE;
  #lookedMs = Number.NEGATIVE_INFINITY;
  #pending = "";
  #lines = 0;
  /** The rest of a line whose beginning is in the file. */
  #torn: Buffer | undefined;
  /** The last bytes that were written end within a line. */
  #isTorn = false;
  #writing = false;
  #closed: (() => void) | undefined;

  /** @throws the system's error when the file cannot be opened */
  constructor(options: LineSinkOptions) {
    const { clock, isPatient, lines, log, name, target } = options;
    this.#name = name;
    this.#refuse = options.refuse;
    this.#isEager = options.isEager === true;
    this.#target = target === "stdout" ? undefined : target;
    this.#clock = clock;
    this.#warn = openLimitedWarn(log, clock);
    this.#pendingMax = options.pendingLengthMax ?? PENDING_LENGTH_MAX;
    this.#written = lines.child("written");
    this.#dropped = lines.child("dropped");
    this.#failed = lines.child("failed");
    if (this.#target === undefined) this.#fd = openPatiently(STDOUT, () => process.stdout);
    else if (!isPatient) this.#fd = openSync(this.#target, FLAGS, FILE_MODE);
    this.#timer = clock.every(FLUSH_MS, () => this.#tick());
  }

  /** @param line without its line break */
  write(line: string): void {
    if (this.#closed || this.#pending.length + line.length > this.#pendingMax) {
      this.#dropped.inc();
      return;
    }
    this.#pending += `${line}\n`;
    this.#lines++;
    if (!this.#writing && (this.#isEager || this.#pending.length >= BATCH_LENGTH)) this.#flushThere();
  }

  /** Writes what waits, for two seconds at most, and lets go of the file. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#timer.cancel();
    await new Promise<void>((resolve) => {
      this.#closed = resolve;
      this.#clock.after(CLOSE_MS, resolve);
      if (!this.#writing) this.#flushThere();
    });
    this.#dropped.inc(this.#lines + Number(this.#torn !== undefined));
    this.#torn = undefined;
    this.#lines = 0;
    this.#pending = "";
    if (this.#fd > STDOUT && !this.#writing) closeSync(this.#fd);
  }

  #tick(): void {
    if (this.#writing) return;
    if (this.#target === undefined || this.#lines === 0) this.#flush();
    else this.#reopenIfMoved(this.#target, () => this.#flush());
  }

  /** Looks for the file where there is none yet, and where it was not looked for lately. */
  #flushThere(): void {
    const isDue = this.#isEager && this.#clock.monotonicMs() - this.#lookedMs >= LOOK_MS;
    if (this.#fd === NO_FILE || isDue) this.#tick();
    else this.#flush();
  }

  #flush(): void {
    this.#writing = false;
    if (this.#lines === 0) {
      this.#closed?.();
      return;
    }
    const torn = this.#torn ?? Buffer.alloc(0);
    const lines = this.#lines + Number(torn.length > 0);
    const bytes = Buffer.concat([torn, Buffer.from(this.#pending, "utf8")]);
    this.#torn = undefined;
    this.#pending = "";
    this.#lines = 0;
    this.#writing = true;
    this.#writeBytes(bytes, lines);
  }

  #writeBytes(bytes: Buffer, lines: number): void {
    if (this.#fd === NO_FILE) {
      this.#failed.inc(lines); // why was said when it was opened
      this.#next();
      return;
    }
    write(this.#fd, bytes, (error, count) => {
      if (error?.code === "EAGAIN") {
        // A pipe whose reader is slow.
        this.#clock.after(AGAIN_MS, () => this.#writeBytes(bytes, lines));
      } else if (error) this.#lose(error, bytes, lines);
      else if (count < bytes.length) {
        const whole = countLines(bytes.subarray(0, count));
        this.#written.inc(whole);
        this.#isTorn = bytes[count - 1] !== LINE_BREAK;
        this.#writeBytes(bytes.subarray(count), lines - whole);
      } else {
        this.#isTorn = false;
        this.#written.inc(lines);
        this.#next();
      }
    });
  }

  /** @param bytes what is not in the file; of a line that was begun the rest is kept, to be first when there is room again */
  #lose(error: Error, bytes: Buffer, lines: number): void {
    if (this.#isTorn) this.#torn = Buffer.from(bytes.subarray(0, bytes.indexOf(LINE_BREAK) + 1));
    const lost = lines - Number(this.#torn !== undefined);
    this.#failed.inc(lost);
    const target = this.#target ?? "stdout";
    this.#warn({ target, error: messageOf(error), lines: lost }, `${this.#name} cannot be written`);
    this.#next();
  }

  /** The batch is over; another one is written at once only if there is enough for it, or if this is the end. */
  #next(): void {
    this.#writing = false;
    if (this.#closed || (this.#isEager && this.#lines > 0) || this.#pending.length >= BATCH_LENGTH) this.#flush();
  }

  #reopenIfMoved(path: string, done: () => void): void {
    this.#lookedMs = this.#clock.monotonicMs();
    this.#writing = true;
    if (this.#fd === NO_FILE) {
      this.#reopen(path, done);
      return;
    }
    fstat(this.#fd, (_fault, held) => {
      stat(path, (error, there) => {
        if (!error && held && there.ino === held.ino && there.dev === held.dev) done();
        else this.#reopen(path, done);
      });
    });
  }

  #reopen(path: string, done: () => void): void {
    if (this.#refuse === undefined) {
      this.#openAnew(path, done);
      return;
    }
    this.#refuse(path).then(
      (why) => {
        if (why === undefined) this.#openAnew(path, done);
        else this.#stayShut(path, why, done);
      },
      (error: unknown) => this.#stayShut(path, messageOf(error), done),
    );
  }

  /** The file that was written to so far goes on, if there is one. */
  #stayShut(path: string, error: string, done: () => void): void {
    this.#warn({ target: path, error }, `${this.#name} cannot be opened`);
    done();
  }

  #openAnew(path: string, done: () => void): void {
    open(path, FLAGS, FILE_MODE, (error, fd) => {
      if (error) {
        this.#stayShut(path, messageOf(error), done);
        return;
      }
      this.#failed.inc(Number(this.#torn !== undefined)); // its beginning is in the other file
      this.#torn = undefined;
      this.#isTorn = false;
      if (this.#fd !== NO_FILE) close(this.#fd, () => {}); // nothing is lost with it: every write has been confirmed
      this.#fd = fd;
      done();
    });
  }
}

function countLines(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(LINE_BREAK); at !== -1; at = bytes.indexOf(LINE_BREAK, at + 1)) lines++;
  return lines;
}
