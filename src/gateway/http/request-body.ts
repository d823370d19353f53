/**
 * The body of one request between the lane that reads it and whoever wants it: plugins, the upstream, nobody.
 * Promise: nothing is read from the client before somebody asks; what a plugin has read is still sent upstream;
 * at most the asked-for bytes are held in memory.
 */
import { CodedError } from "../../base/errors.ts";
import type { BodyObserver } from "../../plugin/body-stages.ts";
import { bytesOf, type RequestBody } from "../../plugin/request-view.ts";

/** The lane's side: where bytes come from. It calls `push`, `finish` and `fail` of the body. */
export interface BodySource {
  /** Called once, when the body is first wanted (sends 100 Continue where it is awaited). May push at once. */
  start(): void;
  pause(): void;
  resume(): void;
}

/** Takes the body as it comes. */
export interface BodySink {
  /** @returns false to be given no more until `resume` */
  onBody(chunk: Buffer): boolean;
  onBodyEnd(): void;
  /** More came than is allowed: there will be no end. */
  onBodyTooLarge(error: CodedError): void;
}

type Waiter = () => void;

/** Of a body nobody wants so much is read to keep the connection; with more it is closed. */
export const DRAIN_BYTES = 65_536;
/** After the last answer so much is read and thrown away, for so long, so that the answer is not lost to a reset. */
export const LINGER_BYTES = 1_048_576;
export const LINGER_MS = 5000;

const EMPTY = Buffer.alloc(0);
const NO_OBSERVERS: readonly BodyObserver[] = Object.freeze([]);
/** Bytes per millisecond below which a body is slow. */
const SLOWEST = 16.384;

export class IncomingBody implements RequestBody {
  readonly #announced: number | undefined;
  readonly #source: BodySource | undefined;
  #limitBytes: number;
  readonly #memory: BodyMemory | undefined;
  /** When it was first waited for. */
  #sinceMs: number | undefined;
  /** There was no room to collect it any further. */
  #isCrowded = false;
  #isHeldBack = false;
  #chunks: Buffer[] = [];
  #held = 0;
  /** Bytes received so far. */
  received = 0;
  #started = false;
  #complete: boolean;
  #error: CodedError | undefined;
  #wantBytes = 0;
  #waiter: Waiter | undefined;
  #sink: BodySink | undefined;
  #discarding = false;
  #replaced: Buffer | undefined;
  #whole: Buffer | undefined;
  #paused = false;
  #observers: readonly BodyObserver[] = NO_OBSERVERS;
  /** Of what was given away so much may be wanted again; 0: nothing of it is here any more. */
  #keepBytes = 0;
  /** Lane: the client announced trailers. */
  expectsTrailers = false;
  /** Lane: those of the client, before `finish`; flat [name, value, …] that may go further. */
  trailers: readonly string[] = [];
  /** It is as long as a conversation: nobody waits for its end. */
  isUnhurried = false;

  /**
   * @param announced  Content-Length, undefined when chunked
   * @param source     undefined only when there is no body
   * @param limitBytes larger bodies fail with REQUEST_TOO_LARGE; 0 for no limit
   * @param memory     shared with all other bodies
   */
  constructor(
    announced: number | undefined,
    source: BodySource | undefined,
    limitBytes: number,
    memory?: BodyMemory | undefined,
  ) {
    this.#memory = memory;
    this.#announced = announced;
    this.#source = source;
    this.#limitBytes = limitBytes;
    this.#complete = source === undefined;
    if (limitBytes > 0 && announced !== undefined && announced > limitBytes) this.#error = tooLarge(limitBytes);
  }

  get length(): number | undefined {
    return this.#replaced ? this.#replaced.length : this.#announced;
  }

  /** All bytes of the client's body have arrived. */
  get complete(): boolean {
    return this.#complete;
  }

  /** Why the body cannot be had, if so. */
  get error(): CodedError | undefined {
    return this.#error;
  }

