/**
 * The plugins of a node, and the checks a configuration of one must pass before anything compiles it.
 * Promise: a plugin is loaded when it is first asked for, which is when a configuration names it; the texts are APISIX's; `compile` of a plugin only ever sees configurations that passed, defaults filled.
 * Source: docs/spec/plugins.md section 1, docs/spec/admin-api.md section 7.
 */
import type { TSchema } from "typebox";
import { type Members, membersOr, ownMembers } from "../../base/json/members.ts";
import { compileSchema } from "../../base/schema/schema.ts";
import { withDefaults } from "../../base/schema/schema-defaults.ts";
import { checkExpression } from "../../model/expression.ts";
import { entryOf, type FindPlugin, type Plugin, type PluginEntry, type WriteContext } from "../../plugin/plugin.ts";

/** Which of a plugin's schemas a configuration answers to. */
export type PluginSide = "route" | "consumer" | "metadata";

export interface PluginRegistry {
  /** Names, highest priority first. */
  readonly names: readonly string[];
  /** Of those that have credentials. */
  readonly credentialNames: readonly string[];
  /** Of those that have APIs for public-api. */
  readonly apiNames: readonly string[];
  has(name: string): boolean;
  /** Loads it where it was not yet. */
  get(name: string): Plugin | undefined;
  /** The schema as tools see it, `_meta` included; undefined when the plugin has none for that side. */
  schema(name: string, side: PluginSide): TSchema | undefined;
  /**
   * @param write given when an admin writes: some rules then depend on the compatibility mode
   * @returns the whole error text, `unknown plugin [x]` among them; undefined when the configuration is fine
   */
  check(name: string, conf: unknown, side: PluginSide, write?: WriteContext): string | undefined;
  /** The first error of a record's `plugins`, in their order. Unknown plugins are refused on write, let through on read. */
  checkAll(plugins: unknown, side: PluginSide, mode: "write" | "read", write?: WriteContext): string | undefined;
}

/** What every plugin's configuration may carry beside its own members. */
const META_SCHEMA = {
  type: "object",
  properties: {
    disable: { type: "boolean" },
    error_response: { oneOf: [{ type: "string" }, { type: "object" }] },
    priority: { type: "integer", description: "priority of plugins by customized order" },
    filter: {
      type: "array",
      description: "filter determines whether the plugin needs to be executed at runtime",
    },
  },
  additionalProperties: false,
};

/** @throws TypeError when two plugins have one name, which is a programmer's error */
export function openPluginRegistry(plugins: readonly (Plugin | PluginEntry)[]): PluginRegistry {
  const entries = new Map<string, PluginEntry>();
  for (const plugin of plugins) {
    if (entries.has(plugin.name)) throw new TypeError(`two plugins are called ${plugin.name}`);
    entries.set(plugin.name, "load" in plugin ? plugin : entryOf(plugin));
  }
  const ordered = [...entries.values()].sort((a, b) => b.priority - a.priority || (a.name < b.name ? -1 : 1));
  const namesOf = (some: readonly PluginEntry[]): readonly string[] => Object.freeze(some.map(({ name }) => name));
  const loaded = new Map<string, LoadedPlugin>();
  const load = (name: string): LoadedPlugin | undefined => {
    const known = loaded.get(name);
    const entry = known ? undefined : entries.get(name);
    if (!entry) return known;
    const now = loadedOf(entry.load());
    loaded.set(name, now);
    return now;
  };
  const get = (name: string): Plugin | undefined => load(name)?.plugin;

  const check: PluginRegistry["check"] = (name, conf, side, write) => {
    const found = load(name);
    if (!found) return `unknown plugin [${name}]`;
    return side === "metadata" ? metadataError(found, conf) : confError(found, conf, side, get, write);
  };

  return {
    names: namesOf(ordered),
    credentialNames: namesOf(ordered.filter(({ hasCredential }) => hasCredential)),
    apiNames: namesOf(ordered.filter(({ hasApis }) => hasApis)),
    has: (name) => entries.has(name),
    get,
    schema: (name, side) => schemaOf(load(name), side),
    check,
    checkAll(confs, side, mode, write) {
      if (typeof confs !== "object" || confs === null) return undefined; // the record's own schema speaks of that
      for (const [name, conf] of Object.entries(confs)) {
        if (mode === "read" && !entries.has(name)) continue;
        const error = check(name, conf, side, write);
        if (error !== undefined) return error;
      }
      return undefined;
    },
  };
}

interface LoadedPlugin {
  readonly plugin: Plugin;
  readonly routeSchema: TSchema;
  readonly consumerSchema: TSchema | undefined;
}

function loadedOf(plugin: Plugin): LoadedPlugin {
  const { credential } = plugin;
  return {
    plugin,
    routeSchema: withMeta(plugin.schema, plugin.encryptFields),
    consumerSchema: credential && withEncrypted(credential.schema, credential.encryptFields),
  };
}

/** By this APISIX's tools tell schemas that carry `_meta`. */
const META_MARK = "this is a mark for our injected plugin schema";

function withMeta(schema: TSchema, encrypted: readonly string[] | undefined): TSchema {
  const { properties } = schema as { readonly properties?: Members };
  // True: a schema with one more property is a schema.
  const marked = { ...schema, $comment: META_MARK, properties: { ...properties, _meta: META_SCHEMA } } as unknown;
  return withEncrypted(marked as TSchema, encrypted);
}

/** APISIX's keyword for members that are stored encrypted; validators pass over it. */
function withEncrypted(schema: TSchema, encrypted: readonly string[] | undefined): TSchema {
  return encrypted ? ({ ...schema, encrypt_fields: encrypted } as TSchema) : schema;
}

function schemaOf(loaded: LoadedPlugin | undefined, side: PluginSide): TSchema | undefined {
  switch (side) {
    case "route":
      return loaded?.routeSchema;
    case "consumer":
      return loaded?.consumerSchema;
    case "metadata":
      return loaded?.plugin.metadataSchema;
  }
}

function confError(
  loaded: LoadedPlugin,
  conf: unknown,
  side: PluginSide,
  find: FindPlugin,
  write: WriteContext | undefined,
): string | undefined {
  const { plugin } = loaded;
  const { name } = plugin;
  if (typeof conf !== "object" || conf === null) {
    return `invalid plugin conf ${JSON.stringify(conf)} for plugin [${name}]`;
  }
  const meta = metaOf(conf);
  if (meta["disable"] === true) return undefined;
  if (Object.hasOwn(meta, "pre_function")) {
    return `failed to check the configuration of plugin ${name} err: '_meta.pre_function' is Lua, which is not supported`;
  }
  const credential = side === "consumer" ? plugin.credential : undefined;
  const schema = credential?.schema ?? loaded.routeSchema;
  const error =
    compileSchema(schema, { references: true }).check(conf) ??
    (credential
      ? credential.check?.(withDefaults(credential.schema, conf), write)
      : plugin.check?.(withDefaults(plugin.schema, conf), find, write));
  if (error !== undefined) return `failed to check the configuration of plugin ${name} err: ${error}`;
  const wrong = meta["filter"] === undefined ? undefined : checkExpression(meta["filter"]);
  return wrong === undefined ? undefined : `failed to validate the 'vars' expression: ${wrong}`;
}

function metadataError(loaded: LoadedPlugin, conf: unknown): string | undefined {
  const schema = loaded.plugin.metadataSchema;
  return schema === undefined ? undefined : compileSchema(schema, { references: true }).check(conf);
}

/** The `_meta` of a configuration as members; empty where there is none. */
export function metaOf(conf: unknown): Members {
  return ownMembers(membersOr(conf), "_meta");
}
