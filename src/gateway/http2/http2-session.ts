/**
 * One HTTP/2 connection of a client: its streams become exchanges, its idle time and its noise are bounded.
 * Promise: at most `STREAMS_MAX` streams at a time; a client that resets, pings or re-settles faster than any use of the
 * protocol asks for is told ENHANCE_YOUR_CALM and closed. Source: RFC 9113 sections 6.8 and 10.5.
 */
import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import type { ClientConnection } from "../client-connection.ts";
import { Exchange } from "../exchange.ts";
import { recordRefusal } from "../exchange-end.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { type OwnAnswer, pageOf } from "../gateway-pages.ts";
import type { Reason } from "../gateway-reasons.ts";
import { statusLines } from "../grpc-answer.ts";
import { Allowance } from "../http/allowance.ts";
import { isGrpc } from "../http/grpc.ts";
import { foldLines } from "../http/http2-fields.ts";
import { IncomingBody } from "../http/request-body.ts";
import { headFault, readRequest, refusal } from "../http/request-head.ts";
import { scanHeaders } from "../http/request-headers.ts";
import { Deadline } from "../timer-wheel.ts";
import { type Http2Head, isKnownMethod, readHttp2Head } from "./http2-head.ts";
import { Http2Reply } from "./http2-reply.ts";

/** Fields of a request that are not header lines. */
const PSEUDO_FIELDS = 4;

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_NO_ERROR, NGHTTP2_PROTOCOL_ERROR } = constants;

const STREAMS_MAX = 100;
const STREAM_WINDOW_BYTES = 65_535;
const CONNECTION_WINDOW_BYTES = 1_048_576;
const SESSION_MEBIBYTES = 10;
/** Frames nghttp2 calls invalid, empty DATA among them, per connection. */
const INVALID_FRAMES_MAX = 100;
/** From GOAWAY to the end of an idle connection. */
const LINGER_MS = 1_000;

/** Streams the client reset before they were answered: a burst, then so many per second. */
const RESETS = { burst: 200, perSecond: 33 };
/** PING and SETTINGS frames; estimators of bandwidth ping once per round trip. */
const NOISE = { burst: 1_000, perSecond: 100 };

export class Http2Session {
  readonly #context: GatewayContext;
  readonly #connection: ClientConnection;
  readonly #session: ServerHttp2Session;
  readonly #received: () => void;
  readonly #idle: Deadline;
  readonly #resets: Allowance;
  readonly #noise: Allowance;
  #open = 0;

