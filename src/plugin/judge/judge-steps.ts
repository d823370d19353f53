/**
 * The single questions about an access token, each a function of claims, rules and time.
 * Source: docs/spec/tokens.md section 4, steps 5, 6 and 12.
 */
import type { Claims } from "../../base/jose/token.ts";
import { UNTIL_MAX } from "../../model/revocation.ts";
import type { TokenIssuer } from "../tokens.ts";

/** How a judgement can end; the words are never renamed. */
export const TOKEN_OUTCOMES = [
  "ok",
  "missing",
  "ambiguous",
  "malformed",
  "unknown_issuer",
  "wrong_type",
  "wrong_algorithm",
  "expired",
  "not_yet_valid",
  "issued_in_future",
  "lifetime_too_long",
  "missing_claim",
  "wrong_audience",
  "unknown_kid",
  "bad_signature",
  "revoked",
  "client_gone",
  "proof_missing",
  "proof_invalid",
  "proof_replayed",
  "proof_unchecked",
  "certificate_missing",
  "certificate_mismatch",
  "insufficient_scope",
  "claim_rule",
  "unknown_consumer",
  "keys_unavailable",
  "keys_too_old",
] as const;
export type TokenOutcome = (typeof TOKEN_OUTCOMES)[number];
export type TokenRefusal = Exclude<TokenOutcome, "ok">;

/** @param now seconds; `exp`, `nbf` and `iat` may have fractions, as NumericDate does */
export function timesRefusal(claims: Claims, issuer: TokenIssuer, now: number): TokenRefusal | undefined {
  const { exp, nbf, iat } = claims;
  const skew = issuer.clockSkewSeconds;
  if (!isDate(exp)) return "missing_claim";
  if (nbf !== undefined && !isDate(nbf)) return "missing_claim";
  if (iat !== undefined && !isDate(iat)) return "missing_claim";
  if (now >= exp + skew) return "expired";
  if (nbf !== undefined && now < nbf - skew) return "not_yet_valid";
  if (iat !== undefined && now < iat - skew) return "issued_in_future";
  // Beyond this second (2106) no revocation could name its end, so that it would come back to life.
  if (exp > UNTIL_MAX) return "lifetime_too_long";
  const most = issuer.maxLifetimeSeconds;
  if (most === undefined) return undefined;
  if (iat === undefined) return "missing_claim";
  return exp - iat > most ? "lifetime_too_long" : undefined;
}

/** JSON reads 1e999 as Infinity. */
function isDate(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

/** @param value the audience claim @param wanted undefined: any, none included */
export function audienceRefusal(value: unknown, wanted: ReadonlySet<string> | undefined): TokenRefusal | undefined {
  if (wanted === undefined) return undefined;
  if (value === undefined) return "missing_claim";
  if (typeof value === "string") return wanted.has(value) ? undefined : "wrong_audience";
  if (!isTexts(value)) return "wrong_audience";
  return value.some((one) => wanted.has(one)) ? undefined : "wrong_audience";
}

/**
 * The scopes that claims grant, of all that exist.
 * @returns undefined when one is neither scopes with single blanks between them (RFC 6749 section 3.3) nor a list of
 * texts: then nobody knows what was meant
 */
export function scopesIn(values: readonly unknown[]): ReadonlySet<string> | undefined {
  const scopes = new Set<string>();
  for (const value of values) {
    if (value === undefined) continue;
    if (value === "") continue;
    const names = typeof value === "string" ? value.split(" ") : value;
    if (!isTexts(names) || (typeof value === "string" && names.some(isNoScope))) return undefined;
    for (const name of names) if (name !== "") scopes.add(name);
  }
  return scopes;
}

/** @param required all of them @param any at least one, unless it is empty */
export function scopesRefusal(
  scopes: ReadonlySet<string> | undefined,
  required: readonly string[],
  any: readonly string[],
): TokenRefusal | undefined {
  if (required.length === 0 && any.length === 0) return undefined;
  if (scopes === undefined) return "missing_claim";
  for (const scope of required) if (!scopes.has(scope)) return "insufficient_scope";
  return any.length === 0 || any.some((scope) => scopes.has(scope)) ? undefined : "insufficient_scope";
}

/** Of a text that was split at its blanks. */
function isNoScope(name: string): boolean {
  return name === "" || /\s/.test(name);
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}
