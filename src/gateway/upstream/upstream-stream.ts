/**
 * One request on one stream of an HTTP/2 upstream, from waiting for a session to its end.
 * Promise: a slow client stops the stream and nothing else; only what the upstream ended itself ends well; each call ends by
 * exactly one of onEnd, onFailed, `abandon`. Source: RFC 9113 sections 5.1, 6.8, 8.1 and 8.7.
 */
import { type ClientHttp2Stream, constants } from "node:http2";
import type { Timeouts } from "../../runtime/upstream/upstream-unit.ts";
import { readTrailers } from "../http/http2-fields.ts";
import { Timed, type TimerWheel } from "../timer-wheel.ts";
import type { CallFailure, StreamLink, StreamRequest, UpstreamCall } from "./upstream-call.ts";
import { readStreamHead } from "./upstream-fields.ts";
import type { ResponseLimits } from "./upstream-response.ts";
import type { UpstreamSession } from "./upstream-session.ts";

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants;

/** What is not HTTP/2, or says more than is allowed. */
const BAD_RESPONSE: ReadonlySet<number> = new Set([
  constants.NGHTTP2_PROTOCOL_ERROR,
  constants.NGHTTP2_FLOW_CONTROL_ERROR,
  constants.NGHTTP2_STREAM_CLOSED,
  constants.NGHTTP2_FRAME_SIZE_ERROR,
  constants.NGHTTP2_COMPRESSION_ERROR,
  constants.NGHTTP2_ENHANCE_YOUR_CALM,
]);
const INTERIM_MAX = 16;
const END_STREAM = constants.NGHTTP2_FLAG_END_STREAM;
const NO_TRAILERS: readonly string[] = Object.freeze([]);

/** Where streams come from. */
interface StreamHome {
  readonly wheel: TimerWheel;
  readonly limits: ResponseLimits;
  /** It waits no more. */
  leave(stream: UpstreamStream): void;
}

export class UpstreamStream extends Timed implements StreamLink {
  readonly #home: StreamHome;
  readonly timeouts: Timeouts;
  readonly #fresh: boolean;
  #call: UpstreamCall | undefined;
  #session: UpstreamSession | undefined;
  #stream: ClientHttp2Stream | undefined;
  #interim = 0;
  /** Bytes of the body that may still come. */
  #left = 0;
  #answered = false;
  /** The upstream has ended its side. */
  #ended = false;
  #trailers: readonly string[] = NO_TRAILERS;
  #sentAll = false;
  #sending = false;
  #paused = false;
  /** Something may move either way at any time. */
  #isOpenEnded = false;
  #requestTrailers: readonly string[] = NO_TRAILERS;

  /** @param fresh it was refused once for reasons of its session */
  constructor(home: StreamHome, call: UpstreamCall, timeouts: Timeouts, fresh: boolean) {
    super();
    this.#home = home;
    this.#call = call;
    this.timeouts = timeouts;
    this.#fresh = fresh;
  }

  /** Waits for a session, as long as for a connection. */
  wait(): void {
    this.#home.wheel.arm(this, this.timeouts.connectMs);
  }

  /** There is room on this session: the call sends its request. */
  begin(session: UpstreamSession): void {
    this.#home.wheel.disarm(this);
    this.#session = session;
    this.#call?.onStream(this);
  }

  open({ fields, body, isOpenEnded, hasTrailers }: StreamRequest): void {
    const session = this.#session as UpstreamSession; // true: the call was told
    const ends = body?.length === 0;
    this.#isOpenEnded = isOpenEnded;
    this.#sentAll = body !== undefined;
    const stream = session.request(fields, { endStream: ends, waitForTrailers: hasTrailers }, this.timeouts.readMs);
    this.#stream = stream;
    this.#listen(stream);
    if (body && !ends) this.#sending = !stream.write(body);
    if (body && !ends) stream.end();
    this.#watch();
  }

  write(bytes: string | Buffer): boolean {
    const stream = this.#stream;
    if (!stream || stream.destroyed || stream.writableEnded) return true;
    const flowing = stream.write(bytes);
    if (!flowing) this.#sending = true;
    this.#watch();
    return flowing;
  }

  cork(): void {}

  uncork(): void {}

