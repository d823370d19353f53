/**
 * What members of resources mean, where their schemas do not say it: APISIX's clients compare the schemas that `/schema` serves, so the
 * texts stand apart. The OpenAPI description, docs/reference and forms made from them use these. Paths are members joined by dots;
 * an inline upstream is described as the resource.
 */
import type { KindName } from "./kinds.ts";

const EVERYWHERE: Readonly<Record<string, string>> = {
  id: "Name in the path; letters, digits, `-`, `_` and `.`",
  name: "Name for people",
  desc: "Description for people",
  labels: "Texts by name, to search by and to mark what belongs together",
  create_time: "When it was written first, in seconds since 1970; set by the admin",
  update_time: "When it was written last, in seconds since 1970; set by the admin",
  plugins: "Plugins by name, each with its configuration",
  upstream: "Where requests go, as in `upstreams`",
  upstream_id: "The `upstreams` record that requests go to",
  service_id: "The `services` record whose plugins and upstream hold where this one has none",
  plugin_config_id: "The `plugin_configs` record whose plugins are added",
  timeout: "How long to wait for the upstream, in seconds",
  "timeout.connect": "For a connection, in seconds",
  "timeout.send": "Between two pieces of the request, in seconds",
  "timeout.read": "Between two pieces of the answer, in seconds",
  script: "Lua of APISIX; refused",
  script_id: "Lua of APISIX; has no effect",
  hosts: "Host names, any of them; `*.example.com` for all below",
  snis: "Server names, any of them; `*.example.com` for one label",
  enable_websocket: "Lets requests upgrade to WebSocket",
  status: "1: in use, 0: not",
};

const UPSTREAM: Readonly<Record<string, string>> = {
  nodes: "Targets: weights by `host:port`, or a list of nodes",
  "nodes.host": "Address or name",
  "nodes.port": "Port; default: that of the scheme",
  "nodes.weight": "Share of the requests; 0: only when no other is healthy",
  "nodes.priority": "Targets of the highest priority serve while one of them is healthy",
  "nodes.metadata": "Members of any kind; have no effect",
  retries: "Tries after the first; default: as many as other targets are there",
  retry_timeout: "Seconds after which nothing is tried anew; 0: no bound",
  tls: "TLS towards the targets",
  "tls.client_cert_id": "The `ssls` record of type client whose certificate is shown",
  "tls.client_cert": "Certificate that is shown, PEM",
  "tls.client_key": "Its private key, PEM; encrypted at rest",
  "tls.verify": "Whether the target's certificate is verified",
  keepalive_pool: "Connections that are kept for reuse",
  "keepalive_pool.size": "Idle ones kept for each target",
  "keepalive_pool.idle_timeout": "Seconds until an idle one is closed; 0: no reuse",
  "keepalive_pool.requests": "Requests after which one is closed",
  type: "How a target is chosen: `roundrobin`, `chash` (by a key), `ewma` (by latency), `least_conn`",
  hash_on: "What `key` names, for `chash`",
  key: "The variable, header or cookie to hash, for `chash`",
  scheme: "How to speak to the targets",
  pass_host: "Host header that targets get: the client's, the target's own name, or `upstream_host`",
  upstream_host: "The Host header, with `pass_host: rewrite`",
  service_name: "Name for service discovery; has no effect without it",
  discovery_type: "Service discovery; not supported",
  discovery_args: "Arguments for service discovery; have no effect",
  "discovery_args.namespace_id": "Has no effect",
  "discovery_args.group_name": "Has no effect",
  checks: "Health checks",
  "checks.active": "Probes that nodes send",
  "checks.passive": "What answers to real requests say",
  "checks.active.type": "How a target is probed",
  "checks.active.timeout": "Seconds that a probe may take",
  "checks.active.concurrency": "Probes at a time",
  "checks.active.host": "Host header of probes",
  "checks.active.port": "Port of probes; default: the target's",
  "checks.active.http_method": "Method of probes",
  "checks.active.http_path": "Path of probes",
  "checks.active.http_req_body": "Body of probes",
  "checks.active.https_verify_certificate": "Whether probes verify the target's certificate",
  "checks.active.req_headers": "Header lines of probes, such as `User-Agent: probe`",
  "checks.*.healthy": "What makes a target healthy",
  "checks.*.unhealthy": "What makes a target unhealthy",
  "checks.*.type": "What is watched",
  "checks.*.*.interval": "Seconds between two probes of such a target",
  "checks.*.*.http_statuses": "Statuses that count",
  "checks.*.*.successes": "Good ones in a row until it is healthy",
  "checks.*.*.http_failures": "Bad statuses until it is unhealthy",
  "checks.*.*.tcp_failures": "Failed connections until it is unhealthy",
  "checks.*.*.timeouts": "Time-outs until it is unhealthy",
};

