/**
 * The answers the gateway makes itself, as JSON in place of nginx's pages; each is made once.
 * Source: docs/spec/proxy.md section 3; the 404 without a route keeps APISIX's text and type.
 */
import type { CodedError } from "../base/errors.ts";
import type { HeaderList } from "../plugin/headers.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import { type OwnReason, REASONS, type Reason } from "./gateway-reasons.ts";

const TITLES: ReadonlyMap<number, string> = new Map([
  [400, "Bad Request"],
  [401, "Unauthorized"],
  [403, "Forbidden"],
  [404, "Not Found"],
  [405, "Not Allowed"],
  [408, "Request Time-out"],
  [409, "Conflict"],
  [413, "Request Entity Too Large"],
  [414, "Request-URI Too Large"],
  [415, "Unsupported Media Type"],
  [417, "Expectation Failed"],
  [421, "Misdirected Request"],
  [429, "Too Many Requests"],
  [431, "Request Header Fields Too Large"],
  [500, "Internal Server Error"],
  [501, "Not Implemented"],
  [502, "Bad Gateway"],
  [503, "Service Temporarily Unavailable"],
  [504, "Gateway Time-out"],
  [507, "Insufficient Storage"],
]);

export const JSON_TYPE: readonly string[] = Object.freeze(["Content-Type", "application/json"]);
/** What answers of plugins carry unless they say otherwise. */
const TEXT_TYPE = "text/plain; charset=utf-8";

const pages = new Map<number, string>([...TITLES.keys()].map((status) => [status, pageText(status)]));

function pageText(status: number): string {
  return `{"error_msg":"${status} ${TITLES.get(status) ?? "Error"}"}\n`;
}

/** The body of the gateway's own page for an error status. */
export function pageOf(status: number): string {
  return pages.get(status) ?? pageText(status);
}

/** The body of an answer; says its type in the headers unless they do. An error without a body gets the page. */
export function bodyOf({ body, status }: Answer, headers: HeaderList): Buffer {
  const page = body === undefined && status >= 400;
  const text = page ? pageOf(status) : (body ?? "");
  const bytes = typeof text === "string" ? Buffer.from(text, "utf8") : text;
  if (!headers.has("content-type")) {
    if (page) headers.append("Content-Type", "application/json");
    else if (bytes.length > 0) headers.append("Content-Type", TEXT_TYPE);
  }
  return bytes;
}

/** An answer of the gateway itself. */
export interface OwnAnswer extends Answer {
  readonly reason: OwnReason;
}

/** The page for a reason. */
export function pageAnswer(reason: Reason): OwnAnswer {
  const { status } = REASONS[reason];
  return Object.freeze({ status, headers: JSON_TYPE, body: pageOf(status), reason });
}

/** The page for an expected failure: its reason is its code in lower case. */
export function failureAnswer({ code, status }: CodedError): OwnAnswer {
  const reason = code.toLowerCase() as Lowercase<typeof code>; // true: that is what toLowerCase does
  return Object.freeze({ status, headers: JSON_TYPE, body: pageOf(status), reason });
}

export const ROUTE_NOT_FOUND: OwnAnswer = Object.freeze({
  status: 404,
  headers: Object.freeze(["Content-Type", TEXT_TYPE]),
  body: '{"error_msg":"404 Route Not Found"}\n',
  reason: "route_not_found",
});

/** Another reader of the path would ask for what another route guards. */
export const PATH_AMBIGUOUS = pageAnswer("path_ambiguous");
export const SERVICE_MISSING = pageAnswer("service_missing");
export const PLUGIN_CONFIG_MISSING = pageAnswer("plugin_config_missing");
/** Nothing was ever loaded, so nobody can say that there is no such route. */
export const CONFIGURATION_NOT_LOADED = pageAnswer("configuration_not_loaded");
export const CONFIGURATION_STALE = pageAnswer("configuration_stale");
export const GROUP_MISSING = pageAnswer("consumer_group_missing");
const UPSTREAM_NONE = pageAnswer("upstream_none");
const UPSTREAM_MISSING = pageAnswer("upstream_missing");
/** The client certificate that its record names cannot be had; the upstream is not called without it. */
const UPSTREAM_CERTIFICATE_MISSING = pageAnswer("upstream_certificate_missing");
export const UPSTREAM_EXHAUSTED = pageAnswer("upstream_exhausted");
/** No name of any node could be looked up. */
export const UPSTREAM_UNRESOLVED = pageAnswer("upstream_unresolved");
export const UPSTREAM_OVERLOADED = pageAnswer("upstream_connections");
export const UPSTREAM_RETRY_TIMEOUT = pageAnswer("upstream_retry_timeout");
/** The time that a gRPC call gave was over. */
export const GRPC_DEADLINE = pageAnswer("grpc_deadline");
/** That time was none. */
export const GRPC_TIMEOUT = pageAnswer("grpc_timeout");
export const PLUGIN_FAILED = pageAnswer("plugin_failed");
export const BODY_TIMEOUT = pageAnswer("request_body_timeout");
export const RESPONSE_TOO_LARGE = pageAnswer("response_filter_limit");

/** Where a route leads to no upstream. */
export const NO_CHOICE = Object.freeze({
  none: UPSTREAM_NONE,
  missing: UPSTREAM_MISSING,
  uncertified: UPSTREAM_CERTIFICATE_MISSING,
});