  /** @param received told of each request @param closed told once */
  constructor(
    context: GatewayContext,
    socket: Socket,
    connection: ClientConnection,
    received: () => void,
    closed: () => void,
  ) {
    const { settings, wheel } = context;
    this.#context = context;
    this.#connection = connection;
    this.#received = received;
    this.#idle = new Deadline(() => this.#idled());
    this.#resets = new Allowance(RESETS.burst, RESETS.perSecond, wheel.nowMs);
    this.#noise = new Allowance(NOISE.burst, NOISE.perSecond, wheel.nowMs);
    const session = performServerHandshake(socket, {
      settings: {
        maxConcurrentStreams: STREAMS_MAX,
        initialWindowSize: STREAM_WINDOW_BYTES,
        // Beyond our own limits, which are answered with what was wrong.
        maxHeaderListSize: settings.headBytes + settings.targetBytes + 40 * settings.headerLines,
      },
      maxHeaderListPairs: settings.headerLines * 2 + 16,
      maxSessionMemory: SESSION_MEBIBYTES,
      maxSessionInvalidFrames: INVALID_FRAMES_MAX,
    });
    this.#session = session;
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    session.on("error", () => session.destroy());
    session.on("stream", (stream: ServerHttp2Stream, _headers: unknown, _flags: number, raw?: string[]) =>
      this.#accept(stream, raw ?? []),
    );
    session.on("ping", () => this.#spend(this.#noise, "http2_control_frames"));
    session.once("remoteSettings", () => {
      if (this.#open === 0) wheel.arm(this.#idle, settings.idleTimeoutMs);
    });
    session.on("remoteSettings", () => this.#spend(this.#noise, "http2_control_frames"));
    session.on("close", () => {
      wheel.remove(this.#idle);
      closed();
    });
    wheel.arm(this.#idle, settings.headTimeoutMs);
  }

  get isUnused(): boolean {
    return this.#connection.isUnused;
  }

  /**
   * Closes as soon as nothing runs. nghttp2 drops new streams from the first GOAWAY on, whatever that says, so the usual
   * pair of GOAWAYs would lose what is on its way; in a quiet moment that is least likely, and clients may repeat it.
   */
  announceEnd(): void {
    if (this.#open === 0) this.drain();
  }

  /** Takes no more requests, finishes those that are here, closes. */
  drain(): void {
    if (!this.#session.closed && !this.#session.destroyed) this.#session.close();
  }

  /** Says goodbye, and hangs up on who does not leave: half a head or a broken frame keeps Node's session waiting. */
  #idled(): void {
    if (this.#session.closed) {
      this.#session.destroy();
      return;
    }
    this.drain();
    if (!this.#session.destroyed) this.#context.wheel.arm(this.#idle, LINGER_MS);
  }

  #accept(stream: ServerHttp2Stream, raw: readonly string[]): void {
    const { settings, wheel } = this.#context;
    this.#open++;
    wheel.disarm(this.#idle);
    stream.on("error", () => {}); // whatever it is, "close" follows and says all there is to say
    stream.on("aborted", () => this.#spend(this.#resets, "http2_resets"));
    stream.on("close", () => {
      if (--this.#open > 0) return;
      wheel.arm(this.#idle, settings.idleTimeoutMs);
      if (this.#context.draining) this.drain();
    });
    this.#received();
    try {
      this.#receive(stream, raw);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#context.errors.error("http2_stream", {}, message);
      if (!stream.destroyed) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    }
  }

  #receive(stream: ServerHttp2Stream, raw: readonly string[]): void {
    const context = this.#context;
    const connection = this.#connection;
    const startedMs = context.clock.monotonicMs();
    const head = readHttp2Head(raw);
    if (!head) {
      context.metrics.error("http2_malformed");
      stream.close(NGHTTP2_PROTOCOL_ERROR);
      return;
    }
    const { lines, method, target } = head;
    const scan = scanHeaders(lines, connection);
    const refused = typeof scan === "string" ? refusal(scan) : this.#refused(head, raw.length / 2);
    if (refused || typeof scan === "string") {
      this.#refuse(stream, head, refused ?? refusal("request"));
      return;
    }
    if (target === "*") {
      this.#answerOptions(stream);
      return;
    }
    const expects = scan.expect?.toLowerCase();
    if (expects !== undefined && expects !== "100-continue") {
      this.#refuse(stream, head, refusal("expectation"));
      return;
    }
    const hasBody = !stream.endAfterHeaders;
    const announced = scan.length >= 0 ? scan.length : undefined;
    const reply = new Http2Reply(stream, context, announced, expects !== undefined);
    const body = hasBody
      ? new IncomingBody(announced, reply, context.settings.bodyBytes, context.bodies)
      : new IncomingBody(0, undefined, 0);
    body.expectsTrailers = lines.includes("trailer");
    const request = { method, target, httpVersion: "2.0", lines, scan, connection, body, startedMs } as const;
    const read = readRequest(request, context.settings, context.errors);
    if (!("view" in read)) {
      this.#refuse(stream, head, read);
      return;
    }
    read.view.receivedBytes = head.bytes;
    const exchange = new Exchange(context, read.view, read.matchPath, body, reply);
    reply.attach(exchange, body);
    exchange.run();
  }

  /** The limits and refusals that the general lane has for HTTP/1.1. */
  #refused(head: Http2Head, fields: number): OwnAnswer | undefined {
    const { settings } = this.#context;
    if (!isKnownMethod(head.method)) return refusal("unknown_method");
    const { method, target } = head;
    return headFault({ method, target, fields: fields - PSEUDO_FIELDS, bytes: head.bytes - target.length }, settings);
  }

  /** Answers a request that never becomes an exchange. */
  #refuse(stream: ServerHttp2Stream, { lines: received, method }: Http2Head, answer: OwnAnswer): void {
    const { settings } = this.#context;
    recordRefusal(this.#context, this.#connection, method, answer);
    if (isGrpc(fieldOf(received, "content-type"))) {
      const fields = [
        "content-type",
        "application/grpc",
        ...statusLines(answer.status, answer.reason, pageOf(answer.status)),
      ];
      stream.respond({ ...foldLines([...settings.ownHeaders, ...fields]), ":status": 200 }, { endStream: true });
      if (!stream.endAfterHeaders) stream.close(NGHTTP2_NO_ERROR);
      return;
    }
    const body = typeof answer.body === "string" ? answer.body : pageOf(answer.status);
    const lines = [...settings.ownHeaders, ...answer.headers];
    lines.push("content-length", String(Buffer.byteLength(body)));
    stream.respond({ ...foldLines(lines), ":status": answer.status }, { endStream: method === "HEAD" });
    if (method !== "HEAD") stream.end(body);
    if (!stream.endAfterHeaders) stream.close(NGHTTP2_NO_ERROR);
  }

  #answerOptions(stream: ServerHttp2Stream): void {
    const { metrics, settings } = this.#context;
    metrics.unmatched.count(200);
    const lines = [...settings.ownHeaders, "content-length", "0"];
    stream.respond({ ...foldLines(lines), ":status": 200 }, { endStream: true });
    if (!stream.endAfterHeaders) stream.close(NGHTTP2_NO_ERROR);
  }

  #spend(allowance: Allowance, reason: Reason): void {
    if (this.#session.destroyed || allowance.take(this.#context.wheel.nowMs)) return;
    this.#context.metrics.error(reason);
    // Without an error Node would say NO_ERROR, whatever the code is.
    this.#session.destroy(new Error(reason), NGHTTP2_ENHANCE_YOUR_CALM);
  }
}

/** @param lower the name, as HTTP/2 has it */
function fieldOf(lines: readonly string[], lower: string): string | undefined {
  for (let i = 0; i < lines.length; i += 2) if (lines[i] === lower) return lines[i + 1];
  return undefined;
}
