/**
 * What passes between one forwarded request and the connection that carries it: the side that sends is told of connected,
 * drain and failed, the side that takes the response of interim*, head, data*, end; failed may come at any point.
 */
import type { OutgoingHttpHeaders } from "node:http2";
import type { Timeouts } from "../../runtime/upstream/upstream-unit.ts";
import type { Lifetime } from "../http/message.ts";
import type { ResponseHead } from "../http/response-head.ts";
import type { IdleConnections } from "./upstream-idle.ts";

export type CallFailure = "connect" | "connect_timeout" | "send_timeout" | "read_timeout" | "reset" | "bad_response";

export interface UpstreamFailure {
  readonly kind: CallFailure;
  /** For the log. */
  readonly message: string;
  /** Bytes of this request may have reached the upstream. */
  readonly sent: boolean;
  /** The connection had carried a request before: it may have died of old age. */
  readonly reused: boolean;
  /** At least one byte of an answer came. */
  readonly answered: boolean;
  /** The TLS handshake failed over the server name that was asked for. */
  readonly nameRefused: boolean;
}

/** The side of a request that sends it. */
export interface UpstreamCall {
  readonly method: string;
  /** Protocol asked for: wants a 101 and then a tunnel; undefined for plain HTTP. */
  readonly upgrade: string | undefined;
  /** Takes the response, whichever try brings it. */
  readonly response: ResponseSink;
  /** Send the request now, in this very turn. */
  onConnected(link: UpstreamLink): void;
  /** The same for an upstream that speaks HTTP/2. */
  onStream(link: StreamLink): void;
  /** Bytes sent have left; more may be written. */
  onDrain(): void;
  /** It is over without a complete response; the connection is no longer this call's. */
  onFailed(failure: UpstreamFailure): void;
}

/** The side of a request that takes its response. */
export interface ResponseSink {
  /** A 1xx other than 100 and 101. */
  onInterim(head: ResponseHead): void;
  /**
   * @param head shared with other responses
   * @param link to hold back what the client cannot take, and to write to after a 101
   */
  onHead(head: ResponseHead, link: UpstreamLink): void;
  /** chunk[start, end) is a piece of the body, or of the tunnel after a 101. */
  onData(chunk: Buffer, start: number, end: number, lifetime: Lifetime): void;
  /**
   * The response is complete; the connection is no longer this call's.
   * @param trailers flat [name, value, …] of those that may go further
   */
  onEnd(trailers: readonly string[]): void;
  /** All that one read brought was handed out: a good moment to write. */
  onFlush(): void;
}

/** The connection, as those it serves use it. */
export interface UpstreamLink {
  /** Sends bytes of the request. @returns false when the caller should wait for onDrain */
  write(bytes: string | Buffer): boolean;
  cork(): void;
  uncork(): void;
  /** The request is complete: from now on an answer is due. @param trailers sent by HTTP/2 only */
  finish(trailers?: readonly string[]): void;
  /** Stops reading: the client is slower than the upstream. */
  pause(): void;
  resume(): void;
  /** Ends the sending side of a tunnel. */
  endTunnel(isWebSocket: boolean): void;
  /** The call gives up: if the connection is still its own, the socket goes and the call hears nothing more. */
  abandon(call: UpstreamCall): void;
}

/** What a stream begins with. */
export interface StreamRequest {
  readonly fields: OutgoingHttpHeaders;
  /** When it is here as a whole; undefined: it is written, and finished. */
  readonly body: Buffer | undefined;
  /** Either side may speak at any time: nothing is due but that something moves. */
  readonly isOpenEnded: boolean;
  /** Trailers of the request may come. */
  readonly hasTrailers: boolean;
}

/** A stream of HTTP/2: bodies are not framed in it. */
export interface StreamLink extends UpstreamLink {
  open(request: StreamRequest): void;
}

/** Connections to one address under one identity. */
export interface CallPool {
  readonly key: string;
  /** Connections open now. */
  readonly open: number;
  readonly resting: IdleConnections;
  /**
   * Finds or opens a connection; the call hears of it, at once for one that waited.
   * @param fresh the same call has failed on a connection that was used before
   * @returns what to abandon it by; undefined when there are too many
   */
  take(call: UpstreamCall, timeouts: Timeouts, fresh: boolean): UpstreamLink | undefined;
  /** Closes what waits; connections at work go when they are done. */
  closeIdle(): void;
  /** Closes everything at once. */
  destroy(): void;
  /** The last connection is gone. */
  forget(): void;
}
