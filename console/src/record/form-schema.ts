/**
 * What a form is made of, from the schema of a record: what @rjsf shows, less what would make it write by itself (defaults) or
 * drop what it does not know (choices of whole objects). `$id` names one of our own fields (form-fields.tsx).
 */
import type { RJSFSchema } from "@rjsf/utils";
import { membersOf, type Schema } from "./record-schema.ts";

/** Set by the admin, or part of the address: of records, and of what is a record elsewhere. */
const NOT_TYPED = ["id", "create_time", "update_time"];
const CHOICES = ["anyOf", "oneOf"] as const;
const made = new WeakMap<Schema, RJSFSchema>();

/** Of a whole record. */
export function recordForm(schema: Schema, showsPlugins: boolean): RJSFSchema {
  const known = made.get(schema);
  if (known) return known;
  const { plugins, ...members } = membersOf(schema["properties"]);
  const form = formOf({ ...schema, properties: members });
  const own: RJSFSchema = { type: "object", $id: "plugins", title: "plugins" };
  const whole = plugins && showsPlugins ? { ...form, properties: { ...form.properties, plugins: own } } : form;
  made.set(schema, whole);
  return whole;
}

/** Of one part, such as a plugin. */
export function partForm(schema: Schema): RJSFSchema {
  const known = made.get(schema) ?? formOf(schema);
  made.set(schema, known);
  return known;
}

function formOf(schema: Schema): RJSFSchema {
  const types = typesOf(schema);
  const [type] = types;
  const texts = textsOf(schema);
  if (isNodes(schema)) return { ...texts, type: "object", $id: "nodes" };
  if (types.size !== 1) return { ...texts, $id: [...types].every(isScalar) && types.size > 0 ? "scalar" : "json" };
  switch (type) {
    case "object":
      return objectForm(schema, texts);
    case "array":
      return arrayForm(schema, texts);
    case "string":
    case "integer":
    case "number":
    case "boolean":
      return {
        ...texts,
        type,
        $id: type === "string" || schema["enum"] ? "text" : type === "boolean" ? "flag" : "scalar",
        ...pick(schema, ["enum", "maxLength"]),
      };
    default:
      return { ...texts, $id: "json" };
  }
}

function objectForm(schema: Schema, texts: RJSFSchema): RJSFSchema {
  const named = Object.entries(membersOf(schema["properties"]));
  const isRecord = NOT_TYPED.every((name) => named.some(([one]) => one === name));
  const properties = named
    .filter(([name]) => !(isRecord && NOT_TYPED.includes(name)))
    .map(([name, member]) => [name, formOf(membersOf(member))]);
  const values = Object.values(membersOf(schema["patternProperties"]))[0] ?? schema["additionalProperties"];
  if (properties.length === 0) {
    const ofValues = typeof values === "object" ? typesOf(membersOf(values)) : new Set<string>();
    return ofValues.size > 0 && [...ofValues].every(isScalar)
      ? {
          ...texts,
          type: "object",
          $id: "map",
          ...(ofValues.size === 1 && ofValues.has("string") && { $comment: "text" }),
        }
      : { ...texts, type: "object", $id: "json" };
  }
  return {
    ...texts,
    ...{ type: "object", properties: Object.fromEntries(properties) },
    ...pick(schema, ["required"]),
    ...conditionsOf(schema),
  };
}

/** Members that depend on others come and go with them. */
function conditionsOf(schema: Schema): RJSFSchema {
  const then = conditionForm(schema["then"]);
  const otherwise = conditionForm(schema["else"]);
  if (schema["if"] === undefined || (!then && !otherwise)) return {};
  // biome-ignore lint/suspicious/noThenProperty: the word of JSON schema
  return { if: schema["if"] as RJSFSchema, ...(then && { then }), ...(otherwise && { else: otherwise }) };
}

function conditionForm(schema: unknown): RJSFSchema | undefined {
  const given = membersOf(schema);
  if (given["properties"] === undefined && given["if"] === undefined) return undefined;
  const { type: _, ...form } = objectForm({ ...given, properties: given["properties"] ?? {} }, {});
  const { $id: _id, ...rest } = form;
  return { ...rest, ...conditionsOf(given) };
}

function arrayForm(schema: Schema, texts: RJSFSchema): RJSFSchema {
  const items = schema["items"];
  const item = membersOf(items);
  const types = typesOf(item);
  if (types.size === 0 || schema["prefixItems"] !== undefined) return { ...texts, type: "array", $id: "json" };
  if (Array.isArray(item["enum"])) return { ...texts, type: "array", $id: "choices", items: { enum: item["enum"] } };
  if ([...types].every((type) => type === "string"))
    return { ...texts, type: "array", $id: "lines", items: { type: "string" } };
  if (types.size === 1 && types.has("object")) return { ...texts, type: "array", items: formOf(item) };
  return { ...texts, type: "array", $id: "json" };
}

/** An upstream's nodes: a map from address to weight, or a list. */
function isNodes(schema: Schema): boolean {
  const [map, list] = choicesOf(schema);
  return map?.["patternProperties"] !== undefined && "weight" in membersOf(membersOf(list?.["items"])["properties"]);
}

function choicesOf(schema: Schema): readonly Schema[] {
  return CHOICES.flatMap((name) => (Array.isArray(schema[name]) ? (schema[name] as readonly Schema[]) : []));
}

function typesOf(schema: Schema): ReadonlySet<string> {
  const { type, enum: named, properties } = schema;
  if (typeof type === "string") return new Set([type]);
  if (Array.isArray(type)) return new Set(type.filter((one) => typeof one === "string"));
  if (properties !== undefined) return new Set(["object"]);
  if (Array.isArray(named)) return new Set(named.map((one) => (one === null ? "null" : typeof one)));
  return new Set(choicesOf(schema).flatMap((one) => [...typesOf(one)]));
}

const isScalar = (type: string): boolean => ["string", "integer", "number", "boolean"].includes(type);

/** What stands beside the field. */
function textsOf(schema: Schema): RJSFSchema {
  const { description, default: usual } = schema;
  const texts = [
    typeof description === "string" ? description : "",
    usual === undefined || typeof usual === "object" ? "" : `Default: ${JSON.stringify(usual)}`,
  ].filter((text) => text !== "");
  return texts.length === 0 ? {} : { description: texts.join(". ").replace("..", ".") };
}

function pick(schema: Schema, names: readonly string[]): RJSFSchema {
  return Object.fromEntries(names.flatMap((name) => (schema[name] === undefined ? [] : [[name, schema[name]]])));
}
