/**
 * Reads responses from the bytes of one upstream connection and hands them to whoever takes the response.
 * Promise: one final head, then no byte more than its framing says; what could be read in two ways is a fault.
 */
import { ChunkedDecoder, type ChunkSink } from "../http/chunked-decoder.ts";
import { readTrailers } from "../http/http2-fields.ts";
import type { Lifetime } from "../http/message.ts";
import { type HeadMemory, Recurrence, RememberedBytes } from "../http/remembered-bytes.ts";
import { canBecomeHead, type ResponseHead, readResponseHead } from "../http/response-head.ts";
import type { ResponseSink, UpstreamCall, UpstreamLink } from "./upstream-call.ts";

export interface ResponseLimits {
  readonly headBytes: number;
  readonly headerLines: number;
}

/** The response goes on. */
export const MORE = 0;
/** It is complete, and nothing follows it. */
export const CLEAN = 1;
/** It is complete, and bytes follow it. */
const FOLLOWED = 2;
/** Where a response stands after a read; a text says why it is none. */
type ResponseProgress = typeof MORE | typeof CLEAN | typeof FOLLOWED | string;

/**
 * The response head that came last over any connection of a pool, and what was read of it. That follows from its bytes and
 * from the limits alone; what frames a body is judged for each request anew.
 */
export class RememberedHead {
  readonly #bytes: RememberedBytes;
  readonly #recurrence = new Recurrence();
  #head: ResponseHead | undefined;

  constructor(memory: HeadMemory) {
    this.#bytes = new RememberedBytes(memory);
  }

