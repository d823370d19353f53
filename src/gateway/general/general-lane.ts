/**
 * The general lane: Node's HTTP server and our exchange, for every legal HTTP/1.1 request.
 * Promise: what Node accepts but a proxy must not is refused before an exchange begins; pipelined requests are served one
 * after the other; a bad request never reaches an upstream, and never takes another connection or the process with it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { ClientConnection } from "../client-connection.ts";
import { recordRefusal } from "../exchange-end.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { JSON_TYPE, type OwnAnswer, pageOf } from "../gateway-pages.ts";
import { refusal } from "../http/request-head.ts";
import { DateLine, responseHeadText } from "../http/response-text.ts";
import { HTTP2_FAREWELL } from "../http2/http2-farewell.ts";
import { isHttp2Preface } from "../http2/http2-preface.ts";
import type { GeneralReply } from "./general-reply.ts";
import { type Expectation, openGeneralExchange } from "./general-request.ts";
import { handleUpgrade, WaitingUpgrade } from "./general-upgrade.ts";

/** How often Node looks for heads that are late. */
const CHECK_MS = 500;
/** Pipelined requests that wait; with more the connection is not read. */
const WAITING_MAX = 16;

interface GeneralLane {
  readonly server: Server;
  /** Takes over a connection, whose unread bytes were put back. */
  accept(socket: Socket): void;
  /** The settings of its context have changed. */
  configure(): void;
  close(): Promise<void>;
}

/** Facts of a connection, remembered when it was accepted. */
type ConnectionOf = (socket: Socket) => ClientConnection;

export function openGeneralLane(context: GatewayContext, connectionOf: ConnectionOf): GeneralLane {
  const lane = new Lane(context, connectionOf);
  // Node counts head time-outs from this event on; the sockets come from our own listener.
  lane.server.emit("listening");
  return {
    server: lane.server,
    accept: (socket) => void lane.server.emit("connection", socket),
    configure: () => void Object.assign(lane.server, limitsOf(context)),
    // It never listened, which Node reports as an error; closing still ends its timer and its idle connections.
    close: () => new Promise((resolve) => lane.server.close(() => resolve())),
  };
}

/** What Node's server reads for each connection. */
function limitsOf({ settings }: GatewayContext) {
  return {
    maxHeaderSize: settings.headBytes + settings.targetBytes + 8192, // beyond our own limits, which name the fault
    headersTimeout: settings.headTimeoutMs,
    keepAliveTimeout: settings.idleTimeoutMs,
  };
}

interface Waiting {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly expectation: Expectation;
}

/** What one connection is doing. */
class ConnectionQueue {
  latest: GeneralReply | undefined;
  readonly waiting: Waiting[] = [];
  /** Whatever else the connection brings is not looked at. */
  refused = false;
  /** What to say when those before had their answers. */
  fault: OwnAnswer | undefined;
  /** What to do then; nothing is read after it. */
  upgrade: WaitingUpgrade | undefined;
  /** Those that are not out yet, in their order. */
  readonly responses: ServerResponse[] = [];

  get busy(): boolean {
    return this.latest !== undefined && !this.latest.done;
  }
}

/** What Node reports about a connection. */
interface ParserError extends Error {
  readonly code?: string | undefined;
  readonly rawPacket?: Buffer | undefined;
}

class Lane {
  readonly server: Server;
  readonly #context: GatewayContext;
  readonly #connectionOf: ConnectionOf;
  readonly #date: DateLine;
  readonly #queues = new WeakMap<Duplex, ConnectionQueue>();

