/**
 * Pieces of configuration schemas that several plugins share.
 * Shapes, limits and defaults are those of APISIX 3.18; refusals are worded by base/schema/schema.ts.
 */
import { createHash } from "node:crypto";
import { Type } from "typebox";
import { type CompileEnv, Defaulted } from "../../plugin/plugin.ts";

/** One of some words. */
export function Words<const W extends string>(words: readonly W[], options: Readonly<Record<string, unknown>> = {}) {
  return Type.Unsafe<W>({ type: "string", enum: words, ...options });
}

/** Header name → text or number, any of them a template. */
export type HeaderMap = Readonly<Record<string, string | number>>;

const HEADER_VALUE = { oneOf: [{ type: "string" }, { type: "number" }] };
export const HeaderMap = Type.Unsafe<HeaderMap>({
  type: "object",
  minProperties: 1,
  patternProperties: { "^[^:]+$": HEADER_VALUE },
});

/** Name in a WWW-Authenticate challenge: printable ASCII without `"` and `\`. */
export const Realm = (normal: string) =>
  Defaulted(
    Type.String({ pattern: "^[\\x20-\\x21\\x23-\\x5B\\]-\\x7E]+$", default: normal, minLength: 1, maxLength: 128 }),
  );

export const AnonymousConsumer = Type.Optional(Type.String({ minLength: 1 }));

/** Where requests are sent to. */
export const HttpUri = Type.String({ pattern: "^[^/]+://([\\da-zA-Z.-]+|\\[[\\da-fA-F:]+\\])(:\\d+)?" });

export const RejectedMessage = Type.Optional(Type.String({ minLength: 1 }));

/** An expression over variables; what is inside is checked by model/expression.ts. */
export const Vars = Type.Unsafe<readonly unknown[]>({ type: "array" });

/** A number, or a template that gives one. */
export const NumberOrTemplate = (minimum: 0 | 1) =>
  Type.Unsafe<number | string>({
    oneOf: [
      minimum === 1 ? { type: "integer", exclusiveMinimum: 0 } : { type: "integer", minimum: 0 },
      { type: "string" },
    ],
  });

/** `limit-count:route/1:<hash>` */
export function scopeOf(plugin: string, conf: object, env: CompileEnv): string {
  const { kind, id, part } = env.resource;
  return `${plugin}:${kind}/${id}${part === undefined ? "" : `#${part}`}:${confHash(conf)}`;
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