const OWN: Readonly<Partial<Record<KindName, Readonly<Record<string, string>>>>> = {
  route: {
    uri: "Path: exact, or a prefix that ends in `*`",
    uris: "Paths, any of them; instead of `uri`",
    priority: "The greater one wins where several routes match",
    methods: "Methods, any of them; default: all",
    host: "Host name, or `*.example.com` for all below",
    remote_addr: "Address or range of the client",
    remote_addrs: "Addresses and ranges of clients, any of them",
    vars: 'Expression over variables of the request, such as `[["arg_v", "==", "2"]]`',
    filter_func: "Lua of APISIX; refused",
  },
  upstream: UPSTREAM,
  consumer: {
    username: "Name, and id, of the consumer",
    group_id: "The `consumer_groups` record whose plugins are added",
    plugins: "Its credentials by authentication plugin, and plugins that hold for its requests",
  },
  credential: { plugins: "One authentication plugin with what identifies the caller" },
  global_rule: { plugins: "Plugins that hold for every request" },
  secret: {
    uri: "Address of the manager",
    prefix: "Path below which references are read",
    token: "Token to read with; encrypted at rest",
    namespace: "Vault's namespace",
    access_key_id: "AWS access key",
    secret_access_key: "Its secret; encrypted at rest",
    session_token: "AWS session token",
    region: "AWS region",
    endpoint_url: "Address, instead of AWS's own",
    auth_config: "Google service account",
    "auth_config.client_email": "Its address",
    "auth_config.private_key": "Its private key, PEM; encrypted at rest",
    "auth_config.project_id": "Google project",
    "auth_config.token_uri": "Where tokens are asked for",
    "auth_config.scope": "Scopes of the token",
    "auth_config.entries_uri": "Where secrets are read",
    auth_file: "File of each node that holds the service account",
    ssl_verify: "Whether the manager's certificate is verified",
  },
  ssl: {
    cert: "Certificate chain, PEM",
    key: "Private key, PEM; encrypted at rest",
    sni: "Server name, or `*.example.com`",
    certs: "More chains, such as one for another kind of key",
    keys: "Their private keys, in the same order",
    client: "Verification of clients (mTLS)",
    "client.ca": "Authorities that clients' certificates must come from, PEM",
    "client.depth": "Intermediate authorities at most",
    "client.skip_mtls_uri_regex": "Paths that need no client certificate",
  },
  proto: { content: "Protobuf definitions" },
  stream_route: {
    remote_addr: "Address or range of the client",
    server_addr: "Address that was called",
    server_port: "Port that was called",
    sni: "Server name",
    protocol: "Protocol of APISIX's xRPC; has no effect",
  },
  token_issuer: {
    "jwks.keys": "JSON Web Keys, public ones",
    ca: "Authority of the issuer's certificate, PEM",
    ssl_verify: "Whether the issuer's certificate is verified",
  },
  authorization_server: {
    default_audience: "`aud` for clients without `audiences`",
    key_rotation: "When keys change",
    token_exchange: "Exchange of tokens (RFC 8693)",
    "token_exchange.enabled": "Whether tokens may be exchanged",
  },
  signing_key: { algorithm: "What the key signs with" },
};

/** @param path members joined by dots */
function descriptionOf(kind: KindName, path: string): string | undefined {
  if (path.startsWith("upstream.")) return descriptionOf("upstream", path.slice("upstream.".length));
  const own = OWN[kind];
  const [last = ""] = path.split(".").slice(-1);
  const check = /^checks\.\w+(\.\w+)*$/.test(path) ? wildcards(path).map((one) => UPSTREAM[one]) : [];
  const known = own?.[path] ?? (kind === "upstream" ? check.find((text) => text !== undefined) : undefined);
  if (known !== undefined) return known;
  if (path.startsWith("protocol.")) return "Has no effect";
  return EVERYWHERE[path] ?? (path.startsWith("timeout.") ? EVERYWHERE[`timeout.${last}`] : undefined);
}

/** `checks.active.healthy.interval`, then the forms in which names of sides are `*`. */
function wildcards(path: string): string[] {
  const [checks = "", _side, ...rest] = path.split(".");
  const [half, ...members] = rest;
  return members.length === 0 ? [`${checks}.*.${half}`] : [`${checks}.*.*.${members.join(".")}`];
}

/** A copy of a kind's schema in which every member that is known here is described. */
export function describeSchema(kind: KindName, schema: object): object {
  return described(schema, "", (path) => descriptionOf(kind, path), "") as object;
}

type TextOf = (path: string) => string | undefined;

/** A copy of a schema in which members have these texts, where they have none. @param textOf of `a.b`; `a[].b` in lists */
export function describeMembers(schema: object, textOf: TextOf): object {
  return described(schema, "", textOf, "[]") as object;
}

function described(schema: unknown, path: string, textOf: TextOf, item: string): unknown {
  if (Array.isArray(schema)) return schema.map((one) => described(one, path, textOf, item));
  if (typeof schema !== "object" || schema === null) return schema;
  const copy: Record<string, unknown> = {};
  for (const [keyword, value] of Object.entries(schema)) {
    if (keyword === "properties" && typeof value === "object" && value !== null) {
      copy[keyword] = Object.fromEntries(
        Object.entries(value).map(([name, member]) => {
          const at = path === "" ? name : `${path}.${name}`;
          const text = textOf(at);
          const inner = described(member, at, textOf, item) as { readonly description?: unknown };
          return [
            name,
            text === undefined || inner.description !== undefined ? inner : { ...inner, description: text },
          ];
        }),
      );
    } else if (keyword === "items") copy[keyword] = described(value, path + item, textOf, item);
    else if (["anyOf", "oneOf", "allOf"].includes(keyword)) copy[keyword] = described(value, path, textOf, item);
    else copy[keyword] = value;
  }
  return copy;
}
