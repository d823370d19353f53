/**
 * The general lane: Node's HTTP server, Fastify and reply-from, for every legal HTTP/1.1 request.
 * Promise: what Node accepts but a proxy must not is refused before Fastify sees it; a bad request never reaches an
 * upstream, and never takes another connection or the process with it.
 */
import { createServer, type IncomingMessage, METHODS, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import replyFrom from "@fastify/reply-from";
import fastify, { type FastifyInstance } from "fastify";
import { isGatewayError } from "../base/errors.ts";
import type { Answer } from "../plugin/answer.ts";
import type { ClientConnection } from "./client-connection.ts";
import { Exchange } from "./exchange.ts";
import type { GatewayContext } from "./gateway-context.ts";
import { JSON_TYPE, pageOf } from "./gateway-pages.ts";
import { carried, carry, forwardThrough, REPLY_FROM } from "./general-forward.ts";
import { refusedBeforeFastify } from "./general-guard.ts";
import { GeneralReply } from "./general-reply.ts";
import { handleUpgrade } from "./general-upgrade.ts";
import { IncomingBody } from "./request-body.ts";
import { readRequest, refusal } from "./request-head.ts";
import { scanHeaders } from "./request-headers.ts";
import { DateLine, responseHeadText } from "./response-text.ts";

/** How often Node looks for heads that are late. */
const CHECK_MS = 500;

export interface GeneralLane {
  readonly server: Server;
  /** Takes over a connection, whose unread bytes were put back. */
  accept(socket: Socket): void;
  close(): Promise<void>;
}

/** Facts of a connection, remembered when it was accepted. */
export type ConnectionOf = (socket: Socket) => ClientConnection;

export async function openGeneralLane(context: GatewayContext, connectionOf: ConnectionOf): Promise<GeneralLane> {
  const lane = new Lane(context, connectionOf);
  await lane.app.ready();
  // Node counts head time-outs from this event on; the sockets come from our own listener.
  lane.server.emit("listening");
  return {
    server: lane.server,
    accept: (socket) => void lane.server.emit("connection", socket),
    close: () => lane.app.close(),
  };
}

/** What Node reports about a connection. */
interface ParserError extends Error {
  readonly code?: string | undefined;
  readonly rawPacket?: Buffer | undefined;
}

class Lane {
  readonly app: FastifyInstance;
  readonly server: Server;
  readonly #context: GatewayContext;
  readonly #connectionOf: ConnectionOf;
  readonly #date: DateLine;
  /** The newest request of a connection, for errors that the parser reports without naming one. */
  readonly #latest = new WeakMap<Duplex, GeneralReply>();
  /** Connections that were told to close: whatever else they bring is not looked at. */
  readonly #refused = new WeakSet<Duplex>();

  constructor(context: GatewayContext, connectionOf: ConnectionOf) {
    this.#context = context;
    this.#connectionOf = connectionOf;
    this.#date = new DateLine(context.clock);
    const { settings } = context;
    this.server = createServer({
      maxHeaderSize: settings.headBytes + settings.targetBytes + 8192, // beyond our own limits, which name the fault
      headersTimeout: settings.headTimeoutMs,
      requestTimeout: 0, // bodies have an idle time-out instead
      connectionsCheckingInterval: CHECK_MS,
      keepAliveTimeout: settings.idleTimeoutMs,
      noDelay: true,
      requireHostHeader: false, // our own refusal does not look at what follows on the connection
    });
    this.server.maxHeadersCount = 0; // none is dropped silently; too many are refused
    this.server.timeout = 0;
    this.server.on("checkContinue", (request, response) => this.#receive(request, response, true));
    this.server.on("checkExpectation", (request, response) =>
      this.#refuse(request, response, refusal(417, "expectation")),
    );
    this.server.on("connect", (_request, socket) => this.#refuseRaw(socket, refusal(405, "method")));
    this.server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) =>
      handleUpgrade(this.#context, this.server, this.#connectionOf(socket), request, socket, head),
    );
    this.app = this.#buildApp();
  }

  #buildApp(): FastifyInstance {
    let handler: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
    const app = fastify({
      logger: false,
      exposeHeadRoutes: false,
      clientErrorHandler: (error, socket) => this.#clientError(error, socket),
      serverFactory: (fastifyHandler) => {
        handler = fastifyHandler;
        return this.server;
      },
    });
    // Bodies belong to the exchange: no method has one as far as Fastify is concerned.
    for (const method of METHODS)
      if (method !== "CONNECT") app.addHttpMethod(method, { hasBody: false, overrideExisting: true });
    app.register(replyFrom, REPLY_FROM);
    app.all("/", (request, reply) => {
      const general = carried(request.raw);
      if (!general) throw new TypeError("request did not come through the general lane");
      general.fastify = reply;
      general.exchange?.run();
    });
    this.server.on("request", (request, response) => this.#receive(request, response, false));
    this.#dispatch = (request, response) => handler?.(request, response);
    return app;
  }

  #dispatch: (request: IncomingMessage, response: ServerResponse) => void = () => {};

  #receive(request: IncomingMessage, response: ServerResponse, awaitsContinue: boolean): void {
    if (this.#refused.has(request.socket)) return;
    const context = this.#context;
    context.metrics.general.inc();
    const startedMs = context.clock.monotonicMs();
    const connection = this.#connectionOf(request.socket);
    const refused = refusedBeforeFastify(request, context.settings);
    if (refused) {
      this.#refuse(request, response, refused);
      return;
    }
    const lines = request.rawHeaders.slice();
    const scan = scanHeaders(lines, connection.forwardedTrust);
    if (typeof scan === "string") {
      this.#refuse(request, response, refusal(400, scan));
      return;
    }
    if (scan.chunked && request.httpVersion === "1.0") {
      this.#refuse(request, response, refusal(400, "transfer_encoding"));
      return;
    }
    if (request.url === "*") {
      this.#answerOptions(response);
      return;
    }
    const reply = new GeneralReply(request, response, context, awaitsContinue, forwardThrough);
    const hasBody = scan.chunked || scan.length > 0;
    const announced = scan.chunked ? undefined : Math.max(0, scan.length);
    const body = new IncomingBody(announced, hasBody ? reply : undefined, context.settings.bodyBytes);
    const httpVersion = request.httpVersion === "1.0" ? "1.0" : "1.1";
    const target = request.url ?? "";
    const method = request.method ?? "";
    const read = readRequest(
      { method, target, httpVersion, lines, scan, connection, body, startedMs },
      context.settings,
    );
    if (!("view" in read)) {
      this.#refuse(request, response, read);
      return;
    }
    const exchange = new Exchange(context, read.view, read.matchPath, body, reply);
    reply.attach(exchange, body);
    this.#latest.set(request.socket, reply);
    carry(request, reply);
    request.url = "/";
    this.#dispatch(request, response);
  }

  /** OPTIONS * asks about the server as a whole (RFC 9110 section 9.3.7); no route has to do with it. */
  #answerOptions(response: ServerResponse): void {
    this.#context.metrics.unmatched.count(200);
    response.writeHead(200, ["Server", this.#context.settings.serverHeader, "Content-Length", "0"]);
    response.end();
  }

  /** Answers a request that never becomes an exchange; the connection is not trusted with another one. */
  #refuse(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
    const { metrics } = this.#context;
    this.#refused.add(request.socket);
    metrics.error(answer.reason);
    metrics.unmatched.count(answer.status);
    const body = typeof answer.body === "string" ? answer.body : pageOf(answer.status);
    const headers = ["Server", this.#context.settings.serverHeader, ...answer.headers, "Connection", "close"];
    response.writeHead(answer.status, [...headers, "Content-Length", String(Buffer.byteLength(body))]);
    response.end(request.method === "HEAD" ? undefined : body);
  }

  #clientError(error: Error, socket: Duplex): void {
    if (this.#refused.has(socket)) return;
    this.#refused.add(socket);
    const fault: ParserError = error; // Node adds these members
    const answer = readClientError(fault);
    const latest = this.#latest.get(socket);
    if (!socket.writable || fault.code === "ECONNRESET") {
      socket.destroy();
      return;
    }
    if (!latest || latest.done) this.#refuseRaw(socket, answer);
    else if (latest.bodyComplete) latest.closeAfter();
    else {
      latest.stopReading();
      latest.exchange?.refuse(answer);
    }
  }

  #refuseRaw(socket: Duplex, answer: Answer): void {
    const { metrics, settings } = this.#context;
    metrics.error(answer.reason);
    metrics.unmatched.count(answer.status);
    const body = pageOf(answer.status);
    const lines = ["Server", settings.serverHeader, ...JSON_TYPE];
    const head = responseHeadText(answer.status, lines, Buffer.byteLength(body), this.#date.line, "close");
    socket.end(head + body, "latin1", () => socket.destroy());
  }
}

function readClientError(error: ParserError): Answer {
  if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") return refusal(408, "request_head_timeout");
  if (error.code === "HPE_HEADER_OVERFLOW") {
    const inTarget = error.rawPacket?.includes("\r\n") === false;
    return inTarget ? refusal(414, "target_too_long") : refusal(431, "head_too_large");
  }
  return refusal(isGatewayError(error) ? error.status : 400, "malformed_request");
}
