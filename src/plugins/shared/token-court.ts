/**
 * Where access tokens are judged in this process: one parser, one memory of verified tokens and of proofs, one measure
 * of time.
 */
import type { Histogram } from "../../base/metrics.ts";
import { type Court, type Judged, judgeToken, type Refused, type TokenPolicy } from "../../plugin/judge/judge.ts";
import type { Caller } from "../../plugin/judge/judged-token.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import { type Proofs, proofsOf } from "./dpop-proofs.ts";
import { holdTokens, type TokenCache } from "./token-cache.ts";

/** Seconds; from a remembered header's HMAC to a slow RSA key on a busy machine. */
const BOUNDS = [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05];

interface HeldCourt {
  readonly court: Court;
  readonly cache: TokenCache;
  readonly proofs: Proofs;
  release(): void;
}

export function courtOf(env: NodeEnv): HeldCourt {
  const { state, release } = holdTokens(env);
  const proofs = proofsOf(env);
  const family = env.metrics.histogram(
    "jotgate_token_verify_seconds",
    "Time to verify the signature of a token that is not remembered",
    BOUNDS,
    ["algorithm"],
  );
  const times = new Map<string, Histogram>();
  const court: Court = {
    parse: state.parse,
    revocations: env.revocations,
    judgeProof: proofs.judge,
    took(algorithm, seconds) {
      // Only algorithms that an issuer accepts come here: ten at most.
      const time = times.get(algorithm) ?? family.child(algorithm);
      times.set(algorithm, time);
      time.observe(seconds);
    },
    nowMs: () => env.clock.nowMs(),
    monotonicMs: () => env.clock.monotonicMs(),
  };
  return { court, cache: state.cache, proofs, release };
}

/** What was waited for already: each at most once a request. */
export interface Waited {
  readonly keys: boolean;
  readonly callers: boolean;
}

export const NOT_YET: Waited = Object.freeze({ keys: false, callers: false });

/** @returns what may bring a missing key or caller; undefined: the refusal is final */
export function waitFor(
  { why, issuer, keyId }: Refused,
  waited: Waited,
  pending: () => Promise<void> | undefined,
): Promise<void> | undefined {
  switch (why) {
    case "unknown_kid":
    case "keys_unavailable":
    case "keys_too_old":
      return waited.keys ? undefined : issuer?.wanted(keyId);
    case "bad_signature":
      issuer?.doubted(keyId);
      return undefined;
    case "unknown_consumer":
    case "client_gone":
      return waited.callers ? undefined : pending();
    default:
      return undefined;
  }
}

export function afterWait({ why }: Refused, waited: Waited): Waited {
  return { ...waited, [isCallerUnknown(why) ? "callers" : "keys"]: true };
}

/** Perhaps only not yet. */
export function isCallerUnknown(why: Refused["why"]): boolean {
  return why === "unknown_consumer" || why === "client_gone";
}

/** The judgement of a token that is no request's own, to its end. */
export async function judgeToEnd<Who extends Caller>(
  text: string,
  policy: TokenPolicy<Who>,
  court: Court,
  pending: () => Promise<void> | undefined,
): Promise<Judged<Who>> {
  let waited = NOT_YET;
  for (;;) {
    const judged = judgeToken({ text, asProof: false }, policy, court);
    const wait = judged.ok ? undefined : waitFor(judged, waited, pending);
    if (judged.ok || wait === undefined) return judged;
    waited = afterWait(judged, waited);
    await wait.catch(() => undefined); // what cannot be found out leaves the key or the caller unknown
  }
}
