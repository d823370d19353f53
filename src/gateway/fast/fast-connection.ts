/**
 * One client connection on the fast lane: heads are read, requests run one after the other, responses written in order.
 * Promise: what is not plainly well-formed is handed over with all its bytes, untouched, for the rest of the connection;
 * a body is read only when wanted, and its bytes are never taken for a request.
 */
import type { Socket } from "node:net";
import { GatewayError } from "../../base/errors.ts";
import type { ClientConnection } from "../client-connection.ts";
import { Exchange } from "../exchange.ts";
import { recordRefusal } from "../exchange-end.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { BODY_TIMEOUT, pageOf } from "../gateway-pages.ts";
import type { Lifetime } from "../http/message.ts";
import { type BodySource, DRAIN_BYTES, IncomingBody, LINGER_BYTES, LINGER_MS } from "../http/request-body.ts";
import { readRequest, refusal } from "../http/request-head.ts";
import { HeaderScan } from "../http/request-headers.ts";
import { type DateLine, responseHeadText, statusLine } from "../http/response-text.ts";
import type { Reply } from "../reply.ts";
import { Timed } from "../timer-wheel.ts";
import type { Deferred } from "../write-scheduler.ts";
import { isHopeless, methodOf, readFastHead, targetOf } from "./fast-head.ts";
import { FastSocket, type SocketOwner } from "./fast-socket.ts";
import { FastWriter } from "./fast-writer.ts";

/** What all fast connections of a listener share. */
export interface FastContext {
  readonly context: GatewayContext;
  readonly date: DateLine;
  /** Takes a connection whose unread bytes were put back. */
  handOver(socket: Socket): void;
  /** The connection is not the fast lane's any more. */
  left(connection: FastConnection): void;
}

const AHEAD_BYTES = 65_536; // of pipelined requests: read so far ahead

/** Between requests, or inside a head. */
const READY = 0;
/** A request runs. */
const RUNNING = 1;
/** The rest of a body is thrown away. */
const SKIPPING = 2;
/** The last answer is out. */
const LINGERING = 3;
const GONE = 4;

const EMPTY = Buffer.alloc(0);

export class FastConnection extends Timed implements Reply, BodySource, SocketOwner, Deferred {
  readonly statusMax = 999;
  readonly #shared: FastContext;
  readonly #context: GatewayContext;
  readonly #socket: Socket;
  readonly #flow: FastSocket;
  readonly #facts: ClientConnection;
  readonly #writer: FastWriter;
  readonly #scan = new HeaderScan();
  #state = READY;
  /** Bytes read and not yet used. */
  #input: Buffer = EMPTY;
  #exchange: Exchange | undefined;
  #body: IncomingBody | undefined;
  /** Bytes of the present body still to come, those in `#input` included. */
  #bodyLeft = 0;
  #reading = false;
  #close = false;
  /** Not a byte of the next head came. */
  #idle = false;
  #processing = false;
  #sending = false;
  /** Text waits for the end of this turn. */
  #held = false;
  #skipped = 0;

  constructor(socket: Socket, facts: ClientConnection, shared: FastContext) {
    super();
    this.#socket = socket;
    this.#flow = new FastSocket(socket, this);
    this.#facts = facts;
    this.#shared = shared;
    this.#context = shared.context;
    this.#writer = new FastWriter(socket, shared.date);
    this.#context.wheel.arm(this, this.#context.settings.headTimeoutMs);
  }

  get headSent(): boolean {
    return this.#writer.headSent;
  }

  get sentBytes(): number {
    return this.#writer.sentBytes;
  }

  /** No request runs and none has begun. */
  get isIdle(): boolean {
    return this.#state === READY && this.#input.length === 0;
  }

  /** Ends an idle connection. */
  endIdle(): void {
    if (!this.isIdle) return;
    this.#writer.flush();
    this.#socket.destroy();
  }

  // Reply

