/**
 * The schema of a kind of records, as the Admin API describes it in its OpenAPI description: with texts and with the plugins
 * that are loaded there.
 */
import { useQuery } from "@tanstack/react-query";
import { ask } from "../api/client.ts";
import type { Place } from "../api/kinds.ts";

/** A JSON schema without references. */
export type Schema = { readonly [name: string]: unknown };

export interface RecordSchema {
  readonly schema: Schema;
  /** By name; undefined where the kind has no plugins. */
  readonly plugins: Readonly<Record<string, Schema>> | undefined;
}

interface OpenApi {
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

const TITLES: Readonly<Record<string, string>> = {
  ...{ routes: "Route", services: "Service", upstreams: "Upstream", consumers: "Consumer", credentials: "Credential" },
  ...{ consumer_groups: "ConsumerGroup", plugin_configs: "PluginConfig", global_rules: "GlobalRule", ssls: "Ssl" },
  ...{ protos: "Proto", stream_routes: "StreamRoute", token_issuers: "TokenIssuer", signing_keys: "SigningKey" },
  ...{ authorization_servers: "AuthorizationServer", secrets: "Secret" },
};
const MANAGERS = ["vault", "aws", "gcp"];

/** Undefined until it is known, and where the place has none. */
export function useRecordSchema(place: Place): RecordSchema | undefined {
  const { data } = useQuery({
    queryKey: ["openapi"],
    queryFn: () => ask("getOpenApi") as Promise<unknown> as Promise<OpenApi>,
    staleTime: Number.POSITIVE_INFINITY,
    gcTime: Number.POSITIVE_INFINITY,
    select: resolver,
  });
  return data?.(place.kind.dir, place.id ?? "");
}

/** Made once for a description: the same place has the same objects. */
function resolver({ components }: OpenApi): (dir: string, id: string) => RecordSchema | undefined {
  const made = new Map<string, Schema>();
  const kept = new Map<string, RecordSchema>();
  const resolve = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(resolve);
    if (typeof value !== "object" || value === null) return value;
    const { $ref } = value as { readonly $ref?: unknown };
    if (typeof $ref === "string") return named($ref.split("/").at(-1) ?? "") ?? {};
    return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, resolve(member)]));
  };
  const named = (name: string): Schema | undefined => {
    const given = Object.hasOwn(components.schemas, name) ? components.schemas[name] : undefined;
    if (given && !made.has(name)) made.set(name, resolve(given) as Schema);
    return made.get(name);
  };
  const pluginsOf = (name: string): Readonly<Record<string, Schema>> =>
    membersOf(named(name)?.["properties"]) as Readonly<Record<string, Schema>>;
  const read = (dir: string, id: string): RecordSchema | undefined => {
    if (dir === "plugin_metadata") {
      const metadata = named(`Metadata_${id}`);
      return metadata && { schema: metadata, plugins: undefined };
    }
    const title = TITLES[dir];
    const written = title === undefined ? undefined : named(title);
    const branches = written?.["anyOf"];
    const schema =
      dir === "secrets" && Array.isArray(branches)
        ? (branches[MANAGERS.indexOf(id.split("/")[0] ?? "")] as Schema | undefined)
        : written;
    if (!schema) return undefined;
    if (!Object.hasOwn(membersOf(schema["properties"]), "plugins")) return { schema, plugins: undefined };
    // On a consumer, a plugin that asks who calls holds a key; all others are as on routes.
    const isConsumer = dir === "consumers" || dir === "credentials";
    const plugins = { ...pluginsOf("RoutePlugins"), ...(isConsumer && pluginsOf("ConsumerPlugins")) };
    const properties = { ...membersOf(schema["properties"]), plugins: { type: "object", properties: plugins } };
    return { schema: { ...schema, properties }, plugins };
  };
  return (dir, id) => {
    const key = dir === "plugin_metadata" || dir === "secrets" ? `${dir}/${id}` : dir;
    const known = kept.get(key) ?? read(dir, id);
    if (known) kept.set(key, known);
    return known;
  };
}

export function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : {};
}
