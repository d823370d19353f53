/**
 * Counters of limits as the primary keeps them for its workers. Fixed windows are given out in small advances, the less
 * the nearer the limit; where nothing is left, unused advances are called back before anybody is refused.
 * Promise: never more than the limit is let through; what a worker has in advance when it dies is lost, nothing else.
 */
import type { Clock } from "../../base/clock.ts";
import type {
  Admission,
  Concurrency,
  Counters,
  LeakyBuckets,
  WindowCounters,
  WindowRule,
} from "../../plugin/counters.ts";
import { type Ending, ExpiringMap } from "../../plugins/shared/expiring-map.ts";
import type { CounterOp, GrantedUses } from "./shared-messages.ts";

/** A worker, as far as counters are concerned. */
export interface CounterUser {
  /** Resolves with what it gives back; 0 when it does not answer. */
  recall(scope: string, key: string): Promise<number>;
}

interface SharedCountersOptions {
  /** This process's own, which answer at once. */
  readonly counters: Counters;
  /** How many workers there are. */
  readonly workers: number;
  readonly clock: Clock;
}

const KEYS_MAX = 65_536;
const ADVANCE_MAX = 64;
/** A worker is given this share of what is free, divided by the workers. */
const ADVANCE_SHARE = 10;
/** Two looks at the same window's end differ by less. */
const SAME_WINDOW_MS = 100;

/** Advances of one window. */
interface Advances extends Ending {
  readonly limit: number;
  readonly holders: Set<CounterUser>;
  /** Given back: counted already, used by nobody. */
  returned: number;
  recalling: Promise<void> | undefined;
}

interface Scope {
  readonly users: Set<CounterUser>;
  readonly advances: ExpiringMap<Advances>;
  windows?: WindowCounters;
  buckets?: LeakyBuckets;
  places?: Concurrency;
}

export class SharedCounters {
  readonly #options: SharedCountersOptions;
  readonly #scopes = new Map<string, Scope>();
  readonly #admissions = new Map<CounterUser, Map<number, Admission>>();

  constructor(options: SharedCountersOptions) {
    this.#options = options;
  }

  /** Answers in the order of the operations. */
  count(user: CounterUser, ops: readonly CounterOp[]): Promise<unknown[]> {
    return Promise.all(ops.map((op) => this.#do(user, op)));
  }

  release(user: CounterUser, name: string): void {
    const scope = this.#scopes.get(name);
    if (!scope?.users.delete(user) || scope.users.size > 0) return;
    this.#scopes.delete(name);
    scope.windows?.release();
    scope.buckets?.release();
    scope.places?.release();
  }

  /** The worker is gone, and its requests with it. */
  forget(user: CounterUser): void {
    for (const admission of this.#admissions.get(user)?.values() ?? []) admission.leave();
    this.#admissions.delete(user);
    for (const name of [...this.#scopes.keys()]) this.release(user, name);
  }

  #do(user: CounterUser, op: CounterOp): unknown {
    switch (op.op) {
      case "lease":
        return this.#lease(user, op);
      case "slide":
        return this.#windows(user, op.scope).hit(op.key, { ...ruleOf(op), sliding: true }, op.cost);
      case "pour": {
        const scope = this.#scope(user, op.scope);
        scope.buckets ??= this.#options.counters.buckets(op.scope);
        return scope.buckets.pour(op.key, op);
      }
      case "enter":
        return this.#enter(user, op);
      case "leave":
        this.#admissions.get(user)?.get(op.id)?.leave();
        this.#admissions.get(user)?.delete(op.id);
        return null;
    }
  }

  async #lease(user: CounterUser, op: CounterOp & { op: "lease" }): Promise<GrantedUses> {
    const windows = this.#windows(user, op.scope);
    const { advances } = this.#scope(user, op.scope);
    const { clock } = this.#options;
    const rule = ruleOf(op);
    await advances.get(op.key, clock.monotonicMs())?.recalling;
    // From here to the end of the taking nothing waits.
    const nowMs = clock.monotonicMs();
    const { remaining, resetMs } = atOnce(windows.hit(op.key, rule, 0));
    const mine = this.#advancesOf(advances, op, nowMs, resetMs);
    const fromReturned = Math.min(op.need, mine?.returned ?? 0);
    if (mine) mine.returned -= fromReturned;
    const taken = Math.min(op.need - fromReturned, remaining);
    const advance = mine ? this.#advance(remaining - taken) : 0;
    if (taken + advance > 0) atOnce(windows.hit(op.key, rule, taken + advance));
    if (advance > 0) mine?.holders.add(user);
    let granted = fromReturned + taken;
    if (granted < op.need && mine) granted += await this.#recall(mine, user, op, op.need - granted);
    const free = remaining - taken - advance + (mine?.returned ?? 0);
    return { granted: granted + advance, free: Math.max(0, free), resetMs };
  }

  /** @returns undefined where a key is counted under several limits at a time: nothing is given in advance then */
  #advancesOf(
    all: ExpiringMap<Advances>,
    { key, limit }: { readonly key: string; readonly limit: number },
    nowMs: number,
    resetMs: number,
  ): Advances | undefined {
    const endMs = nowMs + resetMs;
    const known = all.get(key, nowMs);
    if (known && known.endMs + SAME_WINDOW_MS > endMs) return known.limit === limit ? known : undefined;
    const fresh: Advances = { endMs, limit, holders: new Set(), returned: 0, recalling: undefined };
    all.set(key, fresh, nowMs);
    return fresh;
  }

  #advance(free: number): number {
    return Math.min(ADVANCE_MAX, Math.floor(free / (this.#options.workers * ADVANCE_SHARE)));
  }

  /** @returns how much of `wanted` the others had left */
  async #recall(
    mine: Advances,
    user: CounterUser,
    { scope, key }: { readonly scope: string; readonly key: string },
    wanted: number,
  ): Promise<number> {
    const others = [...mine.holders].filter((holder) => holder !== user);
    if (others.length > 0) {
      for (const holder of others) mine.holders.delete(holder);
      mine.recalling = Promise.all(others.map((holder) => holder.recall(scope, key))).then((given) => {
        for (const left of given) mine.returned += left;
        mine.recalling = undefined;
      });
    }
    await mine.recalling;
    const got = Math.min(wanted, mine.returned);
    mine.returned -= got;
    return got;
  }

  #enter(user: CounterUser, op: CounterOp & { op: "enter" }): { readonly count: number } | null {
    const scope = this.#scope(user, op.scope);
    scope.places ??= this.#options.counters.concurrency(op.scope);
    const admission = atOnce(scope.places.enter(op.key, op.most));
    if (!admission) return null;
    const known = this.#admissions.get(user) ?? new Map<number, Admission>();
    this.#admissions.set(user, known.set(op.id, admission));
    return { count: admission.count };
  }

  #windows(user: CounterUser, name: string): WindowCounters {
    const scope = this.#scope(user, name);
    scope.windows ??= this.#options.counters.windows(name);
    return scope.windows;
  }

  #scope(user: CounterUser, name: string): Scope {
    let scope = this.#scopes.get(name);
    if (!scope) {
      scope = { users: new Set(), advances: new ExpiringMap(KEYS_MAX) };
      this.#scopes.set(name, scope);
    }
    scope.users.add(user);
    return scope;
  }
}

function ruleOf({ limit, windowMs }: { readonly limit: number; readonly windowMs: number }): WindowRule {
  return { limit, windowMs, sliding: false };
}

function atOnce<T>(value: T | Promise<T>): T {
  if (value instanceof Promise) throw new TypeError("counters of this process answer at once");
  return value;
}
