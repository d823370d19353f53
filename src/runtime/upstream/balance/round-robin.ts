/**
 * Weighted interleaving by levels: at level L every node of weight >= L has a turn, then the level falls by the
 * weights' greatest common divisor. So over one cycle each node gets exactly its share.
 * Source: docs/spec/proxy.md section 5 (APISIX, OpenResty's round robin).
 */
import { type BalancedNode, type Balancer, type Choice, effectiveWeight, weightStep } from "./balancer.ts";

/** Where in its cycle a round robin stands; it outlives configuration changes that keep nodes and weights. */
interface RingPosition {
  /** Index of the last turn among the nodes, heaviest first. */
  at: number;
  level: number;
  /** How many nodes have a turn at this level. */
  width: number;
}

/** An empty position is made random at first use. */
export const newPosition = (): RingPosition => ({ at: -1, level: 0, width: 0 });

export class RoundRobin<N extends BalancedNode> implements Balancer<N> {
  /** Heaviest first, so that those with a turn are always the first `width`. */
  readonly #nodes: readonly N[];
  readonly #weights: readonly number[];
  readonly #step: number;
  readonly #top: number;
  readonly #position: RingPosition;

  /** @param nodes at least one; with a kept `position` the same ids and weights as before, in any order */
  constructor(nodes: readonly N[], position: RingPosition, random: () => number) {
    this.#nodes = [...nodes].sort((a, b) => b.weight - a.weight || (a.id < b.id ? -1 : 1));
    this.#weights = this.#nodes.map(effectiveWeight);
    this.#step = weightStep(this.#nodes);
    this.#top = this.#weights[0] ?? 1;
    this.#position = position;
    if (position.level === 0) this.#start(random);
  }

  pick(choice: Choice<N>): N | undefined {
    if (!choice.anyTried) return this.#turn();
    const spare = this.#firstUntried(choice);
    if (!spare) return undefined;
    // A retry takes the turn of the next untried node, but does not run through a heavy node's whole share for it.
    for (let left = this.#nodes.length; left > 0; left--) {
      const node = this.#turn();
      if (!choice.isTried(node)) return node;
    }
    return spare;
  }

  peek(): N {
    const { at, level, width } = this.#position;
    const node = this.#turn();
    Object.assign(this.#position, { at, level, width });
    return node;
  }

  #turn(): N {
    const position = this.#position;
    if (++position.at >= position.width) this.#fall();
    return this.#nodes[position.at] as N;
  }

  #fall(): void {
    const position = this.#position;
    position.at = 0;
    position.level -= this.#step;
    if (position.level <= 0) {
      position.level = this.#top;
      position.width = 0;
    }
    this.#widen();
  }

  #widen(): void {
    const { level } = this.#position;
    const weights = this.#weights;
    let width = this.#position.width;
    while (width < weights.length && (weights[width] as number) >= level) width++;
    this.#position.width = width;
  }

  #start(random: () => number): void {
    const position = this.#position;
    position.level = this.#step * (1 + Math.floor(random() * (this.#top / this.#step)));
    this.#widen();
    position.at = Math.floor(random() * position.width) - 1;
  }

  #firstUntried(choice: Choice<N>): N | undefined {
    for (const node of this.#nodes) if (!choice.isTried(node)) return node;
    return undefined;
  }
}