  constructor(context: GatewayContext, connectionOf: ConnectionOf) {
    this.#context = context;
    this.#connectionOf = connectionOf;
    this.#date = new DateLine(context.clock);
    const server = createServer({
      ...limitsOf(context),
      insecureHTTPParser: false, // whatever NODE_OPTIONS says
      requestTimeout: 0, // bodies have an idle time-out instead
      connectionsCheckingInterval: CHECK_MS,
      noDelay: true,
      requireHostHeader: false, // our own refusal does not look at what follows on the connection
    });
    server.maxHeadersCount = 0; // none is dropped silently; too many are refused
    server.timeout = 0;
    server.on("request", (request, response) => this.#receive({ request, response, expectation: "none" }));
    server.on("checkContinue", (request, response) => this.#receive({ request, response, expectation: "continue" }));
    server.on("checkExpectation", (request, response) => this.#receive({ request, response, expectation: "unknown" }));
    server.on("connect", (_request, socket) => this.#refuseRaw(socket, refusal("method")));
    server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) =>
      this.#upgrade(request, socket, head),
    );
    server.on("clientError", (error, socket) => this.#clientError(error, socket));
    this.server = server;
  }

  #queueOf(socket: Duplex): ConnectionQueue {
    let queue = this.#queues.get(socket);
    if (!queue) {
      queue = new ConnectionQueue();
      this.#queues.set(socket, queue);
    }
    return queue;
  }

  #receive(item: Waiting): void {
    const { socket } = item.request;
    const queue = this.#queueOf(socket);
    if (queue.refused || queue.latest?.isLast === true) return;
    if (!queue.busy && queue.waiting.length === 0) {
      this.#serve(queue, item);
      return;
    }
    queue.waiting.push(item);
    if (queue.waiting.length >= WAITING_MAX) socket.pause();
  }

  #serve(queue: ConnectionQueue, item: Waiting): void {
    const { request, response } = item;
    this.#context.metrics.general.inc();
    // A parser error after this head was about this request, which then cannot be read.
    const opened =
      queue.fault && !request.complete
        ? queue.fault
        : openGeneralExchange(this.#context, this.#connectionOf(request.socket), item);
    if (opened === undefined) return;
    if ("status" in opened) {
      this.#refuse(queue, request, response, opened);
      return;
    }
    queue.latest = opened;
    queue.responses.push(response);
    response.on("close", () => {
      queue.responses.splice(queue.responses.indexOf(response), 1);
      this.#next(queue, request.socket);
    });
    opened.exchange?.run();
  }

  #next(queue: ConnectionQueue, socket: Socket): void {
    while (!queue.busy) {
      if (queue.latest?.isLast === true) {
        // The client was told that nothing follows.
        queue.refused = true;
        queue.waiting.length = 0;
        return;
      }
      const item = queue.waiting.shift();
      if (!item) break;
      this.#serve(queue, item);
    }
    if (queue.responses.length > 0) return;
    if (queue.upgrade) this.#upgradeWaiting(queue, queue.upgrade, socket);
    else if (queue.fault && !socket.destroyed) this.#refuseRaw(socket, queue.fault);
    else if (socket.isPaused()) socket.resume();
  }

  /** Answers a request that never becomes an exchange; the connection is not trusted with another one. */
  #refuse(queue: ConnectionQueue, request: IncomingMessage, response: ServerResponse, answer: OwnAnswer): void {
    queue.refused = true;
    queue.waiting.length = 0;
    queue.fault = undefined;
    this.#record(answer, request.socket, request.method ?? "");
    const body = pageOf(answer.status);
    const headers = [...this.#context.settings.ownHeaders, ...answer.headers, "Connection", "close"];
    response.writeHead(answer.status, [...headers, "Content-Length", String(Buffer.byteLength(body))]);
    response.end(request.method === "HEAD" ? undefined : body);
  }

  #clientError(error: Error, socket: Duplex): void {
    const queue = this.#queueOf(socket);
    if (queue.refused) return;
    queue.refused = true;
    const fault: ParserError = error; // Node adds these members
    const answer = readClientError(fault);
    const { latest } = queue;
    if (!socket.writable || fault.code === "ECONNRESET") socket.destroy();
    else if (!latest && isHttp2Preface(fault.rawPacket)) this.#refuseHttp2(socket, answer);
    else if (!latest || queue.responses.length === 0) this.#refuseRaw(socket, answer);
    else if (queue.busy && queue.waiting.length === 0 && !latest.bodyComplete) {
      latest.bodyIsUnreadable();
      latest.exchange?.refuse(answer);
    } else if (latest.isLast) latest.bodyIsUnreadable();
    else queue.fault = answer;
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const queue = this.#queueOf(socket);
    const isFree = queue.responses.length === 0 && queue.waiting.length === 0 && !queue.refused;
    if (isFree) handleUpgrade(this.#context, this.server, this.#connectionOf(socket), request, socket, head);
    else queue.upgrade = new WaitingUpgrade(request, socket, head, () => queue.responses[0]);
  }

  #upgradeWaiting(queue: ConnectionQueue, waiting: WaitingUpgrade, socket: Socket): void {
    queue.upgrade = undefined;
    const early = waiting.release();
    if (early) handleUpgrade(this.#context, this.server, this.#connectionOf(socket), waiting.request, socket, early);
  }

  #refuseRaw(socket: Duplex, answer: OwnAnswer): void {
    this.#record(answer, socket, "");
    const body = pageOf(answer.status);
    const lines = [...this.#context.settings.ownHeaders, ...JSON_TYPE];
    const head = responseHeadText(answer.status, lines, Buffer.byteLength(body), this.#date.line, "close");
    socket.end(head + body, "latin1", () => socket.destroy());
  }

  #refuseHttp2(socket: Duplex, answer: OwnAnswer): void {
    this.#record(answer, socket, "");
    socket.end(HTTP2_FAREWELL, () => socket.destroy());
  }

  #record(answer: OwnAnswer, socket: Duplex, method: string): void {
    // True: connections of this server are sockets.
    recordRefusal(this.#context, this.#connectionOf(socket as Socket), method, answer);
  }
}

function readClientError(error: ParserError): OwnAnswer {
  if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") return refusal("request_head_timeout");
  if (error.code !== "HPE_HEADER_OVERFLOW") return refusal("malformed_request");
  const inTarget = error.rawPacket?.includes("\r\n") === false;
  return inTarget ? refusal("target_too_long") : refusal("head_too_large");
}
