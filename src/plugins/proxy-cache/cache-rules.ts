/**
 * What may be taken from a cache and what may be kept in it. Sources: APISIX 3.18 proxy-cache, RFC 9111 sections 3 to 5.
 * Promise: in doubt the upstream is asked, and nothing is kept.
 */
import type { HeaderList } from "../../plugin/headers.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { CachedResponse } from "./cached-response.ts";

/** Directives of Cache-Control; without an argument: true. */
type Directives = ReadonlyMap<string, string | true>;

const DIRECTIVE = /(?:^|,)[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?/g;

export function directivesOf(lines: readonly string[]): Directives {
  const found = new Map<string, string | true>();
  for (const line of lines)
    for (const [, name = "", quoted, text] of line.matchAll(DIRECTIVE)) {
      const lower = name.toLowerCase();
      const value = quoted ?? text ?? true;
      const before = found.get(lower);
      // Of two the one that keeps less.
      found.set(lower, before !== undefined && secondsOf(before) < secondsOf(value) ? before : value);
    }
  return found;
}

/** Of an argument that is no number of seconds: 0, as it promises nothing. */
function secondsOf(value: string | true): number {
  return typeof value === "string" && /^\d{1,10}$/.test(value) ? Number(value) : 0;
}

function seconds(directives: Directives, name: string): number | undefined {
  const value = directives.get(name);
  return value === undefined ? undefined : secondsOf(value);
}

/** Headers by which some upstreams are asked for something else than the request's line says; no key knows them. */
const CHANGES_REQUEST = [
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
  "x-original-url",
  "x-rewrite-url",
];
/** What only the upstream can judge. */
const UPSTREAM_JUDGES = ["if-match", "if-unmodified-since", "if-range"];

/** Whether the cache has nothing to do with this request, whatever a configuration says. */
export function mustBypass({ body, head, headers, method }: RequestView): boolean {
  const isOdd = head.upgrade !== undefined || method !== head.method || (method !== "POST" && body.length !== 0);
  return isOdd || [...CHANGES_REQUEST, ...UPSTREAM_JUDGES].some((name) => headers.has(name));
}

/** A response that came, with what its request said. */
export interface Arrived {
  readonly status: number;
  readonly headers: HeaderList;
  /** The request proves who sent it in a way that the key does not hold. */
  readonly isPersonal: boolean;
  readonly mayHaveCookies: boolean;
}

/** Whether a shared cache may keep this at all. */
export function mayKeep({ headers, isPersonal, mayHaveCookies, status }: Arrived, directives: Directives): boolean {
  if (status === 206 || status === 304 || headers.has("content-range")) return false;
  if (["private", "no-store", "no-cache"].some((name) => directives.has(name))) return false;
  if (!mayHaveCookies && headers.has("set-cookie")) return false;
  if (varyOf(headers) === undefined) return false;
  return !isPersonal || ["public", "s-maxage", "must-revalidate"].some((name) => directives.has(name));
}

/** Names of request headers that a response depends on, sorted; undefined: on more than headers. */
export function varyOf(headers: HeaderList): readonly string[] | undefined {
  const names = new Set(
    headers
      .getAll("vary")
      .flatMap((line) => line.toLowerCase().split(","))
      .map((name) => name.trim()),
  );
  names.delete("");
  if (names.has("*")) return undefined;
  // Who is sent a coding has asked for it, though the upstream does not say so.
  if (headers.has("content-encoding")) names.add("accept-encoding");
  return [...names].sort();
}

/** How long a response says that it is fresh, in milliseconds; undefined: it says nothing. */
export function saidTtlMs(headers: HeaderList, directives: Directives, nowMs: number): number | undefined {
  const age = secondsOf(headers.get("age") ?? "");
  const most = seconds(directives, "s-maxage") ?? seconds(directives, "max-age");
  if (most !== undefined) return Math.max(0, most - age) * 1_000;
  const expires = headers.getAll("expires").at(-1);
  if (expires === undefined) return undefined;
  const untilMs = Date.parse(expires);
  return Number.isNaN(untilMs) ? 0 : Math.max(0, untilMs - nowMs);
}

/** What a client wants of the age of a response (RFC 9111 section 5.2.1). */
export function isFreshEnough({ storedMs, ttlMs }: CachedResponse, wanted: Directives, nowMs: number): boolean {
  const ageMs = nowMs - storedMs;
  const maxAge = seconds(wanted, "max-age");
  const minFresh = seconds(wanted, "min-fresh");
  if (maxAge !== undefined && ageMs > maxAge * 1_000) return false;
  return minFresh === undefined || ttlMs - ageMs >= minFresh * 1_000;
}
