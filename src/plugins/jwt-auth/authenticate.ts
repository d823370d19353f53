/**
 * Who is calling, by token: the pure core of jwt-auth. Looks the token up, else verifies it in the order
 * parse, key, algorithm, signature, claims, revocation; then attaches the consumer or refuses.
 * Promise: nothing a caller sends makes it throw; no key is touched before the algorithm is the credential's; a hit
 * awaits nothing. Source: docs/spec/jwt-auth.md section 4, newest column.
 */
import { randomBytes } from "node:crypto";
import { HmacKey } from "../../base/jose/algorithms.ts";
import { freezeClaims, type ParsedToken, type ParseToken } from "../../base/jose/token.ts";
import { attachConsumer, type Refusals } from "../../plugin/caller-identity.ts";
import { noteRefusal } from "../../plugin/explanation.ts";
import type { PhaseHandler, PhaseResult } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { Credential, CredentialTable } from "../../plugin/plugin-consumer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { type Revocations, revocationOf } from "../../plugin/revocations.ts";
import type { TokenCache } from "../shared/token-cache.ts";
import { type ClaimRules, checkClaims } from "./claims.ts";
import type { JwtCredential } from "./credential.ts";
import type { Outcomes, Refusal } from "./outcomes.ts";
import type { TakeToken } from "./token-source.ts";
import { VerifiedToken } from "./verified-token.ts";

export interface AuthenticationParts {
  readonly table: CredentialTable<JwtCredential>;
  readonly cache: TokenCache;
  readonly parse: ParseToken;
  readonly take: TakeToken;
  readonly rules: ClaimRules;
  readonly keyClaim: string;
  readonly storeInCtx: boolean;
  readonly refusals: Refusals;
  readonly outcomes: Outcomes;
  readonly revocations: Revocations;
  /** Spend the time of a signature check on unknown keys too. */
  readonly decoy: boolean;
  nowMs(): number;
}

export function compileAuthentication(parts: AuthenticationParts): PhaseHandler {
  const { table, cache, parse, take, rules, keyClaim, outcomes, revocations } = parts;
  // A check that always fails and takes as long as a real one.
  const decoy = parts.decoy ? new HmacKey("HS256", randomBytes(32).toString("hex")) : undefined;

  const refuse = (view: RequestView, why: Refusal, whose?: Credential<JwtCredential>): Answer | undefined => {
    outcomes.count(why);
    if (whose) noteRefusal(view, { consumer: whose.consumer.username, credential: whose.credentialId });
    const answer = parts.refusals.authenticationFailed(view, outcomes.answer(why));
    if (answer === undefined) outcomes.count("anonymous");
    return answer;
  };

  const settle = (view: RequestView, token: string, verified: VerifiedToken): Refusal | undefined => {
    const { credential, payload } = verified;
    const nowSeconds = Math.floor(parts.nowMs() / 1000);
    if (nowSeconds >= verified.keyUntil) return "bad_signature";
    const failure = checkClaims(payload, rules, nowSeconds, credential.data.graceSeconds);
    if (failure !== undefined) return failure;
    if (revocationOf(verified, token, revocations)) return "revoked";
    attachConsumer(view, credential.consumer, credential.credentialId, credential);
    view.setNote("jwt_auth_claims", payload); // what proxy-cache tells callers apart by
    if (parts.storeInCtx) view.setNote("jwt_auth_payload", payload);
    outcomes.count("ok");
    return undefined;
  };

  const verify = (view: RequestView, token: string, parsed: ParsedToken, key: string): Answer | undefined => {
    const credential = table.get(key);
    if (!credential) {
      decoy?.verify(parsed.signingInput, parsed.signature);
      return refuse(view, "unknown_key");
    }
    const { data } = credential;
    if (data.verifier === undefined) return refuse(view, "unusable_key", credential);
    if (parsed.algorithm !== data.algorithm) return refuse(view, "wrong_algorithm", credential);
    const keyUntil = keyUntilOf(data, parsed, parts.nowMs() / 1000);
    if (keyUntil === 0) return refuse(view, "bad_signature", credential);
    const verified = new VerifiedToken(table, credential, freezeClaims(parsed.payload), keyUntil);
    const failure = settle(view, token, verified);
    if (failure !== undefined) return refuse(view, failure, credential);
    cache.remember(token, keyClaim, verified);
    return undefined;
  };

  return (view): PhaseResult => {
    const token = take(view);
    if (token === undefined) return refuse(view, "missing");
    const known = cache.get<VerifiedToken>(token, keyClaim);
    if (known) {
      const failure = settle(view, token, known);
      return failure === undefined ? undefined : refuse(view, failure, known.credential);
    }
    const parsed = parse(token);
    if (!parsed) return refuse(view, "malformed");
    const { payload } = parsed;
    const key = Object.hasOwn(payload, keyClaim) ? payload[keyClaim] : undefined;
    if (key === undefined || key === false) return refuse(view, "no_key_claim");
    if (typeof key !== "string") return refuse(view, "unknown_key");
    const pending = table.get(key) ? undefined : table.resolvePending();
    if (pending === undefined) return verify(view, token, parsed, key);
    const verifyThen = () => verify(view, token, parsed, key);
    // A reference that cannot be resolved leaves the key unknown.
    return pending.then(verifyThen, verifyThen);
  };
}

/**
 * NumericDate until which the key counts that made the signature, for ever where it is the current one; 0: none did.
 * A `kid` of the token that one of the keys has names the only one that is tried; any other says nothing.
 */
export function keyUntilOf(
  { verifier, kid, previous }: JwtCredential,
  { signingInput, signature, keyId }: ParsedToken,
  nowSeconds: number,
): number {
  const isNamed = typeof keyId === "string" && (kid === keyId || previous.some((one) => one.kid === keyId));
  if ((!isNamed || kid === keyId) && verifier?.verify(signingInput, signature)) return Number.POSITIVE_INFINITY;
  for (const one of previous) {
    if (isNamed && one.kid !== keyId) continue;
    if (nowSeconds < one.notAfter && one.verifier.verify(signingInput, signature)) return one.notAfter;
  }
  return 0;
}
