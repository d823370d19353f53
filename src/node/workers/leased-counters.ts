/**
 * Counters of limits as a worker sees them: the primary keeps the numbers, fixed windows are counted here as long as an
 * advance lasts. What is asked in one turn of the event loop goes in one message.
 * Promise: a refusal is the primary's; it is remembered until the window ends, so that a flood stays in this process.
 */
import type { Channel, Reader } from "../../base/channel.ts";
import type { Clock } from "../../base/clock.ts";
import { CodedError } from "../../base/errors.ts";
import type {
  Admission,
  BucketUse,
  Concurrency,
  Counters,
  LeakyBuckets,
  WindowCounters,
  WindowRule,
  WindowUse,
} from "../../plugin/counters.ts";
import { type Ending, ExpiringMap } from "../../plugins/shared/expiring-map.ts";
import { openStates } from "../../runtime/shared-states.ts";
import { nextTurn } from "../../store/store-follow.ts";
import {
  COUNT,
  type CounterOp,
  type GrantedUses,
  OPS_MAX,
  RECALL,
  RELEASE,
  readEntered,
  readGranted,
  readNothing,
  readPoured,
  readUse,
} from "./shared-messages.ts";

const KEYS_MAX = 65_536;
const ANSWER_MS = 2_000;

export function openLeasedCounters(channel: Channel, clock: Clock): Counters {
  const asker = new Asker(channel);
  const states = openStates(clock);
  const byScope = new Map<string, LeasedWindows>();
  channel.onCall(RECALL, async ({ scope, key }) => {
    await nextTurn(); // an advance that came with the same bytes is taken in before
    return { left: byScope.get(scope)?.giveBack(key) ?? 0 };
  });
  const released = (scope: string): void => channel.tell(RELEASE, { scope });
  let lastId = 0;
  return {
    windows(scope): WindowCounters {
      const make = (): LeasedWindows => {
        const windows = new LeasedWindows(scope, asker, clock);
        byScope.set(scope, windows);
        return windows;
      };
      const { state, release } = states.hold(`windows:${scope}`, make, () => {
        byScope.delete(scope);
        released(scope);
      });
      return { release, hit: (key, rule, cost) => state.hit(key, rule, cost) };
    },
    buckets(scope): LeakyBuckets {
      const { release } = states.hold(`buckets:${scope}`, () => scope, released);
      const pour = (key: string, rule: { perSecond: number; burst: number }): Promise<BucketUse> =>
        asker.ask(() => ({ op: "pour", scope, key, perSecond: rule.perSecond, burst: rule.burst }), readPoured);
      return { release, pour };
    },
    concurrency(scope): Concurrency {
      const { release } = states.hold(`places:${scope}`, () => scope, released);
      return { release, enter: (key, most) => enter(asker, scope, key, most, ++lastId) };
    },
  };
}

async function enter(
  asker: Asker,
  scope: string,
  key: string,
  most: number,
  id: number,
): Promise<Admission | undefined> {
  const leave = (): void => {
    asker.ask(() => ({ op: "leave", id }), readNothing).catch(() => undefined); // the primary is gone, and all counts with it
  };
  try {
    const entered = await asker.ask(() => ({ op: "enter", scope, key, most, id }), readEntered);
    return entered === null ? undefined : { count: entered.count, leave };
  } catch (error) {
    leave(); // it may have been let in
    throw error;
  }
}

/** What is known here of one window. */
interface Lease extends Ending {
  readonly limit: number;
  readonly windowMs: number;
  left: number;
  /** Beyond what is left here, when it was last heard of. */
  readonly free: number;
  /** Nothing is left anywhere. */
  readonly isSpent: boolean;
}

interface Waiting {
  readonly cost: number;
  readonly resolve: (use: WindowUse) => void;
  readonly reject: (error: unknown) => void;
}

interface Asking {
  readonly rule: WindowRule;
  readonly waiting: Waiting[];
}

class LeasedWindows {
  readonly #scope: string;
  readonly #asker: Asker;
  readonly #clock: Clock;
  readonly #leases = new ExpiringMap<Lease>(KEYS_MAX);
  readonly #asking = new Map<string, Asking>();

  constructor(scope: string, asker: Asker, clock: Clock) {
    this.#scope = scope;
    this.#asker = asker;
    this.#clock = clock;
  }

