/**
 * Which of two routes a request reaches first, and whether one leaves anything for the other.
 * Promise: "hides" is said only when it is certain, "takes from" when it is possible. Pure.
 * Source: docs/spec/routing.md sections 3 and 4, runtime/routes/router.ts.
 */
import type { RouterMode } from "../../runtime/routes/router.ts";
import { compileUriPattern } from "../../runtime/routes/uri-pattern.ts";
import type { Path, PreviewRoute } from "./preview-route.ts";

/** Ids of routes that come first for every request the route could match; undefined when something is left for it. */
export function hiddenBy(
  mode: RouterMode,
  route: PreviewRoute,
  others: Iterable<PreviewRoute>,
): ReadonlySet<string> | undefined {
  const open = new Set(pairsOf(route));
  const by = new Set<string>();
  for (const other of others) {
    if (other.id === route.id || !other.isEnabled || !admitsAll(other, route)) continue;
    for (const pair of open) {
      if (!hidesPair(mode, other, route, pair)) continue;
      open.delete(pair);
      by.add(other.id);
    }
    if (open.size === 0) return by;
  }
  return undefined;
}

/** Whether `first` gets requests that `second` would get without it: all of them, or some. */
export function takesFrom(mode: RouterMode, first: PreviewRoute, second: PreviewRoute): "all" | "some" | undefined {
  if (!first.isEnabled || !second.isEnabled || !shareMethod(first, second)) return undefined;
  if (hiddenBy(mode, second, [first])) return "all";
  for (const mine of pairsOf(first)) {
    for (const theirs of pairsOf(second)) if (mayGoFirst(mode, first, mine, second, theirs)) return "some";
  }
  return undefined;
}

interface Pair {
  readonly host: string;
  readonly path: Path;
}

function pairsOf({ hosts, paths }: PreviewRoute): Pair[] {
  return hosts.flatMap((host) => paths.map((path) => ({ host, path })));
}

function hidesPair(mode: RouterMode, first: PreviewRoute, second: PreviewRoute, { host, path }: Pair): boolean {
  if (mode !== "radixtree_host_uri") {
    return first.hosts.some((mine) => covers(mine, host)) && goesFirst(first, second, path);
  }
  if (first.hosts.includes(host) && goesFirst(first, second, path)) return true;
  // A more general host never goes first, except before routes without any host.
  return host === "" && first.hosts.includes("*") && first.paths.some((mine) => includes(mine, path));
}

/** Within one set of hosts: the same literal text, a pattern no narrower, and the better place. */
function goesFirst(first: PreviewRoute, second: PreviewRoute, path: Path): boolean {
  return first.paths.some(
    (mine) =>
      mine.exact === path.exact &&
      mine.literal === path.literal &&
      (mine.exact || mine.isPrefix || mine.shape === path.shape) &&
      isBefore(first, mine, second, path),
  );
}

/** As runtime/routes/router.ts orders what has the same literal text. */
function isBefore(left: PreviewRoute, leftPath: Path, right: PreviewRoute, rightPath: Path): boolean {
  if (left.priority !== right.priority) return left.priority > right.priority;
  const longer = leftPath.source.length - rightPath.source.length;
  if (longer !== 0) return longer > 0;
  return left.order === right.order ? left.id < right.id : left.order < right.order;
}

function mayGoFirst(mode: RouterMode, first: PreviewRoute, mine: Pair, second: PreviewRoute, theirs: Pair): boolean {
  if (mode !== "radixtree_host_uri") {
    const meet = covers(mine.host, theirs.host) || covers(theirs.host, mine.host);
    return meet && pathGoesFirst(first, mine.path, second, theirs.path);
  }
  if (mine.host === theirs.host) return pathGoesFirst(first, mine.path, second, theirs.path);
  return covers(theirs.host, mine.host) && meets(mine.path, theirs.path);
}

/** Exact before prefix, longer before shorter, then the place among equals. */
function pathGoesFirst(first: PreviewRoute, mine: Path, second: PreviewRoute, theirs: Path): boolean {
  if (!meets(mine, theirs)) return false;
  if (mine.exact !== theirs.exact) return mine.exact;
  if (mine.literal.length !== theirs.literal.length) return mine.literal.length > theirs.literal.length;
  return isBefore(first, mine, second, theirs);
}

/** Whether some path may match both. */
function meets(a: Path, b: Path): boolean {
  if (a.exact && b.exact) return a.literal === b.literal;
  if (a.exact) return matches(b, a.literal);
  if (b.exact) return matches(a, b.literal);
  return a.literal.startsWith(b.literal) || b.literal.startsWith(a.literal);
}

/** Whether every path that `b` matches is matched by `a`. */
function includes(a: Path, b: Path): boolean {
  if (a.isPrefix) return b.literal.startsWith(a.literal);
  return a.shape === b.shape || (b.exact && matches(a, b.literal));
}

function matches(pattern: Path, path: string): boolean {
  if (!path.startsWith(pattern.literal)) return false;
  if (pattern.exact || pattern.isPrefix) return !pattern.exact || path === pattern.literal;
  const withParameters = pattern.source[pattern.literal.length] === ":" || pattern.shape !== pattern.source;
  return compileUriPattern(pattern.source, withParameters).tail?.(path) !== undefined;
}

/** Whether the host pattern `a` matches every host that `b` matches. */
function covers(a: string, b: string): boolean {
  if (a === "" || a === "*" || a === b) return true;
  if (!a.startsWith("*") || b === "") return false;
  const suffix = a.slice(1);
  return b.startsWith("*") ? b.slice(1).endsWith(suffix) : b.endsWith(suffix);
}

/** Whether whatever passes the other conditions of `second` passes those of `first`. */
function admitsAll(first: PreviewRoute, second: PreviewRoute): boolean {
  const methods =
    first.methods.size === 0 ||
    (second.methods.size > 0 && [...second.methods].every((method) => first.methods.has(method)));
  const addresses =
    first.addresses.length === 0 ||
    (second.addresses.length > 0 && second.addresses.every((address) => first.addresses.includes(address)));
  return methods && addresses && (first.vars === "" || first.vars === second.vars);
}

function shareMethod(a: PreviewRoute, b: PreviewRoute): boolean {
  return a.methods.size === 0 || b.methods.size === 0 || [...a.methods].some((method) => b.methods.has(method));
}
