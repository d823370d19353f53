/**
 * Who may use the Admin API: allow-list on the socket's address, named keys with roles, a limit on guessing that a right key
 * passes, so that nobody can lock the operator out.
 * Promise: keys are compared in constant time and never kept in plain text, logged or echoed.
 * Source: docs/spec/admin-api.md section 2, docs/compatibility.md.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { CodedError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { compileIpSet } from "../base/net/ip.ts";
import type { Actor } from "./admin-context.ts";
import { type AdminAnswer, refuse } from "./admin-response.ts";

export interface AccessKey extends Actor {
  readonly key: string;
}

interface AccessOptions {
  readonly keys: readonly AccessKey[];
  /** Addresses and CIDR ranges; empty: everyone who reaches the listener. */
  readonly allowList: readonly string[];
  /** Whether a key may also come as `?api_key=` or cookie `x_api_key`. */
  readonly keyAnywhere: boolean;
  /** Pages that belong to the operator, as browsers say in `Origin`; what the listener itself serves does too. */
  readonly origins?: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

export interface Credentials {
  readonly address: string;
  readonly method: string;
  header(name: string): string | undefined;
  readonly args: ReadonlyMap<string, string>;
}

export interface Access {
  /** @throws as `openAccess`. @returns what makes these keys and addresses count from then on; that cannot fail */
  prepare(next: Pick<AccessOptions, "keys" | "allowList">): () => void;
  /** 403 for an address that is not on the allow-list. */
  admitsAddress(address: string): AdminAnswer | undefined;
  /** Who it is, or the refusal. */
  identify(request: Credentials): { readonly actor: Actor } | { readonly refusal: AdminAnswer };
}

const GUESSES_MAX = 20; // wrong keys from one address within the window; then that address waits
const WINDOW_MS = 60_000;
const ADDRESSES_MAX = 4_096;

/** @throws CodedError SETTINGS_INVALID without any key: an open Admin API is never what was meant */
export function openAccess(options: AccessOptions): Access {
  const { clock, log } = options;
  const salt = randomBytes(32); // digests are compared, so a match by length or prefix tells nothing
  const digest = (text: string): Buffer => createHash("sha256").update(salt).update(text).digest();
  const compile = ({ keys, allowList }: Pick<AccessOptions, "keys" | "allowList">) => {
    if (keys.length === 0) {
      throw new CodedError("SETTINGS_INVALID", { message: "the Admin API needs at least one key" });
    }
    return {
      keys: keys.map(({ name, role, key }) => ({ actor: { name, role }, digest: digest(key) })),
      allows: allowList.length === 0 ? () => true : compileIpSet(allowList),
    };
  };
  let rules = compile(options);
  const guesses = new LRUCache<string, { count: number; readonly untilMs: number }>({ max: ADDRESSES_MAX });

  function find(candidate: string): Actor | undefined {
    const wanted = digest(candidate);
    let found: Actor | undefined;
    for (const key of rules.keys) if (timingSafeEqual(key.digest, wanted)) found = key.actor; // all of them, every time
    return found;
  }

  function blockedFor(address: string): number {
    const entry = guesses.get(address);
    if (!entry || entry.count < GUESSES_MAX) return 0;
    return Math.max(0, entry.untilMs - clock.monotonicMs());
  }

  function countGuess(address: string): void {
    const now = clock.monotonicMs();
    const entry = guesses.get(address);
    if (entry && entry.untilMs > now) entry.count++;
    else guesses.set(address, { count: 1, untilMs: now + WINDOW_MS });
  }

  function refuseKey(request: Credentials, description: string, name?: string): { readonly refusal: AdminAnswer } {
    log.warn({ address: request.address, method: request.method, key: name }, `admin request refused: ${description}`);
    return { refusal: { ...refuse(401, "failed to check token", { description }), headers: CHALLENGE } };
  }

  return {
    prepare(next) {
      const compiled = compile(next);
      return () => {
        rules = compiled;
      };
    },
    admitsAddress: (address) => (rules.allows(address) ? undefined : refuse(403, "403 Forbidden")),
    identify(request) {
      const isForeign = isForeignPage(request, options.origins ?? []);
      const candidate = candidateOf(request, options.keyAnywhere, isForeign);
      const actor = candidate === undefined ? undefined : find(candidate);
      if (!actor) {
        // A page that the operator visits guesses from the operator's address: it must not lock anybody out.
        const waitMs = isForeign ? 0 : blockedFor(request.address);
        if (waitMs > 0) return { refusal: tooMany(waitMs) };
        if (candidate === undefined) return refuseKey(request, "missing apikey");
        if (!isForeign) countGuess(request.address);
        return refuseKey(request, "wrong apikey");
      }
      if (actor.role === "viewer" && request.method !== "GET") {
        return refuseKey(request, "invalid method for role viewer: this key may only read", actor.name);
      }
      return { actor };
    },
  };
}

/** Where the key goes (RFC 9110 section 11.6.1); the body stays what tools compare. */
const CHALLENGE = { "WWW-Authenticate": 'ApiKey header="X-API-KEY"' };

function tooMany(waitMs: number): AdminAnswer {
  const headers = { "Retry-After": String(Math.ceil(waitMs / 1000)) };
  return { ...refuse(429, "too many wrong keys from this address"), headers };
}

/** Whether a browser says that a page from elsewhere asks. */
function isForeignPage(request: Credentials, origins: readonly string[]): boolean {
  const origin = request.header("origin")?.toLowerCase();
  if (origin === undefined) return request.header("sec-fetch-site") === "cross-site";
  return !origins.includes(origin) && origin.replace(/^https?:\/\//, "") !== request.header("host")?.toLowerCase();
}

/** The first one present counts: a wrong key in the query is not rescued by a right one in the header. */
function candidateOf(request: Credentials, anywhere: boolean, isForeign: boolean): string | undefined {
  const header = request.header("x-api-key");
  if (!anywhere) return header;
  // Browsers send the operator's cookies along with what any page asks for.
  const cookie = isForeign ? undefined : cookieOf(request.header("cookie"));
  return request.args.get("api_key") ?? header ?? cookie;
}

function cookieOf(header: string | undefined): string | undefined {
  for (const pair of (header ?? "").split(";")) {
    const at = pair.indexOf("=");
    if (at > 0 && pair.slice(0, at).trim() === "x_api_key") return pair.slice(at + 1).trim();
  }
  return undefined;
}
