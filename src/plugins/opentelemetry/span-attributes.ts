/**
 * What a gateway span says of its request: APISIX's attributes beside those of the semantic conventions.
 * Promise: tokens, keys and cookies are hidden as in logs. Compiled when the configuration changes.
 */
import type { Attributes } from "@opentelemetry/api";
import type { NodeEnv } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { knownRequestId } from "../../plugin/variables/variables.ts";

interface AttributesConf {
  /** Names of variables. */
  readonly additional_attributes?: readonly string[];
  /** Names of headers; `x-team-*` is every one that begins so. */
  readonly additional_header_prefix_attributes?: readonly string[];
}

export function compileRequestAttributes(conf: AttributesConf, env: NodeEnv): (view: RequestView) => Attributes {
  const shownTarget = env.shown("request_uri");
  const shownPath = env.shown("uri");
  const shownAgent = env.shown("http_user_agent");
  const variables = (conf.additional_attributes ?? []).map((name) => [name, env.shown(name)] as const);
  const headers = (conf.additional_header_prefix_attributes ?? []).map((name) => name.toLowerCase());
  return (view) => {
    const { connection, head, route } = view;
    const agent = shownAgent(view);
    const given: Record<string, unknown> = {
      "net.host.name": view.host,
      "http.method": head.method,
      "http.scheme": connection.scheme,
      "http.target": shownTarget(view),
      "http.user_agent": agent,
      "apisix.route_id": route?.id,
      "apisix.route_name": route?.name,
      "http.route": route?.matchedUri,
      "apisix.service_id": route?.serviceId,
      "apisix.service_name": route?.serviceName,
      "http.request.method": head.method,
      "url.scheme": connection.scheme,
      "url.path": shownPath(view),
      "server.address": view.host,
      "client.address": view.clientAddress,
      "network.protocol.version": head.httpVersion,
      "user_agent.original": agent,
      "jotgate.request_id": knownRequestId(view),
      "jotgate.consumer": view.consumer?.username,
    };
    for (const [name, read] of variables) given[name] = read(view);
    for (const name of headers) addHeaders(given, name, view, env);
    return texts(given);
  };
}

function addHeaders(given: Record<string, unknown>, name: string, view: RequestView, env: NodeEnv): void {
  const prefix = name.length > 1 && name.endsWith("*") ? name.slice(0, -1) : undefined;
  const { lines } = view.headers;
  for (let i = 0; i < lines.length; i += 2) {
    const lower = (lines[i] as string).toLowerCase();
    if (prefix === undefined ? lower !== name : !lower.startsWith(prefix)) continue;
    given[lower] = env.shown(`http_${lower}`)(view);
  }
}

function texts(given: Readonly<Record<string, unknown>>): Attributes {
  const kept: Attributes = {};
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === "") continue;
    kept[name] = Array.isArray(value) || typeof value === "object" ? JSON.stringify(value) : String(value);
  }
  return kept;
}
