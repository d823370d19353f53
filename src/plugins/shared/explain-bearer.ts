/**
 * The verdict on an access token with every step, for explanations: the judgement of bearer.ts without memory, waiting or
 * asking issuers. Promise: text of a token is told only where its signature was good.
 */

import type { ExplainHandler, Step } from "../../plugin/explanation.ts";
import { type JudgedStep, judgeToken } from "../../plugin/judge/judge.ts";
import type { Caller } from "../../plugin/judge/judged-token.ts";
import type { BearerParts } from "./bearer.ts";

/** @param parts `accept` and `refuse` must not count */
export function explainBearer<Who extends Caller>(parts: BearerParts<Who>): ExplainHandler {
  const { take, policy, accept, refuse } = parts;
  return (view, { token, nowMs, steps }) => {
    const taken = take(view);
    const asProof = typeof taken !== "string" && taken.asProof;
    const presented = token === undefined ? taken : { text: token, asProof, view };
    const isThere = typeof presented !== "string";
    steps.push({ step: "token", ok: isThere, ...(isThere && { characters: presented.text.length }) });
    if (!isThere) return refuse(view, { ok: false, why: presented });
    const judge = () => {
      const judged: JudgedStep[] = [];
      // Without `took`: nothing is measured.
      const { parse, revocations, judgeProof, monotonicMs } = parts.court;
      const court = { parse, revocations, judgeProof, monotonicMs, nowMs: () => nowMs };
      const verdict = judgeToken(presented, policy, court, judged);
      const isVouched = judged.some(({ step, ok }) => step === "signature" && ok);
      steps.push(...judged.map((one) => (isVouched ? one : withoutText(one))));
      return verdict.ok ? accept(view, presented, verdict) : refuse(view, verdict);
    };
    const pending = parts.pending();
    return pending === undefined ? judge() : pending.then(judge, judge);
  };
}

const ASKS = "a call would first ask the issuer for newer keys";

/** Ids of records, numbers and the configuration's words stay. */
function withoutText({ has, kid, identity, ...rest }: JudgedStep): Step {
  const text = has ?? kid ?? identity;
  return {
    ...rest,
    ...(text !== undefined && text !== null && { characters: String(JSON.stringify(text)).length }),
    ...(rest.step === "key" && !rest.ok && { detail: ASKS }),
  };
}
