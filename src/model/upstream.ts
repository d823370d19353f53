/**
 * The upstream resource, which also stands inline in routes and services.
 * Source: docs/spec/resources.md "Upstream" and "checks" (APISIX 3.18).
 */

import { isIPv6 } from "node:net";
import { type Static, Type } from "typebox";
import { compileSchema } from "../base/schema/schema.ts";
import { Certificate, Host, Id, METHODS, metadata, PrivateKey, Timeout } from "./shared-schema.ts";
import { type DecryptKey, pairError } from "./ssl-check.ts";

const statuses = (normal: number[]) =>
  Type.Optional(
    Type.Array(Type.Integer({ minimum: 200, maximum: 599 }), { minItems: 1, uniqueItems: true, default: normal }),
  );
const count = (minimum: number, normal: number) =>
  Type.Optional(Type.Integer({ minimum, maximum: 254, default: normal }));
const interval = Type.Optional(Type.Integer({ minimum: 1, default: 1 }));
const checkType = Type.Optional(
  Type.Unsafe<"http" | "https" | "tcp">({ type: "string", enum: ["http", "https", "tcp"], default: "http" }),
);

export const ActiveCheck = Type.Object({
  type: checkType,
  timeout: Type.Optional(Type.Number({ default: 1 })),
  concurrency: Type.Optional(Type.Integer({ default: 10 })),
  host: Type.Optional(Host),
  port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535 })),
  http_method: Type.Optional(Type.Unsafe<string>({ type: "string", enum: METHODS, default: "GET" })),
  http_path: Type.Optional(Type.String({ default: "/" })),
  http_req_body: Type.Optional(Type.String({ default: "" })),
  https_verify_certificate: Type.Optional(Type.Boolean({ default: true })),
  healthy: Type.Optional(Type.Object({ interval, http_statuses: statuses([200, 302]), successes: count(1, 2) })),
  unhealthy: Type.Optional(
    Type.Object({
      interval,
      http_statuses: statuses([429, 404, 500, 501, 502, 503, 504, 505]),
      http_failures: count(1, 5),
      tcp_failures: count(1, 2),
      timeouts: count(1, 3),
    }),
  ),
  req_headers: Type.Optional(Type.Array(Type.String(), { minItems: 1 })),
});
export type ActiveCheck = Static<typeof ActiveCheck>;

export const PassiveCheck = Type.Object({
  type: checkType,
  healthy: Type.Optional(
    Type.Object({
      http_statuses: statuses([
        200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308,
      ]),
      successes: count(0, 5),
    }),
  ),
  unhealthy: Type.Optional(
    Type.Object({
      http_statuses: statuses([429, 500, 503]),
      tcp_failures: count(0, 2),
      timeouts: count(0, 7),
      http_failures: count(0, 5),
    }),
  ),
});
export type PassiveCheck = Static<typeof PassiveCheck>;

export const Checks = Type.Object(
  { active: Type.Optional(ActiveCheck), passive: Type.Optional(PassiveCheck) },
  { anyOf: [{ required: ["active"] }, { required: ["active", "passive"] }] },
);
export type Checks = Static<typeof Checks>;

export const Node = Type.Object({
  host: Host,
  port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535, description: "port of node" })),
  weight: Type.Integer({ minimum: 0, description: "weight of node" }),
  priority: Type.Optional(Type.Integer({ default: 0, description: "priority of node" })),
  metadata: Type.Optional(
    Type.Unsafe<Readonly<Record<string, unknown>>>({ type: "object", description: "metadata of node" }),
  ),
});
export type Node = Static<typeof Node>;

/** `{"host:port": weight}` or a list of nodes. */
export const Nodes = Type.Unsafe<Readonly<Record<string, number>> | readonly Node[]>({
  anyOf: [
    {
      type: "object",
      patternProperties: { ".*": { type: "integer", minimum: 0, description: "weight of node" } },
    },
    { type: "array", items: Node },
  ],
});

export const UpstreamTls = Type.Object(
  {
    client_cert_id: Type.Optional(Id),
    client_cert: Type.Optional(Certificate),
    client_key: Type.Optional(PrivateKey),
    verify: Type.Optional(Type.Boolean({ default: false })),
  },
  {
    dependencies: {
      client_cert: { required: ["client_key"] },
      client_key: { required: ["client_cert"] },
      client_cert_id: { not: { required: ["client_cert", "client_key"] } },
    },
  },
);

/** Balancing algorithms. Not an enum of the schema: records with others, as APISIX accepts, must stay readable. */
export const BALANCERS = ["roundrobin", "chash", "ewma", "least_conn"] as const;

