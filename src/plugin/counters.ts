/**
 * Counters of limits: windows, leaky buckets, requests under way. Plugins ask by scope (a configuration in its place)
 * and key (a client); who keeps the numbers, this process, a node of several processes or redis, is not their business.
 * An answer is a promise only where something is truly waited for; a rejection means that the backend failed.
 */
export interface WindowRule {
  readonly limit: number;
  readonly windowMs: number;
  readonly sliding: boolean;
}

export interface WindowUse {
  readonly allowed: boolean;
  /** What is left after this hit; never below 0. */
  readonly remaining: number;
  /** Milliseconds until there is more. */
  readonly resetMs: number;
}

export interface WindowCounters {
  /** Counts `cost`; a fixed window begins with the first hit of its key and counts refused hits too. */
  hit(key: string, rule: WindowRule, cost: number): WindowUse | Promise<WindowUse>;
  release(): void;
}

export interface BucketRule {
  readonly perSecond: number;
  /** Requests above the rate that wait rather than being refused. */
  readonly burst: number;
}

export interface BucketUse {
  readonly allowed: boolean;
  /** How long the request has to wait to keep the rate. */
  readonly delayMs: number;
}

export interface LeakyBuckets {
  pour(key: string, rule: BucketRule): BucketUse | Promise<BucketUse>;
  release(): void;
}

/** One admitted request; leaving twice does nothing. */
export interface Admission {
  /** Requests under way with it included. */
  readonly count: number;
  leave(): void;
}

export interface Concurrency {
  /** @returns undefined when `most` are under way already */
  enter(key: string, most: number): Admission | undefined | Promise<Admission | undefined>;
  release(): void;
}

/** The same scope asked for twice shares its numbers, until each of them was released. */
export interface Counters {
  windows(scope: string): WindowCounters;
  buckets(scope: string): LeakyBuckets;
  concurrency(scope: string): Concurrency;
}
