/**
 * The records of every kind: `PUT /routes/:id`, `PATCH /upstreams/:id/nodes`, `GET /consumers/:username/credentials` …
 * Order of checks: key (before this) → body → JSON → `ttl` → method → id → the record itself.
 * Source: docs/spec/admin-api.md sections 3 to 5.
 */
import { KINDS, type Kind, type KindName } from "../../model/kinds.ts";
import type { AdminRequest } from "../admin-context.ts";
import { type AdminAnswer, KEY_NOT_FOUND, refuse } from "../admin-response.ts";
import { operationsOf } from "../openapi/record-operations.ts";
import { getRecords } from "../read/read-records.ts";
import type { ResourceTarget } from "../request-target.ts";
import { deleteRecord } from "../write/delete.ts";
import { BAD_ID } from "../write/record-identity.ts";
import { patchRecord, postRecord, putRecord } from "../write/write.ts";
import { type AdminRoute, type Endpoint, METHODS, NO_SUCH_METHOD, type RouteMethod, writing } from "./admin-route.ts";

/** Where one record of a kind is; without its last segment: where all of them are. */
const PLACES: Readonly<Record<KindName, string>> = {
  route: "/routes/:id",
  service: "/services/:id",
  upstream: "/upstreams/:id",
  consumer: "/consumers/:username",
  credential: "/consumers/:username/credentials/:id",
  consumer_group: "/consumer_groups/:id",
  plugin_config: "/plugin_configs/:id",
  global_rule: "/global_rules/:id",
  plugin_metadata: "/plugin_metadata/:plugin_name",
  secret: "/secrets/:manager/:id",
  ssl: "/ssls/:id",
  proto: "/protos/:id",
  stream_route: "/stream_routes/:id",
  token_issuer: "/token_issuers/:id",
  authorization_server: "/authorization_servers/:id",
  signing_key: "/signing_keys/:manager/:id",
};

interface RecordRouteOptions {
  /** Off: stream routes are refused as APISIX refuses them without a stream proxy. */
  readonly stream: boolean;
}

export function recordRoutes(options: RecordRouteOptions): AdminRoute[] {
  return Object.values(KINDS).flatMap((kind) => routesOf(kind, options));
}

function routesOf(kind: Kind, options: RecordRouteOptions): AdminRoute[] {
  const one = PLACES[kind.name];
  const all = kind.id === "manager" ? `/${kind.dir}` : one.slice(0, one.lastIndexOf("/"));
  const urls = [all, ...(kind.id === "manager" ? [`${all}/:manager`] : []), one, `${one}/*`];
  const operations = operationsOf(kind, all, one);
  return urls.flatMap((url) =>
    METHODS.map((method): AdminRoute => {
      const off = kind.name === "stream_route" && !options.stream;
      const endpoint = off ? () => STREAM_OFF : versioned(recordEndpoint(kind, method));
      const reads = off || method === "GET" ? "nothing" : "json";
      return { method, url, reads, endpoint, operation: off ? undefined : operations.get(`${method} ${url}`) };
    }),
  );
}

const STREAM_OFF = refuse(400, "stream mode is disabled, can not add stream routes");

/** On every answer of a resource's endpoint, its refusals included. */
export function versioned(endpoint: Endpoint): Endpoint {
  return async (admin, request) => {
    const answer = lifetimeRefusal(request) ?? (await endpoint(admin, request));
    return { ...answer, headers: { "X-API-VERSION": "v3", ...answer.headers } };
  };
}

function recordEndpoint(kind: Kind, method: RouteMethod): Endpoint {
  const act = method === "GET" ? undefined : writing(writerOf(kind, method));
  return (admin, request) => {
    if ((kind.denied as readonly string[]).includes(method)) {
      return refuse(405, `not supported \`${method}\` method for ${kind.message}`);
    }
    const target = targetOf(kind, request.params);
    // A decoded slash would name another key than the path seems to; a deeper path names nothing at all.
    if (!isPlain(target)) return method === "PUT" ? BAD_ID : KEY_NOT_FOUND;
    if (target.subPath !== "" && method !== "PATCH") return NO_SUCH_METHOD;
    return act ? act(admin, request) : getRecords(admin, request, target);
  };
}

function writerOf(kind: Kind, method: Exclude<RouteMethod, "GET">): Endpoint {
  const write = { PUT: putRecord, POST: postRecord, PATCH: patchRecord, DELETE: deleteRecord }[method];
  return (admin, request) => write(admin, request, targetOf(kind, request.params), request.body);
}

/** What the parameters of a path name. */
function targetOf(kind: Kind, params: AdminRequest["params"]): ResourceTarget {
  const { "*": subPath = "", id, username, plugin_name, manager } = params;
  switch (kind.name) {
    case "consumer":
      return { kind, localId: username, subPath };
    case "credential":
      return { kind, localId: id, consumer: username ?? "", subPath };
    case "plugin_metadata":
      return { kind, localId: plugin_name, subPath };
    case "secret":
    case "signing_key":
      return { kind, localId: id, subPath, ...(manager !== undefined && { manager }) };
    default:
      return { kind, localId: id, subPath };
  }
}

function isPlain(target: ResourceTarget): boolean {
  return [target.localId, target.consumer, target.manager].every(
    (part) => part === undefined || (part !== "" && !/[/\0]/.test(part)),
  );
}

/** Seconds that a lease can have; asked of reads too, as APISIX does. */
function lifetimeRefusal({ args }: AdminRequest): AdminAnswer | undefined {
  const ttl = args.get("ttl");
  if (ttl === undefined) return undefined;
  const seconds = ttl.trim() === "" ? Number.NaN : Number(ttl);
  return seconds > 0 && seconds <= 9_000_000_000 ? undefined : refuse(400, "invalid argument ttl: should be a number");
}
