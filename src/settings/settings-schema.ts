/**
 * Every setting there is, once: name, kind, default, meaning. Flags, environment, YAML and docs/settings.md follow
 * from this tree: the YAML path `a.b_c` is the flag `--a-b-c` and the variable `JOTGATE_A_B_C`.
 */
import { Type } from "typebox";
import { METADATA_ADDRESSES } from "../base/net/ip.ts";
import { group, optional, type SettingValues, setting, switchable } from "./setting.ts";
import {
  choice,
  duration,
  integer,
  ipRange,
  ipRangeOrUnix,
  listOf,
  onOff,
  origin,
  resolver,
  size,
  text,
  workerCount,
} from "./setting-kinds.ts";
import { limits } from "./settings-limits.ts";
import { admin, control, gateway, status } from "./settings-listeners.ts";
import { jwtAuth, prometheus, proxyCache, redirect } from "./settings-plugins.ts";

const path = text("a path", /^[^\0]+$/);
const headerText = text("printable ASCII text", /^[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?$/);
const storePrefix = text("a prefix such as /apisix, without a slash at the end", /^(?:\/[A-Za-z0-9._-]{1,128}){1,8}$/);

const etcd = group("The store that all nodes share. Without it, one machine keeps its data in `data_dir`.", {
  hosts: optional(listOf(origin), "the embedded store", "Members of the etcd cluster.", { aliases: ["etcd"] }),
  user: optional(text("a user name", /^[^\s:]{1,128}$/), "no authentication", "etcd user."),
  password: optional(text("a password", /^.{1,512}$/), "no authentication", "Password of that user.", { secret: true }),
  ca: optional(path, "the system's authorities", "PEM file of the authority that signed etcd's certificates."),
  cert: optional(path, "no client certificate", "PEM file of the client certificate."),
  key: optional(path, "no client certificate", "PEM file of the client certificate's key."),
  timeout: setting(
    duration,
    "5s",
    "How long one call to etcd may take, whatever members are asked; an admin answers 503 after it.",
  ),
});

/** Of APISIX; what they do is for operators, or for speed. */
const PASSIVE_PLUGINS = [
  ...["http-logger", "tcp-logger", "udp-logger", "kafka-logger", "rocketmq-logger", "syslog", "file-logger"],
  ...["clickhouse-logger", "elasticsearch-logger", "loki-logger", "google-cloud-logging", "splunk-hec-logging"],
  ...["sls-logger", "tencent-cloud-cls", "skywalking-logger", "error-log-logger", "loggly", "log-rotate", "lago"],
  ...["datadog", "zipkin", "skywalking", "opentelemetry", "prometheus", "node-status", "server-info", "inspect"],
  ...["gzip", "brotli", "proxy-cache", "graphql-proxy-cache", "proxy-mirror", "proxy-control"],
].join(",");

export const SettingsSchema = Type.Object({
  etcd,
  file: optional(
    path,
    "the configuration is in a store",
    "File or folder that the whole configuration comes from (docs/operations/standalone.md); `jotgate start` then has no store and no Admin API.",
  ),
  passphrase: optional(
    text("12 to 1024 characters", /^.{12,1024}$/),
    "nothing that is sealed under one can be read",
    "Passphrase of secrets that `jotgate dump --with-secrets` sealed, and of backups.",
    { secret: true },
  ),
  prefix: setting(
    storePrefix,
    "/apisix",
    "Prefix of all keys in the store. With the default, a real APISIX can share the etcd.",
  ),
  data_dir: setting(path, "./data", "Folder of the embedded store, generated keys and the last-known-good file."),
  instance: optional(
    text("lower-case letters, digits, dots and dashes", /^[a-z0-9][a-z0-9.-]{0,63}$/),
    "role and port, such as gateway-9080",
    "Name of this process's own folder inside `data_dir`.",
  ),
  compat: setting(
    choice("default", "apisix-3.5", "strict"),
    "default",
    "Which behaviour to follow where APISIX 3.5, its successors and sound security differ; docs/compatibility.md lists each case.",
  ),
  gateway,
  admin,
  status,
  jwt_auth: jwtAuth,
  prometheus,
  proxy_cache: proxyCache,
  redirect,
  control,
  history: group("What was written through the Admin API, by whom.", {
    entries: setting(integer(0, 100_000), "1000", "How many writes are remembered, and can be rolled back; 0: none."),
  }),
  encryption: group("Encryption of secret fields in the store.", {
    keyring: setting(
      listOf(text("16 to 128 printable characters", /^[\x21-\x2b\x2d-\x7e]{16,128}$/)),
      "",
      "Keys; the first one encrypts, all decrypt. Must be equal on all nodes. Empty: fields are stored as they are.",
      { secret: true, aliases: ["keyring"] },
    ),
    format: setting(
      choice("gcm", "aes-cbc"),
      "gcm",
      "What new values are written with; `aes-cbc` is APISIX's format, for an etcd shared with APISIX nodes (keys of 16 or 32 characters).",
    ),
  }),
  trusted_addresses: optional(
    listOf(ipRange),
    "client-sent X-Forwarded-For is continued, the other X-Forwarded-* are overwritten",
    "Peers whose X-Forwarded-*, Forwarded and Client-Cert headers are believed.",
    { reload: "yes" },
  ),
  real_ip: group("Which address counts as the client's.", {
    header: setting(
      text("a header name", /^[A-Za-z0-9-]{1,64}$/),
      "X-Real-IP",
      "Header that carries the client's address: lines of `X-Forwarded-For` are read as one list, of any other header the last line counts, both from the right.",
      { reload: "yes" },
    ),
    trusted: optional(
      listOf(ipRangeOrUnix),
      "`127.0.0.1,::1,unix:`, as APISIX does; with `compat: strict` nobody",
      "Peers whose header is believed. A balancer among them must delete or overwrite the header of its callers.",
      { reload: "yes" },
    ),
    recursive: setting(
      onOff,
      "off",
      "Go on to the left while addresses are themselves trusted; off: the last address.",
      { reload: "yes" },
    ),
  }),
  router: group("How routes are matched.", {
    mode: setting(
      choice("radixtree_host_uri", "radixtree_uri", "radixtree_uri_with_parameter"),
      "radixtree_host_uri",
      "Order of matching, as APISIX names it.",
    ),
    delete_uri_tail_slash: setting(onOff, "off", "Remove one trailing slash before matching."),
    normalize_uri_like_servlet: setting(onOff, "off", "Drop `;parameters` from path segments before matching."),
    match_uri_encoded_slash: setting(onOff, "off", "Match on a path in which `%2F` stays encoded."),
    upstream_path: setting(
      choice("normalized", "original"),
      "normalized",
      "What the upstream gets where no plugin rewrites the path: the normalised path escaped anew, or the client's own escapes where only they differ from it; `original` implies `match_uri_encoded_slash`.",
    ),
  }),
  server_header: optional(
    headerText,
    "jotgate/ and the version",
    "Value of the `Server` header; some APISIX tools read a version from it, such as APISIX/3.11.0.",
  ),
  fast_lane: setting(
    onOff,
    "on",
    "Serve common requests by the fast lane; off: everything goes through the general lane.",
  ),
  workers: setting(
    workerCount,
    "auto",
    "Processes that serve traffic; auto: one per core on etcd, one on the embedded store.",
  ),
  max_stale: switchable(
    duration,
    "off",
    "Refuse authenticated traffic with 503 when the configuration is older than this; bounds how long a revoked credential works on a node that is cut off.",
  ),
  drain_time: setting(duration, "30s", "How long a stopping node waits for running requests."),
  limits,
  access_log: group("One line per request.", {
    format: setting(choice("off", "json", "template"), "off", "Off, one JSON object, or `access_log.template`.", {
      reload: "yes",
    }),
    template: setting(
      text("one line of text", /^[^\r\n\0]{1,4096}$/),
      '$remote_addr - $consumer_name [$time_iso8601] "$request_method $request_uri $server_protocol" $status $bytes_sent $request_time',
      "Line with $variables.",
      { reload: "yes" },
    ),
    target: setting(path, "stdout", "`stdout`, or the path of a file that is appended to.", {
      reload: "yes",
    }),
  }),
  log: group("The log of the program itself, JSON lines on stderr.", {
    level: setting(
      choice("debug", "info", "warn", "error", "silent"),
      "info",
      "Least important entries that are written.",
      { reload: "yes" },
    ),
  }),
  dns: group("How names are looked up.", {
    resolvers: setting(
      listOf(resolver),
      "",
      "Name servers for upstreams, issuers of tokens and secret managers; empty: those of the system.",
    ),
    timeout: setting(duration, "5s", "How long one look-up may take."),
  }),
  plugins: setting(listOf(path), "", "Own plugins: paths of JavaScript modules."),
  plugins_may_be_missing: setting(
    listOf(text("a plugin name", /^[a-zA-Z0-9_-]{1,64}$/)),
    PASSIVE_PLUGINS,
    "Plugins that are left out where a record has them and this node does not: loggers, tracers, what only observes, compresses or caches. Any other plugin that is not loaded answers 503. Either way the record is listed as a problem.",
  ),
  stream: setting(onOff, "on", "Store and list `stream_routes` (they have no effect); off: answer 400 as APISIX does."),
  secrets: group("Bounds on secret references.", {
    deny_addresses: setting(
      listOf(ipRange),
      METADATA_ADDRESSES.join(","),
      "Addresses that no secret manager may have.",
    ),
    allow_env: optional(
      listOf(text("a variable name, * at the end stands for any rest", /^[A-Za-z_][A-Za-z0-9_]*\*?$/)),
      "all but JOTGATE_*",
      "Environment variables that `$ENV://` may name.",
    ),
  }),
  tokens: group("Issuers of tokens, verified tokens that are remembered, and revoked ones.", {
    deny_addresses: setting(
      listOf(ipRange),
      METADATA_ADDRESSES.join(","),
      "Addresses from which no issuer's keys are fetched, by name or by number; empty: all are allowed. The default holds what answers with a machine's credentials in clouds.",
    ),
    cache_entries: setting(integer(1, 10_000_000), "50000", "Most verified tokens that one process remembers."),
    cache_bytes: setting(size, "32MiB", "Most memory for verified tokens that one process remembers."),
    max_revocations: setting(
      integer(1, 10_000_000),
      "1000000",
      "Most tokens that may be revoked by themselves at a time; rules come on top. A million takes some 70 MiB of each process.",
    ),
    keep_revoked: setting(
      duration,
      "10m",
      "How long after its `exp` a revoked token is remembered; at least the longest `lifetime_grace_period` of a consumer.",
    ),
  }),
  usage: group("When credentials, and keys of issuers, were used last.", {
    interval: switchable(
      duration,
      "1h",
      "How often nodes write what was used and admins put it together; off: nothing is noted. Give all of them the same.",
    ),
  }),
  upstreams: group("Bounds on upstream nodes.", {
    deny_addresses: setting(
      listOf(ipRange),
      METADATA_ADDRESSES.join(","),
      "Addresses that no upstream node may have or resolve to; empty: all are allowed. The default holds what answers with a machine's credentials in clouds.",
    ),
  }),
});

/**
 * All settings, frozen. Durations are milliseconds and say so (`drainTimeMs`), sizes are bytes (`headBytes`),
 * whatever is unset or off is undefined.
 */
export type Settings = SettingValues<(typeof SettingsSchema)["properties"]>;
