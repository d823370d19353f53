/**
 * One client connection on the fast lane: requests run one after the other, responses are written in order.
 * Promise: what is not plainly well-formed is handed over with all its bytes, untouched, for the rest of the connection.
 */
import type { Socket } from "node:net";
import { CodedError } from "../../base/errors.ts";
import type { ClientConnection } from "../client-connection.ts";
import { Exchange } from "../exchange.ts";
import { recordRefusal } from "../exchange-end.ts";
import type { FinishedAnswer } from "../finished-answers.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { BODY_TIMEOUT, pageOf } from "../gateway-pages.ts";
import type { Framing, Lifetime } from "../http/message.ts";
import { DRAIN_BYTES, type IncomingBody, LINGER_BYTES, LINGER_MS } from "../http/request-body.ts";
import { refusal } from "../http/request-head.ts";
import type { SentHead } from "../http/response-head.ts";
import { type DateLine, headLines, responseHeadText } from "../http/response-text.ts";
import type { Reply } from "../reply.ts";
import { Timed } from "../timer-wheel.ts";
import type { Deferred } from "../write-scheduler.ts";
import { FastInput, type InputOwner } from "./fast-input.ts";
import { FastSocket, type SocketOwner } from "./fast-socket.ts";
import { FastWriter } from "./fast-writer.ts";

/** What all fast connections of a listener share. */
export interface FastContext {
  readonly context: GatewayContext;
  readonly date: DateLine;
  /** Takes a connection whose unread bytes were put back. */
  handOver(socket: Socket, unread: Buffer): void;
  /** The connection is not the fast lane's any more. */
  left(connection: FastConnection): void;
}

/** Between requests, or inside a head. */
const READY = 0;
const RUNNING = 1;
/** The rest of a body is thrown away. */
const SKIPPING = 2;
/** The last answer is out. */
const LINGERING = 3;
const GONE = 4;

export class FastConnection extends Timed implements Reply, InputOwner, SocketOwner, Deferred {
  readonly statusMax = 999;
  readonly #shared: FastContext;
  readonly #context: GatewayContext;
  readonly #socket: Socket;
  readonly #flow: FastSocket;
  readonly #input: FastInput;
  readonly #facts: ClientConnection;
  readonly #writer: FastWriter;
  #state = READY;
  #exchange: Exchange | undefined;
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
    this.#input = new FastInput(this, this.#flow, facts, shared.context);
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

