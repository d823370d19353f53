/**
 * Request variables by name (`arg_id`, `http_x_team`, `remote_addr`, …): `vars`, `_meta.filter`, keys of limits, templates.
 * Promise: a name is resolved once, when configuration changes; what nginx has as text is text here, absent is undefined.
 * Source: docs/spec/routing.md section 7.
 */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { type Clock, systemClock } from "../../base/clock.ts";
import type { HeaderList } from "../headers.ts";
import type { RequestTrace, RequestView } from "../request-view.ts";
import { compileBodyVariable } from "./body-variables.ts";
import { firstArg, type Variable, type VariableValue } from "./query.ts";
import { compileTokenClaim, TOKEN_VARIABLES } from "./token-variables.ts";

export type { Variable, VariableValue };

/**
 * The reader of a variable; an unknown name is always undefined.
 * Variables of the body (see `needsBody`) are undefined until `loadBodyVariables` has run for the request.
 * Cost of a read: a member, a header look-up, or one pass over the query.
 */
export function compileVariable(name: string, clock: Clock = systemClock): Variable {
  if (Object.hasOwn(FIXED, name)) return FIXED[name] as Variable;
  if (Object.hasOwn(TIMED, name)) {
    const read = TIMED[name] as TimedVariable;
    return (view) => read(view, clock);
  }
  for (const [prefix, compile] of PREFIXED)
    if (name.startsWith(prefix)) return compile(name.slice(prefix.length), name);
  return NOTHING;
}

/** The id by which a request is known, if anybody was told one. */
export function knownRequestId(view: RequestView): string | undefined {
  const known = view.note("request_id");
  return typeof known === "string" ? known : undefined;
}

/** Gives every request that has none an id of 32 hex digits; a plugin may set the note `request_id` before. */
export function requestIdOf(view: RequestView): string {
  const known = knownRequestId(view);
  if (known !== undefined) return known;
  const made = randomUUID().replaceAll("-", ""); // Node draws its bytes for many at once
  view.setNote("request_id", made);
  return made;
}

const NOTHING: Variable = () => undefined;
const HOSTNAME = hostname();

const shownTrace = ({ trace }: RequestView): RequestTrace | undefined => (trace?.hasVariables ? trace : undefined);
const text = (value: string | undefined): string | undefined => (value === "" ? undefined : value);
const requestUri = (view: RequestView): string =>
  view.head.query === undefined ? view.path : `${view.path}?${view.head.query}`;
const address = (view: RequestView): string | undefined =>
  view.upstream.address === "" ? undefined : `${bracketed(view.upstream.address)}:${view.upstream.port}`;
const header =
  (lower: string): Variable =>
  (view) =>
    view.headers.get(lower);

const FIXED: Readonly<Record<string, Variable>> = {
  host: (view) => view.host,
  uri: (view) => view.path,
  document_uri: (view) => view.path,
  request_uri: requestUri,
  real_request_uri: (view) => view.head.target,
  args: (view) => view.query,
  query_string: (view) => view.query,
  is_args: (view) => (view.query === undefined || view.query === "" ? "" : "?"),
  request: (view) => `${view.head.method} ${view.head.target} HTTP/${view.head.httpVersion}`,
  request_method: (view) => view.head.method,
  method: (view) => view.head.method,
  remote_addr: (view) => view.clientAddress,
  remote_port: (view) => String(view.clientPort),
  realip_remote_addr: (view) => view.connection.peerAddress,
  realip_remote_port: (view) => String(view.connection.peerPort),
  server_addr: (view) => view.connection.localAddress,
  server_port: (view) => String(view.connection.localPort),
  server_protocol: (view) => `HTTP/${view.head.httpVersion}`,
  scheme: (view) => view.connection.scheme,
  https: (view) => (view.connection.scheme === "https" ? "on" : ""),
  ssl_server_name: (view) => view.connection.sni,
  http_host: (view) => text(view.head.hostHeader),
  content_type: header("content-type"),
  content_length: header("content-length"),
  consumer_name: (view) => view.consumer?.username,
  consumer_group_id: (view) => view.consumer?.groupId,
  credential_id: (view) => view.credentialId,
  route_id: (view) => text(view.route?.id),
  route_name: (view) => text(view.route?.name),
  service_id: (view) => text(view.route?.serviceId),
  service_name: (view) => text(view.route?.serviceName),
  matched_uri: (view) => text(view.route?.matchedUri),
  matched_host: (view) => text(view.route?.matchedHost),
  balancer_ip: (view) => text(view.upstream.address),
  balancer_port: (view) => view.upstream.port || undefined,
  upstream_addr: address,
  upstream_uri: (view) => (view.query === undefined ? view.upstreamPath : `${view.upstreamPath}?${view.query}`),
  upstream_host: (view) => view.upstreamHost,
  upstream_unresolved_host: (view) => text(view.upstream.node.replace(/:\d+$/, "")),
  upstream_status: (view) =>
    view.upstream.statuses.length === 0 ? undefined : view.upstream.statuses.map((s) => s || "-").join(", "),
  upstream_connect_time: (view) => (view.upstream.sentMs === 0 ? undefined : seconds(view.upstream.connectMs)),
  upstream_header_time: (view) => between(view.upstream.sentMs, view.upstream.headMs),
  upstream_response_time: (view) => between(view.upstream.sentMs, view.upstream.endMs || view.upstream.headMs),
  status: (view) => (view.response === undefined ? undefined : String(view.response.status)),
  request_length: (view) => String(view.receivedBytes),
  bytes_sent: (view) => String(view.sentBytes),
  request_id: requestIdOf,
  apisix_request_id: requestIdOf,
  ...TOKEN_VARIABLES,
  hostname: () => HOSTNAME,
  opentelemetry_context_traceparent: (view) => shownTrace(view)?.parent,
  opentelemetry_trace_id: (view) => shownTrace(view)?.traceId,
  opentelemetry_span_id: (view) => shownTrace(view)?.spanId,
};