  finish(trailers: readonly string[] = NO_TRAILERS): void {
    this.#sentAll = true;
    this.#requestTrailers = trailers;
    if (this.#stream?.destroyed === false) this.#stream.end();
    this.#watch();
  }

  pause(): void {
    this.#paused = true;
    this.#stream?.pause();
    this.#watch();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#stream?.resume();
    this.#watch();
  }

  endTunnel(): void {}

  abandon(call: UpstreamCall): void {
    if (this.#call !== call) return;
    this.#leave();
    this.#stream?.close(NGHTTP2_CANCEL);
  }

  override onDeadline(): void {
    const kind = !this.#stream ? "connect_timeout" : this.#sending ? "send_timeout" : "read_timeout";
    this.fail(kind, `${kind.replace("_timeout", "")} timed out`);
  }

  /** It is over without a response, or with half of one. */
  fail(kind: CallFailure, message: string, nameRefused = false): void {
    const call = this.#call;
    if (!call) return;
    const stream = this.#stream;
    const isRefused = this.#isRefused(stream);
    this.#leave();
    stream?.close(NGHTTP2_CANCEL);
    call.onFailed({
      ...{ kind, message, nameRefused, answered: this.#answered },
      sent: stream !== undefined && !isRefused,
      reused: !this.#fresh && stream !== undefined && (isRefused || this.#session?.isReused === true),
    });
  }

  /** The upstream says that it has not looked at the request (RFC 9113 section 8.7). */
  #isRefused(stream: ClientHttp2Stream | undefined): boolean {
    if (!stream || this.#answered) return false;
    return stream.rstCode === NGHTTP2_REFUSED_STREAM || (stream.id ?? 0) > (this.#session?.lastStream ?? 0);
  }

  #leave(): void {
    this.#call = undefined;
    this.#home.wheel.remove(this);
    this.#home.leave(this);
  }

  #listen(stream: ClientHttp2Stream): void {
    const push = stream.push;
    // Node ends a stream that was reset without an error, too; END_STREAM alone comes while it is open.
    stream.push = (chunk, encoding) => {
      if (chunk === null && !stream.closed) this.#ended = true;
      return push.call(stream, chunk, encoding);
    };
    // The raw list is there in every Node that this runs on; its types know it not.
    const on = stream.on.bind(stream) as (
      event: string,
      listener: (headers: unknown, flags: number, raw: string[]) => void,
    ) => void;
    on("headers", (_headers, _flags, raw) => this.#onInterim(raw));
    on("response", (_headers, flags, raw) => this.#onHead(raw, (flags & END_STREAM) !== 0));
    on("trailers", (_headers, _flags, raw) => {
      this.#trailers = readTrailers(raw);
    });
    stream.on("data", (chunk: Buffer) => this.#onData(chunk));
    stream.on("end", () => this.#onEnd());
    stream.on("drain", () => {
      this.#sending = false;
      this.#watch();
      this.#call?.onDrain();
    });
    stream.on("wantTrailers", () => {
      const trailers: Record<string, string> = {};
      for (let i = 0; i < this.#requestTrailers.length; i += 2)
        trailers[this.#requestTrailers[i] as string] = this.#requestTrailers[i + 1] as string;
      stream.sendTrailers(trailers);
    });
    stream.on("error", () => {}); // whatever it is, "close" follows
    stream.on("close", () => this.#closed(stream));
  }

  #onInterim(raw: readonly string[]): void {
    this.#watch();
    const head = readStreamHead(raw, false, this.#home.limits.headerLines);
    if (typeof head === "string" || ++this.#interim > INTERIM_MAX || head.length > 0 || head.status === 101)
      this.fail("bad_response", "bad interim response");
    else if (head.status !== 100) this.#call?.response.onInterim(head);
  }

  #onHead(raw: readonly string[], ends: boolean): void {
    this.#watch();
    const head = readStreamHead(raw, ends, this.#home.limits.headerLines);
    if (typeof head === "string") this.fail("bad_response", head);
    else if (this.#answered || head.status < 200) this.fail("bad_response", "bad response head");
    else {
      this.#answered = true;
      const isBodiless = ends || this.#call?.method === "HEAD" || head.status === 204 || head.status === 304;
      this.#left = isBodiless ? 0 : head.length >= 0 ? head.length : Number.POSITIVE_INFINITY;
      this.#call?.response.onHead(head, this);
    }
  }

  #onData(chunk: Buffer): void {
    this.#watch();
    const call = this.#call;
    if (!call) return;
    this.#left -= chunk.length;
    if (this.#left < 0) {
      this.fail("bad_response", "response longer than its Content-Length");
      return;
    }
    call.response.onData(chunk, 0, chunk.length, "kept");
    call.response.onFlush();
  }

  #onEnd(): void {
    const call = this.#call;
    const stream = this.#stream;
    if (!call || !this.#ended || !this.#answered) return; // else "close" says why
    if (this.#left > 0 && this.#left < Number.POSITIVE_INFINITY) {
      this.fail("bad_response", "response shorter than its Content-Length");
      return;
    }
    this.#leave();
    // The rest of the request is not wanted, as the answer is here.
    if (stream && !stream.closed && !(this.#sentAll && stream.writableFinished)) stream.close(NGHTTP2_CANCEL);
    call.response.onEnd(this.#trailers);
    call.response.onFlush();
  }

  #closed(stream: ClientHttp2Stream): void {
    const code = stream.rstCode ?? NGHTTP2_NO_ERROR;
    const kind = BAD_RESPONSE.has(code) && this.#session?.isOpen === true ? "bad_response" : "reset";
    this.fail(kind, this.#session?.lostBy ?? `upstream closed the stream with code ${code}`);
    this.#session?.closed();
  }

  /** Something moved, or is due. */
  #watch(): void {
    const { wheel } = this.#home;
    if (!this.#call) return;
    if (this.#sending) wheel.arm(this, this.timeouts.sendMs);
    else if (!this.#paused && (this.#sentAll || this.#isOpenEnded)) wheel.arm(this, this.timeouts.readMs);
    else wheel.disarm(this);
  }
}
