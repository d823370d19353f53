/**
 * Routes, stream routes and services.
 * Source: docs/spec/resources.md "Route" and "Service" (APISIX 3.18).
 */
import { type Static, Type } from "typebox";
import { compileJsonPath } from "../base/json/json-path.ts";
import type { Members } from "../base/json/members.ts";
import { checkExpression } from "./expression.ts";
import { HOST_PATTERN, Host, Id, Ip, Method, metadata, Plugins, statusOf, Timeout } from "./shared-schema.ts";
import { Upstream } from "./upstream.ts";

const Script = Type.String({ minLength: 10, maxLength: 102_400 });
const hosts = Type.Optional(Type.Array(Host, { minItems: 1, uniqueItems: true }));
const websocket = Type.Optional(Type.Boolean({ description: "enable websocket for request" }));

const either = (one: string, other: string): object => ({
  oneOf: [{ not: { anyOf: [{ required: [one] }, { required: [other] }] } }, { required: [one] }, { required: [other] }],
});

const ClientIp = Type.Unsafe<string>({ ...Ip, description: "client IP" });

export const Route = Type.Object(
  {
    ...metadata,
    uri: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })),
    uris: Type.Optional(Type.Array(Type.String({ description: "HTTP uri" }), { minItems: 1, uniqueItems: true })),
    priority: Type.Optional(Type.Integer({ default: 0 })),
    methods: Type.Optional(Type.Array(Method, { uniqueItems: true })),
    host: Type.Optional(Host),
    hosts,
    remote_addr: Type.Optional(ClientIp),
    remote_addrs: Type.Optional(Type.Array(ClientIp, { minItems: 1, uniqueItems: true })),
    timeout: Type.Optional(Timeout),
    vars: Type.Optional(Type.Array(Type.Unknown())),
    filter_func: Type.Optional(Type.String({ minLength: 10, pattern: "^function" })),
    script: Type.Optional(Script),
    script_id: Type.Optional(Id),
    plugins: Type.Optional(Plugins),
    plugin_config_id: Type.Optional(Id),
    upstream: Type.Optional(Upstream),
    service_id: Type.Optional(Id),
    upstream_id: Type.Optional(Id),
    enable_websocket: websocket,
    status: Type.Optional(statusOf("route")),
  },
  {
    allOf: [
      { oneOf: [{ required: ["uri"] }, { required: ["uris"] }] },
      either("host", "hosts"),
      either("remote_addr", "remote_addrs"),
    ],
    anyOf: [
      { required: ["plugins", "uri"] },
      { required: ["upstream", "uri"] },
      { required: ["upstream_id", "uri"] },
      { required: ["service_id", "uri"] },
      { required: ["plugins", "uris"] },
      { required: ["upstream", "uris"] },
      { required: ["upstream_id", "uris"] },
      { required: ["service_id", "uris"] },
      { required: ["script", "uri"] },
      { required: ["script", "uris"] },
    ],
    not: { anyOf: [{ required: ["script", "plugins"] }, { required: ["script", "plugin_config_id"] }] },
    additionalProperties: false,
  },
);
export type Route = Static<typeof Route>;

export const Service = Type.Object(
  {
    ...metadata,
    plugins: Type.Optional(Plugins),
    upstream: Type.Optional(Upstream),
    upstream_id: Type.Optional(Id),
    script: Type.Optional(Script),
    enable_websocket: websocket,
    hosts,
  },
  { additionalProperties: false },
);
export type Service = Static<typeof Service>;

/** Stored and listed for the sake of tools; nothing here forwards TCP or UDP. */
export const StreamRoute = Type.Object(
  {
    ...metadata,
    remote_addr: Type.Optional(Ip),
    server_addr: Type.Optional(Ip),
    server_port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535 })),
    sni: Type.Optional(Type.String({ pattern: HOST_PATTERN })),
    upstream: Type.Optional(Upstream),
    upstream_id: Type.Optional(Id),
    service_id: Type.Optional(Id),
    plugins: Type.Optional(Plugins),
    protocol: Type.Optional(
      Type.Object({
        name: Type.String(),
        superior_id: Type.Optional(Id),
        conf: Type.Optional(Type.Unsafe<Readonly<Record<string, unknown>>>({ type: "object" })),
        logger: Type.Optional(
          Type.Array(
            Type.Object(
              {
                name: Type.Optional(Type.String()),
                filter: Type.Optional(Type.Array(Type.Unknown())),
                conf: Type.Optional(Type.Unsafe<Readonly<Record<string, unknown>>>({ type: "object" })),
              },
              { dependencies: { name: ["conf"] }, additionalProperties: false },
            ),
          ),
        ),
      }),
    ),
  },
  { additionalProperties: false },
);
export type StreamRoute = Static<typeof StreamRoute>;

/**
 * What routes must satisfy beyond their schema, in APISIX's order of checks.
 * Pure: no I/O; references and plugins are checked by the writer, between the two halves.
 * Source: docs/spec/admin-api.md section 5.7.
 */

/** What is looked at before the schema. */
export function routeBeforeSchema(route: Members): string | undefined {
  for (const [one, many] of [
    ["host", "hosts"],
    ["remote_addr", "remote_addrs"],
  ] as const) {
    if (isSet(route, one) && isSet(route, many)) return `only one of ${one} or ${many} is allowed`;
  }
  return undefined;
}

/** What is looked at last. Lua is refused: nothing here could run it. */
export function routeAfterPlugins(route: Members): string | undefined {
  if (isSet(route, "vars")) {
    const error = checkExpression(route["vars"]) ?? bodyPathError(route["vars"]);
    if (error !== undefined) return `failed to validate the 'vars' expression: ${error}`;
  }
  if (isSet(route, "filter_func")) return "failed to load 'filter_func' string: Lua is not supported, use 'vars'";
  return luaScript(route);
}

const BODY_PATH = "post_arg.";

/** The first condition on a body whose path is none. Called with what `checkExpression` has let through, so depth is bounded. */
function bodyPathError(rule: unknown): string | undefined {
  if (!Array.isArray(rule)) return undefined;
  const [name] = rule;
  if (rule.length >= 3 && typeof name === "string" && name.startsWith(BODY_PATH)) {
    const path = compileJsonPath(name.slice(BODY_PATH.length));
    return typeof path === "string" ? path : undefined;
  }
  for (const part of rule) {
    const error = bodyPathError(part);
    if (error !== undefined) return error;
  }
  return undefined;
}

/** Services may carry a script as well. */
export function luaScript(record: Members): string | undefined {
  return isSet(record, "script") ? "failed to load 'script' string: Lua is not supported" : undefined;
}

function isSet(members: Members, name: string): boolean {
  return Object.hasOwn(members, name) && members[name] !== null && members[name] !== false;
}
