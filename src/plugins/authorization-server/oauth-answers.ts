/**
 * The answers of the token endpoint that hold no token, exactly as docs/spec/tokens.md section 7.1 prints them.
 * Promise: nothing a client sent is in them.
 */
import { type Answer, textAnswer } from "../../plugin/plugin-answer.ts";

export const JSON_TYPE = ["Content-Type", "application/json"] as const;
/** RFC 6749 section 5.1. */
export const NO_STORE = ["Cache-Control", "no-store", "Pragma", "no-cache"] as const;

type OAuthError =
  | "invalid_request"
  | "invalid_client"
  | "unauthorized_client"
  | "unsupported_grant_type"
  | "invalid_scope"
  | "invalid_target"
  | "invalid_dpop_proof"
  | "use_dpop_nonce"
  | "invalid_grant"
  | "temporarily_unavailable";

/** @param reason stable word for logs and metrics; default: the error */
export function errorAnswer(
  status: number,
  error: OAuthError,
  description?: string,
  headers: readonly string[] = [],
  reason: string = error,
): Answer {
  const body = { error, ...(description !== undefined && { error_description: description }) };
  return textAnswer(status, JSON.stringify(body), reason, [...JSON_TYPE, ...NO_STORE, ...headers]);
}

export function invalidRequest(description: string): Answer {
  return errorAnswer(400, "invalid_request", description);
}

const CLIENT_FAILED = "Client authentication failed";

/** One for all that is wrong with a client. @param issuer undefined: the client did not use `Authorization` */
export function invalidClient(issuer: string | undefined): Answer {
  const challenge = issuer === undefined ? [] : ["WWW-Authenticate", `Basic realm="${issuer}"`];
  return errorAnswer(401, "invalid_client", CLIENT_FAILED, challenge);
}

/** @param seconds until it is worth another try */
export function unavailable(status: 429 | 503, seconds: number, reason: string): Answer {
  return errorAnswer(status, "temporarily_unavailable", undefined, ["Retry-After", String(seconds)], reason);
}
