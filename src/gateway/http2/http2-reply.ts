/**
 * The client's side of an exchange on one HTTP/2 stream.
 * Promise: the body is read only when wanted and never beyond what was announced; a response that broke off ends with
 * RST_STREAM, a request body nobody wants is ended without hurting the other streams.
 */
import { constants, type ServerHttp2Stream } from "node:http2";
import { CodedError } from "../../base/errors.ts";
import type { Exchange } from "../exchange.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { BODY_TIMEOUT } from "../gateway-pages.ts";
import { isGrpc } from "../http/grpc.ts";
import { foldLines, readTrailers } from "../http/http2-fields.ts";
import { type Framing, type Lifetime, ownPiece } from "../http/message.ts";
import type { BodySource, IncomingBody } from "../http/request-body.ts";
import type { Reply } from "../reply.ts";
import { Deadline } from "../timer-wheel.ts";

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_PROTOCOL_ERROR } = constants;

/** Chunks below are held for a moment, so that the last one carries the end of the stream. */
const HELD_BYTES = 16_384;

export class Http2Reply implements Reply, BodySource {
  readonly statusMax = 599; // Node sends no other
  headSent = false;
  sentBytes = 0;
  readonly #stream: ServerHttp2Stream;
  readonly #context: GatewayContext;
  readonly #announced: number | undefined;
  #exchange: Exchange | undefined;
  #body: IncomingBody | undefined;
  #awaitsContinue: boolean;
  #bodiless = false;
  #done = false;
  /** The response will not be complete. */
  #broken = false;
  #held: Buffer | undefined;
  #trailers: readonly string[] = [];
  /** The head said nothing of a length. */
  #isOpenEnded = false;
  #endsInTrailers = false;
  readonly #sending: Deadline;
  readonly #receiving: Deadline;

