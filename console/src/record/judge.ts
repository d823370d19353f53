/**
 * What a schema finds wrong with a value, and where. The interpreter compiles nothing: the page forbids code that is made.
 * Promise: it only marks; whether a record is taken is the admin's word.
 */
import { type OutputUnit, Validator } from "@cfworker/json-schema";
import { membersOf, type RecordSchema, type Schema } from "./record-schema.ts";

export type Path = readonly (string | number)[];

export interface Fault {
  readonly path: Path;
  readonly message: string;
}

const FAULTS_MAX = 50;
const validators = new WeakMap<Schema, Validator>();

function validatorOf(schema: Schema): Validator {
  let validator = validators.get(schema);
  if (!validator) {
    validator = new Validator(plain(schema) as Schema, "2020-12", false);
    validators.set(schema, validator);
  }
  return validator;
}

/** A copy, which the validator may write into, without patterns that browsers read otherwise than the admin. */
function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const copy: Record<string, unknown> = {};
  for (const [name, member] of Object.entries(value)) {
    if (name === "pattern" && typeof member === "string" && !isPattern(member)) continue;
    copy[name] = name === "patternProperties" ? patterns(member) : plain(member);
  }
  return copy;
}

function patterns(value: unknown): unknown {
  return Object.fromEntries(
    Object.entries(membersOf(value)).flatMap(([name, member]) => (isPattern(name) ? [[name, plain(member)]] : [])),
  );
}

function isPattern(text: string): boolean {
  try {
    return new RegExp(text, "u") !== undefined;
  } catch {
    return false;
  }
}

export const isValid = (schema: Schema, value: unknown): boolean => errorsOf(schema, value).length === 0;

/** Faults of a record: its own, then those of each plugin. */
export function judge({ schema, plugins }: RecordSchema, value: unknown): readonly Fault[] {
  const own = faultsOf(withoutPlugins(schema), value, []);
  const given = Object.entries(membersOf(membersOf(value)["plugins"]));
  const ofPlugins = given.flatMap(([name, conf]) => {
    const known = plugins && Object.hasOwn(plugins, name) ? plugins[name] : undefined;
    if (plugins && !known) return [{ path: ["plugins", name], message: "This node has no such plugin." }];
    return known ? faultsOf(known, conf, ["plugins", name]) : [];
  });
  return [...own, ...ofPlugins].slice(0, FAULTS_MAX);
}

const bare = new WeakMap<Schema, Schema>();

function withoutPlugins(schema: Schema): Schema {
  let own = bare.get(schema);
  if (!own) {
    const { plugins, ...properties } = membersOf(schema["properties"]);
    own = {
      ...schema,
      properties: plugins === undefined ? properties : { ...properties, plugins: { type: "object" } },
    };
    bare.set(schema, own);
  }
  return own;
}

function faultsOf(schema: Schema, value: unknown, base: Path): readonly Fault[] {
  const errors = errorsOf(schema, value);
  const faults = errors.filter((one) => tells(one, errors)).map((one) => faultOf(one, errors, value, base));
  const seen = new Set<string>();
  return faults.filter(({ path, message }) => {
    const key = JSON.stringify([path, message]);
    return seen.has(key) ? false : seen.add(key) !== undefined;
  });
}

/** None where it cannot tell, as with half of a character in a name. */
function errorsOf(schema: Schema, value: unknown): readonly OutputUnit[] {
  try {
    return validatorOf(schema).validate(value).errors;
  } catch {
    return [];
  }
}

/** What only says that something inside it is wrong tells nothing. */
const WRAPPERS = new Set([
  ...["properties", "patternProperties", "additionalProperties", "items", "prefixItems", "allOf", "if"],
  ...["dependentSchemas", "propertyNames"],
]);
const CHOICES = ["anyOf", "oneOf"];

function tells(one: OutputUnit, all: readonly OutputUnit[]): boolean {
  if (WRAPPERS.has(one.keyword)) return false;
  return !all.some((outer) => outer !== one && CHOICES.includes(outer.keyword) && isWithin(one, outer));
}

const isWithin = (inner: OutputUnit, outer: OutputUnit): boolean =>
  inner.keywordLocation.startsWith(`${outer.keywordLocation}/`);

function faultOf(one: OutputUnit, all: readonly OutputUnit[], value: unknown, base: Path): Fault {
  const path = pathOf(one.instanceLocation, value);
  if (one.keyword === "false") return { path: [...base, ...path], message: "There is no such member." };
  if (CHOICES.includes(one.keyword)) {
    const missing = all
      .filter((inner) => inner.keyword === "required" && isWithin(inner, one))
      .map((inner) => /"(.*)"/s.exec(inner.error)?.[1])
      .filter((name) => name !== undefined);
    const said =
      missing.length > 0 ? `It needs one of: ${[...new Set(missing)].join(", ")}.` : "No form of it that is taken.";
    return { path: [...base, ...path], message: said };
  }
  return { path: [...base, ...path], message: one.error.replace(/^Instance /, "It ") };
}

/** Of a JSON pointer in a fragment. */
function pathOf(pointer: string, value: unknown): Path {
  const path: (string | number)[] = [];
  let at: unknown = value;
  for (const part of pointer.replace(/^#\/?/, "").split("/")) {
    if (part === "") continue;
    const name = decoded(part).replaceAll("~1", "/").replaceAll("~0", "~");
    path.push(Array.isArray(at) ? Number(name) : name);
    at = Array.isArray(at) ? at[Number(name)] : membersOf(at)[name];
  }
  return path;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Where the text of a refusal points to, as APISIX words them: the member, the item, the plugin. */
export function placeOfRefusal(message: string): Path {
  const path: (string | number)[] = [];
  const plugin = /plugin \[?([\w-]+)\]?/.exec(message)?.[1];
  if (plugin !== undefined) path.push("plugins", plugin);
  for (const [, property, item, additional] of message.matchAll(
    /property "([^"]+)"|item (\d+)|additional properties forbidden, found "?([\w-]+)/g,
  )) {
    if (item !== undefined) path.push(Number(item) - 1);
    else path.push(property ?? additional ?? "");
  }
  return path;
}
