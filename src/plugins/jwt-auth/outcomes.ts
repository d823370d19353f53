/**
 * How an authentication can end: the text for the caller, the word for logs, the count for Prometheus.
 * Source of the texts: docs/spec/jwt-auth.md section 4.
 */
import type { Counter, Metrics } from "../../base/metrics.ts";
import type { Refusals } from "../../plugin/caller-identity.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";

const MESSAGES = {
  missing: "Missing JWT token in request",
  malformed: "JWT token invalid",
  no_key_claim: "missing user key in JWT token",
  unknown_key: "Invalid user key in JWT token",
  unusable_key: "failed to verify jwt",
  wrong_algorithm: "failed to verify jwt",
  bad_signature: "failed to verify jwt",
  expired: "failed to verify jwt",
  not_yet_valid: "failed to verify jwt",
  bad_claim: "failed to verify jwt",
  revoked: "failed to verify jwt",
} as const;

/** Why a request was refused. */
export type Refusal = keyof typeof MESSAGES;
/** "anonymous" is counted beside the reason why it was needed. */
export type Outcome = Refusal | "ok" | "anonymous";

export interface Outcomes {
  count(outcome: Outcome): void;
  answer(why: Refusal): Answer;
}

export const REFUSALS = Object.keys(MESSAGES) as readonly Refusal[];

/** @param plain challenges say nothing beside the realm, as in APISIX */
export function openOutcomes(refusals: Refusals, metrics: Metrics, plain: boolean): Outcomes {
  const family = metrics.counter("jotgate_jwt_total", "Requests on jwt-auth routes by outcome", ["outcome"]);
  const counters = new Map<Outcome, Counter>(
    [...REFUSALS, "ok" as const, "anonymous" as const].map((outcome) => [outcome, family.child(outcome)]),
  );
  // Without a token there is none that could be invalid.
  const errorOf = (why: Refusal): "invalid_token" | undefined =>
    plain || why === "missing" ? undefined : "invalid_token";
  const answers = new Map(REFUSALS.map((why) => [why, refusals.answer(MESSAGES[why], `jwt_${why}`, errorOf(why))]));
  return {
    count: (outcome) => counters.get(outcome)?.inc(),
    // True: one answer was made for each.
    answer: (why) => answers.get(why) as Answer,
  };
}