type TimedVariable = (view: RequestView, clock: Clock) => VariableValue;

const TIMED: Readonly<Record<string, TimedVariable>> = {
  request_time: (view, clock) => seconds(clock.monotonicMs() - view.startedMs),
  msec: (_view, clock) => seconds(clock.nowMs()),
  time_iso8601: (_view, clock) => new Date(clock.nowMs()).toISOString().replace(/\.\d+Z$/, "+00:00"),
};

const PREFIXED: readonly (readonly [string, (rest: string, name: string) => Variable])[] = [
  ["arg_", (rest) => (view) => firstArg(view.query, rest)],
  ["cookie_", (rest) => (view) => cookieOf(view.headers, rest)],
  ["http_", (rest) => compileHeader(rest)],
  ["sent_http_", (rest) => compileSentHeader(rest)],
  ["uri_param_", (rest) => (view) => view.uriParams?.get(rest)],
  ["token_claim_", (rest) => compileTokenClaim(rest)],
  ["post_arg_", (_rest, name) => compileBodyVariable(name)],
  ["post_arg.", (_rest, name) => compileBodyVariable(name)],
  ["graphql_", (_rest, name) => compileBodyVariable(name)],
];

/** The value of the first cookie of that name, as sent; names differ by case. */
function cookieOf(headers: HeaderList, name: string): string | undefined {
  for (let i = 0; i < headers.lines.length; i += 2) {
    if (headers.lines[i]?.toLowerCase() !== "cookie") continue;
    for (const pair of (headers.lines[i + 1] as string).split(";")) {
      const equals = pair.indexOf("=");
      if (equals > 0 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim();
    }
  }
  return undefined;
}

function compileHeader(rest: string): Variable {
  const wanted = rest.toLowerCase().replaceAll("-", "_");
  return wanted === "host" ? (FIXED["http_host"] as Variable) : (view) => joined(view.headers, wanted);
}

function compileSentHeader(rest: string): Variable {
  const wanted = rest.toLowerCase().replaceAll("-", "_");
  return (view) => (view.response === undefined ? undefined : joined(view.response.headers, wanted));
}

/** All values of the header whose name is `wanted` once dashes are underscores, joined as nginx joins them. */
function joined(headers: HeaderList, wanted: string): string | undefined {
  let found: string | undefined;
  const lines = headers.lines;
  for (let i = 0; i < lines.length; i += 2) {
    const name = lines[i] as string;
    if (name.length !== wanted.length || name.toLowerCase().replaceAll("-", "_") !== wanted) continue;
    const value = lines[i + 1] as string;
    found = found === undefined ? value : `${found}${wanted === "cookie" ? "; " : ", "}${value}`;
  }
  return found;
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(3);
}

function between(fromMs: number, toMs: number): string | undefined {
  return fromMs === 0 || toMs === 0 ? undefined : seconds(toMs - fromMs);
}

function bracketed(ip: string): string {
  return ip.includes(":") ? `[${ip}]` : ip;
}
