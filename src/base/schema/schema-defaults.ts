/**
 * Fills a schema's defaults into a copy of a value, as APISIX's validation does in place.
 * For the moment a configuration is compiled only: what is stored and what is checked never carries defaults.
 * Promise: the value given is not changed; what it holds is shared with the copy where nothing was added.
 */
import { membersOf } from "./lua-values.ts";
import { explain, type JsonSchema } from "./schema-text.ts";

/**
 * A copy of `value` with defaults of absent members filled in: in the object itself, in objects and arrays that are
 * present below it, and in the branches (allOf, anyOf, oneOf, if, dependencies) that the value satisfies.
 * An absent object whose schema has no default of its own stays absent.
 */
export function withDefaults<T = unknown>(schema: object, value: unknown): T {
  return fill(schema, value) as T;
}

function fill(schema: unknown, value: unknown): unknown {
  if (typeof schema !== "object" || schema === null || typeof value !== "object" || value === null) return value;
  const rules = schema as JsonSchema;
  let filled: object = value;
  if (rules["properties"] !== undefined) filled = fillProperties(rules, filled);
  if (rules["patternProperties"] !== undefined) filled = fillPatterns(rules, filled);
  if (rules["items"] !== undefined && Array.isArray(filled)) filled = fillItems(rules["items"], filled);
  for (const branch of branchesOf(rules, filled)) filled = fill(branch, filled) as object; // an object stays one
  return filled;
}

/** A property that may need something: it has a default, or its schema may have some further below. */
type Fillable = readonly [name: string, schema: unknown, isDeep: boolean];

const fillables = new WeakMap<object, readonly Fillable[]>();

function fillablesOf(properties: object): readonly Fillable[] {
  let found = fillables.get(properties);
  if (!found) {
    found = Object.entries(properties)
      .map(([name, schema]): Fillable => [name, schema, isDeep(schema)])
      .filter(([, schema, deep]) => deep || hasDefault(schema));
    fillables.set(properties, found);
  }
  return found;
}

const DEEP = ["properties", "patternProperties", "items", "allOf", "anyOf", "oneOf", "if", "dependencies"];

function isDeep(schema: unknown): boolean {
  return typeof schema === "object" && schema !== null && DEEP.some((word) => Object.hasOwn(schema, word));
}

function fillProperties(schema: JsonSchema, value: object): object {
  const members = membersOf(value);
  if (!members) return value;
  const copy: Record<string, unknown> = { ...members };
  for (const [name, inner, deep] of fillablesOf(schema["properties"] as object)) {
    if (Object.hasOwn(members, name)) {
      if (deep) copy[name] = fill(inner, members[name]);
    } else if (hasDefault(inner)) copy[name] = fill(inner, ownDefault(inner.default));
  }
  return copy;
}

/** Nearly all are texts, numbers and booleans, which need no copy. */
function ownDefault(value: unknown): unknown {
  return typeof value === "object" && value !== null ? structuredClone(value) : value;
}

function fillPatterns(schema: JsonSchema, value: object): object {
  const members = membersOf(value);
  if (!members || Object.keys(members).length === 0) return value;
  const patterns = Object.entries(schema["patternProperties"] as JsonSchema);
  const known = (schema["properties"] ?? {}) as JsonSchema;
  // Entries rather than assignment: a member may be called "__proto__" in what others have stored.
  return Object.fromEntries(
    Object.entries(members).map(([name, one]) => {
      const inner = Object.hasOwn(known, name) ? undefined : patterns.find(([p]) => new RegExp(p).test(name))?.[1];
      return [name, inner === undefined ? one : fill(inner, one)];
    }),
  );
}

function fillItems(each: unknown, items: readonly unknown[]): unknown[] {
  return items.map((item, at) => fill(Array.isArray(each) ? each[at] : each, item));
}

function hasDefault(schema: unknown): schema is { readonly default: unknown } {
  return typeof schema === "object" && schema !== null && Object.hasOwn(schema, "default");
}

const BRANCHING = ["allOf", "anyOf", "oneOf", "if", "dependencies"];
const NO_BRANCHES: readonly unknown[] = Object.freeze([]);

function branchesOf(schema: JsonSchema, value: object): readonly unknown[] {
  if (!BRANCHING.some((word) => schema[word] !== undefined)) return NO_BRANCHES;
  const branches: unknown[] = [];
  const fits = (branch: unknown): boolean => explain(branch, value, true) === undefined;
  if (Array.isArray(schema["allOf"])) branches.push(...schema["allOf"]);
  for (const word of ["anyOf", "oneOf"]) {
    const list = schema[word];
    const first = Array.isArray(list) ? list.find(fits) : undefined;
    if (first !== undefined) branches.push(first);
  }
  if (schema["if"] !== undefined) branches.push(fits(schema["if"]) ? schema["then"] : schema["else"]);
  for (const [name, needed] of Object.entries((schema["dependencies"] ?? {}) as JsonSchema)) {
    if (Object.hasOwn(value, name) && !Array.isArray(needed)) branches.push(needed);
  }
  return branches;
}