  /** The bytes to send, when all are here; undefined when they must be streamed. */
  get bytes(): Buffer | undefined {
    if (this.#replaced) return this.#replaced;
    if (!this.#complete || this.#sink || this.#discarding) return undefined;
    if (this.#held === 0) return EMPTY;
    this.#whole ??= this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks, this.#held);
    return this.#whole;
  }

  limit(bytes: number): void {
    if (this.#limitBytes > 0 && this.#limitBytes <= bytes) return;
    this.#limitBytes = bytes;
    if (this.received > bytes) this.fail(tooLarge(bytes));
  }

  replace(bytes: Buffer): void {
    this.#replaced = bytesOf(bytes);
  }

  observe(observer: BodyObserver): void {
    if (this.#replaced) observer.write(this.#replaced);
    else for (const chunk of this.#chunks) observer.write(chunk);
    if (this.#error) observer.close?.();
    else if (this.#replaced || this.#complete) {
      observer.end?.();
      observer.close?.();
    } else this.#observers = [...this.#observers, observer];
  }

  async read(limitBytes: number): Promise<Buffer> {
    if (this.#announced !== undefined && this.#announced > limitBytes) throw tooLarge(limitBytes);
    await this.prepare(limitBytes);
    if (this.#error) throw this.#error;
    if (this.#isCrowded && !this.#complete && this.#held <= limitBytes)
      throw new CodedError("REQUEST_MEMORY_FULL", { message: "request bodies hold all the memory they may" });
    if (!this.#complete || this.#held > limitBytes) throw tooLarge(limitBytes);
    return this.bytes ?? EMPTY;
  }

  /**
   * Collects until the body is complete or more than `bytes` are held, or it fails: look at `complete` and `error`.
   * @returns undefined when that is so already
   */
  prepare(bytes: number): Promise<void> | undefined {
    if (this.#settled(bytes)) return undefined;
    this.#wantBytes = bytes;
    this.#begin();
    this.#flow();
    if (this.#settled(bytes)) return undefined;
    return new Promise((resolve) => {
      const before = this.#waiter;
      this.#waiter = () => {
        before?.();
        resolve();
      };
    });
  }

  /**
   * Hands everything to the sink, what is held first; the sink gets the rest as it comes.
   * @param keepBytes so much stays here while `isKept`, so that it can be called once more
   */
  stream(sink: BodySink, keepBytes = 0): void {
    this.#sink = sink;
    this.#isHeldBack = false;
    this.#keepBytes = this.#held <= keepBytes ? keepBytes : 0;
    let flowing = true;
    for (const chunk of this.#chunks) flowing = sink.onBody(chunk) && flowing;
    if (this.#keepBytes === 0) this.release();
    if (this.#complete) {
      sink.onBodyEnd();
      return;
    }
    this.#begin();
    if (flowing) this.#flow();
    else this.#pause();
  }

  /** Who gets it has nobody to give it to until `stream` is called once more: what comes in the meantime stays here. */
  holdOn(): void {
    if (!this.isKept) return;
    this.#isHeldBack = true;
    this.#pause();
  }

  /** All that was given away is still here. */
  get isKept(): boolean {
    return this.#keepBytes > 0;
  }

  /** What was given away is wanted no more. */
  letGo(): void {
    if (this.#keepBytes === 0) return;
    this.#keepBytes = 0;
    this.#isHeldBack = false;
    this.release();
  }

  /** The sink can take more. */
  resume(): void {
    if (this.#sink && !this.#isHeldBack) this.#flow();
  }

  /** Nobody wants the rest: it is read and thrown away, or never read at all when it was not begun. */
  discard(): void {
    this.#sink = undefined;
    this.#isHeldBack = false;
    this.#keepBytes = 0;
    this.#discarding = true;
    this.#leaveObservers();
    this.release();
    if (this.#started && !this.#complete) this.#flow();
  }

  /** Lane: bytes arrived. The buffer is the body's from now on. */
  push(chunk: Buffer): void {
    this.received += chunk.length;
    if (this.#discarding || this.#error) return;
    if (this.#limitBytes > 0 && this.received > this.#limitBytes) {
      const error = tooLarge(this.#limitBytes);
      this.fail(error);
      this.#sink?.onBodyTooLarge(error);
      return;
    }
    for (const observer of this.#observers) observer.write(chunk);
    if (this.#isHeldBack) {
      this.#hold(chunk); // read before the pause
      return;
    }
    if (this.#sink) {
      if (this.#held + chunk.length > this.#keepBytes || this.#memory?.isFull === true) this.letGo();
      else this.#hold(chunk);
      if (!this.#sink.onBody(chunk)) this.#pause();
      return;
    }
    this.#hold(chunk);
    this.#isCrowded = this.#memory?.isFull === true;
    if (this.#held > this.#wantBytes || this.#isCrowded) {
      this.#pause();
      this.#wake();
    }
  }

  /** Lane: the last byte was pushed. */
  finish(): void {
    if (this.#complete) return;
    this.#complete = true;
    for (const observer of this.#observers) observer.end?.();
    this.#leaveObservers();
    this.#wake();
    this.#sink?.onBodyEnd();
  }

  /** Lane: there will be no rest. */
  fail(error: CodedError): void {
    if (this.#complete || this.#error) return;
    this.#error = error;
    this.#leaveObservers();
    this.release();
    this.#wake();
  }

  /** Gives back what is held; the request is over, or the bytes are somebody else's. */
  release(): void {
    this.#memory?.add(-this.#held);
    this.#chunks = [];
    this.#held = 0;
  }

  /**
   * How long to wait for more of it: a pause, and never longer than its total time, to which what came adds a second for
   * each 16 KiB.
   */
  patienceMs(limits: { readonly bodyTimeoutMs: number; readonly bodyTotalMs: number }, nowMs: number): number {
    if (this.isUnhurried) return Number.POSITIVE_INFINITY;
    this.#sinceMs ??= nowMs;
    const leftMs = this.#sinceMs + limits.bodyTotalMs + this.received / SLOWEST - nowMs;
    return Math.max(1, Math.min(limits.bodyTimeoutMs, leftMs));
  }

  #hold(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    this.#memory?.add(chunk.length);
  }

  #settled(bytes: number): boolean {
    return this.#complete || this.#error !== undefined || this.#isCrowded || this.#held > bytes;
  }

  #begin(): void {
    if (this.#started) return;
    this.#started = true;
    this.#source?.start();
  }

  #flow(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#source?.resume();
  }

  #pause(): void {
    if (this.#paused || this.#complete) return;
    this.#paused = true;
    this.#source?.pause();
  }

  #leaveObservers(): void {
    const observers = this.#observers;
    this.#observers = NO_OBSERVERS;
    for (const observer of observers) observer.close?.();
  }

  #wake(): void {
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.();
  }
}

function tooLarge(limitBytes: number): CodedError {
  return new CodedError("REQUEST_TOO_LARGE", { message: `request body exceeds ${limitBytes} bytes` });
}

/**
 * What all request bodies of one process hold in memory together.
 * Promise: beyond the bound no body is collected any further: those on their way upstream are streamed, those that a plugin
 * wants whole are refused.
 */
export class BodyMemory {
  limitBytes: number;
  #held = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  get isFull(): boolean {
    return this.#held >= this.limitBytes;
  }

  /** @param bytes negative when they are given back */
  add(bytes: number): void {
    this.#held += bytes;
  }
}
