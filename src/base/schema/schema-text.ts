/**
 * Says why a value does not satisfy a schema, in the words APISIX uses (its JSON schema library: one error, the first).
 * Promise: walks members in the schema's order, so the answer is always the same; never changes the value.
 * Table semantics: an empty array is an object, an empty object is an array.
 * Source: docs/spec/admin-api.md section 7.
 */
import type { Members } from "../json/members.ts";
import { isSealed } from "../keyring.ts";
import { isReference } from "../reference.ts";
import { itemsOf, luaType, membersOf, quote } from "./lua-values.ts";
import { FORMATS, schemaPattern } from "./schema-format.ts";

/** A JSON schema as plain data; TypeBox schemas are such. */
export type JsonSchema = Readonly<Record<string, unknown>>;

type Check = (schema: JsonSchema, value: unknown, references: boolean) => string | undefined;

/** @returns the first error, or undefined when the value is fine */
export function explain(schema: unknown, value: unknown, references: boolean): string | undefined {
  if (schema === true || typeof schema !== "object" || schema === null) {
    return schema === false ? "expect false always" : undefined;
  }
  for (const check of CHECKS) {
    const error = check(schema as JsonSchema, value, references);
    if (error !== undefined) return error;
  }
  return undefined;
}

/** A reference, or a sealed text: what it stands for is checked where it is known. */
function standsForAnother(text: string): boolean {
  return isReference(text) || isSealed(text);
}

function hasType(name: string, value: unknown): boolean {
  switch (name) {
    case "object":
      return membersOf(value) !== undefined;
    case "array":
      return itemsOf(value) !== undefined;
    case "integer":
      return Number.isInteger(value);
    case "null":
      return value === null;
    default:
      return typeof value === name;
  }
}

const checkType: Check = (schema, value) => {
  const type = schema["type"];
  if (typeof type === "string") {
    return hasType(type, value) ? undefined : `wrong type: expected ${type}, got ${luaType(value)}`;
  }
  if (!Array.isArray(type) || type.some((name: string) => hasType(name, value))) return undefined;
  return `wrong type: expected one of ${type.join(", ")}, got ${luaType(value)}`;
};

const checkProperties: Check = (schema, value, references) => {
  const members = membersOf(value);
  if (!members) return undefined;
  const properties = (schema["properties"] ?? {}) as Members;
  const required = (schema["required"] ?? []) as readonly string[];
  const dependencies = (schema["dependencies"] ?? {}) as Members;
  for (const name of Object.keys(properties)) {
    if (!Object.hasOwn(members, name) || members[name] === undefined) {
      if (required.includes(name)) return `property "${name}" is required`;
      continue;
    }
    const error = explain(properties[name], members[name], references);
    if (error !== undefined) return `property "${name}" validation failed: ${error}`;
    const missing = explainDependency(dependencies, name, members, references);
    if (missing !== undefined) return missing;
  }
  for (const name of required) if (!Object.hasOwn(members, name)) return `property "${name}" is required`;
  for (const name of Object.keys(dependencies)) {
    if (Object.hasOwn(properties, name) || !Object.hasOwn(members, name)) continue;
    const missing = explainDependency(dependencies, name, members, references);
    if (missing !== undefined) return missing;
  }
  return undefined;
};

function explainDependency(all: Members, name: string, members: Members, references: boolean): string | undefined {
  if (!Object.hasOwn(all, name)) return undefined;
  const needed = all[name];
  if (Array.isArray(needed)) {
    const missing = needed.find((other: string) => !Object.hasOwn(members, other)) as string | undefined;
    return missing === undefined ? undefined : `property "${missing}" is required when "${name}" is set`;
  }
  const error = explain(needed, members, references);
  return error === undefined ? undefined : `failed to validate dependent schema for "${name}": ${error}`;
}

const checkOtherProperties: Check = (schema, value, references) => {
  const members = membersOf(value);
  if (!members) return undefined;
  const patterns = Object.entries((schema["patternProperties"] ?? {}) as Members);
  const additional = schema["additionalProperties"];
  const known = (schema["properties"] ?? {}) as Members;
  if (patterns.length === 0 && (additional === undefined || additional === true)) return undefined;
  for (const name of Object.keys(members)) {
    let matched = Object.hasOwn(known, name);
    for (const [pattern, inner] of patterns) {
      if (!schemaPattern(pattern).test(name)) continue;
      const error = explain(inner, members[name], references);
      if (error !== undefined) return `failed to validate ${name} (matching ${quote(pattern)}): ${error}`;
      matched = true;
    }
    if (matched || additional === undefined || additional === true) continue;
    if (additional === false) return `additional properties forbidden, found ${name}`;
    const error = explain(additional, members[name], references);
    if (error !== undefined) return `failed to validate additional property ${name}: ${error}`;
  }
  return undefined;
};

const checkPropertyCount: Check = (schema, value) => {
  const least = schema["minProperties"];
  const most = schema["maxProperties"];
  if (least === undefined && most === undefined) return undefined;
  const members = membersOf(value);
  if (!members) return undefined;
  const count = Object.keys(members).length;
  if (count < Number(least ?? 0)) return `expect object to have at least ${least} properties`;
  return count > Number(most ?? count) ? `expect object to have at most ${most} properties` : undefined;
};

const checkItems: Check = (schema, value, references) => {
  const items = itemsOf(value);
  if (!items) return undefined;
  const { minItems, maxItems } = schema;
  if (items.length < Number(minItems ?? 0)) return `expect array to have at least ${minItems} items`;
  if (items.length > Number(maxItems ?? items.length)) return `expect array to have at most ${maxItems} items`;
  const each = schema["items"];
  if (each !== undefined) {
    for (const [at, item] of items.entries()) {
      const error = explain(Array.isArray(each) ? (each[at] ?? true) : each, item, references);
      if (error !== undefined) return `failed to validate item ${at + 1}: ${error}`;
    }
  }
  return schema["uniqueItems"] === true ? explainDuplicate(items) : undefined;
};