  head(status: number, lines: string[], framing: number, hasDate: boolean): void {
    if (this.#context.draining || this.#bodyLeft > DRAIN_BYTES) this.#close = true;
    this.#writer.head(status, lines, framing, hasDate, this.#close);
  }

  data(chunk: Buffer, lifetime: Lifetime): boolean {
    return this.#writer.data(chunk, lifetime) || this.#slow();
  }

  end(): void {
    this.#writer.end();
  }

  release(): void {
    this.#finished();
  }

  flush(): void {
    if (this.#held || !this.#writer.holds) return;
    this.#held = true;
    this.#context.writes.add(this);
  }

  flushDeferred(): void {
    this.#held = false;
    if (!this.#writer.flush()) this.#slow();
  }

  destroy(): void {
    this.#writer.flush();
    this.#socket.destroy();
  }

  interim(status: number, lines: string[]): void {
    let text = statusLine(status);
    for (let i = 0; i < lines.length; i += 2) text += `${lines[i]}: ${lines[i + 1]}\r\n`;
    this.#writer.raw(`${text}\r\n`);
  }

  endAfterThis(): void {
    this.#close = true;
  }

  tunnel(): void {
    throw new TypeError("an upgrade does not come through here");
  }

  resumeTunnel(): void {}

  // BodySource

  start(): void {
    this.#reading = true;
    this.#armReading();
    this.#feedBody();
  }

  pause(): void {
    this.#reading = false;
    if (!this.#sending) this.#context.wheel.disarm(this);
    this.#flow.pause();
  }

  resume(): void {
    this.#reading = true;
    this.#armReading();
    this.#feedBody();
  }

  override onDeadline(): void {
    const exchange = this.#exchange;
    if (this.#state === READY && this.#input.length > 0) this.#refuseLate();
    else if (this.#state === RUNNING && exchange && !this.#sending) exchange.refuse(BODY_TIMEOUT);
    else this.#socket.destroy();
  }

  onBytes(chunk: Buffer): void {
    switch (this.#state) {
      case READY:
        this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
        this.#process();
        return;
      case RUNNING:
        this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk]);
        if (this.#bodyLeft > 0 && this.#reading) {
          this.#armReading();
          this.#feedBody();
        } else if (this.#input.length > AHEAD_BYTES || this.#bodyLeft > 0) this.#flow.pause();
        return;
      case SKIPPING:
        this.#input = chunk;
        this.#skip();
        return;
      default:
        this.#skipped += chunk.length;
        if (this.#skipped > LINGER_BYTES) this.#socket.destroy();
    }
  }

  /** Runs requests as long as there are whole heads and nothing has to be waited for. */
  #process(): void {
    if (this.#processing) return;
    this.#processing = true;
    while (this.#state === READY && this.#input.length > 0 && !this.#sending) {
      if (!this.#readRequest()) break;
    }
    this.#processing = false;
    if (this.#state !== GONE) this.flush();
  }

  /** @returns false when the head is not complete, or the connection was handed over */
  #readRequest(): boolean {
    const { settings } = this.#context;
    const input = this.#input;
    const end = input.indexOf("\r\n\r\n", 0, "latin1");
    if (end < 0) {
      if (input.length > settings.headBytes || isHopeless(input.toString("latin1"))) this.#handOver();
      else if (this.deadlineMs === 0 || this.#idle) this.#context.wheel.arm(this, settings.headTimeoutMs);
      this.#idle = false;
      return false;
    }
    const startedMs = this.#context.clock.monotonicMs();
    const scan = this.#scan;
    scan.begin(this.#facts);
    const text = input.toString("latin1", 0, end);
    const first = end > settings.headBytes ? -1 : readFastHead(text, settings.headerLines, scan);
    const fault = first < 0 || scan.finish() !== undefined;
    if (fault || scan.chunked || scan.expect !== undefined || scan.upgrade !== undefined) {
      this.#handOver();
      return false;
    }
    const length = Math.max(0, scan.length);
    const body = new IncomingBody(length, length > 0 ? this : undefined, settings.bodyBytes, this.#context.bodies);
    const method = methodOf(text);
    const target = targetOf(text, first);
    const connection = this.#facts;
    const read = readRequest({ method, target, httpVersion: "1.1", scan, connection, body, startedMs }, settings);
    if (!("view" in read)) {
      this.#handOver();
      return false;
    }
    this.#input = end + 4 === input.length ? EMPTY : input.subarray(end + 4);
    this.#state = RUNNING;
    this.#bodyLeft = length;
    this.#reading = false;
    this.#close = scan.close;
    this.#body = body;
    this.#writer.reset();
    this.#context.wheel.disarm(this);
    this.#context.metrics.fast.inc();
    read.view.receivedBytes = end + 4;
    const exchange = new Exchange(this.#context, read.view, read.matchPath, body, this);
    this.#exchange = exchange;
    exchange.run();
    return true;
  }

  /** Gives the body what is there. */
  #feedBody(): void {
    const body = this.#body as IncomingBody; // true: the body asked
    const input = this.#input;
    if (input.length > 0 && this.#bodyLeft > 0) {
      const piece = input.length > this.#bodyLeft ? input.subarray(0, this.#bodyLeft) : input;
      this.#input = piece.length === input.length ? EMPTY : input.subarray(piece.length);
      this.#bodyLeft -= piece.length;
      if (this.#bodyLeft === 0) this.#bodyRead();
      body.push(piece);
      if (this.#bodyLeft === 0) body.finish();
    }
    if (this.#bodyLeft > 0 && this.#reading) this.#flow.resume();
  }

  #bodyRead(): void {
    this.#reading = false;
    if (!this.#sending) this.#context.wheel.disarm(this);
    this.#flow.resume();
  }

  /** The response is complete, and its request accounted for. */
  #finished(): void {
    if (this.#state !== RUNNING) return;
    this.#exchange = undefined;
    this.#body = undefined;
    if (this.#close) {
      this.#linger();
      return;
    }
    this.#flow.resume();
    if (this.#bodyLeft > 0) {
      this.#state = SKIPPING;
      this.#armReading();
      this.#skip();
      return;
    }
    this.#next();
  }

  #next(): void {
    this.#state = READY;
    this.#idle = true;
    if (!this.#sending) this.#context.wheel.arm(this, this.#context.settings.idleTimeoutMs);
    if (this.#input.length > 0) this.#process();
  }

  #skip(): void {
    const input = this.#input;
    const piece = Math.min(input.length, this.#bodyLeft);
    this.#bodyLeft -= piece;
    this.#input = piece === input.length ? EMPTY : input.subarray(piece);
    if (this.#bodyLeft === 0) this.#next();
  }

  /** The last answer goes out; what the client still sends is read for a while, so that a reset does not destroy it. */
  #linger(): void {
    this.#state = LINGERING;
    this.#writer.flush();
    this.#input = EMPTY;
    if (this.#bodyLeft === 0) {
      this.#socket.destroySoon();
      this.#context.wheel.arm(this, this.#context.settings.sendTimeoutMs);
      return;
    }
    this.#socket.end();
    this.#flow.resume();
    this.#context.wheel.arm(this, LINGER_MS);
  }

  #handOver(): void {
    const input = this.#input;
    this.#writer.flush();
    this.#leave();
    this.#context.metrics.handedOver.inc();
    this.#flow.release(input);
    this.#shared.handOver(this.#socket);
  }

  #refuseLate(): void {
    recordRefusal(this.#context, this.#facts, "", refusal("request_head_timeout"));
    const page = pageOf(408);
    const lines = ["Server", this.#context.settings.serverHeader, "Content-Type", "application/json"];
    this.#writer.raw(responseHeadText(408, lines, page.length, this.#shared.date.line, "close") + page);
    this.#linger();
  }

  #slow(): boolean {
    this.#sending = true;
    this.#context.wheel.arm(this, this.#context.settings.sendTimeoutMs);
    return false;
  }

  onDrained(): void {
    if (!this.#sending) return;
    this.#sending = false;
    this.#context.wheel.disarm(this);
    if (this.#state === RUNNING) {
      if (this.#reading) this.#armReading();
      this.#exchange?.clientDrained();
    } else if (this.#state === READY) this.#next();
    else if (this.#state === LINGERING) this.#context.wheel.arm(this, LINGER_MS);
    else if (this.#state === SKIPPING) this.#armReading();
  }

  onEnded(): void {
    // As nginx and Node do: a client that closes its side while it waits has gone.
    if (this.#state === RUNNING) this.#socket.destroy();
    else {
      this.#writer.flush();
      this.#socket.destroySoon();
    }
  }

  onGone(): void {
    if (this.#state === GONE) return;
    const exchange = this.#exchange;
    const body = this.#body;
    this.#leave();
    body?.fail(new GatewayError("CLIENT_ABORTED", { message: "the client went away inside its body" }));
    exchange?.clientGone();
  }

  #leave(): void {
    this.#state = GONE;
    this.#writer.forget();
    this.#exchange = undefined;
    this.#body = undefined;
    this.#input = EMPTY;
    this.#context.wheel.remove(this);
    this.#shared.left(this);
  }

  #armReading(): void {
    const { settings, wheel } = this.#context;
    if (!this.#sending) wheel.arm(this, this.#body?.patienceMs(settings, wheel.nowMs) ?? settings.bodyTimeoutMs);
  }
}
