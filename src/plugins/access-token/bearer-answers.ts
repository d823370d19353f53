/**
 * What access-token answers, and what it counts. One text for everything that is wrong with a token: the caller learns
 * nothing, the operator all.
 * Source: docs/spec/tokens.md section 4; challenges as RFC 6750 section 3, RFC 9449 section 7.1
 * and RFC 9728 section 5.1.
 */
import type { Counter, Metrics } from "../../base/metrics.ts";
import { DPOP_ALGORITHMS } from "../../plugin/judge/dpop-proof.ts";
import { TOKEN_OUTCOMES, type TokenOutcome, type TokenRefusal } from "../../plugin/judge/judge-steps.ts";
import { type Answer, jsonAnswer } from "../../plugin/plugin-answer.ts";
import { metadataUrl } from "./resource-metadata.ts";

interface ChallengeParts {
  readonly realm: string;
  readonly scopes: readonly string[];
  /** Identifier of this API, a URL. */
  readonly resource: string | undefined;
  /** Only tokens that are bound to a key are taken. */
  readonly needsProof: boolean;
}

const ALGORITHMS = `algs="${DPOP_ALGORITHMS.join(" ")}"`;

export function challengeOf(
  { realm, scopes, resource }: ChallengeParts,
  scheme: "Bearer" | "DPoP",
  ...error: readonly string[]
): string {
  return [
    `${scheme} realm="${realm}"`,
    ...error,
    ...(scheme === "DPoP" ? [ALGORITHMS] : []),
    ...(scopes.length > 0 ? [`scope="${scopes.join(" ")}"`] : []),
    ...(resource === undefined ? [] : [`resource_metadata="${metadataUrl(resource).href}"`]),
  ].join(", ");
}

/** The answer to each refusal. */
export function compileAnswers(parts: ChallengeParts): (why: TokenRefusal) => Answer {
  const invalid = ['error="invalid_token"', 'error_description="The access token is invalid"'];
  const answer = (status: number, message: string, why: TokenRefusal, headers: readonly string[] = []): Answer =>
    jsonAnswer(status, { message }, `access_token_${why}`, headers);
  const usual = parts.needsProof ? "DPoP" : "Bearer";
  const challenge = (...error: readonly string[]) => ["WWW-Authenticate", challengeOf(parts, usual, ...error)];
  const proofChallenge = ["WWW-Authenticate", challengeOf(parts, "DPoP", 'error="invalid_dpop_proof"')];
  const make = (why: TokenRefusal): Answer => {
    switch (why) {
      case "missing":
        return answer(401, "Missing access token in request", why, challenge());
      case "ambiguous":
        return answer(400, "Invalid request", why, challenge('error="invalid_request"'));
      case "insufficient_scope":
        return answer(403, "Insufficient scope", why, challenge('error="insufficient_scope"'));
      case "claim_rule":
      case "unknown_consumer":
        return answer(403, "Forbidden", why);
      case "proof_invalid":
      case "proof_replayed":
        return answer(401, "Invalid access token", why, proofChallenge);
      case "proof_unchecked":
      case "keys_unavailable":
      case "keys_too_old":
        return answer(503, "Service temporarily unavailable", why, ["Retry-After", "5"]);
      default:
        return answer(401, "Invalid access token", why, challenge(...invalid));
    }
  };
  const answers = new Map(TOKEN_OUTCOMES.flatMap((why) => (why === "ok" ? [] : [[why, make(why)] as const])));
  // True: one was made for each.
  return (why) => answers.get(why) as Answer;
}

/** @returns counts an outcome; "anonymous" is counted beside the reason why it was needed */
export function openTokenCount(metrics: Metrics): (outcome: TokenOutcome | "anonymous") => void {
  const family = metrics.counter("jotgate_access_token_total", "Requests on access-token routes by outcome", [
    "outcome",
  ]);
  const counters = new Map<string, Counter>(
    [...TOKEN_OUTCOMES, "anonymous" as const].map((outcome) => [outcome, family.child(outcome)]),
  );
  return (outcome) => counters.get(outcome)?.inc();
}
