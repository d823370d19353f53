/**
 * What passes between one forwarded request and the connection that carries it.
 * A call is told of events by methods, in this order: connected, interim*, head, data*, end; or failed at any point.
 */
import type { Lifetime } from "../http/message.ts";
import type { ResponseHead } from "../http/response-head.ts";
import type { UpstreamConnection } from "./upstream-connection.ts";

export type FailureKind = "connect" | "connect_timeout" | "send_timeout" | "read_timeout" | "reset" | "bad_response";

export interface UpstreamFailure {
  readonly kind: FailureKind;
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

export interface UpstreamCall {
  readonly method: string;
  /** Protocol asked for: wants a 101 and then a tunnel; undefined for plain HTTP. */
  readonly upgrade: string | undefined;
  /** Send the request now, in this very turn. */
  onConnected(connection: UpstreamConnection): void;
  /** A 1xx other than 100 and 101. */
  onInterim(head: ResponseHead): void;
  onHead(head: ResponseHead): void;
  /**
   * A piece of the body (or of the tunnel after a 101).
   * @param lifetime of the bytes
   */
  onData(chunk: Buffer, lifetime: Lifetime): void;
  /** The response is complete; the connection is no longer this call's. */
  onEnd(): void;
  /** All that one read brought was handed out: a good moment to write. */
  onFlush(): void;
  /** Bytes sent have left; more may be written. */
  onDrain(): void;
  /** It is over without a complete response; the connection is no longer this call's. */
  onFailed(failure: UpstreamFailure): void;
}
