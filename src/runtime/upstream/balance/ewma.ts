/**
 * Power of two choices on latency: of two random nodes the one whose exponentially weighted latency is lower.
 * Old latency fades with a constant of ten seconds, so a node that was slow is tried again. Weight only excludes.
 */
import type { Clock } from "../../../base/clock.ts";
import { assertNever } from "../../../base/errors.ts";
import type { AttemptOutcome } from "../upstream-unit.ts";
import type { BalancedNode, Balancer, Choice, NodeLoad } from "./balancer.ts";

const DECAY_MS = 10_000; // APISIX's constant
// A try that failed counts as one that took this long: refusing fast must not look like answering fast.
const FAILED_TRY_MS = 5_000;

export class LatencyAverage implements NodeLoad {
  readonly #clock: Clock;
  #averageMs = 0;
  #touchedMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  begin(): void {}

  end(outcome: AttemptOutcome): void {
    switch (outcome.kind) {
      case "response":
        this.#observe(outcome.latencyMs);
        break;
      case "refused":
      case "timeout":
        this.#observe(FAILED_TRY_MS);
        break;
      case "aborted":
        break;
      default:
        assertNever(outcome);
    }
  }

  score(): number {
    return this.#averageMs * this.#fading(this.#clock.monotonicMs());
  }

  #observe(latencyMs: number): void {
    const nowMs = this.#clock.monotonicMs();
    const share = this.#fading(nowMs);
    this.#averageMs = this.#averageMs * share + latencyMs * (1 - share);
    this.#touchedMs = nowMs;
  }

  #fading(nowMs: number): number {
    return Math.exp(-Math.max(0, nowMs - this.#touchedMs) / DECAY_MS);
  }
}

export class PowerOfTwo<N extends BalancedNode> implements Balancer<N> {
  readonly #nodes: readonly N[];
  readonly #random: () => number;

  constructor(nodes: readonly N[], random: () => number) {
    this.#nodes = nodes;
    this.#random = random;
  }

  pick(choice: Choice<N>): N | undefined {
    // Only a retry pays for a list of its own.
    const nodes = choice.anyTried ? this.#nodes.filter((node) => !choice.isTried(node)) : this.#nodes;
    const count = nodes.length;
    if (count < 2) return nodes[0];
    const first = Math.floor(this.#random() * count);
    let second = Math.floor(this.#random() * (count - 1));
    if (second >= first) second++;
    const one = nodes[first] as N;
    const other = nodes[second] as N;
    return scoreOf(one) > scoreOf(other) ? other : one;
  }
}

function scoreOf(node: BalancedNode): number {
  return node.load?.score() ?? 0;
}
