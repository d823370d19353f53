/**
 * The client's side of an exchange in the general lane: Node's request and response objects.
 * Promise: the body is read only when wanted (100 Continue is sent then, not before); bytes of a body nobody wants are
 * never taken for a request; a client that stops reading or writing is dropped.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { CodedError } from "../../base/errors.ts";
import type { Exchange } from "../exchange.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { BODY_TIMEOUT } from "../gateway-pages.ts";
import { type Framing, type Lifetime, ownPiece } from "../http/message.ts";
import { type BodySource, DRAIN_BYTES, type IncomingBody, LINGER_BYTES, LINGER_MS } from "../http/request-body.ts";
import { lineBytes } from "../http/request-head.ts";
import type { Reply } from "../reply.ts";
import { Deadline } from "../timer-wheel.ts";
import type { Deferred } from "../write-scheduler.ts";

/** Chunks below are held for a moment, so that head and a small body leave in one write. */
const HELD_BYTES = 16_384;
const TAKES_TRAILERS = /(?:^|,)\s*trailers\s*(?:[,;]|$)/i;
/** Status line, Date and the empty line, about. */
const STATUS_LINE_BYTES = 30;
/** The links of a Link header (RFC 8288 section 3). */
const LINKS = /<[^<>]*>(?:[^,"]|"[^"]*")*/g;

export class GeneralReply implements Reply, BodySource, Deferred {
  readonly statusMax = 999;
  headSent = false;
  sentBytes = 0;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #context: GatewayContext;
  #exchange: Exchange | undefined;
  #body: IncomingBody | undefined;
  #awaitsContinue: boolean;
  #close = false;
  #unreadable = false;
  #endLinger: (() => void) | undefined;
  #chunked = false;
  #bodiless = false;
  #done = false;
  /** As latin1: Node joins a text to its head, and two buffers take two writes. */
  #held: string | undefined;
  #sending: Deadline | undefined;
  #receiving: Deadline | undefined;

  constructor(request: IncomingMessage, response: ServerResponse, context: GatewayContext, awaitsContinue: boolean) {
    this.#request = request;
    this.#response = response;
    this.#context = context;
    this.#awaitsContinue = awaitsContinue;
  }

  /** Listens to the response on behalf of the exchange. */
  attach(exchange: Exchange, body: IncomingBody): void {
    this.#exchange = exchange;
    this.#body = body;
    this.#response.on("close", () => this.#closed());
    this.#response.on("drain", () => {
      if (this.#sending) this.#context.wheel.disarm(this.#sending);
      exchange.clientDrained();
    });
  }

  /** Everything was handed to Node, or given up. */
  get done(): boolean {
    return this.#done;
  }

  /** The client asked that nothing follows, or was told so. */
  get isLast(): boolean {
    return this.#close || !this.#response.shouldKeepAlive;
  }

  /** The request has been read to its end. */
  get bodyComplete(): boolean {
    // The parser is ahead of the stream, which is ahead of the body.
    return this.#request.complete;
  }

  /** The rest of the request cannot be read: what is said now is the last. */
  bodyIsUnreadable(): void {
    this.#unreadable = true;
    this.#endLinger?.();
  }

  get exchange(): Exchange | undefined {
    return this.#exchange;
  }

  start(): void {
    const request = this.#request;
    const body = this.#body as IncomingBody; // true: attached before anything runs
    if (this.#awaitsContinue) {
      this.#awaitsContinue = false;
      this.#response.writeContinue();
    }
    const deadline = new Deadline(() => this.#exchange?.refuse(BODY_TIMEOUT));
    this.#receiving = deadline;
    this.#armReceiving();
    request.on("data", (chunk: Buffer) => {
      this.#armReceiving();
      body.push(chunk);
    });
    request.on("end", () => {
      this.#context.wheel.remove(deadline);
      body.finish();
    });
    request.on("error", () => {
      this.#context.wheel.remove(deadline);
      body.fail(new CodedError("CLIENT_ABORTED", { message: "the client went away inside its body" }));
    });
  }

  pause(): void {
    this.#request.pause();
    if (this.#receiving) this.#context.wheel.disarm(this.#receiving);
  }

  resume(): void {
    this.#armReceiving();
    this.#request.resume();
  }

  endAfterThis(): void {
    this.#close = true;
    // Too late for a header: the connection goes when this response is out.
    if (this.headSent) this.#response.once("finish", () => this.#request.socket.destroySoon());
  }

  head(status: number, lines: string[], framing: Framing, hasDate: boolean): void {
    this.headSent = true;
    this.#chunked = framing === "unknown";
    this.#bodiless = framing === "none";
    if (typeof framing === "number") lines.push("Content-Length", String(framing));
    if (this.#close || this.#context.draining || this.#leavesBody()) {
      this.#close = true;
      lines.push("Connection", "close");
    }
    this.#response.sendDate = !hasDate;
    this.sentBytes += STATUS_LINE_BYTES + lineBytes(lines);
    this.#response.writeHead(status, lines);
  }

  data(chunk: Buffer, start: number, end: number, lifetime: Lifetime): boolean {
    if (this.#bodiless || this.#done) return true;
    this.#writePiece();
    if (end - start < HELD_BYTES) {
      this.#held = chunk.toString("latin1", start, end);
      // Once the connection has a late upgrade, Node's response does not hear that its socket is free again.
      return !(this.#response.socket ?? this.#response).writableNeedDrain;
    }
    return this.#write(ownPiece(chunk, start, end, lifetime));
  }

  trailers(lines: readonly string[]): boolean {
    if (!this.#chunked || !TAKES_TRAILERS.test(String(this.#request.headers["te"]))) return false;
    const pairs: [string, string][] = [];
    for (let i = 0; i < lines.length; i += 2) pairs.push([lines[i] as string, lines[i + 1] as string]);
    this.#response.addTrailers(pairs);
    return true;
  }

  flush(): void {
    if (this.#done) return; // it leaves at the end of the turn
    if (this.#held === undefined && this.headSent) this.#response.flushHeaders();
    this.#writePiece();
  }

  end(): void {
    if (this.#done) return;
    this.#done = true;
    const held = this.#held;
    this.#held = undefined;
    this.sentBytes += held?.length ?? 0;
    if (this.#close && !this.#chunked && !this.#unreadable && this.#body?.complete === false) this.#linger(held);
    else {
      this.#held = held;
      this.#context.writes.add(this);
    }
  }

  /** The end of the response, with those of all others that ended in this turn. */
  flushDeferred(): void {
    const held = this.#held;
    this.#held = undefined;
    this.#response.end(held, "latin1");
    if (this.#response.writableLength > 0) this.#armSending();
  }

  release(): void {}

  destroy(): void {
    this.#done = true;
    this.#request.socket.destroy();
  }

  interim(status: number, lines: readonly string[]): void {
    if (this.#request.httpVersion !== "1.1") return;
    if (status === 102) this.#response.writeProcessing();
    else if (status === 103) {
      const hints: Record<string, string | string[]> = {};
      for (let i = 0; i < lines.length; i += 2) {
        const name = (lines[i] as string).toLowerCase();
        const before = hints[name];
        const value = lines[i + 1] as string;
        // Node takes one link in a value; a list of them is the same (RFC 9110 section 5.3).
        const values = name === "link" ? (value.match(LINKS) ?? []).map((link) => link.trim()) : [value];
        hints[name] = before === undefined ? values : [before, values].flat();
      }
      if (hints["link"] !== undefined) this.#response.writeEarlyHints(hints);
    }
  }

  tunnel(): void {
    throw new TypeError("an upgrade does not come through here");
  }

  resumeTunnel(): void {}

  /** Bytes of the body will be left on the connection, more than is worth reading. */
  #leavesBody(): boolean {
    const body = this.#body;
    if (!body || body.complete) return false;
    return this.#awaitsContinue || body.length === undefined || body.length - body.received > DRAIN_BYTES;
  }

  /** Lets the answer reach a client that is still sending, then closes. */
  #linger(held: string | undefined): void {
    const request = this.#request;
    const response = this.#response;
    if (held !== undefined) response.write(held, "latin1");
    else response.flushHeaders();
    let bytes = 0;
    const finish = (): void => {
      this.#endLinger = undefined;
      this.#context.wheel.remove(deadline);
      response.end();
    };
    this.#endLinger = finish;
    const deadline = new Deadline(finish);
    this.#context.wheel.arm(deadline, LINGER_MS);
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > LINGER_BYTES) finish();
    });
    request.on("end", finish);
    request.on("error", finish);
    request.resume();
  }

  #writePiece(): void {
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) this.#write(held);
  }

  #write(bytes: Buffer | string): boolean {
    this.sentBytes += bytes.length;
    if (this.#response.write(bytes, "latin1")) return true;
    this.#armSending();
    return false;
  }

  #armSending(): void {
    this.#sending ??= new Deadline(() => this.#request.socket.destroy());
    this.#context.wheel.arm(this.#sending, this.#context.settings.sendTimeoutMs);
  }

  #armReceiving(): void {
    const { settings, wheel } = this.#context;
    const body = this.#body;
    if (this.#receiving && body?.complete === false) wheel.arm(this.#receiving, body.patienceMs(settings, wheel.nowMs));
  }

  #closed(): void {
    this.#done = true;
    if (this.#sending) this.#context.wheel.remove(this.#sending);
    if (this.#receiving) this.#context.wheel.remove(this.#receiving);
    this.#exchange?.clientGone();
  }
}
