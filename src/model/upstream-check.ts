/**
 * What an upstream must satisfy beyond its schema, inline or on its own.
 * Pure: no I/O; that referenced certificates exist is checked by the writer.
 * Source: docs/spec/admin-api.md section 5.8.
 */
import { isIPv6 } from "node:net";
import { compileSchema } from "../base/schema/schema.ts";
import { type DecryptKey, pairError } from "./ssl-check.ts";
import { BALANCERS, Upstream } from "./upstream.ts";

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