function explainDuplicate(items: readonly unknown[]): string | undefined {
  const seen = new Map<string, number>();
  for (const [at, item] of items.entries()) {
    const text = canonical(item);
    const before = seen.get(text);
    if (before !== undefined) return `expected unique items but items ${before + 1} and ${at + 1} are equal`;
    seen.set(text, at);
  }
  return undefined;
}

/** The same text for equal values, whatever the order of members. */
function canonical(value: unknown): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "nil";
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  const members = value as Members;
  const parts = Object.keys(members)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonical(members[name])}`);
  return `{${parts.join(",")}}`;
}

const checkString: Check = (schema, value, references) => {
  if (typeof value !== "string" || (references && standsForAnother(value))) return undefined;
  const { minLength, maxLength, pattern } = schema;
  if (minLength !== undefined || maxLength !== undefined) {
    const length = [...value].length;
    if (length < Number(minLength ?? 0)) return `string too short, expected at least ${minLength}, got ${length}`;
    if (length > Number(maxLength ?? length)) return `string too long, expected at most ${maxLength}, got ${length}`;
  }
  if (typeof pattern !== "string" || schemaPattern(pattern).test(value)) return undefined;
  return `failed to match pattern ${quote(pattern)} with ${quote(value)}`;
};

const checkNumber: Check = (schema, value) => {
  if (typeof value !== "number") return undefined;
  const { minimum, exclusiveMinimum, maximum, exclusiveMaximum, multipleOf } = schema;
  if (typeof minimum === "number" && value < minimum) return `expected ${value} to be at least ${minimum}`;
  if (typeof exclusiveMinimum === "number" && value <= exclusiveMinimum) {
    return `expected ${value} to be greater than ${exclusiveMinimum}`;
  }
  if (typeof maximum === "number" && value > maximum) return `expected ${value} to be at most ${maximum}`;
  if (typeof exclusiveMaximum === "number" && value >= exclusiveMaximum) {
    return `expected ${value} to be smaller than ${exclusiveMaximum}`;
  }
  if (typeof multipleOf === "number" && !Number.isInteger(value / multipleOf)) {
    return `expected ${value} to be a multiple of ${multipleOf}`;
  }
  return undefined;
};

const checkEnum: Check = (schema, value, references) => {
  const allowed = schema["enum"];
  if (!Array.isArray(allowed) || (references && typeof value === "string" && standsForAnother(value))) return undefined;
  const text = canonical(value);
  return allowed.some((one) => canonical(one) === text) ? undefined : "matches none of the enum values";
};

const checkAllOf: Check = (schema, value, references) => {
  for (const [at, inner] of listOf(schema["allOf"]).entries()) {
    const error = explain(inner, value, references);
    if (error !== undefined) return `allOf ${at + 1} failed: ${error}`;
  }
  return undefined;
};

const checkAnyOf: Check = (schema, value, references) => {
  const branches = listOf(schema["anyOf"]);
  if (branches.length === 0) return undefined;
  if (branches.some((inner) => explain(inner, value, references) === undefined)) return undefined;
  const wants = branches.flatMap((inner) => {
    const required = (inner as JsonSchema)["required"];
    return required === undefined ? [] : [JSON.stringify(required)];
  });
  return `object matches none of the required${wants.length > 0 ? `: ${wants.join(" or ")}` : ""}`;
};

const checkOneOf: Check = (schema, value, references) => {
  const branches = listOf(schema["oneOf"]);
  if (branches.length === 0) return undefined;
  let found = 0;
  for (const [at, inner] of branches.entries()) {
    if (explain(inner, value, references) !== undefined) continue;
    if (found > 0) return `value should match only one schema, but matches both schemas ${found} and ${at + 1}`;
    found = at + 1;
  }
  return found > 0 ? undefined : "value should match only one schema, but matches none";
};

const checkIf: Check = (schema, value, references) => {
  if (schema["if"] === undefined) return undefined;
  const clause = explain(schema["if"], value, references) === undefined ? "then" : "else";
  const error = schema[clause] === undefined ? undefined : explain(schema[clause], value, references);
  return error === undefined ? undefined : `${clause} clause did not match`;
};

const checkNot: Check = (schema, value, references) => {
  if (schema["not"] === undefined || explain(schema["not"], value, references) !== undefined) return undefined;
  return "value wasn't supposed to match schema";
};

const checkFormat: Check = (schema, value, references) => {
  const format = schema["format"];
  if (typeof format !== "string" || typeof value !== "string" || (references && standsForAnother(value)))
    return undefined;
  const fits = Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
  return fits === undefined || fits(value) ? undefined : `expect valid ${format} format but got: ${value}`;
};

const checkConst: Check = (schema, value, references) => {
  if (!Object.hasOwn(schema, "const") || (references && typeof value === "string" && standsForAnother(value)))
    return undefined;
  return canonical(schema["const"]) === canonical(value) ? undefined : "failed to check const value";
};

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** In the order of the library that is spoken of above. */
const CHECKS: readonly Check[] = [
  checkType,
  checkProperties,
  checkOtherProperties,
  checkPropertyCount,
  checkItems,
  checkString,
  checkNumber,
  checkEnum,
  checkAllOf,
  checkAnyOf,
  checkOneOf,
  checkIf,
  checkNot,
  checkFormat,
  checkConst,
];
