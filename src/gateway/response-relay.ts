/**
 * Brings the upstream's response to the client: as it comes, replaced, or collected for body filters.
 * Promise: a response that broke off is never given a well-formed end; after a 101 bytes flow both ways untouched.
 */

import { HeaderList } from "../plugin/headers.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import { ResponseView } from "../plugin/response-view.ts";
import type { Exchange } from "./exchange.ts";
import { RESPONSE_TOO_LARGE } from "./gateway-pages.ts";
import type { Lifetime } from "./http/message.ts";
import { applyBodyFilters, filterLimit } from "./http/response-edit.ts";
import type { ResponseHead } from "./http/response-head.ts";
import type { TunnelSink } from "./reply.ts";
import type { UpstreamConnection } from "./upstream/upstream-connection.ts";

/** A replaced body up to this size is read to its end, so that the connection can be used again. */
const DROPPED_BYTES = 65_536;

const STREAM = 0;
const DROP = 1;
const COLLECT = 2;
const TUNNEL = 3;

export class Relay implements TunnelSink {
  readonly #exchange: Exchange;
  readonly #connection: UpstreamConnection;
  readonly #upstreamMethod: string;
  #mode = STREAM;
  #response: ResponseView | undefined;
  #hasDate = false;
  #limit = 0;
  #held: Buffer[] = [];
  #bytes = 0;

  constructor(exchange: Exchange, connection: UpstreamConnection, upstreamMethod: string) {
    this.#exchange = exchange;
    this.#connection = connection;
    this.#upstreamMethod = upstreamMethod;
  }

  get isTunnel(): boolean {
    return this.#mode === TUNNEL;
  }

  head(head: ResponseHead): void {
    const exchange = this.#exchange;
    const response = new ResponseView(head.status, new HeaderList(head.lines), "upstream");
    this.#response = response;
    this.#hasDate = head.hasDate;
    if (head.status === 101) {
      this.#mode = TUNNEL;
      exchange.filterHead(response);
      exchange.reply.tunnel(response.headers.lines, head.upgrade ?? "", this);
      return;
    }
    // Filters may want to see it; the lane makes it anew.
    const listed = head.length >= 0 && (exchange.global.headerFilter.length > 0 || hasFilters(exchange));
    if (listed) response.headers.append("Content-Length", String(head.length));
    exchange.filterHead(response);
    const bodiless = this.#upstreamMethod === "HEAD" || head.status === 204 || head.status === 304;
    if (response.replacement) this.#mode = DROP;
    else if (response.filters.length > 0 && !bodiless) {
      this.#mode = COLLECT;
      this.#limit = filterLimit(response);
    } else this.#startStream(response, head, bodiless);
  }

  data(chunk: Buffer, lifetime: Lifetime): void {
    switch (this.#mode) {
      case STREAM:
      case TUNNEL:
        if (!this.#exchange.reply.data(chunk, lifetime)) this.#connection.pause();
        return;
      case COLLECT:
        this.#bytes += chunk.length;
        if (this.#bytes > this.#limit) this.#exchange.answerSelf(RESPONSE_TOO_LARGE);
        else this.#held.push(lifetime === "kept" ? chunk : Buffer.from(chunk));
        return;
      default:
        this.#bytes += chunk.length;
        if (this.#bytes > DROPPED_BYTES) this.end();
    }
  }

  end(): void {
    const exchange = this.#exchange;
    const response = this.#response;
    if (exchange.over || !response) return;
    if (this.#mode === COLLECT) {
      const bytes = applyBodyFilters(response, Buffer.concat(this.#held, this.#bytes));
      this.#held = [];
      if (bytes) exchange.sendWhole(response, bytes, this.#hasDate);
      else exchange.answerSelf(RESPONSE_TOO_LARGE);
    } else if (response.replacement) {
      exchange.sendWhole(response, response.replacement, this.#hasDate);
    } else exchange.close();
  }

  /** The upstream broke off. @param answer what to say while nothing was said yet */
  broken(answer: Answer): void {
    const exchange = this.#exchange;
    if (this.#mode === TUNNEL) exchange.close();
    else if (exchange.reply.headSent) exchange.breakOff(answer.reason);
    else exchange.answerSelf(answer);
  }

  onTunnelData(chunk: Buffer): boolean {
    return this.#connection.write(chunk);
  }

  onTunnelEnd(): void {
    this.#connection.endTunnel(this.#exchange.view.head.upgrade === "websocket");
  }

  upstreamDrained(): void {
    this.#exchange.reply.resumeTunnel();
  }

  #startStream(response: ResponseView, head: ResponseHead, bodiless: boolean): void {
    const { reply, view } = this.#exchange;
    const { lines } = response.headers;
    const none = view.head.method === "HEAD" || response.status === 204 || response.status === 304;
    if (none) {
      // A 204 has no length; a HEAD or 304 shows the one a GET would have (RFC 9110 section 8.6), which filters change.
      if (head.length >= 0 && response.status !== 204 && response.filters.length === 0)
        lines.push("Content-Length", String(head.length));
      if (!bodiless) this.#mode = DROP;
      reply.head(response.status, lines, "none", this.#hasDate);
    } else if (bodiless) reply.head(response.status, lines, 0, this.#hasDate);
    else reply.head(response.status, lines, head.length >= 0 ? head.length : "unknown", this.#hasDate);
  }
}

function hasFilters(exchange: Exchange): boolean {
  const { pipeline } = exchange;
  return pipeline !== undefined && pipeline.headerFilter.length > 0;
}
