/**
 * The components of our OpenAPI description, made from the very schemas that writes are checked by.
 * Promise: what may be written is described as it is checked; what is answered is described as it is stored: references
 * and sealed texts where a pattern was, private keys missing.
 */
import { describeMembers, describeSchema } from "../../model/descriptions.ts";
import { KINDS, type Kind, secretSchema } from "../../model/kinds.ts";
import { MEMBER_TEXTS } from "../../plugins/member-texts.ts";
import type { CatalogPlugin, PluginCatalog } from "../plugin-catalog.ts";

export type Json = Readonly<Record<string, unknown>>;

export const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` });

/** `consumer_group` → `ConsumerGroup` */
export function titleOf(kind: Kind): string {
  return kind.name.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

export function componentSchemas(catalog: PluginCatalog): Json {
  const schemas: Record<string, unknown> = { ...COMMON };
  for (const kind of Object.values(KINDS)) {
    const title = titleOf(kind);
    schemas[title] = writtenSchema(kind);
    schemas[`Stored${title}`] = storedSchema(kind);
    const answer = { key: { type: "string" }, value: ref(`Stored${title}`) };
    const indexes = { createdIndex: { type: "integer" }, modifiedIndex: { type: "integer" } };
    schemas[`${title}Answer`] = {
      type: "object",
      properties: { ...answer, ...APPLIED, ...DRY_RUN, ...madeBeside(kind) },
      required: ["key", "value"],
      additionalProperties: false,
    };
    schemas[`${title}Entry`] = {
      type: "object",
      properties: { ...answer, ...indexes, ...(kind.name === "credential" && { usage: USED_LAST }) },
      required: ["key", "value", "createdIndex", "modifiedIndex"],
      additionalProperties: false,
    };
    schemas[`${title}List`] = listOf(ref(`${title}Entry`));
  }
  const metadata = catalog.plugins().filter((plugin) => plugin.metadataSchema);
  schemas["PluginMetadata"] = {
    anyOf: [...metadata.map(({ name }) => ref(`Metadata_${name}`)), schemas["PluginMetadata"]],
  };
  schemas["RoutePlugins"] = pluginsOf(catalog, "Plugin", ({ schema }) => schema);
  schemas["ConsumerPlugins"] = pluginsOf(catalog, "Consumer", ({ consumerSchema }) => consumerSchema);
  for (const plugin of catalog.plugins()) {
    for (const [prefix, schema] of [
      ["Plugin", plugin.schema],
      ["Consumer", plugin.consumerSchema],
      ["Metadata", plugin.metadataSchema],
    ] as const) {
      if (schema) schemas[`${prefix}_${plugin.name}`] = modern(describePlugin(plugin.name, schema));
    }
  }
  return schemas;
}

/** With the texts of the plugin's page, which `/schema` leaves away; a member of the same name elsewhere means the same. */
function describePlugin(name: string, schema: object): object {
  const texts = MEMBER_TEXTS[name];
  return texts === undefined ? schema : describeMembers(schema, (path) => texts[path]);
}

/** What a write may have made beside the record. */
function madeBeside(kind: Kind): Json {
  if (kind.pluginSide === "consumer")
    return { generated: { type: "object", additionalProperties: { type: "string" }, description: "Shown once." } };
  if (kind.name !== "authorization_server") return {};
  const properties = { algorithm: { type: "string" }, kid: { type: "string" } };
  return {
    signing_keys: { type: "array", items: { type: "object", properties }, description: "Keys that were made." },
  };
}

export function listOf(item: Json, more: Json = {}): Json {
  return {
    type: "object",
    properties: { list: { type: "array", items: item }, total: { type: "integer", minimum: 0 }, ...more },
    required: ["list", "total"],
    additionalProperties: false,
  };
}

/** When something was used last. */
export const LAST_USE: Json = {
  last_used: { type: ["integer", "null"], description: "Seconds since 1970, the begin of that hour; null: never." },
  nodes: { type: "array", items: { type: "string" } },
};

/** Beside a credential that is read with `?usage=1`. */
const USED_LAST: Json = {
  type: "object",
  properties: { ...LAST_USE, resolution: { type: "integer" } },
  required: ["last_used", "resolution", "nodes"],
  additionalProperties: false,
};

/** What a write that waited says in addition. */
export const APPLIED: Json = {
  revision: { type: "integer" },
  applied: { type: "array", items: { type: "string" } },
  refused: {
    type: "array",
    description: "Nodes that have seen it and do not serve it as written.",
    items: {
      type: "object",
      properties: { node: { type: "string" }, key: { type: "string" }, reason: { type: "string" } },
      required: ["node", "key", "reason"],
      additionalProperties: false,
    },
  },
  waiting: { type: "array", items: { type: "string" } },
  left: { type: "array", items: { type: "string" } },
  message: { type: "string" },
};

/** What a dry run says in addition; members that only a real write has are then missing. */
export const DRY_RUN: Json = {
  dry_run: { const: true, description: "Nothing was written." },
  status: { type: "integer", description: "What the write would be answered with." },
  changes: { type: "array", items: ref("Change"), description: "What would change." },
  warnings: { type: "array", items: ref("Warning"), description: "What is suspicious about it." },
};

const CHANGE: Json = {
  type: "object",
  properties: {
    key: { type: "string" },
    change: { enum: ["created", "updated", "deleted", "unchanged"] },
    diff: { type: "array", items: ref("DiffEntry") },
  },
  required: ["key", "change"],
  additionalProperties: false,
};

const WARNING: Json = {
  type: "object",
  properties: { code: { type: "string" }, key: { type: "string" }, message: { type: "string" } },
  required: ["code", "key", "message"],
  additionalProperties: false,
};

const COMMON: Json = {
  Error: { type: "object", properties: { error_msg: { type: "string" } }, required: ["error_msg"] },
  KeyNotFound: { type: "object", properties: { message: { const: "Key not found" } }, required: ["message"] },
  DiffEntry: {
    type: "object",
    properties: { op: { enum: ["add", "remove", "replace", "cut"] }, path: { type: "string" }, from: {}, to: {} },
    required: ["op", "path"],
    additionalProperties: false,
  },
  Change: CHANGE,
  Warning: WARNING,
  Deleted: {
    type: "object",
    properties: { deleted: { const: "1" }, key: { type: "string" }, ...APPLIED, ...DRY_RUN },
    required: ["key"],
    additionalProperties: false,
  },
};

function pluginsOf(
  catalog: PluginCatalog,
  prefix: string,
  schemaOf: (plugin: CatalogPlugin) => object | undefined,
): Json {
  const named = catalog.plugins().filter((plugin) => schemaOf(plugin));
  return { type: "object", properties: Object.fromEntries(named.map(({ name }) => [name, ref(`${prefix}_${name}`)])) };
}

function writtenSchema(kind: Kind): Json {
  if (kind.name === "secret")
    return { anyOf: ["vault", "aws", "gcp"].map((name) => modern(describeSchema("secret", secretSchema(name) ?? {}))) };
  const schema = modern(describeSchema(kind.name, kind.schema));
  const properties = schema["properties"] as Json | undefined;
  if (!properties?.["plugins"] || !kind.pluginSide) return schema;
  const plugins = ref(kind.pluginSide === "consumer" ? "ConsumerPlugins" : "RoutePlugins");
  return { ...schema, properties: { ...properties, plugins } };
}

const RULES = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else", "required", "dependentRequired"];

/** What was written plus id and times; without rules that span members, since keys are left out of answers. */
function storedSchema(kind: Kind): Json {
  if (kind.name === "secret" || kind.name === "plugin_metadata") {
    return { type: "object", properties: { id: { type: "string" } }, required: ["id"] };
  }
  const schema = loose(modern(describeSchema(kind.name, kind.schema)), kind.references) as Json;
  return Object.fromEntries(Object.entries(schema).filter(([name]) => !RULES.includes(name)));
}

/** Texts that may be sealed, masked or references are held to no pattern. */
function loose(schema: unknown, references: boolean): unknown {
  if (Array.isArray(schema)) return schema.map((item) => loose(item, references));
  if (typeof schema !== "object" || schema === null) return schema;
  const members = schema as Json;
  const isPrivateKey = members["minLength"] === 64 && members["maxLength"] === 65_536;
  if (members["type"] === "string" && (references || isPrivateKey)) {
    const { description } = members;
    return { type: "string", ...(description !== undefined && { description }) };
  }
  return Object.fromEntries(Object.entries(members).map(([name, value]) => [name, loose(value, references)]));
}

/**
 * As JSON Schema 2020-12 has it, which OpenAPI 3.1 speaks: `dependencies` is two keywords there, what is not a keyword
 * begins with `x-`, and arrays say what they hold, since generators of clients ask for it.
 */
function modern(schema: object): Json {
  return modernise(JSON.parse(JSON.stringify(schema))) as Json; // a plain copy of a schema is one
}

function modernise(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(modernise);
  if (typeof schema !== "object" || schema === null) return schema;
  const { dependencies, encrypt_fields: sealed, ...rest } = schema as Json;
  const members = {
    ...Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, modernise(value)])),
    ...(sealed !== undefined && { "x-encrypt-fields": sealed }),
    ...(rest["type"] === "array" && rest["items"] === undefined && { items: {} }),
  };
  if (typeof dependencies !== "object" || dependencies === null) {
    return dependencies === undefined ? members : { ...members, dependencies };
  }
  const entries = Object.entries(dependencies);
  const lists = entries.filter(([, value]) => Array.isArray(value));
  const schemas = entries.filter(([, value]) => !Array.isArray(value));
  return {
    ...members,
    ...(lists.length > 0 && { dependentRequired: Object.fromEntries(lists) }),
    ...(schemas.length > 0 && {
      dependentSchemas: Object.fromEntries(schemas.map(([name, value]) => [name, modernise(value)])),
    }),
  };
}
