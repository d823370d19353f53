/**
 * What happens to a request that asks for another protocol. WebSocket handshakes run through the pipeline on the bare
 * socket; any other request is put back without its Upgrade and served as plain HTTP (RFC 9110 section 7.8: a server
 * may ignore Upgrade).
 */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ClientConnection } from "../client-connection.ts";
import { Exchange } from "../exchange.ts";
import { recordRefusal } from "../exchange-end.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { type OwnAnswer, pageOf } from "../gateway-pages.ts";
import { type Framing, type Lifetime, ownPiece } from "../http/message.ts";
import { IncomingBody } from "../http/request-body.ts";
import { readRequest, refusal } from "../http/request-head.ts";
import { HeaderScan, scanHeaders } from "../http/request-headers.ts";
import { DateLine, headLines, responseHeadText } from "../http/response-text.ts";
import type { Reply, TunnelSink } from "../reply.ts";
import { Deadline } from "../timer-wheel.ts";
import { generalHeadFault } from "./general-request.ts";

/** @param early bytes that followed the head */
export function handleUpgrade(
  context: GatewayContext,
  server: Server,
  connection: ClientConnection,
  request: IncomingMessage,
  socket: Socket,
  early: Buffer,
): void {
  if (!isWebSocket(request)) {
    putBack(server, request, socket, early);
    return;
  }
  const startedMs = context.clock.monotonicMs();
  context.metrics.general.inc();
  const refused = generalHeadFault(request, context.settings);
  const scan = refused ?? scanHeaders(request.rawHeaders, connection);
  const reply = new UpgradeReply(socket, early, context);
  if (typeof scan === "string" || !(scan instanceof HeaderScan)) {
    refuse(context, connection, reply, typeof scan === "string" ? refusal(scan) : scan);
    return;
  }
  if (scan.chunked || scan.length > 0) {
    refuse(context, connection, reply, refusal("upgrade_with_body"));
    return;
  }
  const body = new IncomingBody(0, undefined, 0);
  const target = request.url ?? "";
  const read = readRequest(
    { method: "GET", target, httpVersion: "1.1", scan, connection, body, startedMs },
    context.settings,
    context.errors,
  );
  if (!("view" in read)) {
    refuse(context, connection, reply, read);
    return;
  }
  const exchange = new Exchange(context, read.view, read.matchPath, body, reply);
  reply.attach(exchange);
  exchange.run();
}

function isWebSocket(request: IncomingMessage): boolean {
  return (
    request.method === "GET" &&
    request.httpVersion === "1.1" &&
    request.headers.upgrade?.trim().toLowerCase() === "websocket"
  );
}

function refuse(context: GatewayContext, connection: ClientConnection, reply: UpgradeReply, answer: OwnAnswer): void {
  recordRefusal(context, connection, "GET", answer);
  const body = Buffer.from(pageOf(answer.status));
  reply.head(answer.status, [...context.settings.ownHeaders, ...answer.headers], body.length, false);
  reply.data(body, 0, body.length, "kept");
  reply.end();
}

/** Writes the head again without what asked for the upgrade, in front of the bytes that followed it. */
function putBack(server: Server, request: IncomingMessage, socket: Socket, early: Buffer): void {
  let head = `${request.method} ${request.url} HTTP/${request.httpVersion}\r\n`;
  const lines = request.rawHeaders;
  for (let i = 0; i < lines.length; i += 2) {
    const name = (lines[i] as string).toLowerCase();
    if (name === "upgrade" || name === "http2-settings") continue;
    const value = name === "connection" ? withoutUpgrade(lines[i + 1] as string) : lines[i + 1];
    head += `${lines[i]}: ${value}\r\n`;
  }
  socket.unshift(Buffer.concat([Buffer.from(`${head}\r\n`, "latin1"), early]));
  server.emit("connection", socket);
  if (socket.isPaused()) socket.resume();
}

function withoutUpgrade(value: string): string {
  const left = value.split(",").map((token) => token.trim());
  const kept = left.filter((token) => !/^(?:upgrade|http2-settings)$/i.test(token));
  return kept.length === 0 ? "keep-alive" : kept.join(", ");
}

/** A client waits for the answer to its handshake before it says more. */
const EARLY_BYTES = 65_536;

/**
 * A protocol upgrade that was pipelined behind requests whose answers are not out yet: it waits for its turn.
 * Promise: the answers before it leave in order; bytes that follow it are kept for it, up to a bound.
 * Node takes its own listeners off a socket that upgrades, so what the answers need of it is done here.
 */
export class WaitingUpgrade {
  readonly request: IncomingMessage;
  readonly #socket: Socket;
  readonly #early: Buffer[];
  readonly #onData: (chunk: Buffer) => void;
  readonly #onEnd: () => void;
  readonly #onDrain: () => void;
  readonly #onError: () => void;
  #bytes: number;

