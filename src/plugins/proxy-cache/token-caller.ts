/**
 * Who asks, by the claims of a token that was verified: many users may come as one consumer, or as none.
 * Promise: tokens of two users never have the same text; one that does not name its user has none.
 */
import { createHash } from "node:crypto";
import type { RequestView } from "../../plugin/request-view.ts";

type Claims = Readonly<Record<string, unknown>> & { readonly sub?: unknown; readonly username?: unknown };

/** What each token of one user has of its own. */
const OF_ONE_TOKEN: ReadonlySet<string> = new Set(["iat", "exp", "nbf", "jti"]);
/** Verified claims are shared by the requests of one token, and are made once. */
const digests = new WeakMap<Claims, string>();

/** @returns undefined: no token was verified; `text` undefined: its claims do not tell its users apart */
export function tokenCallerOf(view: RequestView): { readonly text: string | undefined } | undefined {
  const own = view.note("jwt_auth_claims") as Claims | undefined;
  const access = view.note("access_token_payload") as Claims | undefined;
  if (own === undefined && access === undefined) return undefined;
  // A consumer's own signature names it; an authorization server's is for all of its users.
  if (access !== undefined && !isNamed(access.sub) && !isNamed(access.username)) return { text: undefined };
  return { text: `${own ? digestOf(own) : ""} ${access ? digestOf(access) : ""}` };
}

function isNamed(claim: unknown): boolean {
  return typeof claim === "string" && claim !== "";
}

function digestOf(claims: Claims): string {
  let digest = digests.get(claims);
  if (digest === undefined) {
    const lasting = Object.fromEntries(Object.entries(claims).filter(([name]) => !OF_ONE_TOKEN.has(name)));
    digest = createHash("sha256").update(JSON.stringify(lasting, sorted)).digest("hex");
    digests.set(claims, digest);
  }
  return digest;
}

function sorted(_name: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