  hit(key: string, rule: WindowRule, cost: number): WindowUse | Promise<WindowUse> {
    const { limit, windowMs } = rule;
    if (rule.sliding) {
      const scope = this.#scope;
      return this.#asker.ask(() => ({ op: "slide", scope, key, limit, windowMs, cost }), readUse);
    }
    const nowMs = this.#clock.monotonicMs();
    const lease = this.#leases.get(key, nowMs);
    if (lease?.limit !== limit || lease.windowMs !== windowMs) return this.#ask(key, rule, cost);
    if (lease.isSpent) return { allowed: false, remaining: 0, resetMs: lease.endMs - nowMs };
    if (lease.left < cost) return this.#ask(key, rule, cost);
    lease.left -= cost;
    return { allowed: true, remaining: lease.left + lease.free, resetMs: lease.endMs - nowMs };
  }

  giveBack(key: string): number {
    const lease = this.#leases.get(key, this.#clock.monotonicMs());
    const left = lease?.left ?? 0;
    if (lease) lease.left = 0;
    return left;
  }

  #ask(key: string, rule: WindowRule, cost: number): Promise<WindowUse> {
    return new Promise((resolve, reject) => {
      const waiting = { cost, resolve, reject };
      // One key under several limits: each asks for itself.
      const id = `${rule.limit} ${rule.windowMs} ${key}`;
      const asking = this.#asking.get(id);
      if (asking) asking.waiting.push(waiting);
      else void this.#serve(id, key, { rule, waiting: [waiting] });
    });
  }

  /** Asks until nobody waits any more. */
  async #serve(id: string, key: string, asking: Asking): Promise<void> {
    this.#asking.set(id, asking);
    const { waiting } = asking;
    const { limit, windowMs } = asking.rule;
    try {
      while (waiting.length > 0) {
        let need = 0;
        const make = (): CounterOp => {
          for (const { cost } of waiting) need += cost; // all that came in this turn
          return { op: "lease", scope: this.#scope, key, limit, windowMs, need };
        };
        const granted = await this.#asker.ask(make, readGranted);
        this.#settle(key, asking, granted, granted.granted < need);
      }
    } catch (error) {
      for (const one of waiting.splice(0)) one.reject(error);
    } finally {
      this.#asking.delete(id);
    }
  }

  #settle(key: string, { rule, waiting }: Asking, { granted, free, resetMs }: GrantedUses, isSpent: boolean): void {
    let left = granted;
    for (let next = waiting[0]; next !== undefined && (left >= next.cost || isSpent); next = waiting[0]) {
      const allowed = left >= next.cost;
      if (allowed) left -= next.cost;
      next.resolve({ allowed, remaining: allowed ? left + free : 0, resetMs });
      waiting.shift();
    }
    const nowMs = this.#clock.monotonicMs();
    const { limit, windowMs } = rule;
    const known = this.#leases.get(key, nowMs);
    if (known && known.limit !== limit && known.left > 0) return; // under another limit, with an advance of its own
    this.#leases.set(key, { limit, windowMs, left, free, isSpent, endMs: nowMs + resetMs }, nowMs);
  }
}

interface Asked {
  readonly make: () => CounterOp;
  readonly take: (answer: unknown) => void;
  readonly fail: (error: unknown) => void;
}

/** Gathers what is asked in one turn. */
class Asker {
  readonly #channel: Channel;
  #asked: Asked[] = [];

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** @param make called when the message goes */
  ask<T>(make: () => CounterOp, read: Reader<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const take = (answer: unknown): void => {
        const value = read(answer);
        if (value !== undefined) resolve(value);
        else reject(new CodedError("WORKER_UNAVAILABLE", { message: "the answer of a counter is not one" }));
      };
      this.#asked.push({ make, take, fail: reject });
      if (this.#asked.length === 1) setImmediate(() => this.#send());
    });
  }

  #send(): void {
    const all = this.#asked;
    this.#asked = [];
    for (let at = 0; at < all.length; at += OPS_MAX) void this.#call(all.slice(at, at + OPS_MAX));
  }

  async #call(asked: readonly Asked[]): Promise<void> {
    const ops = asked.map(({ make }) => make());
    try {
      const answers = await this.#channel.call(COUNT, ops, ANSWER_MS);
      for (const [at, { take }] of asked.entries()) take(answers[at]);
    } catch (error) {
      for (const { fail } of asked) fail(error);
    }
  }
}
