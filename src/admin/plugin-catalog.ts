/**
 * What the Admin API has to know of plugins: names, schemas, checks, and what identifies a credential.
 * The composition root hands in the node's plugins; nothing here compiles or runs one.
 * Source: spec/admin-api.md sections 5.9, 6 and 7.
 */
import { compileSchema } from "../base/schema.ts";
import { checkExpression } from "../model/expression.ts";
import type { Plugin } from "../plugin/plugin.ts";

/** Which of a plugin's configurations: on a route (and all that merges with it), on a consumer, or its metadata. */
export type PluginSide = "route" | "consumer" | "metadata";

export interface CatalogPlugin {
  readonly name: string;
  readonly version: number;
  readonly priority: number;
  readonly type: "auth" | undefined;
  /** JSON schemas as clients are shown them, `_meta` included. */
  readonly schema: object;
  readonly consumerSchema: object | undefined;
  readonly metadataSchema: object | undefined;
  /** The member of the consumer configuration that must be unique. */
  readonly keyAttribute: string | undefined;
  /** Dotted paths of members that are stored encrypted. */
  encryptFields(side: PluginSide): readonly string[];
  /** @returns the first error, schema and own rules, without any prefix. */
  check(conf: unknown, side: PluginSide): string | undefined;
  /** Completes a consumer's configuration before it is checked and stored. */
  prepare(conf: Readonly<Record<string, unknown>>, previous: Readonly<Record<string, unknown>> | undefined): object;
}

export interface PluginCatalog {
  /** Highest priority first. */
  readonly plugins: readonly CatalogPlugin[];
  get(name: string): CatalogPlugin | undefined;
}

/** The catalog of a node's plugins. Schemas are compiled when first asked for. */
export function catalogOf(plugins: readonly Plugin[]): PluginCatalog {
  const entries = plugins.map(describe).sort((a, b) => b.priority - a.priority || (a.name < b.name ? -1 : 1));
  const byName = new Map(entries.map((entry) => [entry.name, entry]));
  return { plugins: entries, get: (name) => byName.get(name) };
}

/** Members that every plugin accepts under `_meta`. */
export const META_SCHEMA = {
  type: "object",
  properties: {
    disable: { type: "boolean" },
    error_response: { oneOf: [{ type: "string" }, { type: "object" }] },
    priority: { type: "integer", description: "priority of plugins by customized order" },
    filter: {
      type: "array",
      description: "filter determines whether the plugin needs to be executed at runtime",
    },
    pre_function: { type: "string", description: "Lua, which is refused" },
  },
  additionalProperties: false,
} as const;

const ANY_OBJECT = { type: "object" } as const;

function describe(plugin: Plugin): CatalogPlugin {
  const { credential, metadataSchema } = plugin;
  const schema = withMeta(plugin.schema);
  const consumerSchema = credential ? withMeta(credential.schema) : undefined;
  return {
    name: plugin.name,
    version: plugin.version,
    priority: plugin.priority,
    type: credential ? "auth" : undefined,
    schema,
    consumerSchema,
    metadataSchema,
    keyAttribute: credential?.keyAttribute,
    encryptFields(side) {
      if (side === "metadata") return [];
      return (side === "consumer" ? (credential?.encryptFields ?? plugin.encryptFields) : plugin.encryptFields) ?? [];
    },
    check(conf, side) {
      if (side === "metadata") return compileSchema(metadataSchema ?? ANY_OBJECT, { references: true }).check(conf);
      const onConsumer = side === "consumer" && credential !== undefined;
      const rules = onConsumer ? (consumerSchema ?? schema) : schema;
      const error = compileSchema(rules, { references: true }).check(conf);
      if (error !== undefined) return error;
      return onConsumer ? credential.check?.(conf) : plugin.check?.(conf);
    },
    prepare: (conf, previous) => credential?.prepare?.({ ...conf }, previous && { ...previous }) ?? conf,
  };
}

function withMeta(schema: object): object {
  const properties = (schema as { readonly properties?: object }).properties ?? {};
  return { ...schema, properties: { ...properties, _meta: META_SCHEMA } };
}

/**
 * Checks a `plugins` member.
 * @returns the first error in APISIX's words, without the prefix that consumers put in front
 */
export function checkPlugins(catalog: PluginCatalog, plugins: unknown, side: PluginSide): string | undefined {
  for (const [name, conf] of Object.entries(plugins as object)) {
    const error = checkPlugin(catalog, name, conf, side);
    if (error !== undefined) return error;
  }
  return undefined;
}

function checkPlugin(catalog: PluginCatalog, name: string, conf: unknown, side: PluginSide): string | undefined {
  if (typeof conf !== "object" || conf === null) {
    return `invalid plugin conf ${JSON.stringify(conf)} for plugin [${name}]`;
  }
  const plugin = catalog.get(name);
  if (!plugin) return `unknown plugin [${name}]`;
  const meta = (conf as { readonly _meta?: { readonly [member: string]: unknown } })._meta;
  const error = plugin.check(conf, side);
  // A plugin that is switched off never runs, so what is wrong with it may stay.
  if (error !== undefined && meta?.["disable"] !== true) {
    return `failed to check the configuration of plugin ${name} err: ${error}`;
  }
  if (meta?.["filter"] !== undefined) {
    const wrong = checkExpression(meta["filter"]);
    if (wrong !== undefined) return `failed to validate the 'vars' expression: ${wrong}`;
  }
  if (meta?.["pre_function"] !== undefined) {
    return `failed to load _meta.pre_function in plugin ${name}: Lua is not supported`;
  }
  return undefined;
}
