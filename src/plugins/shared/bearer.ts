/**
 * The way of a request that brings an access token: remembered or judged, with a wait where a key or a credential may
 * still come. Promise: nothing a caller sends makes it throw; a token that is known awaits nothing.
 * Source: docs/spec/tokens.md section 4.
 */

import {
  type Accepted,
  type Court,
  judgeAgain,
  judgeToken,
  type Presented,
  type Refused,
  type TokenPolicy,
} from "../../plugin/judge/judge.ts";
import type { AccessToken, Caller } from "../../plugin/judge/judged-token.ts";
import type { PhaseHandler, PhaseResult } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { Proofs } from "./dpop-proofs.ts";
import type { FirstUse } from "./once.ts";
import { ACCESS_TOKEN, type TokenCache } from "./token-cache.ts";
import { afterWait, isCallerUnknown, NOT_YET, type Waited, waitFor } from "./token-court.ts";

/** The token; text: why there is none that could be judged. */
export type TakePresented = (view: RequestView) => Presented | "missing" | "ambiguous";

export interface BearerParts<Who extends Caller> {
  readonly take: TakePresented;
  readonly policy: TokenPolicy<Who>;
  readonly court: Court;
  readonly cache: TokenCache;
  readonly proofs: Proofs;
  /** Callers that are still being looked up; undefined: nobody that could be waited for. */
  pending(): Promise<void> | undefined;
  /** What follows from the token; an answer ends the request all the same. */
  accept(view: RequestView, presented: Presented, accepted: Accepted<Who>): Answer | undefined;
  refuse(view: RequestView, refused: Refused): Answer | undefined;
}

export function compileBearer<Who extends Caller>(parts: BearerParts<Who>): PhaseHandler {
  const { take, policy, court, cache } = parts;

  const judge = (view: RequestView, presented: Presented, waited: Waited): PhaseResult => {
    const judged = judgeToken(presented, policy, court);
    if (judged.ok) {
      cache.remember(presented.text, ACCESS_TOKEN, judged.token);
      return acceptOnce(view, presented, judged);
    }
    const wait = waitFor(judged, waited, () => parts.pending());
    if (wait === undefined) return parts.refuse(view, judged);
    const again = () => judge(view, presented, afterWait(judged, waited));
    // What cannot be found out leaves the key or the caller unknown.
    return wait.then(again, again);
  };

  /** Whoever shows a proof a second time is refused; it is remembered last, when nothing else is wrong. */
  const acceptOnce = (view: RequestView, presented: Presented, judged: Accepted<Who>): PhaseResult => {
    if (judged.proof === undefined) return parts.accept(view, presented, judged);
    const settle = (fresh: FirstUse): Answer | undefined => {
      if (fresh === "first") return parts.accept(view, presented, judged);
      const { token } = judged;
      return parts.refuse(view, { ok: false, why: `proof_${fresh}`, issuer: token.from, keyId: token.key.kid, token });
    };
    const fresh = parts.proofs.isFirst(judged.proof);
    return fresh instanceof Promise ? fresh.then(settle) : settle(fresh);
  };

  return (view) => {
    const presented = take(view);
    if (typeof presented === "string") return parts.refuse(view, { ok: false, why: presented });
    const known = cache.get<AccessToken>(presented.text, ACCESS_TOKEN);
    const judged = known && judgeAgain(known, presented, policy, court);
    if (judged === undefined) return judge(view, presented, NOT_YET);
    if (judged.ok) return acceptOnce(view, presented, judged);
    if (isCallerUnknown(judged.why) && parts.pending() !== undefined) return judge(view, presented, NOT_YET);
    return parts.refuse(view, judged);
  };
}
