/**
 * One connection to an upstream, carrying one request at a time.
 * Promise: it is given back for reuse only when request and response are complete, plainly framed and nothing is left
 * over; on any doubt the socket is destroyed. Each call ends by exactly one of onEnd, onFailed, `abandon`.
 */
import type { Socket } from "node:net";
import type { Timeouts } from "../../runtime/upstream/upstream-unit.ts";
import { ChunkedDecoder, type ChunkSink } from "../http/chunked-decoder.ts";
import type { Lifetime } from "../http/message.ts";
import { canBecomeHead, type ResponseHead, readResponseHead } from "../http/response-head.ts";
import { Timed, type TimerWheel } from "../timer-wheel.ts";
import type { Deferred, WriteScheduler } from "../write-scheduler.ts";
import type { FailureKind, UpstreamCall } from "./upstream-call.ts";

/** Where connections go when their work is done. */
export interface ConnectionHome {
  readonly wheel: TimerWheel;
  readonly writes: WriteScheduler;
  readonly limits: ResponseLimits;
  /**
   * The connection is clean and may be used again.
   * @param idleMs how long the upstream keeps it, if it said so
   * @returns false when it is not wanted
   */
  keep(connection: UpstreamConnection, idleMs: number | undefined): boolean;
  /** The socket is closed, or is about to be. Called once. */
  gone(connection: UpstreamConnection): void;
}

export interface ResponseLimits {
  readonly headBytes: number;
  readonly headerLines: number;
}

const INTERIM_MAX = 16; // 1xx responses before the real one
const FAREWELL_MS = 5_000; // for what an upstream said before it stopped reading

const CONNECTING = 0;
const IDLE = 1;
const HEAD = 2;
const LENGTH = 3;
const CHUNKED = 4;
const UNTIL_CLOSE = 5;
const TUNNEL = 6;
/** What a WebSocket's upstream may still say when its client has gone. */
const LAST_WORDS_MS = 2_000;
const CLOSED = 7;

export class UpstreamConnection extends Timed implements ChunkSink, Deferred {
  readonly #home: ConnectionHome;
  readonly #chunks = new ChunkedDecoder();
  #socket: Socket | undefined;
  #call: UpstreamCall | undefined;
  #timeouts: Timeouts;
  #state = CONNECTING;
  #isLeaving = false;
  #head: ResponseHead | undefined;
  #partial: Buffer | undefined;
  #left = 0;
  /** Text of the request that leaves at the end of this turn. */
  #held = "";
  #interim = 0;
  #lifetime: Lifetime = "call";
  #paused = false;
  #answered = false;
  #sentAny = false;
  #sentAll = false;
  #sending = false;
  /** Why nothing can be sent any more; what the upstream said before is still read. */
  #writeError: string | undefined;
  /** Requests carried, the present one included. */
  requests = 0;

  constructor(home: ConnectionHome, timeouts: Timeouts) {
    super();
    this.#home = home;
    this.#timeouts = timeouts;
  }

