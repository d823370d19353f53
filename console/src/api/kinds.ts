/**
 * The kinds of records, as paths of the Admin API name them.
 */
export interface RecordKind {
  /** Folder under `/apisix/admin`. */
  readonly dir: string;
  readonly one: string;
  readonly title: string;
  /** What it is, for who sees none yet. */
  readonly about: string;
  /** A first one. */
  readonly example: Readonly<Record<string, unknown>>;
  /** Which parts its id has, with a slash between. */
  readonly id: string;
  /** Made by the gateway, not by hand. */
  readonly readOnly?: boolean;
}

const UPSTREAM = { type: "roundrobin", nodes: { "127.0.0.1:1980": 1 } };

export const KINDS: readonly RecordKind[] = [
  {
    ...{ dir: "routes", one: "route", title: "Routes", id: "id" },
    about:
      "A route says which requests it takes (path, host, method), which plugins run, and which upstream gets them.",
    example: { name: "hello", uri: "/hello", methods: ["GET"], plugins: {}, upstream: UPSTREAM },
  },
  {
    ...{ dir: "services", one: "service", title: "Services", id: "id" },
    about: "A service holds what several routes share: plugins and an upstream.",
    example: { name: "shop", plugins: {}, upstream: UPSTREAM },
  },
  {
    ...{ dir: "upstreams", one: "upstream", title: "Upstreams", id: "id" },
    about: "An upstream is a set of targets with weights, and how they are checked.",
    example: { name: "shop", ...UPSTREAM },
  },
  {
    ...{ dir: "consumers", one: "consumer", title: "Consumers", id: "username" },
    about: "A consumer is who calls. Credentials under it are what the caller shows.",
    example: { username: "jack", plugins: { "key-auth": { key: "change-me-0123456789" } } },
  },
  {
    ...{ dir: "consumer_groups", one: "consumer group", title: "Consumer groups", id: "id" },
    about: "A consumer group holds plugins that several consumers share.",
    example: { plugins: { "limit-count": { count: 100, time_window: 60, rejected_code: 429 } } },
  },
  {
    ...{ dir: "plugin_configs", one: "plugin config", title: "Plugin configs", id: "id" },
    about: "A plugin config is a set of plugins that routes name by its id.",
    example: { plugins: { cors: {} } },
  },
  {
    ...{ dir: "global_rules", one: "global rule", title: "Global rules", id: "id" },
    about: "Plugins of a global rule run for every request.",
    example: { plugins: { "request-id": {} } },
  },
  {
    ...{ dir: "plugin_metadata", one: "plugin metadata", title: "Plugin metadata", id: "plugin name" },
    about: "Metadata is configuration of a plugin that all its uses share.",
    example: {},
  },
  {
    ...{ dir: "ssls", one: "certificate", title: "Certificates", id: "id" },
    about: "A certificate and its key serve the names under snis on the TLS listener.",
    example: {
      snis: ["api.example.com"],
      cert: "-----BEGIN CERTIFICATE-----\n…",
      key: "-----BEGIN PRIVATE KEY-----\n…",
    },
  },
  {
    ...{ dir: "secrets", one: "secret manager", title: "Secret managers", id: "manager/id" },
    about: "A secret manager is where $secret:// references are looked up.",
    example: { uri: "http://127.0.0.1:8200", prefix: "kv/jotgate", token: "$ENV://VAULT_TOKEN" },
  },
  {
    ...{ dir: "token_issuers", one: "token issuer", title: "Token issuers", id: "id" },
    about: "A token issuer is a server whose access tokens are accepted: its name and where its keys are.",
    example: { issuer: "https://login.example.com/" },
  },
  {
    ...{ dir: "authorization_servers", one: "authorization server", title: "Authorization servers", id: "id" },
    about: "An authorization server is this gateway as an issuer: its keys are made and rotated by the cluster.",
    example: { issuer: "https://api.example.com" },
  },
  {
    ...{ dir: "signing_keys", one: "signing key", title: "Signing keys", id: "server/kid", readOnly: true },
    about: "Signing keys belong to authorization servers; the cluster makes and rotates them.",
    example: {},
  },
  {
    ...{ dir: "protos", one: "proto", title: "Protos", id: "id" },
    about: "Protos are stored for tools that use them.",
    example: { content: 'syntax = "proto3";' },
  },
  {
    ...{ dir: "stream_routes", one: "stream route", title: "Stream routes", id: "id" },
    about: "Stream routes are stored for tools that use them; this gateway serves HTTP.",
    example: { server_port: 9100, upstream: UPSTREAM },
  },
];

const CREDENTIALS: RecordKind = {
  ...{ dir: "credentials", one: "credential", title: "Credentials", id: "id" },
  about: "A credential is one key or secret of a consumer; several may be good at the same time.",
  example: { plugins: { "key-auth": { key: "change-me-0123456789" } } },
};

/** A record or a list of them, by its path: `routes`, `routes/1`, `consumers/jack/credentials/c1`. */
export interface Place {
  readonly kind: RecordKind;
  /** Of the list that it is in. */
  readonly list: string;
  /** Undefined: the list itself. */
  readonly id: string | undefined;
  readonly path: string;
}

export function placeOf(path: string): Place | undefined {
  const parts = path.split("/").filter((part) => part !== "");
  const [dir = "", ...rest] = parts;
  const kind = KINDS.find((one) => one.dir === dir);
  if (!kind) return undefined;
  const whole = parts.join("/");
  if (dir === "consumers" && rest[1] === "credentials" && rest.length <= 3) {
    const list = `consumers/${rest[0]}/credentials`;
    return { kind: CREDENTIALS, list, id: rest[2], path: whole };
  }
  const depth = kind.id.includes("/") ? 2 : 1;
  if (rest.length !== 0 && rest.length !== depth) return undefined;
  return { kind, list: dir, id: rest.length === 0 ? undefined : rest.join("/"), path: whole };
}

/** The console's path of a record, from its key in the store or its path in the Admin API. */
export function recordLink(key: string, prefix = "/apisix"): string {
  const path = key.startsWith(`${prefix}/`) ? key.slice(prefix.length + 1) : key;
  return `/records/${path.split("/").map(encodeURIComponent).join("/")}`;
}

export function recordName(key: string, prefix = "/apisix"): string {
  return key.startsWith(`${prefix}/`) ? key.slice(prefix.length + 1) : key;
}