export const Upstream = Type.Object(
  {
    ...metadata,
    nodes: Type.Optional(Nodes),
    retries: Type.Optional(Type.Integer({ minimum: 0 })),
    retry_timeout: Type.Optional(Type.Number({ minimum: 0 })),
    timeout: Type.Optional(Timeout),
    tls: Type.Optional(UpstreamTls),
    keepalive_pool: Type.Optional(
      Type.Object({
        size: Type.Optional(Type.Integer({ default: 320, minimum: 1 })),
        idle_timeout: Type.Optional(Type.Number({ default: 60, minimum: 0 })),
        requests: Type.Optional(Type.Integer({ default: 1000, minimum: 1 })),
      }),
    ),
    type: Type.Optional(Type.String({ default: "roundrobin", description: "algorithms of load balancing" })),
    checks: Type.Optional(Checks),
    hash_on: Type.Optional(
      Type.Unsafe<"vars" | "header" | "cookie" | "consumer" | "vars_combinations">({
        type: "string",
        default: "vars",
        enum: ["vars", "header", "cookie", "consumer", "vars_combinations"],
      }),
    ),
    key: Type.Optional(Type.String({ description: "the key of chash for dynamic load balancing" })),
    scheme: Type.Optional(
      Type.Unsafe<"grpc" | "grpcs" | "http" | "https" | "tcp" | "tls" | "udp" | "kafka">({
        default: "http",
        description:
          "The scheme of the upstream. For L7 proxy, it can be one of grpc/grpcs/http/https. For L4 proxy, it can be one of tcp/tls/udp. For specific protocols, it can be kafka.",
        enum: ["grpc", "grpcs", "http", "https", "tcp", "tls", "udp", "kafka"],
      }),
    ),
    http2: Type.Optional(
      Type.Boolean({
        description:
          "Not of APISIX: speak HTTP/2 to an `http` upstream (with prior knowledge) or an `https` upstream (by ALPN, without going back to HTTP/1.1). `grpc` and `grpcs` always do.",
      }),
    ),
    discovery_type: Type.Optional(Type.String({ description: "discovery type" })),
    discovery_args: Type.Optional(
      Type.Object({
        namespace_id: Type.Optional(Type.String({ description: "namespace id" })),
        group_name: Type.Optional(Type.String({ description: "group name" })),
      }),
    ),
    pass_host: Type.Optional(
      Type.Unsafe<"pass" | "node" | "rewrite">({
        type: "string",
        description: "mod of host passing",
        enum: ["pass", "node", "rewrite"],
        default: "pass",
      }),
    ),
    upstream_host: Type.Optional(Host),
    service_name: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
  },
  {
    oneOf: [{ required: ["nodes"] }, { required: ["service_name", "discovery_type"] }],
    additionalProperties: false,
  },
);
export type Upstream = Static<typeof Upstream>;

/**
 * What an upstream must satisfy beyond its schema, inline or on its own.
 * Pure: no I/O; that referenced certificates exist is checked by the writer.
 * Source: docs/spec/admin-api.md section 5.8.
 */

const HASH_KEYS: Readonly<Record<string, object>> = {
  vars: {
    type: "string",
    pattern:
      "^((uri|server_name|server_addr|request_uri|remote_port|remote_addr|query_string|host|hostname|mqtt_client_id)|arg_[0-9a-zA-z_-]+)$",
  },
  header: { type: "string", pattern: "^[a-zA-Z0-9-_]+$" },
  cookie: { type: "string", pattern: "^[a-zA-Z0-9-_]+$" },
  vars_combinations: { type: "string" },
};

const SCHEMA = compileSchema(Upstream);

/** @returns the first error as the Admin API words it, schema errors with their prefix included. */
export function checkUpstream(value: unknown, decryptKey: DecryptKey): string | undefined {
  const error = SCHEMA.check(value);
  if (error !== undefined) return `invalid configuration: ${error}`;
  const upstream = value as Upstream;
  return (
    nodesError(upstream.nodes) ??
    typeError(upstream.type) ??
    hostError(upstream) ??
    (upstream.tls?.client_cert === undefined
      ? undefined
      : pairError(upstream.tls.client_cert, upstream.tls.client_key, decryptKey)) ??
    hashError(upstream)
  );
}

function nodesError(nodes: Upstream["nodes"]): string | undefined {
  if (nodes === undefined) return undefined;
  if (Array.isArray(nodes)) {
    const bare = nodes.some((node) => isIPv6(node.host));
    return bare ? "invalid configuration: IPv6 address must be enclosed with '[' and ']'" : undefined;
  }
  for (const address of Object.keys(nodes)) {
    if (isIPv6(address)) return "invalid configuration: IPv6 address must be enclosed with '[' and ']'";
    const port = /:(\d+)$/.exec(address)?.[1];
    if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) return `invalid port ${Number(port)}`;
  }
  return undefined;
}

// APISIX stores any type and fails at request time; a typing error is better refused.
function typeError(type: string | undefined): string | undefined {
  if (type === undefined || (BALANCERS as readonly string[]).includes(type)) return undefined;
  return 'invalid configuration: property "type" validation failed: matches none of the enum values';
}

function hostError(upstream: Upstream): string | undefined {
  const rewrites = upstream.pass_host === "rewrite" && (upstream.upstream_host ?? "") === "";
  return rewrites ? "`upstream_host` can't be empty when `pass_host` is `rewrite`" : undefined;
}

function hashError(upstream: Upstream): string | undefined {
  if (upstream.type !== "chash") return undefined;
  const on = upstream.hash_on ?? "vars";
  if (on === "consumer") return undefined;
  if (upstream.key === undefined) return "missing key";
  const schema = HASH_KEYS[on];
  const error = schema === undefined ? undefined : compileSchema(schema).check(upstream.key);
  return error === undefined ? undefined : `invalid configuration: ${error}`;
}
