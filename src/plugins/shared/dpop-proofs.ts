/**
 * Proofs of possession in this node: one judge with its imported keys, one memory of what was shown, one count.
 * Promise: a proof passes once in a node, whichever worker and route it reaches; memory is bounded, and beyond the bound
 * the oldest proofs are forgotten early. Other nodes are not asked. Source: docs/spec/tokens.md section 8.
 */
import { hash } from "node:crypto";
import type { WindowCounters, WindowUse } from "../../plugin/counters.ts";
import {
  type DpopProof,
  type JudgeProof,
  openProofJudge,
  PROOF_AGE_SECONDS,
  PROOF_AHEAD_SECONDS,
} from "../../plugin/judge/dpop-proof.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import { nodeCounters } from "../limits/local-counters.ts";

/** "unchecked": whoever remembers does not answer. */
export type ProofUse = "first" | "replayed" | "unchecked";

export interface Proofs {
  readonly judge: JudgeProof;
  /** Waits only where a node has several processes. */
  isFirst(proof: DpopProof): ProofUse | Promise<ProofUse>;
  /** Whatever is no outcome of a proof is not counted. */
  count(outcome: string): void;
}

const OUTCOMES = ["ok", "proof_missing", "proof_invalid", "proof_replayed", "proof_unchecked", "nonce_wanted"] as const;
const ONCE = { limit: 1, windowMs: (PROOF_AGE_SECONDS + PROOF_AHEAD_SECONDS) * 1_000, sliding: false };

// Keyed by what lives as long as the node: a proof is remembered whichever configurations come and go.
const proofsByNode = new WeakMap<NodeEnv["states"], Proofs>();

export function proofsOf(env: NodeEnv): Proofs {
  const known = proofsByNode.get(env.states) ?? new NodeProofs(env);
  proofsByNode.set(env.states, known);
  return known;
}

class NodeProofs implements Proofs {
  readonly judge = openProofJudge();
  readonly #env: NodeEnv;
  readonly #shown = new Map<string, WindowCounters>();
  readonly #counts: ReadonlyMap<string, { inc(): void }>;

  constructor(env: NodeEnv) {
    this.#env = env;
    const family = env.metrics.counter("jotgate_dpop_total", "Proofs of possession (RFC 9449) by outcome", ["outcome"]);
    this.#counts = new Map(OUTCOMES.map((outcome) => [outcome, family.child(outcome)]));
  }

  isFirst({ thumbprint, id }: DpopProof): ProofUse | Promise<ProofUse> {
    const key = hash("sha256", `${thumbprint} ${id}`, "hex").slice(0, 32);
    const use = this.#windows(key.charAt(0)).hit(key, ONCE, 1);
    return use instanceof Promise ? use.then(proofUse, () => "unchecked") : proofUse(use);
  }

  count(outcome: string): void {
    this.#counts.get(outcome)?.inc();
  }

  /** @param digit counters remember 65,536 keys a scope: with 16 of them a node knows a million proofs, 16,000 a second */
  #windows(digit: string): WindowCounters {
    const known = this.#shown.get(digit) ?? nodeCounters(this.#env).windows(`dpop/${digit}`);
    this.#shown.set(digit, known);
    return known;
  }
}

function proofUse({ allowed }: WindowUse): ProofUse {
  return allowed ? "first" : "replayed";
}
