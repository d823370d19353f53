/**
 * Says what a schema wants at the place where a value fails it, for people: the sentence that tools compare says only what is
 * wrong. Walks as schema-text.ts does; values themselves are never quoted.
 */
import { didYouMean } from "../suggest.ts";
import { membersOf } from "./lua-values.ts";
import { schemaPattern } from "./schema-format.ts";
import { explain, type JsonSchema } from "./schema-text.ts";

/** @param path how the value is called @returns undefined when it is fine, or nothing more can be said than its error says */
export function wanted(schema: unknown, value: unknown, path: string): string | undefined {
  if (!isSchema(schema) || explain(schema, value, true) === undefined) return undefined;
  return (
    inside(schema, value, path) ??
    stranger(schema, value, path) ??
    missing(schema, value, path) ??
    clauses(schema, value)
      .map((clause) => wanted(clause, value, path))
      .find((text) => text !== undefined) ??
    (schema["type"] === "object" && membersOf(value) ? undefined : whole(schema, path))
  );
}

/** Further schemas that the value has to satisfy as it is: of conditions, of members that are set, of the branch that is meant. */
function clauses(schema: JsonSchema, value: unknown): readonly unknown[] {
  const members = membersOf(value) ?? {};
  const clause = schema["if"] !== undefined && (explain(schema["if"], value, true) === undefined ? "then" : "else");
  const depending = Object.entries(membersOf(schema["dependencies"]) ?? {}).flatMap(([name, one]) =>
    Object.hasOwn(members, name) ? [one] : [],
  );
  const meant = ["anyOf", "oneOf"].flatMap((word) => listOf(schema[word])).filter((one) => isMeant(one, members));
  return [
    ...(clause ? [schema[clause]] : []),
    ...depending,
    ...listOf(schema["allOf"]),
    ...(meant.length === 1 ? meant : []),
  ];
}

/** Whether a branch tells by an enumeration that it is the one for these members. */
function isMeant(branch: unknown, members: Readonly<Record<string, unknown>>): boolean {
  if (!isSchema(branch)) return false;
  const fixed = Object.entries(membersOf(branch["properties"]) ?? {}).filter(
    ([, inner]) => isSchema(inner) && inner["enum"] !== undefined,
  );
  return fixed.length > 0 && fixed.every(([name, inner]) => explain(inner, members[name], true) === undefined);
}

