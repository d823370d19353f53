/**
 * Names for state that belongs to a configuration in its place: the same for the same content, whatever the order of
 * members, so that a record written again unchanged keeps its counters.
 */
import { createHash } from "node:crypto";
import type { CompileEnv } from "../../plugin/plugin.ts";

/** `limit-count:route/1:<hash>` */
export function scopeOf(plugin: string, conf: object, env: CompileEnv): string {
  return `${plugin}:${env.resource.kind}/${env.resource.id}:${confHash(conf)}`;
}

/** 16 hex digits; `_meta` takes no part. */
export function confHash(conf: object): string {
  const { _meta, ...rest } = conf as { _meta?: unknown };
  return createHash("sha256").update(canonicalText(rest)).digest("hex").slice(0, 16);
}

/** The same text for equal values, whatever the order of members. */
export function canonicalText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => `${JSON.stringify(name)}:${canonicalText(member)}`);
  return `{${members.join(",")}}`;
}