  /** @returns undefined when another one stands there */
  find(chunk: Buffer, start: number): ResponseHead | undefined {
    if (this.#head === undefined || !this.#bytes.standsIn(chunk, start)) return undefined;
    this.#recurrence.hit();
    this.#head.recurs = true;
    return this.#head;
  }

  /** With the blank line that ends it. */
  get length(): number {
    return this.#bytes.length;
  }

  /** A head that was not found, and was read from chunk[start, end). */
  missed(head: ResponseHead, chunk: Buffer, start: number, end: number): void {
    if (!this.#recurrence.miss()) this.forget();
    else this.#head = this.#bytes.keep(chunk, start, end) ? head : undefined;
  }

  forget(): void {
    this.#bytes.forget();
    this.#head = undefined;
  }
}

const INTERIM_MAX = 16; // 1xx responses before the real one

const NO_TRAILERS: readonly string[] = Object.freeze([]);

const HEAD = 0;
const LENGTH = 1;
const CHUNKED = 2;
const UNTIL_CLOSE = 3;
const TUNNEL = 4;

export class ResponseReader implements ChunkSink {
  readonly #limits: ResponseLimits;
  readonly #heads: RememberedHead;
  readonly #link: UpstreamLink;
  readonly #chunks = new ChunkedDecoder();
  /** undefined: nobody reads. */
  #sink: ResponseSink | undefined;
  #method = "";
  #upgrade: string | undefined;
  #state = HEAD;
  /** The final one, once it is read. */
  head: ResponseHead | undefined;
  #partial: Buffer | undefined;
  #left = 0;
  #interim = 0;
  #isSent = false;
  #lifetime: Lifetime = "call";

  constructor(limits: ResponseLimits, heads: RememberedHead, link: UpstreamLink) {
    this.#limits = limits;
    this.#heads = heads;
    this.#link = link;
  }

  get isTunnel(): boolean {
    return this.#state === TUNNEL && this.#sink !== undefined;
  }

  /** The end of the connection is the end of the response. */
  get endsWithClose(): boolean {
    return this.#state === UNTIL_CLOSE && this.#sink !== undefined;
  }

  begin({ method, response, upgrade }: UpstreamCall): void {
    this.#sink = response;
    this.#method = method;
    this.#upgrade = upgrade;
    this.#state = HEAD;
    this.#interim = 0;
    this.head = undefined;
  }

  /** What came behind the body, and may go further. */
  get trailers(): readonly string[] {
    const text = this.#state === CHUNKED ? this.#chunks.trailer : "";
    if (text.length < 2) return NO_TRAILERS;
    const lines = text.split("\r").map((line) => /^([^:]+):[\t ]*(.*?)[\t ]*$/.exec(line));
    return readTrailers(lines.flatMap((line) => (line ? [line[1] as string, line[2] as string] : [])));
  }

  /** Nobody wants more of this response. */
  stop(): void {
    this.#sink = undefined;
    this.#partial = undefined;
    this.head = undefined;
  }

  /** @param isSent the whole request has left, so that protocols may be switched */
  read(chunk: Buffer, lifetime: Lifetime, isSent: boolean): ResponseProgress {
    this.#lifetime = lifetime;
    this.#isSent = isSent;
    return this.#consume(chunk, 0);
  }

  onChunk(data: Buffer): void {
    this.#sink?.onData(data, 0, data.length, this.#lifetime);
  }

  #consume(chunk: Buffer, start: number): ResponseProgress {
    switch (this.#state) {
      case HEAD:
        return this.#readHead(chunk, start);
      case LENGTH:
        return this.#readLength(chunk, start);
      case CHUNKED:
        return this.#readChunked(chunk, start);
      default:
        if (start < chunk.length) this.#sink?.onData(chunk, start, chunk.length, this.#lifetime);
        return MORE;
    }
  }

  #readHead(input: Buffer, start: number): ResponseProgress {
    let chunk = input;
    let from = start;
    if (this.#partial) {
      chunk = Buffer.concat([this.#partial, start === 0 ? input : input.subarray(start)]);
      from = 0;
      this.#partial = undefined;
      this.#lifetime = "kept";
    }
    const heads = this.#heads;
    const known = heads.find(chunk, from);
    if (known) return this.#startBody(known, chunk, from + heads.length);
    const { headBytes, headerLines } = this.#limits;
    const end = chunk.indexOf("\r\n\r\n", from, "latin1");
    if (end < 0 || end - from > headBytes) {
      if (chunk.length - from > headBytes) return "response head too large";
      if (!canBecomeHead(chunk.toString("latin1", from))) return "malformed response head";
      this.#partial = Buffer.from(chunk.subarray(from));
      return MORE;
    }
    const head = readResponseHead(chunk.toString("latin1", from, end), headerLines);
    if (typeof head === "string") return head;
    if (head.status < 200) return this.#readInterim(head, chunk, end + 4);
    heads.missed(head, chunk, from, end + 4);
    return this.#startBody(head, chunk, end + 4);
  }

  #readInterim(head: ResponseHead, chunk: Buffer, next: number): ResponseProgress {
    const sink = this.#sink;
    if (!sink) return MORE;
    if (head.status === 101) {
      if (!isAskedFor(head.upgrade, this.#upgrade) || !this.#isSent) return "upstream switched protocols unasked";
      this.#state = TUNNEL;
      sink.onHead(head, this.#link);
    } else {
      if (++this.#interim > INTERIM_MAX || head.chunked || head.length > 0) return "bad interim response";
      if (head.status !== 100) sink.onInterim(head);
    }
    return this.#sink === sink && next < chunk.length ? this.#consume(chunk, next) : MORE;
  }

  #startBody(head: ResponseHead, chunk: Buffer, next: number): ResponseProgress {
    const sink = this.#sink;
    if (!sink) return MORE;
    this.head = head;
    const bodiless = this.#method === "HEAD" || head.status === 204 || head.status === 304;
    if (bodiless || (head.length === 0 && !head.chunked)) {
      sink.onHead(head, this.#link);
      return next === chunk.length ? CLEAN : FOLLOWED;
    }
    if (head.chunked) {
      this.#state = CHUNKED;
      this.#chunks.reset();
    } else if (head.length > 0) {
      if (chunk.length - next > head.length) return "response longer than its Content-Length";
      this.#state = LENGTH;
      this.#left = head.length;
    } else this.#state = UNTIL_CLOSE;
    sink.onHead(head, this.#link);
    // The call may have given up, and then there is nobody to read for.
    return this.#sink === sink && next < chunk.length ? this.#consume(chunk, next) : MORE;
  }

  #readLength(chunk: Buffer, start: number): ResponseProgress {
    const end = Math.min(chunk.length, start + this.#left);
    this.#left -= end - start;
    this.#sink?.onData(chunk, start, end, this.#lifetime);
    if (this.#left > 0) return MORE;
    return end === chunk.length ? CLEAN : FOLLOWED;
  }

  #readChunked(chunk: Buffer, start: number): ResponseProgress {
    const end = this.#chunks.feed(chunk, start, this);
    if (end < 0) return "malformed chunked response";
    if (!this.#chunks.done) return MORE;
    return end === chunk.length ? CLEAN : FOLLOWED;
  }
}

/** Whether a 101 switches to a protocol that the request asked for. */
function isAskedFor(answered: string | undefined, asked: string | undefined): boolean {
  if (answered === undefined || asked === undefined) return false;
  const wanted = asked.toLowerCase().split(",").map(trimmed);
  return answered
    .toLowerCase()
    .split(",")
    .map(trimmed)
    .every((protocol) => wanted.includes(protocol));
}

function trimmed(text: string): string {
  return text.trim();
}