function inside(schema: JsonSchema, value: unknown, path: string): string | undefined {
  if (Array.isArray(value)) {
    const { items } = schema;
    for (const [at, item] of value.entries()) {
      const found = Array.isArray(items) ? undefined : wanted(items, item, `${path}[${at}]`);
      if (found !== undefined) return found;
    }
    return undefined;
  }
  const properties = membersOf(schema["properties"]) ?? {};
  const members = membersOf(value);
  if (!members) return undefined;
  for (const [name, inner] of Object.entries(properties)) {
    const found = Object.hasOwn(members, name) ? wanted(inner, members[name], `${path}.${name}`) : undefined;
    if (found !== undefined) return found;
  }
  for (const [pattern, inner] of Object.entries(membersOf(schema["patternProperties"]) ?? {})) {
    for (const name of Object.keys(members).filter((one) => schemaPattern(pattern).test(one))) {
      const found = wanted(inner, members[name], `${path}.${name.slice(0, 64)}`);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

function stranger(schema: JsonSchema, value: unknown, path: string): string | undefined {
  if (schema["additionalProperties"] !== false || schema["patternProperties"] !== undefined) return undefined;
  const known = Object.keys(membersOf(schema["properties"]) ?? {});
  const name = Object.keys(membersOf(value) ?? {}).find((one) => !known.includes(one));
  return name === undefined ? undefined : `${path} has no member ${name.slice(0, 64)}${didYouMean(name, known)}`;
}

function missing(schema: JsonSchema, value: unknown, path: string): string | undefined {
  const members = membersOf(value);
  if (!members) return undefined;
  const properties = membersOf(schema["properties"]) ?? {};
  const absent = listOf(schema["required"]).filter((name) => !Object.hasOwn(members, String(name)));
  if (absent.length > 0) {
    const parts = absent.map((name) => `${name} (${describe(properties[String(name)]) ?? "any value"})`);
    return `${path} needs ${parts.join(" and ")}`;
  }
  const failed = ["anyOf", "oneOf"].filter((word) => explain({ [word]: schema[word] }, value, true) !== undefined);
  const branches = failed.flatMap((word) => listOf(schema[word]));
  const [one, other] = branches.filter((branch) => explain(branch, value, true) === undefined);
  if (one !== undefined && other !== undefined) return excluding(one, other, members, path);
  const choices = branches.flatMap(needsOf);
  return choices.length > 0 ? `${path} needs ${[...new Set(choices)].join(", or ")}` : undefined;
}

/** Two branches of a choice are satisfied: by members that must not stand together. */
function excluding(one: unknown, other: unknown, members: object, path: string): string | undefined {
  const [mine, theirs] = [one, other].map((branch) => new Set(needsOf(branch).flatMap((text) => text.split(" and "))));
  const only = (these = new Set<string>(), those = new Set<string>()): string | undefined =>
    [...these].find((name) => !those.has(name) && Object.hasOwn(members, name));
  const [left, right] = [only(mine, theirs), only(theirs, mine)];
  return left === undefined || right === undefined ? undefined : `${path} takes ${left} or ${right}, not both`;
}

function needsOf(branch: unknown): readonly string[] {
  if (!isSchema(branch)) return [];
  const names = listOf(branch["required"]);
  if (names.length > 0) return [names.join(" and ")];
  return ["anyOf", "oneOf"].flatMap((word) => listOf(branch[word])).flatMap(needsOf);
}

function whole(schema: JsonSchema, path: string): string | undefined {
  const text = describe(schema);
  return text === undefined ? undefined : `${path} must be ${text}`;
}

/** What fits, in a few words. */
function describe(schema: unknown): string | undefined {
  if (!isSchema(schema)) return undefined;
  const allowed = listOf(schema["enum"]);
  if (allowed.length > 0) return `one of ${allowed.map(String).join(", ")}`;
  const branches = ["anyOf", "oneOf"].flatMap((word) => listOf(schema[word])).flatMap((one) => describe(one) ?? []);
  if (branches.length > 0) return [...new Set(branches)].join(", or ");
  switch (schema["type"]) {
    case "array":
      return `a list of ${describe(schema["items"]) ?? "values"}`;
    case "object":
      return describeObject(schema);
    case "integer":
    case "number":
      return `a ${schema["type"] === "integer" ? "whole number" : "number"}${rangeOf(schema)}`;
    case "string":
      return typeof schema["pattern"] === "string"
        ? `a text that matches ${schema["pattern"]}`
        : `a text${lengthOf(schema)}`;
    case "boolean":
      return "true or false";
    default:
      return undefined;
  }
}

function describeObject(schema: JsonSchema): string {
  const [inner] = Object.values(membersOf(schema["patternProperties"]) ?? {});
  if (inner !== undefined) return `an object of names with ${describe(inner) ?? "values"} each`;
  const names = listOf(schema["required"]);
  const some = names.length > 0 ? names : Object.keys(membersOf(schema["properties"]) ?? {}).slice(0, 5);
  return some.length === 0 ? "an object" : `an object with ${some.join(", ")}`;
}

function rangeOf({ minimum, maximum, exclusiveMinimum }: JsonSchema): string {
  const least =
    minimum !== undefined ? ` from ${minimum}` : exclusiveMinimum !== undefined ? ` above ${exclusiveMinimum}` : "";
  return maximum === undefined ? least : `${least} to ${maximum}`;
}

function lengthOf({ minLength, maxLength }: JsonSchema): string {
  const [least, most] = [Number(minLength ?? 0), Number(maxLength ?? 0)];
  if (least > 1) return most > 0 ? ` of ${least} to ${most} characters` : ` of at least ${least} characters`;
  return most > 0 ? ` of at most ${most} characters` : "";
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function isSchema(value: unknown): value is JsonSchema {
  return typeof value === "object" && value !== null;
}
