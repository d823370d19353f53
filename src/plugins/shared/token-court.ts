/**
 * Where access tokens are judged in this process: one parser, one memory of verified tokens and of proofs, one measure
 * of time.
 */
import type { Histogram } from "../../base/metrics.ts";
import type { Court } from "../../plugin/judge/judge.ts";
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
