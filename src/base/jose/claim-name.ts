/**
 * How a claim is named wherever configuration names one: a text is one top-level member, literally; a text that begins
 * with "/" is a JSON Pointer (RFC 6901). Promise: only own members are read, whatever a token holds; nothing throws.
 * Source: docs/spec/tokens.md section 1 "Claim names".
 */
import type { Claims } from "./token.ts";

/** The claim's value; undefined where the token has none. */
export type ReadClaim = (claims: Claims) => unknown;

/** @returns why this names no claim */
export function claimNameError(name: string): string | undefined {
  if (name === "") return "the name of a claim is empty";
  if (name.startsWith("/") && /~(?![01])/.test(name)) {
    return `${JSON.stringify(name)} is no JSON pointer: "~" stands before "0" or "1" only`;
  }
  return undefined;
}

/** @param name has no `claimNameError`; Cost of a read: one member, or one for each part of the pointer. */
export function compileClaim(name: string): ReadClaim {
  if (!name.startsWith("/")) return (claims) => (Object.hasOwn(claims, name) ? claims[name] : undefined);
  const path = name
    .slice(1)
    .split("/")
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  return (claims) => {
    let value: unknown = claims;
    for (const part of path) {
      value = memberOf(value, part);
      if (value === undefined) return undefined;
    }
    return value;
  };
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  if (Array.isArray(value) && !/^(?:0|[1-9]\d{0,5})$/.test(name)) return undefined;
  return Object.hasOwn(value, name) ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}