  /** @param sending the response that is on its way at the moment it is asked for */
  constructor(request: IncomingMessage, socket: Socket, head: Buffer, sending: () => ServerResponse | undefined) {
    this.request = request;
    this.#socket = socket;
    this.#early = [head];
    this.#bytes = head.length;
    this.#onData = (chunk) => this.#keep(chunk);
    // As everywhere: a client that closes its side while it waits has gone.
    this.#onEnd = () => void socket.destroy();
    this.#onDrain = () => void sending()?.emit("drain");
    this.#onError = () => void socket.destroy();
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("drain", this.#onDrain);
    socket.on("error", this.#onError);
  }

  /** Its turn has come; the socket is paused. @returns what followed its head; undefined when the client has left */
  release(): Buffer | undefined {
    const socket = this.#socket;
    socket.pause();
    socket.off("data", this.#onData);
    socket.off("end", this.#onEnd);
    socket.off("drain", this.#onDrain);
    if (socket.destroyed) return undefined;
    socket.off("error", this.#onError);
    return Buffer.concat(this.#early);
  }

  #keep(chunk: Buffer): void {
    this.#early.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes > EARLY_BYTES) this.#socket.destroy();
  }
}

/**
 * The client's side of a protocol upgrade: one request on a bare socket, answered and closed, or turned into a tunnel.
 * Promise: memory per direction is bounded by back-pressure; an idle tunnel is closed by the upstream's read timeout.
 */
class UpgradeReply implements Reply {
  readonly statusMax = 999;
  headSent = false;
  sentBytes = 0;
  readonly #socket: Socket;
  readonly #context: GatewayContext;
  readonly #send: Deadline;
  #exchange: Exchange | undefined;
  #chunked = false;
  #bodiless = false;
  #done = false;
  #tunnel: TunnelSink | undefined;
  /** Bytes that came before the tunnel was there. */
  #early: Buffer;

  constructor(socket: Socket, early: Buffer, context: GatewayContext) {
    this.#socket = socket;
    this.#context = context;
    this.#early = early;
    this.#send = new Deadline(() => this.#socket.destroy());
  }

  /** Listens to the socket on behalf of the exchange. */
  attach(exchange: Exchange): void {
    this.#exchange = exchange;
    const socket = this.#socket;
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#context.wheel.remove(this.#send);
      exchange.clientGone();
    });
    socket.on("drain", () => {
      this.#context.wheel.disarm(this.#send);
      exchange.clientDrained();
    });
  }

  head(status: number, lines: string[], framing: Framing, hasDate: boolean): void {
    this.headSent = true;
    this.#chunked = framing === "unknown";
    this.#bodiless = framing === "none";
    const date = hasDate ? "" : new DateLine(this.#context.clock).line;
    this.#write(responseHeadText(status, lines, framing, date, "close"));
  }

  data(chunk: Buffer, start: number, end: number, lifetime: Lifetime): boolean {
    if (this.#bodiless || this.#done) return true;
    const bytes = ownPiece(chunk, start, end, lifetime);
    if (!this.#chunked) return this.#write(bytes);
    this.#write(`${bytes.length.toString(16)}\r\n`);
    this.#write(bytes);
    return this.#write("\r\n");
  }

  trailers(): boolean {
    return false;
  }

  end(): void {
    if (this.#done) return;
    this.#done = true;
    if (this.#chunked) this.#write("0\r\n\r\n");
    this.#socket.destroySoon();
  }

  release(): void {}

  flush(): void {}

  destroy(): void {
    this.#done = true;
    this.#socket.destroy();
  }

  interim(): void {}

  endAfterThis(): void {}

  tunnel(lines: string[], protocol: string, sink: TunnelSink): void {
    this.headSent = true;
    this.#bodiless = false;
    this.#chunked = false;
    this.#write(`${headLines(101, lines)}Connection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`);
    this.#tunnel = sink;
    const socket = this.#socket;
    socket.on("data", (chunk: Buffer) => {
      if (!sink.onTunnelData(chunk)) socket.pause();
    });
    socket.on("end", () => sink.onTunnelEnd());
    if (this.#early.length > 0) sink.onTunnelData(this.#early);
    this.#early = Buffer.alloc(0);
    socket.resume();
  }

  resumeTunnel(): void {
    if (this.#tunnel && this.#exchange?.over === false) this.#socket.resume();
  }

  #write(bytes: string | Buffer): boolean {
    this.sentBytes += bytes.length;
    const flowing = typeof bytes === "string" ? this.#socket.write(bytes, "latin1") : this.#socket.write(bytes);
    if (!flowing) this.#context.wheel.arm(this.#send, this.#context.settings.sendTimeoutMs);
    return flowing;
  }
}