  /** Ends the connection if no request runs and none has begun. @param alsoUnused though none has come yet */
  endIdle(alsoUnused: boolean): void {
    if (this.#state !== READY || !this.#input.isEmpty || (this.#facts.isUnused && !alsoUnused)) return;
    this.#writer.flush();
    this.#socket.destroy();
  }

  head(status: number, lines: string[], framing: Framing, hasDate: boolean, sent?: SentHead): void {
    this.#closeWhereDue();
    this.#writer.head(status, lines, framing, hasDate, this.#close, sent);
  }

  finished(answer: FinishedAnswer): void {
    this.#closeWhereDue();
    this.#writer.finished(answer, this.#close);
  }

  #closeWhereDue(): void {
    if (this.#context.draining || this.#input.bodyLeft > DRAIN_BYTES) this.#close = true;
  }

  data(chunk: Buffer, start: number, end: number, lifetime: Lifetime): boolean {
    return this.#writer.data(chunk, start, end, lifetime) || this.#slow();
  }

  /** Who takes trailers is served by the general lane. */
  trailers(): boolean {
    return false;
  }

  end(): void {
    this.#writer.end();
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

  interim(status: number, lines: readonly string[]): void {
    this.#writer.raw(`${headLines(status, lines)}\r\n`);
  }

  endAfterThis(): void {
    this.#close = true;
  }

  tunnel(): void {
    throw new TypeError("an upgrade does not come through here");
  }

  resumeTunnel(): void {}

  onReadingEnd(): void {
    if (!this.#sending) this.#context.wheel.disarm(this);
  }

  override onDeadline(): void {
    if (this.#state === READY && !this.#input.isEmpty) this.#refuseHeadTimeout();
    else if (this.#state === RUNNING && !this.#sending) this.#exchange?.refuse(BODY_TIMEOUT);
    else this.#socket.destroy();
  }

  onBytes(chunk: Buffer): void {
    switch (this.#state) {
      case READY:
        this.#input.add(chunk);
        this.#process();
        return;
      case RUNNING:
        this.#input.addWhileRunning(chunk);
        return;
      case SKIPPING:
        this.#input.add(chunk);
        if (this.#input.skip()) this.#next();
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
    while (this.#state === READY && !this.#input.isEmpty && !this.#sending) {
      if (!this.#readRequest()) break;
    }
    this.#processing = false;
    if (this.#state !== GONE) this.flush();
  }

  /** @returns false when the head is not complete, or the connection was handed over */
  #readRequest(): boolean {
    const { metrics, settings, wheel } = this.#context;
    const read = this.#input.readRequest();
    if (typeof read === "string") {
      if (read === "foreign") this.#handOver();
      else if (this.deadlineMs === 0 || this.#idle) wheel.arm(this, settings.headTimeoutMs);
      this.#idle = false;
      return false;
    }
    this.#state = RUNNING;
    this.#close = this.#input.isLast;
    this.#writer.reset();
    wheel.disarm(this);
    metrics.fast.inc();
    const body = this.#input.body as IncomingBody; // true: made with the request
    this.#exchange = new Exchange(this.#context, read.view, read.matchPath, body, this);
    this.#exchange.run();
    return true;
  }

  /** The response is complete, and its request accounted for. */
  release(): void {
    if (this.#state !== RUNNING) return;
    this.#exchange = undefined;
    this.#input.body = undefined;
    if (this.#close) {
      this.#linger();
      return;
    }
    this.#flow.resume();
    if (this.#input.bodyLeft > 0) {
      this.#state = SKIPPING;
      this.onReading();
      if (!this.#input.skip()) return;
    }
    this.#next();
  }

  #next(): void {
    this.#state = READY;
    this.#idle = true;
    if (!this.#sending) this.#context.wheel.arm(this, this.#context.settings.idleTimeoutMs);
    if (!this.#input.isEmpty) this.#process();
  }

  /** The last answer goes out; what the client still sends is read for a while, so that a reset does not destroy it. */
  #linger(): void {
    this.#state = LINGERING;
    this.#writer.flush();
    this.#input.take();
    if (this.#input.bodyLeft === 0) {
      this.#socket.destroySoon();
      this.#context.wheel.arm(this, this.#context.settings.sendTimeoutMs);
      return;
    }
    this.#socket.end();
    this.#flow.resume();
    this.#context.wheel.arm(this, LINGER_MS);
  }

  #handOver(): void {
    const unread = this.#input.end();
    this.#writer.flush();
    this.#leave();
    this.#context.metrics.handedOver.inc();
    this.#flow.release(unread);
    this.#shared.handOver(this.#socket, unread);
  }

  #refuseHeadTimeout(): void {
    recordRefusal(this.#context, this.#facts, "", refusal("request_head_timeout"));
    const page = pageOf(408);
    const lines = [...this.#context.settings.ownHeaders, "Content-Type", "application/json"];
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
      if (this.#input.isReading) this.onReading();
      this.#exchange?.clientDrained();
    } else if (this.#state === READY) this.#next();
    else if (this.#state === LINGERING) this.#context.wheel.arm(this, LINGER_MS);
    else if (this.#state === SKIPPING) this.onReading();
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
    const { body } = this.#input;
    this.#leave();
    body?.fail(new CodedError("CLIENT_ABORTED", { message: "the client went away inside its body" }));
    exchange?.clientGone();
  }

  #leave(): void {
    this.#state = GONE;
    this.#writer.forget();
    this.#exchange = undefined;
    this.#input.body = undefined;
    this.#input.end();
    this.#context.wheel.remove(this);
    this.#shared.left(this);
  }

  onReading(): void {
    const { settings, wheel } = this.#context;
    if (!this.#sending) wheel.arm(this, this.#input.body?.patienceMs(settings, wheel.nowMs) ?? settings.bodyTimeoutMs);
  }
}
