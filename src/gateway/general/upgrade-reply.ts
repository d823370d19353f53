/**
 * The client's side of a protocol upgrade: one request on a bare socket, answered and closed, or turned into a tunnel.
 * Promise: memory per direction is bounded by back-pressure; an idle tunnel is closed by the upstream's read timeout.
 */
import type { Socket } from "node:net";
import type { Exchange } from "../exchange.ts";
import type { GatewayContext } from "../gateway-context.ts";
import type { Framing, Lifetime } from "../http/message.ts";
import { DateLine, headLines, responseHeadText } from "../http/response-text.ts";
import type { Reply, TunnelSink } from "../reply.ts";
import { Deadline } from "../timer-wheel.ts";

export class UpgradeReply implements Reply {
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

  data(chunk: Buffer, lifetime: Lifetime): boolean {
    if (this.#bodiless || this.#done) return true;
    const bytes = lifetime === "kept" ? chunk : Buffer.from(chunk);
    if (!this.#chunked) return this.#write(bytes);
    this.#write(`${bytes.length.toString(16)}\r\n`);
    this.#write(bytes);
    return this.#write("\r\n");
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
