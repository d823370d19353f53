/**
 * Values of JSON as the schema library of APISIX sees them: an empty array is an object, an empty object is an array.
 */
import type { Members } from "../json/members.ts";

/** The value as the members of an object: an object, or an empty array. */
export function membersOf(value: unknown): Members | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (!Array.isArray(value)) return value as Members;
  return value.length === 0 ? NOTHING : undefined;
}

const NOTHING: Members = Object.freeze({});

export function itemsOf(value: unknown): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0 ? [] : undefined;
}

/** The name of a value's type as Lua says it. */
export function luaType(value: unknown): string {
  if (value === undefined) return "nil";
  if (value === null) return "userdata";
  return typeof value === "object" ? "table" : typeof value;
}

/** A text in quotes as Lua's %q writes it. */
export function quote(text: string): string {
  return `"${text.replace(/[\\"]/g, "\\$&").replaceAll("\r", "\\r").replaceAll("\0", "\\0").replaceAll("\n", "\\\n")}"`;
}
