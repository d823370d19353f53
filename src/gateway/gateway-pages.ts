/**
 * The answers the gateway makes itself, as JSON in place of nginx's pages; each is made once.
 * Source: docs/spec/proxy.md section 3; the 404 without a route keeps APISIX's text and type.
 */
import type { Answer } from "../plugin/plugin-answer.ts";

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
export const TEXT_TYPE = "text/plain; charset=utf-8";

const pages = new Map<number, string>([...TITLES.keys()].map((status) => [status, pageText(status)]));

function pageText(status: number): string {
  return `{"error_msg":"${status} ${TITLES.get(status) ?? "Error"}"}\n`;
}

/** The body of the gateway's own page for an error status. */
export function pageOf(status: number): string {
  return pages.get(status) ?? pageText(status);
}

/** An error page as an answer. @param reason stable snake_case word for logs and metrics */
export function pageAnswer(status: number, reason: string): Answer {
  return Object.freeze({ status, headers: JSON_TYPE, body: pageOf(status), reason });
}

export const ROUTE_NOT_FOUND: Answer = Object.freeze({
  status: 404,
  headers: Object.freeze(["Content-Type", TEXT_TYPE]),
  body: '{"error_msg":"404 Route Not Found"}\n',
  reason: "route_not_found",
});

/** Another reader of the path would ask for what another route guards. */
export const PATH_AMBIGUOUS = pageAnswer(400, "path_ambiguous");
export const SERVICE_MISSING = pageAnswer(404, "service_missing");
export const PLUGIN_CONFIG_MISSING = pageAnswer(503, "plugin_config_missing");
/** Nothing was ever loaded, so nobody can say that there is no such route. */
export const CONFIGURATION_NOT_LOADED = pageAnswer(503, "configuration_not_loaded");
export const CONFIGURATION_STALE = pageAnswer(503, "configuration_stale");
export const GROUP_MISSING = pageAnswer(503, "consumer_group_missing");
export const UPSTREAM_NONE = pageAnswer(503, "upstream_none");
export const UPSTREAM_MISSING = pageAnswer(502, "upstream_missing");
/** The client certificate that its record names cannot be had; the upstream is not called without it. */
export const UPSTREAM_CERTIFICATE_MISSING = pageAnswer(502, "upstream_certificate_missing");
export const UPSTREAM_EXHAUSTED = pageAnswer(502, "upstream_exhausted");
/** No name of any node could be looked up. */
export const UPSTREAM_UNRESOLVED = pageAnswer(503, "upstream_unresolved");
export const UPSTREAM_OVERLOADED = pageAnswer(503, "upstream_connections");
export const UPSTREAM_LATE = pageAnswer(502, "upstream_retry_timeout");
export const PLUGIN_FAILED = pageAnswer(500, "plugin_failed");
export const INTERNAL_ERROR = pageAnswer(500, "internal");
export const BODY_BROKEN = pageAnswer(400, "request_body");
export const BODY_TOO_LARGE = pageAnswer(413, "request_too_large");
export const BODY_TIMEOUT = pageAnswer(408, "request_body_timeout");
export const RESPONSE_TOO_LARGE = pageAnswer(502, "response_filter_limit");
