/**
 * The client's side of an exchange as the request's life sees it; each lane has its own.
 * Promise of every lane: one head, then data, then end, or `destroy`; after `end` or `destroy` nothing more is sent.
 */

import type { RequestView } from "../plugin/request-view.ts";
import type { ResponseView } from "../plugin/response-view.ts";
import type { Pipeline, Route } from "../runtime/routes/route-unit.ts";
import type { BodyChain, BodyOrigin } from "./body-chain.ts";
import type { FinishedAnswer } from "./finished-answers.ts";
import type { GatewayContext } from "./gateway-context.ts";
import type { OwnAnswer } from "./gateway-pages.ts";
import type { OwnReason } from "./gateway-reasons.ts";
import type { Framing, Lifetime } from "./http/message.ts";
import type { IncomingBody } from "./http/request-body.ts";
import type { SentHead } from "./http/response-head.ts";

export interface Reply {
  /**
   * @param lines   flat [name, value, …], sendable, without framing and hop-by-hop headers; owned by the lane from now on
   * @param framing body length, "unknown" or "none"
   * @param hasDate false: the lane adds Date
   * @param sent    where the finished text of this head may be kept; lines and framing are always the same for it
   */
  head(status: number, lines: string[], framing: Framing, hasDate: boolean, sent?: SentHead): void;
  /** Sends head and body, before the end; absent: by `head` and `data`. */
  finished?(answer: FinishedAnswer): void;
  /**
   * Sends chunk[start, end).
   * @param lifetime of the bytes
   * @returns false when the client is slow: wait for `Exchange.clientDrained`
   */
  data(chunk: Buffer, start: number, end: number, lifetime: Lifetime): boolean;
  /**
   * Goes out with the end, to clients that can take it.
   * @param lines flat [name, value, …], sendable
   * @returns whether the client gets them, and the end may come at any point
   */
  trailers(lines: readonly string[]): boolean;
  end(): void;
  /** The exchange is over, its log phase too: the lane may begin the next request. Called once, after `end`. */
  release(): void;
  /** A good moment to write what was held back. */
  flush(): void;
  /** Breaks the connection, so that the client knows the response is incomplete. */
  destroy(): void;
  /** A 1xx for clients that can take it. */
  interim(status: number, lines: readonly string[]): void;
  /** The connection is not used for another request. */
  endAfterThis(): void;
  /** Sends the 101 and turns the connection into a tunnel: bytes of the client go to `sink`. */
  tunnel(lines: string[], protocol: string, sink: TunnelSink): void;
  /** More bytes of the client are wanted. */
  resumeTunnel(): void;
  readonly headSent: boolean;
  /** Largest status that can be sent. */
  readonly statusMax: number;
  /** Bytes of this response so far, head included. */
  readonly sentBytes: number;
}

export interface TunnelSink {
  /** @returns false when no more is wanted until `resumeTunnel` */
  onTunnelData(chunk: Buffer): boolean;
  onTunnelEnd(): void;
}

/** Whether no body goes to the client, whatever there is. @param method of the client's request */
export function isBodiless(method: string, status: number): boolean {
  return method === "HEAD" || status === 204 || status === 304;
}

/** Sends a head and the body that is here, before the end. @param method of the client's request */
export function sendWhole(reply: Reply, method: string, response: ResponseView, bytes: Buffer, hasDate: boolean): void {
  const { headers, status } = response;
  // A body that a filter made has no announced length, as with nginx, which tools compare.
  const isMade = response.replacement !== undefined || response.isChanged;
  if (status === 204 || status === 304) reply.head(status, headers.lines, "none", hasDate);
  else if (method === "HEAD") {
    if (!isMade) headers.lines.push("Content-Length", String(bytes.length));
    reply.head(status, headers.lines, "none", hasDate);
  } else {
    reply.head(status, headers.lines, isMade ? "unknown" : bytes.length, hasDate);
    if (bytes.length > 0) reply.data(bytes, 0, bytes.length, "kept");
  }
}

export function sendFinished(reply: Reply, answer: FinishedAnswer): void {
  if (reply.finished) {
    reply.finished(answer);
    return;
  }
  const { bytes, hasDate, lines, status } = answer;
  reply.head(status, lines.slice(), bytes.length, hasDate);
  if (bytes.length > 0) reply.data(bytes, 0, bytes.length, "kept");
}

/**
 * The life of a request, as those who bring it upstream and its response back see it.
 */
export interface Life {
  readonly context: GatewayContext;
  readonly view: RequestView;
  readonly body: IncomingBody;
  readonly reply: Reply;
  readonly route: Route | undefined;
  readonly global: Pipeline;
  /** The route's, merged with the consumer's; empty where no route matched. */
  readonly pipeline: Pipeline;
  /** True once the log phase ran. */
  readonly over: boolean;
  /**
   * Adds what every response carries and runs the header filters. Throws what they throw: default closed.
   * @param length of its body, where it is known
   */
  filterHead(response: ResponseView, length: number | undefined): void;
  /** Begins to send a body through the stages of its response. @param length of what comes */
  openChain(response: ResponseView, length: Framing, hasDate: boolean, origin?: BodyOrigin): BodyChain;
  /** Sends head and body, through the stages of the response, and ends it. */
  sendWhole(response: ResponseView, bytes: Buffer, hasDate: boolean): void;
  /** Ends it with an error that the gateway answers. */
  answerSelf(answer: OwnAnswer): void;
  /** The response is complete. */
  close(): void;
  /** The response cannot be completed. */
  breakOff(reason: OwnReason): void;
  /** A phase or this program threw. @param response that a stage of its body failed on */
  crash(error: unknown, response?: ResponseView): void;
  /** The same, where it changes nothing any more: it is only logged. */
  noteCrash(error: unknown): void;
}

export function hasHeaderFilters({ global, pipeline }: Life): boolean {
  return global.headerFilter.length > 0 || pipeline.headerFilter.length > 0;
}
