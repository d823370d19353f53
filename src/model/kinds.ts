/**
 * One description per kind of resource: names, directory, schemas, and how its id, times and methods behave.
 * Everything generic (admin engine, table, history) works from these descriptions and knows no kind by name.
 * Source: docs/spec/admin-api.md section 5.
 */
import type { TSchema } from "typebox";
import { compileSchema, type Validator } from "../base/schema/schema.ts";
import { AuthorizationServer } from "./authorization-server-record.ts";
import { Consumer, ConsumerGroup, Credential, GlobalRule, PluginConfig, PluginMetadata } from "./consumer.ts";
import { Route, Service, StreamRoute } from "./route.ts";
import { AwsSecret, GcpSecret, Proto, Ssl, VaultSecret } from "./secret.ts";
import { SigningKey } from "./signing-key.ts";
import { TokenIssuer } from "./token-issuer.ts";
import { Upstream } from "./upstream.ts";

export type KindName =
  | "route"
  | "service"
  | "upstream"
  | "consumer"
  | "credential"
  | "consumer_group"
  | "plugin_config"
  | "global_rule"
  | "plugin_metadata"
  | "secret"
  | "ssl"
  | "proto"
  | "stream_route"
  | "token_issuer"
  | "authorization_server"
  | "signing_key";

export type WriteMethod = "PUT" | "POST" | "PATCH" | "DELETE";

export interface Kind {
  /** Singular, as in `/schema/{name}`. */
  readonly name: KindName;
  /** Directory below the prefix, which is also the path of the Admin API. Credentials live below `consumers`. */
  readonly dir: string;
  /** How messages call it. */
  readonly message: string;
  /** Strict: what may be written. Secrets have one per manager, see `secretSchema`. */
  readonly schema: TSchema;
  /** Methods that are answered by 405. */
  readonly denied: readonly WriteMethod[];
  /** Where the id comes from: path or body, `username`, the plugin's name, or two segments: `manager/id`, `server/kid`. */
  readonly id: "id" | "username" | "plugin" | "manager";
  /** Whether create_time and update_time are kept. */
  readonly timed: boolean;
  /** Whether the stored value carries `id`. */
  readonly storesId: boolean;
  /** Whether strings may be secret references, which are then not held to patterns and lengths. */
  readonly references: boolean;
  /** Which of a plugin's schemas holds in `plugins`. */
  readonly pluginSide: "route" | "consumer" | undefined;
  /** What `?filter=` understands. */
  readonly filters: readonly string[];
}

const plain = { denied: [], id: "id", timed: true, storesId: true, references: false, filters: [] } as const;

const LIST: readonly Kind[] = [
  {
    ...plain,
    name: "route",
    dir: "routes",
    message: "route",
    schema: Route,
    pluginSide: "route",
    filters: ["service_id", "upstream_id"],
  },
  { ...plain, name: "service", dir: "services", message: "service", schema: Service, pluginSide: "route" },
  { ...plain, name: "upstream", dir: "upstreams", message: "upstream", schema: Upstream, pluginSide: undefined },
  {
    ...plain,
    name: "consumer",
    dir: "consumers",
    message: "consumer",
    schema: Consumer,
    pluginSide: "consumer",
    id: "username",
    storesId: false,
    denied: ["POST", "PATCH"],
  },
  {
    ...plain,
    name: "credential",
    dir: "credentials",
    message: "credential",
    schema: Credential,
    pluginSide: "consumer",
    denied: ["POST", "PATCH"],
  },
  {
    ...plain,
    name: "consumer_group",
    dir: "consumer_groups",
    message: "consumer group",
    schema: ConsumerGroup,
    pluginSide: "route",
    denied: ["POST"],
  },
  {
    ...plain,
    name: "plugin_config",
    dir: "plugin_configs",
    message: "plugin config",
    schema: PluginConfig,
    pluginSide: "route",
    denied: ["POST"],
  },
  {
    ...plain,
    name: "global_rule",
    dir: "global_rules",
    message: "global rule",
    schema: GlobalRule,
    pluginSide: "route",
    denied: ["POST"],
  },
  {
    ...plain,
    name: "plugin_metadata",
    dir: "plugin_metadata",
    message: "plugin_metadata",
    schema: PluginMetadata,
    pluginSide: undefined,
    id: "plugin",
    timed: false,
    denied: ["POST", "PATCH"],
  },
  {
    ...plain,
    name: "secret",
    dir: "secrets",
    message: "secret",
    schema: VaultSecret,
    pluginSide: undefined,
    id: "manager",
    references: true,
    denied: ["POST"],
  },
  { ...plain, name: "ssl", dir: "ssls", message: "ssl", schema: Ssl, pluginSide: undefined, references: true },
  { ...plain, name: "proto", dir: "protos", message: "proto", schema: Proto, pluginSide: undefined, denied: ["PATCH"] },
  {
    ...plain,
    name: "stream_route",
    dir: "stream_routes",
    message: "stream route",
    schema: StreamRoute,
    pluginSide: undefined,
    denied: ["PATCH"],
    filters: ["service_id", "upstream_id"],
  },
  {
    ...plain,
    name: "token_issuer",
    dir: "token_issuers",
    message: "token issuer",
    schema: TokenIssuer,
    pluginSide: undefined,
  },
  {
    ...plain,
    name: "authorization_server",
    dir: "authorization_servers",
    message: "authorization server",
    schema: AuthorizationServer,
    pluginSide: undefined,
    denied: ["POST"],
  },
  {
    ...plain,
    name: "signing_key",
    dir: "signing_keys",
    message: "signing key",
    schema: SigningKey,
    pluginSide: undefined,
    id: "manager",
    references: true,
    denied: ["POST", "PATCH"],
  },
];

