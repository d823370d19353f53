/**
 * References inside a configuration: finds them and puts their values in. Source: spec/secrets.md section 1:
 * all strings are looked at, at any depth; a reference is a whole string; the rest stays untouched.
 */
import { isReference } from "../base/reference.ts";
import type { SecretValue } from "./reading.ts";
import type { SecretResolver } from "./resolver.ts";

/** The distinct references of a value in the order they stand; empty for most. Member names are not looked at. */
export function referencesIn(value: unknown): readonly string[] {
  const found = new Set<string>();
  collect(value, found);
  return found.size === 0 ? NONE : [...found];
}

/** A copy with every reference replaced; what holds none is shared with the original. */
export function substitute<T>(value: T, lookUp: (reference: string) => SecretValue): T {
  // True: the shape is kept; only texts that are references become other values, which schemas allow for.
  return replace(value, lookUp) as T;
}

/**
 * The value with every reference resolved; itself when it has none.
 * Throws GatewayError SECRET_UNRESOLVED when one of them cannot be.
 */
export async function resolveAll<T>(value: T, resolver: Pick<SecretResolver, "resolve">): Promise<T> {
  const references = referencesIn(value);
  if (references.length === 0) return value;
  const values = new Map<string, SecretValue>();
  await Promise.all(references.map(async (text) => values.set(text, await resolver.resolve(text))));
  return substitute(value, (text) => values.get(text) ?? text);
}

const NONE: readonly string[] = Object.freeze([]);

function collect(value: unknown, found: Set<string>): void {
  if (typeof value === "string") {
    if (isReference(value)) found.add(value);
  } else if (typeof value === "object" && value !== null) {
    for (const member of Object.values(value)) collect(member, found);
  }
}

function replace(value: unknown, lookUp: (reference: string) => SecretValue): unknown {
  if (typeof value === "string") return isReference(value) ? lookUp(value) : value;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    const items = value.map((item) => replace(item, lookUp));
    return items.some((item, i) => item !== value[i]) ? items : value;
  }
  const members = Object.entries(value).map(([name, member]) => [name, replace(member, lookUp)] as const);
  // Not an object literal: a member may be called "__proto__" in what others have stored.
  return members.some(([name, member]) => member !== (value as Record<string, unknown>)[name])
    ? Object.fromEntries(members)
    : value;
}
