/**
 * What a balancing rule is: it picks among the nodes of one priority for one request.
 * Promise: a pick is never a node that the request was given before.
 */
import type { RequestView } from "../../../plugin/request-view.ts";
import type { AttemptOutcome } from "../upstream-unit.ts";

export interface Weighted {
  readonly weight: number;
}

/** What balancers know of a node. */
export interface BalancedNode extends Weighted {
  readonly id: string;
  /** Present where the rule keeps books on its nodes. */
  readonly load: NodeLoad | undefined;
}

/** What a rule remembers of a node beyond one configuration. */
export interface NodeLoad {
  begin(): void;
  end(outcome: AttemptOutcome): void;
  /** Lower is better, before weight. */
  score(): number;
}

/** One request's state of choosing. */
export interface Choice<N> {
  readonly view: RequestView;
  /** Whether the request was given any node yet. */
  readonly anyTried: boolean;
  isTried(node: N): boolean;
  /** Where on the ring the last pick was; -1 before the first. */
  ringAt: number;
}

export interface Balancer<N> {
  /** @returns undefined when every node was tried */
  pick(choice: Choice<N>): N | undefined;
  /** What `pick` would give, where that changes something. */
  peek?(): N;
}

/** The weight to reckon with: 1 for all where none has any. */
export function effectiveWeight(node: Weighted): number {
  return node.weight > 0 ? node.weight : 1;
}

/** Greatest common divisor of the effective weights; 1 for no nodes. */
export function weightStep(nodes: readonly Weighted[]): number {
  let step = 0;
  for (const node of nodes) {
    let other = effectiveWeight(node);
    while (other > 0) [step, other] = [other, step % other];
  }
  return step || 1;
}
