/**
 * Why the gateway itself answers a request, or ends it without an answer: the one table that answers, metrics, access log,
 * program log and docs/errors.md are made from. Answers of plugins have reasons of their own, named on their pages.
 * None is ever renamed.
 */
import type { ErrorCode } from "../base/errors.ts";
import type { BlockReason } from "../runtime/plugins/blocking-plugin.ts";

interface ReasonDefinition {
  /** What the client gets; 0: the connection or stream ends without an answer. */
  readonly status: number;
  /** Who can do something about it. */
  readonly acts: "caller" | "operator" | "upstream";
}

const caller = (status: number): ReasonDefinition => ({ status, acts: "caller" });
const operator = (status: number): ReasonDefinition => ({ status, acts: "operator" });
const upstream = (status: number): ReasonDefinition => ({ status, acts: "upstream" });

export const REASONS = {
  // Requests that are refused before they have a route.
  bad_host: caller(400),
  client_certificate: caller(400),
  content_length: caller(400),
  duplicate_authorization: caller(400),
  duplicate_host: caller(400),
  expectation: caller(417),
  head_too_large: caller(431),
  http_version: caller(400),
  length_and_coding: caller(400),
  malformed_request: caller(400),
  method: caller(405),
  no_host: caller(400),
  request: caller(400),
  request_head_timeout: caller(408),
  request_target: caller(400),
  sni_mismatch: caller(400),
  client_certificate_over_plain: caller(421),
  client_certificate_record: operator(421),
  target_too_long: caller(414),
  too_many_header_lines: caller(431),
  transfer_encoding: caller(400),
  unknown_method: caller(400),
  upgrade_with_body: caller(400),
  // Routes and configuration.
  route_not_found: caller(404),
  path_ambiguous: caller(400),
  service_missing: operator(404),
  plugin_config_missing: operator(503),
  consumer_group_missing: operator(503),
  configuration_not_loaded: operator(503),
  configuration_stale: operator(503),
  // What cannot be enforced.
  plugin_not_loaded: operator(503),
  plugin_repeated: operator(503),
  record_refused: operator(503),
  // Bodies.
  request_body_timeout: caller(408),
  response_filter_limit: operator(502),
  // Upstreams.
  upstream_none: operator(503),
  upstream_missing: operator(502),
  upstream_certificate_missing: operator(502),
  upstream_exhausted: upstream(502),
  upstream_unresolved: operator(503),
  upstream_connections: operator(503),
  upstream_connect_failed: upstream(502),
  upstream_connect_timeout: upstream(504),
  upstream_send_timeout: upstream(504),
  upstream_read_timeout: upstream(504),
  upstream_reset: upstream(502),
  upstream_bad_response: upstream(502),
  upstream_retry_timeout: upstream(502),
  grpc_deadline: upstream(504),
  grpc_timeout: caller(400),
  // This program.
  plugin_failed: operator(500),
  client_aborted: caller(499),
  // Connections and streams that end without an answer.
  address_connections: caller(0),
  connections: operator(0),
  http2_control_frames: caller(0),
  http2_malformed: caller(0),
  http2_resets: caller(0),
  http2_stream: operator(0),
  real_ip_doubtful: operator(0),
  listener: operator(0),
} as const satisfies Readonly<Record<string, ReasonDefinition>> & Readonly<Record<BlockReason, ReasonDefinition>>;

export type Reason = keyof typeof REASONS;
/** Of the table, or the code of an expected failure in lower case. */
export type OwnReason = Reason | Lowercase<ErrorCode>;

const byName: ReadonlyMap<string, ReasonDefinition> = new Map(Object.entries(REASONS));

/** What the table says of it; undefined for the reasons of plugins. */
export function reasonOf(name: string): ReasonDefinition | undefined {
  return byName.get(name);
}

/** Whether it is the gateway that gives this reason; plugins have theirs. A plugin that failed gives none itself. */
export function isOwnReason(reason: string): boolean {
  return byName.has(reason) && reason !== "plugin_failed";
}
