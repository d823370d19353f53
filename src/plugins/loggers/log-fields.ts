/**
 * What a logger says of a request: a format of its own, one for all in the plugin's metadata, or APISIX's full entry.
 * Promise: tokens, keys, cookies and what authentication plugins read are hidden, whatever a format asks for.
 * Source: APISIX 3.18 log-util.
 */

import { hostname } from "node:os";
import { isCodedError } from "../../base/errors.ts";
import type { WritableMembers } from "../../base/json/members.ts";
import type { HeaderList } from "../../plugin/headers.ts";
import type { CompileEnv, NodeEnv, PluginPhases } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { compileCondition } from "../../plugin/variables/condition.ts";
import type { Variable } from "../../plugin/variables/query.ts";
import { RESPONSE_BODY } from "./logged-response.ts";
import type { LogConf, LogFormat } from "./logger-schema.ts";

export type ReadEntry = (view: RequestView) => WritableMembers;

interface LogMetadata {
  readonly log_format?: LogFormat;
  readonly log_format_extra?: LogFormat;
}

const DEPTH_MAX = 5;
const NAMES_MAX = 1_000;
const BODY = "logged request body";

/** What reads an entry, as the configuration and the metadata of now say. */
export function compileEntry(plugin: string, conf: LogConf, env: CompileEnv): ReadEntry {
  const metadata = (env.metadata(plugin) ?? {}) as LogMetadata; // true: it was checked against logMetadata
  const format = conf.log_format ?? (isEmpty(metadata.log_format) ? undefined : metadata.log_format);
  if (format !== undefined) {
    const read = compileFormat(format, env, 1);
    return (view) => {
      const entry = read(view);
      if (!view.route) return entry;
      return { ...entry, route_id: view.route.id, service_id: view.route.serviceId || undefined };
    };
  }
  const extra = conf.log_format_extra ?? metadata.log_format_extra;
  const full = fullEntry(conf, env);
  if (isEmpty(extra)) return full;
  const more = compileFormat(extra as LogFormat, env, 1); // true: it is not empty
  return (view) => ({ ...more(view), ...full(view) });
}

/** Reads the body before it goes upstream, where it is logged. One that is larger than may be logged goes on unread. */
export function requestPhases(conf: LogConf, env: NodeEnv): Pick<PluginPhases, "access"> {
  if (!conf.include_req_body) return {};
  const condition = conf.include_req_body_expr && compileCondition(conf.include_req_body_expr, env.clock);
  return {
    access(view) {
      if (view.body.length === 0 || condition?.test(view) === false) return undefined;
      return readBody(view, conf.max_req_body_bytes);
    },
  };
}

async function readBody(view: RequestView, limitBytes: number): Promise<undefined> {
  try {
    view.setNote(BODY, (await view.body.read(limitBytes)).toString("utf8"));
  } catch (error) {
    if (!isCodedError(error, "REQUEST_TOO_LARGE") && !isCodedError(error, "REQUEST_MEMORY_FULL")) throw error;
  }
}

function isEmpty(format: LogFormat | undefined): boolean {
  return format === undefined || Object.keys(format).length === 0;
}

function compileFormat(format: LogFormat, env: NodeEnv, depth: number): ReadEntry {
  const parts = Object.entries(format).map(([name, value]): readonly [string, (view: RequestView) => unknown] => {
    if (typeof value === "object" && value !== null)
      return [name, depth >= DEPTH_MAX ? () => ({}) : compileFormat(value as LogFormat, env, depth + 1)];
    if (typeof value !== "string" || !value.startsWith("$")) return [name, () => value];
    if (value === "$resp_body") return [name, (view) => view.note(RESPONSE_BODY) ?? ""];
    if (value === "$request_body") return [name, (view) => view.note(BODY)];
    return [name, env.shown(value.slice(1))];
  });
  return (view) => {
    const entry: WritableMembers = {};
    for (const [name, read] of parts) entry[name] = read(view);
    return entry;
  };
}

function fullEntry(conf: LogConf, env: NodeEnv): ReadEntry {
  const shown = openShown(env);
  const requestUri = env.shown("request_uri");
  const server = { hostname: hostname(), version: env.settings.serverName };
  return (view) => {
    const { connection, head, response, route, upstream } = view;
    const nowMs = env.clock.monotonicMs();
    const latency = nowMs - view.startedMs;
    const waited =
      upstream.sentMs > 0 ? Math.max(0, (upstream.endMs || upstream.headMs || nowMs) - upstream.sentMs) : 0;
    const uri = requestUri(view);
    return {
      request: {
        url: `${connection.scheme}://${view.host}:${connection.localPort}${uri}`,
        uri,
        method: head.method,
        headers: members(namesOf(head.headers), (name) => shown(`http_${name.replaceAll("-", "_")}`)(view)),
        querystring: members(argumentsOf(head.query), (name) => shown(`arg_${name}`)(view)),
        size: view.receivedBytes,
        ...(conf.include_req_body ? { body: view.note(BODY) } : {}),
      },
      response: {
        status: response?.status,
        headers: members(response ? namesOf(response.headers) : [], (name) =>
          shown(`sent_http_${name.replaceAll("-", "_")}`)(view),
        ),
        size: view.sentBytes,
        ...(conf.include_resp_body ? { body: view.note(RESPONSE_BODY) } : {}),
      },
      server,
      upstream: upstream.address === "" ? undefined : `${upstream.address}:${upstream.port}`,
      service_id: route ? route.serviceId : view.host,
      route_id: route?.id,
      consumer: view.consumer && { username: view.consumer.username },
      client_ip: view.clientAddress,
      start_time: Math.round(env.clock.nowMs() - latency),
      latency,
      upstream_latency: upstream.sentMs > 0 ? waited : undefined,
      apisix_latency: Math.max(0, latency - waited),
    };
  };
}

/** Variables by name, made once each; names come from clients, so only so many are kept. */
function openShown(env: NodeEnv): (name: string) => Variable {
  const known = new Map<string, Variable>();
  return (name) => {
    const found = known.get(name);
    if (found) return found;
    const made = env.shown(name);
    if (known.size < NAMES_MAX) known.set(name, made);
    return made;
  };
}

function namesOf({ lines }: HeaderList): string[] {
  return lines.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase());
}

function argumentsOf(query: string | undefined): Iterable<string> {
  return query === undefined || query === "" ? [] : new URLSearchParams(query).keys();
}

function members(names: Iterable<string>, read: (name: string) => unknown): WritableMembers {
  return Object.fromEntries([...new Set(names)].map((name) => [name, read(name)]));
}