  /** Binds the socket, which is still connecting. `established` is told by `opened`. */
  attach(socket: Socket): void {
    this.#socket = socket;
    this.#home.wheel.arm(this, this.#timeouts.connectMs);
    socket.on("error", (error: NodeJS.ErrnoException) => this.#broke(error.message, isNameRefusal(error.code)));
    socket.on("end", () => this.#ended());
    socket.on("close", () => this.#broke("connection closed"));
    socket.on("drain", () => this.#drained());
  }

  get isUsable(): boolean {
    const socket = this.#socket;
    return this.#state === IDLE && socket !== undefined && !socket.destroyed && socket.readable && socket.writable;
  }

  /** Gives the connection its call before it is established. */
  reserve(call: UpstreamCall): void {
    this.#call = call;
  }

  /** The socket is established (and its TLS verified). */
  opened(): void {
    if (this.#state !== CONNECTING) return;
    this.#home.wheel.disarm(this);
    this.#state = IDLE;
    const call = this.#call;
    if (call) this.begin(call, this.#timeouts);
  }

  /** Starts the next request on an idle connection; the call is told at once. */
  begin(call: UpstreamCall, timeouts: Timeouts): void {
    this.#call = call;
    this.#timeouts = timeouts;
    this.#state = HEAD;
    this.#answered = false;
    this.#sentAny = false;
    this.#sentAll = false;
    this.#interim = 0;
    this.#head = undefined;
    this.requests++;
    call.onConnected(this);
  }

  /** Sends bytes of the request. @returns false when the caller should wait for onDrain */
  write(bytes: string | Buffer): boolean {
    if (this.#state === CLOSED || this.#writeError !== undefined) return true;
    if (typeof bytes !== "string") {
      this.flushDeferred();
      return this.#write(bytes);
    }
    if (this.#held === "") this.#home.writes.add(this);
    this.#held += bytes;
    return !this.#sending;
  }

  flushDeferred(): void {
    const held = this.#held;
    if (held === "") return;
    this.#held = "";
    this.#write(held);
  }

  #write(bytes: string | Buffer): boolean {
    const socket = this.#socket;
    if (!socket || this.#state === CLOSED || this.#writeError !== undefined) return true;
    this.#sentAny = true;
    const flowing = typeof bytes === "string" ? socket.write(bytes, "latin1") : socket.write(bytes);
    if (!flowing) {
      this.#sending = true;
      this.#home.wheel.arm(this, this.#timeouts.sendMs);
    } else if (this.#state === TUNNEL && !this.#sending && !this.#paused) {
      // Either side keeps a tunnel open, as with nginx: a time-out is for one in which nothing moves.
      this.#home.wheel.arm(this, this.#timeouts.readMs);
    }
    return flowing;
  }

  /**
   * The upstream takes no more bytes. Often it has answered before it had the whole request (413, 401) and closed:
   * an answer that is here, or on its way, is read to its end.
   */
  writeFailed(message: string): void {
    if (this.#state === CLOSED || this.#writeError !== undefined) return;
    if (!this.#call) {
      this.#close();
      return;
    }
    this.#writeError = message;
    this.#held = "";
    this.#sending = false;
    if (!this.#paused) this.#home.wheel.arm(this, Math.min(this.#timeouts.readMs, FAREWELL_MS));
  }

  cork(): void {
    this.#socket?.cork();
  }

  uncork(): void {
    this.#socket?.uncork();
  }

  /** The request is complete: from now on an answer is due. */
  finish(): void {
    this.#sentAll = true;
    const isWaiting = !this.#sending && this.#state !== CLOSED && this.#writeError === undefined;
    if (isWaiting) this.#home.wheel.arm(this, this.#timeouts.readMs);
  }

  /** Stops reading: the client is slower than the upstream. */
  pause(): void {
    if (this.#paused || this.#state === CLOSED) return;
    this.#paused = true;
    this.#socket?.pause();
    if (!this.#sending) this.#home.wheel.disarm(this);
  }

  resume(): void {
    if (!this.#paused || this.#state === CLOSED) return;
    this.#paused = false;
    this.#socket?.resume();
    if (!this.#sending) this.#home.wheel.arm(this, this.#timeouts.readMs);
  }

  /** Ends the sending side of a tunnel. */
  endTunnel(isWebSocket: boolean): void {
    this.flushDeferred();
    this.#socket?.end();
    if (!isWebSocket) return; // other protocols may go on with one half
    this.#isLeaving = true;
    this.#home.wheel.arm(this, LAST_WORDS_MS);
  }

  /** The call gives up: the socket goes, the call hears nothing more. */
  abandon(): void {
    this.#call = undefined;
    this.#close();
  }

  override onDeadline(): void {
    if (this.#state === IDLE) this.#close();
    else if (this.#state === CONNECTING) this.#fail("connect_timeout", "connect timed out");
    else if (this.#writeError !== undefined) this.#fail("reset", this.#writeError);
    else if (this.#sending) this.#fail("send_timeout", "sending the request timed out");
    else this.#fail("read_timeout", "reading the response timed out");
  }

  /**
   * Bytes from the socket.
   * @param lifetime of the bytes
   */
  received(chunk: Buffer, lifetime: Lifetime): void {
    const call = this.#call;
    // Nobody asked: whatever this is, the connection cannot be trusted any more.
    if (!call || this.#state === IDLE) {
      this.#close();
      return;
    }
    if (this.#held !== "" && !this.#sentAny) {
      // An answer before its request is somebody else's, or the farewell of a connection that grew old.
      this.#fail("reset", "upstream spoke before it was asked");
      return;
    }
    this.#lifetime = lifetime;
    this.#answered = true;
    if (!this.#sending && this.#sentAll && !this.#isLeaving) this.#home.wheel.arm(this, this.#timeouts.readMs);
    this.#consume(chunk, 0);
    call.onFlush();
  }

  onChunk(data: Buffer): void {
    this.#call?.onData(data, this.#lifetime);
  }

  #consume(chunk: Buffer, start: number): void {
    switch (this.#state) {
      case HEAD:
        this.#readHead(chunk, start);
        return;
      case LENGTH:
        this.#readLength(chunk, start);
        return;
      case CHUNKED:
        this.#readChunked(chunk, start);
        return;
      case UNTIL_CLOSE:
      case TUNNEL:
        if (start < chunk.length) this.#call?.onData(start === 0 ? chunk : chunk.subarray(start), this.#lifetime);
        return;
      default:
    }
  }

  #readHead(input: Buffer, start: number): void {
    let chunk = input;
    let from = start;
    if (this.#partial) {
      chunk = Buffer.concat([this.#partial, start === 0 ? input : input.subarray(start)]);
      from = 0;
      this.#partial = undefined;
      this.#lifetime = "kept";
    }
    const end = chunk.indexOf("\r\n\r\n", from, "latin1");
    if (end < 0 || end - from > this.#home.limits.headBytes) {
      if (chunk.length - from > this.#home.limits.headBytes) this.#fail("bad_response", "response head too large");
      else if (!canBecomeHead(chunk.toString("latin1", from))) this.#fail("bad_response", "malformed response head");
      else this.#partial = Buffer.from(chunk.subarray(from));
      return;
    }
    const head = readResponseHead(chunk.toString("latin1", from, end), this.#home.limits.headerLines);
    if (typeof head === "string") {
      this.#fail("bad_response", head);
      return;
    }
    if (head.status < 200) this.#readInterim(head, chunk, end + 4);
    else this.#startBody(head, chunk, end + 4);
  }

  #readInterim(head: ResponseHead, chunk: Buffer, next: number): void {
    const call = this.#call;
    if (!call) return;
    if (head.status === 101) {
      if (!isAskedFor(head.upgrade, call.upgrade) || !this.#sentAll) {
        this.#fail("bad_response", "upstream switched protocols unasked");
        return;
      }
      this.#state = TUNNEL;
      call.onHead(head);
    } else {
      if (++this.#interim > INTERIM_MAX || head.chunked || head.length > 0) {
        this.#fail("bad_response", "bad interim response");
        return;
      }
      if (head.status !== 100) call.onInterim(head);
    }
    if (next < chunk.length) this.#consume(chunk, next);
  }

  #startBody(head: ResponseHead, chunk: Buffer, next: number): void {
    const call = this.#call;
    if (!call) return;
    this.#head = head;
    const bodiless = call.method === "HEAD" || head.status === 204 || head.status === 304;
    if (bodiless || (head.length === 0 && !head.chunked)) {
      call.onHead(head);
      this.#complete(next === chunk.length);
      return;
    }
    if (head.chunked) {
      this.#state = CHUNKED;
      this.#chunks.reset();
    } else if (head.length > 0) {
      if (chunk.length - next > head.length) {
        this.#fail("bad_response", "response longer than its Content-Length");
        return;
      }
      this.#state = LENGTH;
      this.#left = head.length;
    } else this.#state = UNTIL_CLOSE;
    call.onHead(head);
    // The call may have given up, and then there is nobody to read for.
    if (this.#call === call && next < chunk.length) this.#consume(chunk, next);
  }

  #readLength(chunk: Buffer, start: number): void {
    const end = Math.min(chunk.length, start + this.#left);
    this.#left -= end - start;
    this.#call?.onData(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end), this.#lifetime);
    if (this.#left === 0) this.#complete(end === chunk.length);
  }

  #readChunked(chunk: Buffer, start: number): void {
    const end = this.#chunks.feed(chunk, start, this);
    if (end < 0) this.#fail("bad_response", "malformed chunked response");
    else if (this.#chunks.done) this.#complete(end === chunk.length);
  }

  /** The response is complete. @param clean nothing followed it */
  #complete(clean: boolean): void {
    const call = this.#call;
    if (!call) return;
    this.#call = undefined;
    const { keepAlive = false, idleMs } = this.#head ?? {};
    const isSent = this.#sentAll && !this.#sending && this.#held === "" && this.#writeError === undefined;
    const reusable = clean && keepAlive && isSent;
    this.#head = undefined;
    if (reusable && this.#paused) {
      this.#paused = false;
      this.#socket?.resume();
    }
    if (reusable) this.#rest(idleMs);
    else this.#close();
    call.onEnd();
  }

  #rest(idleMs: number | undefined): void {
    this.#state = IDLE;
    if (!this.#home.keep(this, idleMs)) this.#close();
  }

  #ended(): void {
    if (this.#state === UNTIL_CLOSE && this.#call) {
      const call = this.#call;
      this.#complete(false);
      call.onFlush();
    } else if (this.#state === TUNNEL && this.#call) {
      const call = this.#call;
      this.#call = undefined;
      this.#close();
      call.onEnd();
    } else this.#fail("reset", this.#writeError ?? "upstream closed the connection");
  }

  #drained(): void {
    if (!this.#sending) return;
    this.#sending = false;
    if (this.#sentAll && !this.#paused) this.#home.wheel.arm(this, this.#timeouts.readMs);
    else this.#home.wheel.disarm(this);
    this.#call?.onDrain();
  }

  #broke(message: string, nameRefused = false): void {
    if (this.#state === CONNECTING) this.#fail("connect", message, nameRefused);
    else this.#fail("reset", this.#writeError ?? message);
  }

  #fail(kind: FailureKind, message: string, nameRefused = false): void {
    if (this.#state === CLOSED) return;
    const call = this.#call;
    this.#call = undefined;
    this.#close();
    call?.onFailed({
      kind,
      message,
      sent: this.#sentAny,
      reused: this.requests > 1,
      answered: this.#answered,
      nameRefused,
    });
  }

  #close(): void {
    if (this.#state === CLOSED) return;
    this.#state = CLOSED;
    this.#held = "";
    this.#partial = undefined;
    this.#home.wheel.remove(this);
    this.#home.gone(this);
    this.#socket?.destroy();
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

/** The certificate is for other names, or the server says that it has no such name (RFC 6066 section 3). */
function isNameRefusal(code: string | undefined): boolean {
  return code === "ERR_TLS_CERT_ALTNAME_INVALID" || code === "ERR_SSL_TLSV1_UNRECOGNIZED_NAME";
}
