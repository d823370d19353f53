/**
 * Proofs of possession in this node: one judge with its imported keys, one memory of what was shown, one count.
 * Promise: a proof passes once in a node, whichever worker and route it reaches; memory is bounded, and beyond the bound
 * the oldest proofs are forgotten early. Where a configuration names a redis, a proof passes once wherever that redis is
 * asked. Source: docs/spec/tokens.md section 8.
 */
import {
  type DpopProof,
  type JudgeProof,
  openProofJudge,
  PROOF_AGE_SECONDS,
  PROOF_AHEAD_SECONDS,
} from "../../plugin/judge/dpop-proof.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import { nodeCounters } from "../limits/local-counters.ts";
import { openRedisCounters } from "../limits/redis-counters.ts";
import { type FirstUse, type Once, openOnce } from "./once.ts";
import { type ReplayConf, redisOf } from "./replay-conf.ts";

export interface Proofs {
  readonly judge: JudgeProof;
  /** Waits only where somebody else remembers: another process, a redis. */
  isFirst(proof: DpopProof): FirstUse | Promise<FirstUse>;
  /** Whatever is no outcome of a proof is not counted. */
  count(outcome: string): void;
}

const OUTCOMES = ["ok", "proof_missing", "proof_invalid", "proof_replayed", "proof_unchecked", "nonce_wanted"] as const;
const LIFE_SECONDS = PROOF_AGE_SECONDS + PROOF_AHEAD_SECONDS;

// Keyed by what lives as long as the node: a proof is remembered whichever configurations come and go.
const proofsByNode = new WeakMap<NodeEnv["states"], Proofs>();

export function proofsOf(env: NodeEnv): Proofs {
  const known = proofsByNode.get(env.states) ?? openProofs(env);
  proofsByNode.set(env.states, known);
  return known;
}

/** The same, remembered where the configuration says. */
export function holdProofs(conf: ReplayConf, env: NodeEnv): { readonly proofs: Proofs; release(): void } {
  const own = proofsOf(env);
  const redis = redisOf(conf);
  if (redis === undefined) return { proofs: own, release: () => undefined };
  const { isFirst, release } = openOnce(openRedisCounters(redis, env), "dpop");
  return { proofs: { ...own, isFirst: (proof) => isFirst(nameOf(proof), LIFE_SECONDS) }, release };
}

function openProofs(env: NodeEnv): Proofs {
  const family = env.metrics.counter("jotgate_dpop_total", "Proofs of possession (RFC 9449) by outcome", ["outcome"]);
  const counts = new Map<string, { inc(): void }>(OUTCOMES.map((outcome) => [outcome, family.child(outcome)]));
  // 16,000 proofs a second are remembered.
  const shown: Once = openOnce(nodeCounters(env), "dpop");
  return {
    judge: openProofJudge(),
    isFirst: (proof) => shown.isFirst(nameOf(proof), LIFE_SECONDS),
    count: (outcome) => counts.get(outcome)?.inc(),
  };
}

function nameOf({ thumbprint, id }: DpopProof): string {
  return `${thumbprint} ${id}`;
}
