/**
 * The course of a judgement: its steps up to the first that fails or, for explanations, all of them with what was seen.
 */
import type { Claims } from "../../base/jose/token.ts";
import type { TokenIssuer } from "../tokens.ts";
import type { DpopProof } from "./dpop-proof.ts";
import type { JudgedStep, TokenPolicy } from "./judge.ts";
import type { TokenRefusal } from "./judge-steps.ts";

export function scopesAsSeen(
  scopes: ReadonlySet<string> | undefined,
  { requiredScopes, anyScopes }: TokenPolicy,
): Facts {
  return {
    has: scopes && [...scopes],
    missing: requiredScopes.filter((scope) => !scopes?.has(scope)),
    ...(anyScopes.length > 0 && { wanted_any: anyScopes }),
  };
}

export function timesAsSeen({ exp, nbf, iat }: Claims, issuer: TokenIssuer, now: number): Facts {
  return {
    ...(typeof exp === "number" && { exp_in: Math.floor(exp - now) }),
    ...(typeof nbf === "number" && { nbf_in: Math.ceil(nbf - now) }),
    ...(typeof iat === "number" && { issued_ago: Math.floor(now - iat) }),
    clock_skew: issuer.clockSkewSeconds,
    ...(issuer.maxLifetimeSeconds !== undefined && { max_lifetime: issuer.maxLifetimeSeconds }),
  };
}

type Facts = Readonly<Record<string, unknown>>;

/** Goes through the steps, up to the first that fails or, where they are written down, through all. */
export class Course {
  /** Of the first step that failed. */
  why: TokenRefusal | undefined = undefined;
  proof: DpopProof | undefined = undefined;
  /** Facts are of use only then. */
  readonly writes: boolean;
  readonly #steps: JudgedStep[] | undefined;

  constructor(steps: JudgedStep[] | undefined) {
    this.#steps = steps;
    this.writes = steps !== undefined;
  }

  /** @returns whether the next step is to be judged */
  goesOn(step: string, failed: TokenRefusal | undefined, facts: Facts | undefined = undefined): boolean {
    this.why ??= failed;
    this.#steps?.push({ step, ok: failed === undefined, ...(failed && { reason: failed }), ...facts });
    return failed === undefined || this.#steps !== undefined;
  }
}
