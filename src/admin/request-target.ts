/**
 * What the target of an admin request says, read in one way for the router, for access and for the log.
 */
import { credentialId } from "../model/keys.ts";
import type { Kind } from "../model/kinds.ts";

/** What the router is asked for: single slashes, none at the end, and no fragment. */
export function routedTarget(target: string): string {
  const [before, query] = splitOnce(target, "?");
  const path = pathOf(before)
    .replace(/(?<=.)\/$/, "")
    .replaceAll("#", "%23");
  return query === "" ? path : `${path}?${query}`;
}

/** Without scheme and host, which a target may have (RFC 9112 section 3.2.2), and with single slashes, as nginx sees it. */
export function pathOf(url: string): string {
  const [target] = splitOnce(url, "?");
  const path = target.startsWith("/") ? target : target.replace(/^https?:\/\/[^/]*/i, "");
  return path.includes("//") ? path.replace(/\/{2,}/g, "/") : path;
}

/** Query arguments by name; the first value counts. */
export interface Arguments extends ReadonlyMap<string, string> {
  /** One that came again with another value, so that it says two things. */
  readonly repeated: string | undefined;
}

export function argumentsIn(query: string): Arguments {
  const args = new Map<string, string>();
  let repeated: string | undefined;
  for (const [name, value] of new URLSearchParams(query)) {
    const first = args.get(name);
    if (first === undefined) args.set(name, value);
    else if (first !== value) repeated ??= name;
  }
  return Object.assign(args, { repeated });
}

export function splitOnce(text: string, by: string): readonly [string, string] {
  const at = text.indexOf(by);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}

/**
 * What a path of the Admin API names: a kind, perhaps one record of it, perhaps a place inside that record.
 * Source: docs/spec/admin-api.md section 5.
 */
export interface ResourceTarget {
  readonly kind: Kind;
  /** The id as the path has it, without the owner or manager in front. */
  readonly localId: string | undefined;
  /** Credentials: whose. */
  readonly consumer?: string;
  /** Secrets: the manager. */
  readonly manager?: string;
  /** What follows the id, without a slash in front; "" for the record itself. */
  readonly subPath: string;
}

/** The id as keys and `RecordKey.id` have it. */
export function recordId(target: ResourceTarget, localId: string): string {
  if (target.consumer !== undefined) return credentialId(target.consumer, localId);
  return target.manager === undefined ? localId : `${target.manager}/${localId}`;
}
