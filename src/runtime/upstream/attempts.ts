/**
 * One request's tries: which target is next, whether another is allowed, and how each ended.
 * Promise: per request one small object and, from the second try on, two short lists; nothing is tried twice unless
 * the upstream has a single node. Source: docs/spec/proxy.md section 4.
 */
import { type Clock, sleep } from "../../base/clock.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { Balancer, Choice } from "./balance/balancer.ts";
import type { AttemptOutcome, Attempts, Target, UpstreamNode } from "./upstream-unit.ts";

/** How an upstream chooses at this moment; a request keeps the plan it began with. */
export interface BalancePlan {
  /** One balancer per priority, highest first. */
  readonly groups: readonly Balancer<UpstreamNode>[];
  /** The only node that ever gets requests: it needs no balancer, and is tried again. */
  readonly only: UpstreamNode | undefined;
}

/** What the record says about retries. */
export interface RetryRules {
  /** Tries a request may make, the first included. */
  readonly tries: number;
  /** Since the first try; 0 is no limit. */
  readonly timeoutMs: number;
  /** How long a request may wait for the first addresses of names: as long as for a connection. */
  readonly lookUpMs: number;
}

const ABORTED: AttemptOutcome = { kind: "aborted" };
const NONE: readonly Target[] = Object.freeze([]);

export class RequestAttempts implements Attempts, Choice<UpstreamNode> {
  readonly view: RequestView;
  ringAt = -1;
  readonly #plan: BalancePlan;
  readonly #rules: RetryRules;
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  #group = 0;
  #count = 0;
  /** The node chosen last. */
  #node: UpstreamNode | undefined = undefined;
  /** Nodes chosen before that. */
  #earlier: UpstreamNode[] | undefined = undefined;
  /** Whether the last try has not been reported yet. */
  #isOpen = false;
  /** Of the last try, the address asked last, and how many were asked. */
  #last: Target | undefined = undefined;
  #addresses = 0;
  #first: Target | undefined = undefined;
  #tried: Target[] | undefined = undefined;

  constructor(view: RequestView, plan: BalancePlan, rules: RetryRules, clock: Clock) {
    this.view = view;
    this.#plan = plan;
    this.#rules = rules;
    this.#clock = clock;
    this.#deadlineMs = rules.timeoutMs > 0 ? clock.monotonicMs() + rules.timeoutMs : Number.POSITIVE_INFINITY;
  }

  get tried(): readonly Target[] {
    if (this.#first === undefined) return NONE;
    this.#tried ??= [this.#first];
    return this.#tried;
  }

  next(): Target | undefined | Promise<Target | undefined> {
    this.report(ABORTED);
    if (this.#count >= this.#rules.tries) return undefined;
    const node = this.#choose();
    if (!node) return undefined;
    const target = node.take();
    return target ? this.#begin(node, target) : this.#wait(node);
  }

  nextAddress(): Target | undefined {
    const last = this.#last;
    if (!this.#isOpen || !last || this.#isLate) return undefined;
    this.#last = this.#node?.takeAfter(last, this.#addresses++);
    return this.#last;
  }

  mayRetry(): "yes" | "exhausted" | "timeout" {
    if (this.#count >= this.#rules.tries) return "exhausted";
    return this.#isLate ? "timeout" : "yes";
  }

  report(outcome: AttemptOutcome): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#node?.end(outcome);
  }

  get #isLate(): boolean {
    return this.#rules.timeoutMs > 0 && this.#clock.monotonicMs() > this.#deadlineMs;
  }

  get anyTried(): boolean {
    return this.#node !== undefined;
  }

  isTried(node: UpstreamNode): boolean {
    return node === this.#node || this.#earlier?.includes(node) === true;
  }

  #choose(): UpstreamNode | undefined {
    const { groups, only } = this.#plan;
    if (only) return only;
    for (; this.#group < groups.length; this.#group++) {
      const node = groups[this.#group]?.pick(this);
      if (node) return node;
      this.ringAt = -1;
    }
    return undefined;
  }

  #begin(node: UpstreamNode, target: Target): Target {
    this.#remember(node);
    this.#isOpen = true;
    this.#last = target;
    this.#addresses = 1;
    if (this.#count++ === 0) this.#first = target;
    else {
      this.#tried ??= this.#first ? [this.#first] : [];
      this.#tried.push(target);
    }
    node.begin();
    return target;
  }

  #remember(node: UpstreamNode): void {
    if (this.#node !== undefined) {
      this.#earlier ??= [];
      this.#earlier.push(this.#node);
    }
    this.#node = node;
  }

  /** A node whose name cannot be looked up, or not in time, is passed over; that is no try. */
  async #wait(first: UpstreamNode): Promise<Target | undefined> {
    const late = new AbortController();
    const over = sleep(this.#clock, this.#rules.lookUpMs, late.signal).then(() => late.abort());
    let node: UpstreamNode | undefined = first;
    while (node) {
      if (!late.signal.aborted) await Promise.race([node.lookUp(), over]);
      const target = node.take();
      if (target) {
        late.abort();
        return this.#begin(node, target);
      }
      this.#remember(node);
      node = this.#plan.only ? undefined : this.#choose();
    }
    late.abort();
    return undefined;
  }
}
