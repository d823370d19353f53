/**
 * The two forms of PATCH: a recursive merge, and a value put at a sub path.
 * Promise: the stored value given is not changed; only own members are read or written, whatever they are called.
 * Source: docs/spec/admin-api.md section 5.3.
 */
import { isMembers, type WritableMembers } from "../base/json/members.ts";

/**
 * Lays `patch` over `value`: null removes a member, objects merge, arrays and empty objects replace.
 * Both must be objects (the caller has checked).
 */
export function mergePatch(value: Readonly<WritableMembers>, patch: Readonly<WritableMembers>): WritableMembers {
  const merged = new Map(Object.entries(value));
  for (const [name, wanted] of Object.entries(patch)) {
    const existing = merged.get(name);
    if (wanted === null) merged.delete(name);
    else if (isFullObject(existing) && isFullObject(wanted)) merged.set(name, mergePatch(existing, wanted));
    else merged.set(name, wanted);
  }
  return Object.fromEntries(merged);
}

type PatchResult = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: string };

/**
 * Puts `wanted` at a path of member names ("upstream/nodes"; in arrays, positions from 1 as tools of APISIX count).
 * Missing objects on the way are made; a scalar on the way is an error, and so is what is no position of an array.
 */
export function patchAt(value: Readonly<WritableMembers>, subPath: string, wanted: unknown): PatchResult {
  const names = subPath.split("/");
  if (names.at(-1) === "") names.pop();
  const root = structuredClone(value);
  let at: unknown = root;
  const wrong = (depth: number): PatchResult => ({
    ok: false,
    error: `invalid sub-path: /${names.slice(0, depth + 1).join("/")}`,
  });
  for (const [depth, name] of names.slice(0, -1).entries()) {
    const next = readMember(at, name) ?? {};
    if (typeof next !== "object" || !writeMember(at, name, next)) return wrong(depth);
    at = next;
  }
  const last = names.at(-1);
  if (last === undefined) return { ok: true, value: wanted };
  return writeMember(at, last, wanted) ? { ok: true, value: root } : wrong(names.length);
}

function readMember(holder: unknown, name: string): unknown {
  if (Array.isArray(holder)) return holder[positionOf(name)];
  const members = holder as WritableMembers;
  return Object.hasOwn(members, name) ? members[name] : undefined;
}

/** @returns whether there is such a place; an array grows at its end only */
function writeMember(holder: unknown, name: string, value: unknown): boolean {
  if (Array.isArray(holder)) {
    const position = positionOf(name);
    if (position < 0 || position > holder.length) return false;
    holder[position] = value;
    return true;
  }
  // defineProperty rather than assignment: "__proto__" becomes a member like any other (and is refused by the schema).
  Object.defineProperty(holder, name, { value, enumerable: true, configurable: true, writable: true });
  return true;
}

function positionOf(name: string): number {
  return /^[1-9]\d{0,6}$/.test(name) ? Number(name) - 1 : -1;
}

function isFullObject(value: unknown): value is WritableMembers {
  return isMembers(value) && Object.keys(value).length > 0;
}
