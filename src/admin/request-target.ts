/**
 * What the target of an admin request says, read in one way for the router, for access and for the log.
 */

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

export function firstValues(query: string): ReadonlyMap<string, string> {
  const args = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) if (!args.has(name)) args.set(name, value);
  return args;
}

export function splitOnce(text: string, by: string): readonly [string, string] {
  const at = text.indexOf(by);
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
