/**
 * What passes between one forwarded request and the connection that carries it: the side that sends is told of connected,
 * drain and failed, the side that takes the response of interim*, head, data*, end; failed may come at any point.
 */
import type { Lifetime } from "../http/message.ts";
import type { ResponseHead } from "../http/response-head.ts";

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
  /** The response is complete; the connection is no longer this call's. */
  onEnd(): void;
  /** All that one read brought was handed out: a good moment to write. */
  onFlush(): void;
}

/** The connection, as those it serves use it. */
export interface UpstreamLink {
  /** Sends bytes of the request. @returns false when the caller should wait for onDrain */
  write(bytes: string | Buffer): boolean;
  cork(): void;
  uncork(): void;
  /** The request is complete: from now on an answer is due. */
  finish(): void;
  /** Stops reading: the client is slower than the upstream. */
  pause(): void;
  resume(): void;
  /** Ends the sending side of a tunnel. */
  endTunnel(isWebSocket: boolean): void;
  /** The call gives up: if the connection is still its own, the socket goes and the call hears nothing more. */
  abandon(call: UpstreamCall): void;
}
