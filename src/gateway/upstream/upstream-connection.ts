/**
 * One connection to an upstream, carrying one request at a time.
 * Promise: it is given back for reuse only when request and response are complete, plainly framed and nothing is left
 * over; on any doubt the socket is destroyed. Each call ends by exactly one of onEnd, onFailed, `abandon`.
 */
import type { Socket } from "node:net";
import type { Timeouts } from "../../runtime/upstream/upstream-unit.ts";
import type { Lifetime } from "../http/message.ts";
import { Timed, type TimerWheel } from "../timer-wheel.ts";
import type { Deferred, WriteScheduler } from "../write-scheduler.ts";
import type { CallFailure, UpstreamCall, UpstreamLink } from "./upstream-call.ts";
import { CLEAN, MORE, type RememberedHead, type ResponseLimits, ResponseReader } from "./upstream-response.ts";
import { isNameRefusal, type SocketUser } from "./upstream-socket.ts";

/** Where connections go when their work is done. */
export interface ConnectionHome {
  readonly wheel: TimerWheel;
  readonly writes: WriteScheduler;
  readonly limits: ResponseLimits;
  readonly heads: RememberedHead;
  /**
   * The connection is clean and may be used again.
   * @param idleMs how long the upstream keeps it, if it said so
   * @returns false when it is not wanted
   */
  keep(connection: UpstreamConnection, idleMs: number | undefined): boolean;
  /** The socket is closed, or is about to be. Called once. */
  gone(connection: UpstreamConnection): void;
}

const FAREWELL_MS = 5_000; // for what an upstream said before it stopped reading
const LAST_WORDS_MS = 2_000; // what a WebSocket's upstream may still say when its client has gone

const CONNECTING = 0;
const IDLE = 1;
/** A call is under way. */
const BUSY = 2;
const CLOSED = 3;

export class UpstreamConnection extends Timed implements UpstreamLink, SocketUser, Deferred {
  readonly #home: ConnectionHome;
  readonly #reader: ResponseReader;
  #socket: Socket | undefined;
  #call: UpstreamCall | undefined;
  #timeouts: Timeouts;
  #state = CONNECTING;
  #isLeaving = false;
  /** Text of the request that leaves at the end of this turn. */
  #held = "";
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
    this.#reader = new ResponseReader(home.limits, home.heads, this);
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

  /** What its socket does is told by events; one that was destroyed in this very turn fails as if it had grown old. */
  get isUsable(): boolean {
    return this.#state === IDLE;
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
    if (this.#call) this.begin(this.#call, this.#timeouts);
  }

  /** Starts the next request on an idle connection; the call is told at once. */
  begin(call: UpstreamCall, timeouts: Timeouts): void {
    this.#call = call;
    this.#timeouts = timeouts;
    this.#state = BUSY;
    this.#answered = false;
    this.#sentAny = false;
    this.#sentAll = false;
    this.requests++;
    this.#reader.begin(call);
    call.onConnected(this);
  }

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
    } else if (this.#reader.isTunnel && !this.#sending && !this.#paused) {
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

  finish(): void {
    this.#sentAll = true;
    const isWaiting = !this.#sending && this.#state !== CLOSED && this.#writeError === undefined;
    if (isWaiting) this.#home.wheel.arm(this, this.#timeouts.readMs);
  }

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

  endTunnel(isWebSocket: boolean): void {
    this.flushDeferred();
    this.#socket?.end();
    if (!isWebSocket) return; // other protocols may go on with one half
    this.#isLeaving = true;
    this.#home.wheel.arm(this, LAST_WORDS_MS);
  }

  abandon(call: UpstreamCall): void {
    if (this.#call === call) this.destroy();
  }

  /** The socket goes, and whoever uses it hears nothing more. */
  destroy(): void {
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
      // Somebody else's answer, or the farewell of a connection that grew old.
      this.#fail("reset", "upstream spoke before it was asked");
      return;
    }
    this.#answered = true;
    if (!this.#sending && this.#sentAll && !this.#isLeaving) this.#home.wheel.arm(this, this.#timeouts.readMs);
    const progress = this.#reader.read(chunk, lifetime, this.#sentAll);
    if (typeof progress === "string") this.#fail("bad_response", progress);
    else if (progress !== MORE) this.#complete(progress === CLEAN);
    call.response.onFlush();
  }

  /** The response is complete. @param clean nothing followed it */
  #complete(clean: boolean): void {
    const call = this.#call;
    if (!call) return;
    this.#call = undefined;
    const { head, trailers } = this.#reader;
    const isSent = this.#sentAll && !this.#sending && this.#held === "" && this.#writeError === undefined;
    const reusable = clean && head?.keepAlive === true && isSent;
    this.#reader.stop();
    if (reusable && this.#paused) {
      this.#paused = false;
      this.#socket?.resume();
    }
    this.#state = IDLE;
    if (!reusable || !this.#home.keep(this, head.idleMs)) this.#close();
    call.response.onEnd(trailers);
  }

  #ended(): void {
    const call = this.#call;
    if (call && this.#reader.endsWithClose) {
      this.#complete(false);
      call.response.onFlush();
    } else if (call && this.#reader.isTunnel) {
      this.destroy();
      call.response.onEnd([]);
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

  #fail(kind: CallFailure, message: string, nameRefused = false): void {
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
    this.#reader.stop();
    this.#home.wheel.remove(this);
    this.#home.gone(this);
    this.#socket?.destroy();
  }
}
