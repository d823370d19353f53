/**
 * What openid-connect answers and counts, and the rules on claims whose answers are APISIX's.
 * Source: APISIX 3.18 openid-connect; challenges as RFC 6750 section 3.
 */

import type { Claims } from "../../base/jose/token.ts";
import { compileClaim } from "../../base/jose/token.ts";
import type { Counter, Metrics } from "../../base/metrics.ts";
import type { Step } from "../../plugin/explanation.ts";
import { TOKEN_OUTCOMES, type TokenRefusal } from "../../plugin/judge/judge-steps.ts";
import { type Answer, jsonAnswer } from "../../plugin/plugin-answer.ts";
import { compileUserSchema } from "../shared/user-schema.ts";
import type { Conf } from "./openid-connect-conf.ts";

/** What the rules on claims say. */
type ClaimsRefusal = "insufficient_scope" | "missing_audience" | "wrong_audience" | "claim_rule";
/** What only the issuer can say. */
type IssuerRefusal = "inactive" | "introspection_failed" | "expired" | "revoked" | "unknown_issuer";
export type OpenidRefusal = TokenRefusal | ClaimsRefusal | IssuerRefusal;

export const OPENID_OUTCOMES: readonly (OpenidRefusal | "ok")[] = [
  ...TOKEN_OUTCOMES,
  "missing_audience",
  "inactive",
  "introspection_failed",
];

/** The answer to each refusal. */
export function compileAnswers(conf: Conf): (why: OpenidRefusal) => Answer {
  const realm = `Bearer realm="${conf.realm}"`;
  const invalid = `${realm}, error="invalid_token", error_description="The access token is invalid"`;
  const answer = (status: number, body: object, why: OpenidRefusal, headers: readonly string[] = []): Answer =>
    jsonAnswer(status, body, `openid_connect_${why}`, headers);
  const make = (why: OpenidRefusal): Answer => {
    switch (why) {
      case "missing":
        return answer(401, { message: "Missing access token in request" }, why, ["WWW-Authenticate", realm]);
      case "ambiguous":
        return answer(400, { message: "Invalid request" }, why);
      case "insufficient_scope":
        return answer(403, { error: `required scopes ${conf.required_scopes?.join(", ")} not present` }, why);
      case "missing_audience":
        return answer(403, { error: "required audience claim not present" }, why);
      case "wrong_audience":
        return answer(403, { error: "mismatched audience" }, why);
      case "keys_unavailable":
      case "keys_too_old":
      case "introspection_failed":
      case "proof_unchecked":
        return answer(503, { message: "Service temporarily unavailable" }, why, ["Retry-After", "5"]);
      default:
        return answer(401, { message: "Invalid access token" }, why, ["WWW-Authenticate", invalid]);
    }
  };
  const answers = new Map(OPENID_OUTCOMES.flatMap((why) => (why === "ok" ? [] : [[why, make(why)] as const])));
  // True: one was made for each.
  return (why) => answers.get(why) as Answer;
}

/** @returns counts an outcome */
export function openOutcomeCount(metrics: Metrics): (outcome: OpenidRefusal | "ok") => void {
  const family = metrics.counter("jotgate_openid_connect_total", "Requests on openid-connect routes by outcome", [
    "outcome",
  ]);
  const counters = new Map<string, Counter>(OPENID_OUTCOMES.map((outcome) => [outcome, family.child(outcome)]));
  return (outcome) => counters.get(outcome)?.inc();
}

/** The first rule that the claims of a good token break; the steps are written down where a list is given. */
type CheckClaims = (claims: Claims, steps?: Step[]) => ClaimsRefusal | undefined;

export function compileClaimChecks(conf: Conf): CheckClaims {
  const { required_scopes: required, claim_validator: { audience } = {}, client_id: client } = conf;
  const readAudience = compileClaim(audience?.claim || "aud");
  // Who must be meant must be named.
  const mustName = audience?.required === true || audience?.match_with_client_id === true;
  const schemaFault = conf.claim_schema && compileUserSchema(conf.claim_schema);

  const scopes = (claims: Claims): ClaimsRefusal | undefined => {
    if (required === undefined) return undefined;
    const granted = scopesOf(claims);
    return required.every((scope) => granted.has(scope)) ? undefined : "insufficient_scope";
  };
  const audiences = (claims: Claims): ClaimsRefusal | undefined => {
    const value = readAudience(claims);
    if (mustName && (value === undefined || value === null || value === false)) return "missing_audience";
    if (audience?.match_with_client_id !== true) return undefined;
    return (Array.isArray(value) ? value.includes(client) : value === client) ? undefined : "wrong_audience";
  };
  // A schema may fill defaults, and claims are frozen.
  const faultOf = (claims: Claims): string | undefined => schemaFault?.(structuredClone(claims));
  const rules = (claims: Claims): ClaimsRefusal | undefined =>
    faultOf(claims) === undefined ? undefined : "claim_rule";

  return (claims, steps) => {
    if (steps === undefined) return scopes(claims) ?? audiences(claims) ?? rules(claims);
    const seen: Step[] = [
      stepOf("scopes", scopes(claims), { has: [...scopesOf(claims)], wanted: required }),
      stepOf("audience", audiences(claims), { has: readAudience(claims) }),
      stepOf("claims", rules(claims), { detail: faultOf(claims) }),
    ];
    steps.push(...seen);
    return seen.find(({ ok }) => !ok)?.["reason"] as ClaimsRefusal | undefined; // as was put there
  };
}

function stepOf(step: string, reason: ClaimsRefusal | undefined, facts: Readonly<Record<string, unknown>>): Step {
  return { step, ok: reason === undefined, ...(reason && { reason }), ...facts };
}

/** Text, split at any blanks, or a list of texts; anything else grants nothing. */
function scopesOf({ scope }: Claims): ReadonlySet<string> {
  if (typeof scope === "string") return new Set(scope.split(/\s+/).filter(Boolean));
  return new Set(Array.isArray(scope) ? scope.filter((one) => typeof one === "string") : []);
}
