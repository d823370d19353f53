/**
 * When a token is valid: `exp` and `nbf` against whole seconds, with the consumer's grace period.
 * Source: docs/spec/jwt-auth.md section 4 "Claims", newest column: both are checked where present, or exactly those that
 * `claims_to_verify` lists, which must then be there.
 */
import type { Claims } from "../../base/jose/token.ts";

type TimeClaim = "exp" | "nbf";
type Demand = "ignored" | "if present" | "required";

export interface ClaimRules {
  readonly exp: Demand;
  readonly nbf: Demand;
}

type ClaimFailure = "expired" | "not_yet_valid" | "bad_claim";

/** @param listed `claims_to_verify`; an empty list is as good as none */
export function compileClaimRules(listed: readonly TimeClaim[] | undefined): ClaimRules {
  if (listed === undefined || listed.length === 0) return { exp: "if present", nbf: "if present" };
  const demand = (claim: TimeClaim): Demand => (listed.includes(claim) ? "required" : "ignored");
  return { exp: demand("exp"), nbf: demand("nbf") };
}

/**
 * @param nowSeconds whole seconds
 * @returns undefined when the token is valid now: `exp` > now − grace, and `nbf` < now + grace
 */
export function checkClaims(
  claims: Claims,
  rules: ClaimRules,
  nowSeconds: number,
  graceSeconds: number,
): ClaimFailure | undefined {
  const { exp, nbf } = claims;
  if (isDue(exp, rules.exp)) {
    // Number.isFinite also refuses 1e999, which JSON reads as Infinity.
    if (!Number.isFinite(exp)) return "bad_claim";
    if ((exp as number) <= nowSeconds - graceSeconds) return "expired";
  }
  if (isDue(nbf, rules.nbf)) {
    if (!Number.isFinite(nbf)) return "bad_claim";
    if ((nbf as number) >= nowSeconds + graceSeconds) return "not_yet_valid";
  }
  return undefined;
}

function isDue(value: unknown, demand: Demand): boolean {
  return demand === "required" || (demand === "if present" && value !== undefined);
}