export const KINDS: Readonly<Record<KindName, Kind>> = Object.freeze(
  // True by construction: LIST has one entry per name, which a test counts.
  Object.fromEntries(LIST.map((kind) => [kind.name, Object.freeze(kind)])) as unknown as Record<KindName, Kind>,
);

const BY_DIR: ReadonlyMap<string, Kind> = new Map(LIST.map((kind) => [kind.dir, kind]));

/** The kind kept in a directory ("routes"); credentials by the name they have in paths. */
export function kindByDir(dir: string): Kind | undefined {
  return BY_DIR.get(dir);
}

/** Directories that get a placeholder `init_dir`; `plugins` is one too, though it holds no records. */
export const PLACEHOLDER_DIRS: readonly string[] = [
  ...LIST.filter((kind) => kind.name !== "credential").map((kind) => kind.dir),
  "plugins",
];

const SECRET_SCHEMAS: Readonly<Record<string, TSchema>> = { vault: VaultSecret, aws: AwsSecret, gcp: GcpSecret };

export const SECRET_MANAGERS: readonly string[] = Object.keys(SECRET_SCHEMAS);

/** The schema of a secret manager, or undefined when it is none of ours. */
export function secretSchema(manager: string): TSchema | undefined {
  return Object.hasOwn(SECRET_SCHEMAS, manager) ? SECRET_SCHEMAS[manager] : undefined;
}

/** What may be written. @param id decides the schema of secrets: `manager/...` */
export function strictValidator(kind: Kind, id: string): Validator {
  const schema = kind.name === "secret" ? (secretSchema(managerOf(id)) ?? kind.schema) : kind.schema;
  return compileSchema(schema, { references: kind.references });
}

/** What may be read: as strict, but members we do not know are let through, so that mixed fleets keep working. */
export function tolerantValidator(kind: Kind, id: string): Validator {
  const schema = kind.name === "secret" ? (secretSchema(managerOf(id)) ?? PluginMetadata) : kind.schema;
  let tolerant = tolerants.get(schema);
  if (!tolerant) {
    tolerant = openUp(schema) as object;
    tolerants.set(schema, tolerant);
  }
  return compileSchema(tolerant, { references: true });
}

const tolerants = new WeakMap<object, object>();

function managerOf(id: string): string {
  const slash = id.indexOf("/");
  return slash < 0 ? id : id.slice(0, slash);
}

function openUp(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(openUp);
  if (typeof schema !== "object" || schema === null) return schema;
  const members = Object.entries(schema).filter(([name, value]) => name !== "additionalProperties" || value !== false);
  return Object.fromEntries(members.map(([name, value]) => [name, openUp(value)]));
}
