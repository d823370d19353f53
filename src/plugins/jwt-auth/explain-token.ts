/**
 * The verdict of jwt-auth on one token step by step, every step judged. Uses what authenticate.ts uses, in its order, and
 * remembers and counts nothing. Promise: the first step that fails is the reason the call would be refused for.
 */
import type { Claims, ParsedToken } from "../../base/jose/token.ts";
import { attachConsumer } from "../../plugin/caller-identity.ts";
import type { ExplainHandler, Explaining, Step } from "../../plugin/explanation.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { Credential } from "../../plugin/plugin-consumer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { revocationOf } from "../../plugin/revocations.ts";
import { type AuthenticationParts, keyUntilOf } from "./authenticate.ts";
import { checkClaims } from "./claims.ts";
import type { JwtCredential } from "./credential.ts";
import type { Refusal } from "./outcomes.ts";
import { VerifiedToken } from "./verified-token.ts";

export function compileExplanation(parts: AuthenticationParts): ExplainHandler {
  const { table, parse, take, keyClaim, outcomes, refusals } = parts;
  const refuse = (view: RequestView, why: Refusal): Answer | undefined =>
    refusals.authenticationFailed(view, outcomes.answer(why));

  const judge = (view: RequestView, token: string, parsed: ParsedToken, to: Explaining): Answer | undefined => {
    const { payload } = parsed;
    const key = Object.hasOwn(payload, keyClaim) ? payload[keyClaim] : undefined;
    const has = typeof key === "string";
    const credential = has ? table.get(key) : undefined;
    to.steps.push({ step: "key", ok: credential !== undefined, claim: keyClaim, ...ownerOf(credential, has) });
    if (!credential) return refuse(view, key === undefined || key === false ? "no_key_claim" : "unknown_key");
    const why = judgeWith(parts, credential, token, parsed, to);
    if (why !== undefined) return refuse(view, why);
    attachConsumer(view, credential.consumer, credential.credentialId);
    if (parts.storeInCtx) view.setNote("jwt_auth_payload", payload);
    return undefined;
  };

  return (view, to) => {
    const found = take(view);
    const token = to.token ?? found;
    to.steps.push({ step: "token", ok: token !== undefined, ...(token !== undefined && { characters: token.length }) });
    if (token === undefined) return refuse(view, "missing");
    const parsed = parse(token);
    to.steps.push({ step: "form", ok: parsed !== undefined });
    if (!parsed) return refuse(view, "malformed");
    const pending = table.resolvePending();
    const now = (): Answer | undefined => judge(view, token, parsed, to);
    return pending === undefined ? now() : pending.then(now, now);
  };
}

function ownerOf(credential: Credential<JwtCredential> | undefined, has: boolean): Readonly<Record<string, string>> {
  if (!credential) return { problem: has ? "no consumer has this key" : "the token has no such claim" };
  const { consumer, credentialId } = credential;
  const own = credentialId === undefined ? "" : `/credentials/${credentialId}`;
  return { is: `consumers/${consumer.username}${own}` };
}

/** @returns why the token is refused, by the first step that failed */
function judgeWith(
  parts: AuthenticationParts,
  credential: Credential<JwtCredential>,
  token: string,
  parsed: ParsedToken,
  { nowMs, steps }: Explaining,
): Refusal | undefined {
  const { data } = credential;
  const { payload } = parsed;
  const failures: Refusal[] = [];
  const add = (step: Step, why: Refusal): void => {
    steps.push(step);
    if (!step.ok) failures.push(why);
  };
  if (data.verifier === undefined) add({ step: "usable_key", ok: false }, "unusable_key");
  // The parser knows no other algorithms than those of the table: this is no text of the caller's.
  const algorithm = { has: parsed.algorithm, wanted: data.algorithm };
  add({ step: "algorithm", ok: parsed.algorithm === data.algorithm, ...algorithm }, "wrong_algorithm");
  const isSame = parsed.algorithm === data.algorithm;
  const keyUntil = isSame ? keyUntilOf(data, parsed, nowMs / 1_000) : 0;
  const former = Number.isFinite(keyUntil) && keyUntil > 0 ? { former_key_until: keyUntil } : {};
  add({ step: "signature", ok: keyUntil > 0, ...former }, "bad_signature");
  const nowSeconds = Math.floor(nowMs / 1_000);
  const failure = checkClaims(payload, parts.rules, nowSeconds, data.graceSeconds);
  const vouched = keyUntil > 0 ? timesOf(payload, nowSeconds) : {};
  add(
    { step: "times", ok: failure === undefined, ...(failure && { reason: failure }), ...vouched },
    failure ?? "bad_claim",
  );
  const verified = new VerifiedToken(parts.table, credential, payload, keyUntil);
  const ended = revocationOf(verified, token, parts.revocations);
  add({ step: "revoked", ok: ended === undefined, ...(ended && { by: ended.type }) }, "revoked");
  return failures[0];
}

/** Of a token whose signature is good. */
function timesOf(payload: Claims, nowSeconds: number): Readonly<Record<string, number>> {
  const { exp, nbf, iat } = payload;
  return {
    ...(typeof exp === "number" && { exp_in: Math.round(exp - nowSeconds) }),
    ...(typeof nbf === "number" && nbf > nowSeconds && { nbf_in: Math.round(nbf - nowSeconds) }),
    ...(typeof iat === "number" && { issued_ago: Math.round(nowSeconds - iat) }),
  };
}
