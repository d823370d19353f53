/**
 * Which tries may be repeated, how an empty body is announced, and what each failure of an upstream is answered with.
 * Source: docs/spec/proxy.md sections 3 and 4; nginx's proxy_next_upstream.
 */
import { type OwnAnswer, pageAnswer } from "./gateway-pages.ts";
import type { Framing } from "./http/message.ts";
import type { CallFailure } from "./upstream/upstream-call.ts";

export const FAILED: Readonly<Record<CallFailure, OwnAnswer>> = Object.freeze({
  connect: pageAnswer("upstream_connect_failed"),
  connect_timeout: pageAnswer("upstream_connect_timeout"),
  send_timeout: pageAnswer("upstream_send_timeout"),
  read_timeout: pageAnswer("upstream_read_timeout"),
  reset: pageAnswer("upstream_reset"),
  bad_response: pageAnswer("upstream_bad_response"),
});

/** nginx's rule: these are not sent twice (proxy_next_upstream, non_idempotent). */
export function isIdempotent(method: string): boolean {
  return method !== "POST" && method !== "PATCH" && method !== "LOCK";
}

/** Methods that are expected to have a body say so even when it is empty (RFC 9110 section 8.6). */
export function announcedLength(bytes: number, method: string): Framing {
  return bytes === 0 && method !== "POST" && method !== "PUT" && method !== "PATCH" ? "none" : bytes;
}
