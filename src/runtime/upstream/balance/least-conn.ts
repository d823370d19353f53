/**
 * Fewest tries under way in proportion to weight: the lowest (active + 1) / weight; equals take turns.
 * Counts are per process and upstream, and outlive configuration changes.
 */
import { type BalancedNode, type Balancer, type Choice, effectiveWeight, type NodeLoad } from "./balancer.ts";

export class ActiveTries implements NodeLoad {
  #active = 0;

  begin(): void {
    this.#active++;
  }

  end(): void {
    if (this.#active > 0) this.#active--;
  }

  score(): number {
    return this.#active + 1;
  }
}

export class LeastConnections<N extends BalancedNode> implements Balancer<N> {
  readonly #nodes: readonly N[];
  readonly #weights: readonly number[];
  #from: number;

  constructor(nodes: readonly N[], random: () => number) {
    this.#nodes = nodes;
    this.#weights = nodes.map(effectiveWeight);
    this.#from = Math.floor(random() * nodes.length);
  }

  /** Cost: one look at each node. */
  pick(choice: Choice<N>): N | undefined {
    const nodes = this.#nodes;
    let best = -1;
    let bestScore = Number.POSITIVE_INFINITY;
    let at = this.#from;
    for (let left = nodes.length; left > 0; left--) {
      const node = nodes[at] as N;
      const score = (node.load?.score() ?? 1) / (this.#weights[at] as number);
      if (score < bestScore && !(choice.anyTried && choice.isTried(node))) {
        best = at;
        bestScore = score;
      }
      at = at + 1 === nodes.length ? 0 : at + 1;
    }
    if (best < 0) return undefined;
    this.#from = best + 1 === nodes.length ? 0 : best + 1;
    return nodes[best];
  }
}
