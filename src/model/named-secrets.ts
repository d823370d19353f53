/**
 * The secrets of a record that no plugin declares: told by the names of members, headers, arguments and variables, and by
 * how texts look.
 * Promise: the value given is not changed, and is what comes back when nothing was replaced. A member that a schema names is a
 * setting, unless its name leaves no doubt. References are no secrets.
 */
import { isMembers, type Members } from "../base/json/members.ts";
import { isSealed } from "../base/keyring.ts";
import { isReference } from "../base/reference.ts";
import type { Kind } from "./kinds.ts";
import { hideSecrets, isSecretName, isSurelySecretName } from "./secret-names.ts";

/** Dotted paths of the members that a plugin's schema names; lists count for nothing in a path. */
export type DeclaredMembers = (plugin: string) => ReadonlySet<string>;

/** @param path dotted, from the record @param isWhole false: only a part of the text is secret */
type ReplaceNamed = (text: string, path: string, isWhole: boolean) => string;

/** A copy of a record with the texts replaced that are secret by name or look. */
export function replaceNamed(kind: Kind, value: Members, plugins: DeclaredMembers, replace: ReplaceNamed): Members {
  if (!HAS_NAMED.has(kind.name)) return value;
  const declared = declaredIn(kind.schema);
  // True: replacing below an object gives an object.
  return eachMember(value, (name, member) => {
    if (name !== "plugins") return walk({ declared, base: "", replace }, member, name, name);
    if (!isMembers(member)) return allTexts({ declared, base: "", replace }, member, name); // nothing tells what is what
    return eachMember(member, (plugin, conf) => {
      if (!isMembers(conf)) return allTexts({ declared, base: "", replace }, conf, `plugins.${plugin}`);
      return within({ declared: plugins(plugin), base: `plugins.${plugin}.`, replace }, conf, "");
    });
  }) as Members;
}

/** A copy of a record with the texts replaced that a keyring sealed, wherever they are. */
export function replaceSealed(kind: Kind, value: Members, replace: (text: string, path: string) => string): Members {
  if (!HAS_NAMED.has(kind.name)) return value;
  const open = (member: unknown, path: string): unknown => {
    if (typeof member === "string") return isSealed(member) ? replace(member, path) : member;
    if (Array.isArray(member)) return eachItem(member, (item) => open(item, path));
    return isMembers(member) ? eachMember(member, (name, inner) => open(inner, `${path}.${name}`)) : member;
  };
  return eachMember(value, (name, member) => open(member, name)) as Members; // as above
}

/** Certificates, secret managers and protocol definitions have fixed places and free text. */
const HAS_NAMED: ReadonlySet<string> = new Set([
  "route",
  "service",
  "upstream",
  "consumer",
  "credential",
  "consumer_group",
  "plugin_config",
  "global_rule",
  "plugin_metadata",
  "stream_route",
]);

interface Walk {
  readonly declared: ReadonlySet<string>;
  /** What paths of `declared` are below. */
  readonly base: string;
  readonly replace: ReplaceNamed;
}

/** @param name of the nearest member above */
function walk(way: Walk, value: unknown, name: string, path: string): unknown {
  if (isSurelySecretName(name)) return allTexts(way, value, path);
  const isSecret = !way.declared.has(path) && isSecretName(name);
  if (typeof value === "string") return isSecret ? whole(way, value, path) : part(way, value, path);
  if (Array.isArray(value)) return items(way, value, isSecret ? name : "", path);
  return isMembers(value) ? within(way, value, path) : value;
}

function within(way: Walk, value: Members, path: string): unknown {
  const pair = NAMERS.some((namer) => namesSecret(value[namer]));
  return eachMember(value, (name, member) => {
    const here = path === "" ? name : `${path}.${name}`;
    return pair && name === "value" ? allTexts(way, member, here) : walk(way, member, name, here);
  });
}

/** Of `{"name": "X-Auth", "value": "…"}` and its like. */
const NAMERS = ["name", "key", "header"] as const;

function namesSecret(text: unknown): boolean {
  return typeof text === "string" && text.length <= 128 && isSecretName(text);
}

/** A condition, `["http_x_token", "==", "…"]`, or a list of whatever. */
function items(way: Walk, list: readonly unknown[], name: string, path: string): unknown {
  const [first] = list;
  const isCondition = list.length > 2 && typeof first === "string" && /^\w+$/.test(first) && isSecretName(first);
  return eachItem(list, (item, at) =>
    isCondition && at > 1 ? allTexts(way, item, path) : walk(way, item, isCondition ? "" : name, path),
  );
}

/** Below a name that leaves no doubt: every text; numbers and switches say nothing. */
function allTexts(way: Walk, value: unknown, path: string): unknown {
  if (typeof value === "string") return whole(way, value, path);
  if (Array.isArray(value)) return eachItem(value, (item) => allTexts(way, item, path));
  return isMembers(value) ? eachMember(value, (name, member) => allTexts(way, member, `${path}.${name}`)) : value;
}

function whole({ base, replace }: Walk, text: string, path: string): string {
  return isReference(text) ? text : replace(text, base + path, true);
}

function part({ base, replace }: Walk, text: string, path: string): string {
  return isReference(text) || hideSecrets(text, "") === text ? text : replace(text, base + path, false);
}

function eachMember(value: Members, replace: (name: string, member: unknown) => unknown): unknown {
  let copy: Record<string, unknown> | undefined;
  for (const name of Object.keys(value)) {
    const before = value[name];
    const after = replace(name, before);
    if (after === before) continue;
    copy ??= { ...value };
    copy[name] = after;
  }
  return copy ?? value;
}

function eachItem(list: readonly unknown[], replace: (item: unknown, at: number) => unknown): readonly unknown[] {
  const replaced = list.map(replace);
  return replaced.every((item, at) => item === list[at]) ? list : replaced;
}

const declaredBySchema = new WeakMap<object, ReadonlySet<string>>();

/** Dotted paths of all members that a schema names; computed once per schema. */
export function declaredIn(schema: object): ReadonlySet<string> {
  let paths = declaredBySchema.get(schema);
  if (!paths) {
    const found = new Set<string>();
    collect(schema, "", found, 0);
    paths = found;
    declaredBySchema.set(schema, paths);
  }
  return paths;
}

const DEPTH_MAX = 12; // schemas of own plugins may refer to themselves

function collect(schema: unknown, path: string, into: Set<string>, depth: number): void {
  if (typeof schema !== "object" || schema === null || depth > DEPTH_MAX) return;
  const rules = schema as Members;
  const { properties, items: ofItems } = rules;
  if (isMembers(properties)) {
    for (const [name, inner] of Object.entries(properties)) {
      const here = path === "" ? name : `${path}.${name}`;
      into.add(here);
      collect(inner, here, into, depth + 1);
    }
  }
  for (const inner of Array.isArray(ofItems) ? ofItems : [ofItems]) collect(inner, path, into, depth + 1);
  for (const word of ["allOf", "anyOf", "oneOf"]) {
    const branches = rules[word];
    if (Array.isArray(branches)) for (const branch of branches) collect(branch, path, into, depth + 1);
  }
}