  /** @param announced content-length of the request; undefined when it has none */
  constructor(
    stream: ServerHttp2Stream,
    context: GatewayContext,
    announced: number | undefined,
    awaitsContinue: boolean,
  ) {
    this.#stream = stream;
    this.#context = context;
    this.#announced = announced;
    this.#awaitsContinue = awaitsContinue;
    this.#sending = new Deadline(() => {
      this.#broken = true;
      this.#reset(NGHTTP2_CANCEL);
    });
    this.#receiving = new Deadline(() => this.#exchange?.refuse(BODY_TIMEOUT));
  }

  /** Listens to the stream on behalf of the exchange. */
  attach(exchange: Exchange, body: IncomingBody): void {
    this.#exchange = exchange;
    this.#body = body;
    const { wheel } = this.#context;
    this.#stream.on("close", () => {
      this.#done = true;
      wheel.remove(this.#sending);
      wheel.remove(this.#receiving);
      body.fail(new CodedError("CLIENT_ABORTED", { message: "the client closed the stream" }));
      exchange.clientGone();
    });
    // They may be here before anybody wants the body.
    this.#stream.on("trailers", (_headers: unknown, _flags: number, raw?: string[]) => {
      body.trailers = readTrailers(raw ?? []);
    });
    // Node ends a stream before it resets it: without this, a response that broke off would look complete (20.20).
    this.#stream.on("wantTrailers", () => {
      if (this.#broken || this.#isGone()) return;
      this.#stream.sendTrailers(foldLines(this.#trailers));
      setImmediate(() => this.#refuseRest()); // else the reset overtakes the trailers
    });
    this.#stream.on("drain", () => {
      wheel.disarm(this.#sending);
      exchange.clientDrained();
    });
  }

  start(): void {
    const stream = this.#stream;
    const body = this.#body as IncomingBody; // true: attached before anything runs
    if (this.#awaitsContinue && !stream.headersSent && !stream.destroyed) stream.additionalHeaders({ ":status": 100 });
    this.#awaitsContinue = false;
    this.#armReceiving();
    stream.on("data", (chunk: Buffer) => {
      this.#armReceiving();
      if (this.#announced !== undefined && body.received + chunk.length > this.#announced) this.#lied();
      else body.push(chunk);
    });
    stream.on("end", () => {
      this.#context.wheel.remove(this.#receiving);
      if (stream.aborted || stream.rstCode !== NGHTTP2_NO_ERROR) return;
      if (this.#announced !== undefined && body.received !== this.#announced) this.#lied();
      else body.finish();
    });
  }

  pause(): void {
    this.#stream.pause();
    this.#context.wheel.disarm(this.#receiving);
  }

  resume(): void {
    this.#armReceiving();
    this.#stream.resume();
  }

  /** Streams end one by one; the connection has nothing to do with it. */
  endAfterThis(): void {}

  head(status: number, lines: string[], framing: Framing): void {
    this.headSent = true;
    this.#bodiless = framing === "none";
    this.#isOpenEnded = framing === "unknown";
    if (this.#isGone()) return;
    // gRPC's answer without messages is a head that says nothing of a body.
    if (typeof framing === "number" && !(framing === 0 && lines.includes("grpc-status")))
      lines.push("content-length", String(framing));
    const headers = foldLines(lines);
    headers[":status"] = status;
    for (const text of lines) this.sentBytes += text.length;
    const isOfGrpc = isGrpc(headers["content-type"] as string | undefined);
    const ends = this.#bodiless || (framing === 0 && (!isOfGrpc || headers["grpc-status"] !== undefined));
    const waits = typeof framing !== "number" || framing > HELD_BYTES || isOfGrpc;
    this.#endsInTrailers = waits && !ends;
    // Node adds a date where there is none.
    this.#stream.respond(headers, { endStream: ends, waitForTrailers: this.#endsInTrailers });
  }

  data(chunk: Buffer, start: number, end: number, lifetime: Lifetime): boolean {
    if (this.#bodiless || this.#done) return true;
    const bytes = ownPiece(chunk, start, end, lifetime);
    this.flush();
    if (bytes.length < HELD_BYTES) {
      this.#held = bytes;
      return !this.#stream.writableNeedDrain;
    }
    return this.#write(bytes);
  }

  trailers(lines: readonly string[]): boolean {
    this.#trailers = lines;
    return this.#isOpenEnded;
  }

  flush(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held) this.#write(held);
  }

  end(): void {
    if (this.#done) return;
    this.#done = true;
    const stream = this.#stream;
    const held = this.#held;
    this.#held = undefined;
    if (held) this.sentBytes += held.length;
    if (stream.destroyed) return;
    if (!stream.writableEnded) stream.end(held);
    this.#context.wheel.arm(this.#sending, this.#context.settings.sendTimeoutMs);
    if (!this.#endsInTrailers) this.#refuseRest();
  }

  release(): void {}

  destroy(): void {
    this.#done = true;
    this.#broken = true;
    this.#reset(NGHTTP2_INTERNAL_ERROR);
  }

  interim(status: number, lines: readonly string[]): void {
    if (status !== 103 || this.#isGone() || this.#stream.headersSent) return;
    const headers = foldLines(lines);
    if (headers["link"] !== undefined) this.#stream.additionalHeaders({ ":status": 103, link: headers["link"] });
  }

  tunnel(): void {
    throw new TypeError("an upgrade does not come over HTTP/2");
  }

  resumeTunnel(): void {}

  /** The body is not as long as it was said to be. */
  #lied(): void {
    this.#body?.fail(new CodedError("CLIENT_ABORTED", { message: "content-length does not fit the body" }));
    this.#reset(NGHTTP2_PROTOCOL_ERROR);
  }

  /** Closes when the response is out; the rest of the request is not wanted (RFC 9113 section 8.1). */
  #refuseRest(): void {
    if (this.#body?.complete === false) this.#reset(NGHTTP2_NO_ERROR);
  }

  #reset(code: number): void {
    if (!this.#stream.destroyed) this.#stream.close(code);
  }

  #isGone(): boolean {
    return this.#stream.destroyed || this.#stream.closed;
  }

  #write(bytes: Buffer): boolean {
    this.sentBytes += bytes.length;
    if (this.#isGone() || this.#stream.write(bytes)) return true;
    this.#context.wheel.arm(this.#sending, this.#context.settings.sendTimeoutMs);
    return false;
  }

  #armReceiving(): void {
    const { settings, wheel } = this.#context;
    const body = this.#body;
    if (body?.complete === false) wheel.arm(this.#receiving, body.patienceMs(settings, wheel.nowMs));
  }
}
