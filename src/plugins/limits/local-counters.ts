/**
 * Counters kept in this process. They outlive configuration changes as long as somebody holds their scope.
 * Promise: memory is bounded per scope, whatever keys clients send; time is monotonic.
 */
import type { Clock } from "../../base/clock.ts";
import type {
  Admission,
  BucketRule,
  BucketUse,
  Concurrency,
  Counters,
  LeakyBuckets,
  WindowCounters,
  WindowRule,
  WindowUse,
} from "../../plugin/counters.ts";
import type { NodeEnv, StateRegistry } from "../../plugin/plugin.ts";
import { type Ending, ExpiringMap } from "../shared/expiring-map.ts";

const KEYS_MAX = 65_536; // clients remembered per scope; about 10 MiB at most

/** The counters shared by this node's processes, or else this process's own. */
export function nodeCounters(env: NodeEnv): Counters {
  return env.counters ?? openLocalCounters(env.states, env.clock);
}

export function openLocalCounters(states: StateRegistry, clock: Clock): Counters {
  return {
    windows(scope) {
      const held = states.hold(`windows:${scope}`, () => new LocalWindows(clock));
      return { hit: (key, rule, cost) => held.state.hit(key, rule, cost), release: held.release };
    },
    buckets(scope) {
      const held = states.hold(`buckets:${scope}`, () => new LocalBuckets(clock));
      return { pour: (key, rule) => held.state.pour(key, rule), release: held.release };
    },
    concurrency(scope) {
      const held = states.hold(`concurrency:${scope}`, () => new LocalConcurrency());
      return { enter: (key, most) => held.state.enter(key, most), release: held.release };
    },
  };
}

interface Window extends Ending {
  used: number;
  /** Number of the sliding window this stands for, and what the one before had. */
  at: number;
  before: number;
}

class LocalWindows implements Omit<WindowCounters, "release"> {
  readonly #windows = new ExpiringMap<Window>(KEYS_MAX);
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  hit(key: string, rule: WindowRule, cost: number): WindowUse {
    const nowMs = this.#clock.monotonicMs();
    return rule.sliding ? this.#slide(key, rule, cost, nowMs) : this.#count(key, rule, cost, nowMs);
  }

  #count(key: string, { limit, windowMs }: WindowRule, cost: number, nowMs: number): WindowUse {
    const known = this.#windows.get(key, nowMs);
    const used = (known?.used ?? 0) + cost;
    if (known) known.used = used;
    else this.#windows.set(key, { used, at: 0, before: 0, endMs: nowMs + windowMs }, nowMs);
    const left = limit - used;
    // Told apart, as adding and subtracting the clock loses a fraction of the first answer's window.
    const resetMs = known ? known.endMs - nowMs : windowMs;
    return { allowed: left >= 0, remaining: Math.max(0, left), resetMs };
  }

  #slide(key: string, rule: WindowRule, cost: number, nowMs: number): WindowUse {
    const at = Math.floor(nowMs / rule.windowMs);
    const known = this.#windows.get(key, nowMs);
    const window: Window = { at, used: 0, before: 0, endMs: (at + 2) * rule.windowMs };
    if (known?.at === at) {
      window.used = known.used;
      window.before = known.before;
    } else if (known?.at === at - 1) window.before = known.used;
    const use = slide(window.used, window.before, rule, cost, nowMs);
    if (use.allowed) window.used += cost;
    this.#windows.set(key, window, nowMs);
    return use;
  }
}

/**
 * One hit on a sliding window: the window before counts by how much of it the sliding one still covers.
 * Source: APISIX 3.18 limit-count/sliding-window.
 */
export function slide(used: number, before: number, rule: WindowRule, cost: number, nowMs: number): WindowUse {
  const { limit, windowMs } = rule;
  const leftMs = windowMs - (nowMs % windowMs);
  const rate = Math.min(before, limit) / windowMs;
  const estimated = rate * leftMs + used;
  if (used >= limit) return { allowed: false, remaining: 0, resetMs: leftMs };
  if (estimated >= limit)
    return { allowed: false, remaining: 0, resetMs: Math.max(0, leftMs - (limit - used) / (rate || 1)) };
  return { allowed: true, remaining: Math.max(0, Math.floor(limit - estimated - cost)), resetMs: leftMs };
}

interface Bucket extends Ending {
  /** Requests above the rate. */
  excess: number;
  lastMs: number;
}

class LocalBuckets implements Omit<LeakyBuckets, "release"> {
  readonly #buckets = new ExpiringMap<Bucket>(KEYS_MAX);
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  pour(key: string, { perSecond, burst }: BucketRule): BucketUse {
    const nowMs = this.#clock.monotonicMs();
    const bucket = this.#buckets.get(key, nowMs);
    const excess = bucket ? Math.max(0, bucket.excess - (perSecond * (nowMs - bucket.lastMs)) / 1000 + 1) : 0;
    if (excess > burst) return { allowed: false, delayMs: 0 };
    // From then on the bucket is as good as new.
    const endMs = nowMs + ((excess + 1) / perSecond) * 1000;
    this.#buckets.set(key, { excess, lastMs: nowMs, endMs }, nowMs);
    return { allowed: true, delayMs: (excess / perSecond) * 1000 };
  }
}

class LocalConcurrency implements Omit<Concurrency, "release"> {
  /** Bounded by the requests under way. */
  readonly #counts = new Map<string, number>();

  enter(key: string, most: number): Admission | undefined {
    const count = (this.#counts.get(key) ?? 0) + 1;
    if (count > most) return undefined;
    this.#counts.set(key, count);
    let left = false;
    return {
      count,
      leave: () => {
        if (left) return;
        left = true;
        const now = (this.#counts.get(key) ?? 1) - 1;
        if (now > 0) this.#counts.set(key, now);
        else this.#counts.delete(key);
      },
    };
  }
}
