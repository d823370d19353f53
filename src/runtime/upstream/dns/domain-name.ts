/**
 * One name and its addresses now. A name that was wanted once is kept fresh while anything holds it.
 * Promise: after the first answer nobody waits again: answers are renewed in the background when their TTL ends, and
 * the last good addresses stay when DNS fails or says nothing. One look-up at a time, failures back off.
 */
import type { Clock, Timer } from "../../../base/clock.ts";
import { messageOf } from "../../../base/errors.ts";
import type { Limiter } from "../../../base/limiter.ts";
import type { Log } from "../../../base/log.ts";
import type { Counter } from "../../../base/metrics.ts";
import type { DnsAnswer, DnsLookup } from "../../../base/net/dns-lookup.ts";

export interface NameStatus {
  readonly name: string;
  readonly addresses: readonly string[];
  /** Failed look-ups in a row. */
  readonly failures: number;
}

export interface NameEnv {
  readonly clock: Clock;
  readonly log: Log;
  readonly lookup: DnsLookup;
  readonly random: () => number;
  readonly timeoutMs: number;
  /** Limits the look-ups of all names. */
  readonly limiter: Limiter;
  readonly good: Counter;
  readonly bad: Counter;
}

const MAX_ADDRESSES = 64;
const MIN_TTL_MS = 1_000; // TTL 0 is common (Consul); without a floor every request would ask
const MAX_TTL_MS = 3_600_000;
const IDLE_MS = 60_000; // a name nobody asks for is renewed this much later
const MAX_BACKOFF_MS = 30_000;

export class DomainName {
  readonly #name: string;
  readonly #env: NameEnv;
  readonly #listeners = new Set<() => void>();
  #addresses: readonly string[] = [];
  #version = 0;
  #failures = 0;
  #pending: Promise<void> | undefined;
  #timer: Timer | undefined;
  #wanted = false;
  #lapsed = false;
  #closed = false;

  constructor(name: string, env: NameEnv) {
    this.#name = name;
    this.#env = env;
  }

  /** Sorted; empty until the first answer. The array changes only together with `version`. */
  get addresses(): readonly string[] {
    return this.#addresses;
  }

  get version(): number {
    return this.#version;
  }

  /** True when no address is known and the last look-up failed: do not wait for it. */
  get isLost(): boolean {
    return this.#addresses.length === 0 && this.#failures > 0;
  }

  /**
   * Says that the addresses are needed.
   * @returns a promise only while the first look-up runs; it never rejects
   */
  want(): Promise<void> | undefined {
    this.#wanted = true;
    if (this.#lapsed) {
      this.#lapsed = false;
      this.#renew();
    }
    if (this.#addresses.length > 0 || this.#closed) return undefined;
    if (!this.#pending && !this.#timer) this.#renew();
    return this.#failures > 0 ? undefined : this.#pending;
  }

  /** Calls back after `isLost` changed. @returns the way to end it */
  onAvailabilityChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  status(): NameStatus {
    return { name: this.#name, addresses: this.#addresses, failures: this.#failures };
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#listeners.clear();
  }

  #renew(): void {
    if (this.#pending || this.#closed) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#wanted = false;
    this.#pending = this.#lookup().then(
      (answer) => this.#accept(answer),
      (error: unknown) => this.#fail(error),
    );
  }

  /** Ends in time even while the look-ups of other names hold all places. */
  #lookup(): Promise<DnsAnswer> {
    const { limiter, lookup, clock, timeoutMs } = this.#env;
    return new Promise((resolve, reject) => {
      let isLate = false;
      const late = new Error(`no answer within ${timeoutMs} ms`);
      const timer = clock.after(timeoutMs, () => {
        isLate = true;
        reject(late);
      });
      limiter
        .run(async () => {
          if (isLate) throw late;
          return await lookup(this.#name);
        })
        .then(resolve, reject)
        .finally(() => timer.cancel());
    });
  }

  #accept(answer: DnsAnswer): void {
    if (answer.addresses.length === 0) {
      this.#fail(new Error("the answer has no address"));
      return;
    }
    const { random, log, good } = this.#env;
    good.inc();
    this.#pending = undefined;
    if (this.#closed) return;
    const wasLost = this.isLost;
    if (this.#failures > 0) log.info({ name: this.#name }, "the name can be looked up again");
    this.#failures = 0;
    const ttlMs = Math.min(Math.max(answer.ttlSeconds * 1000, MIN_TTL_MS), MAX_TTL_MS);
    this.#timer = this.#env.clock.after(ttlMs + random() * Math.min(1000, ttlMs / 10), () => this.#expire());
    this.#replace(answer.addresses, wasLost);
  }

  #expire(): void {
    this.#timer = undefined;
    if (this.#wanted) {
      this.#renew();
      return;
    }
    // Nobody asked since the last answer: the next request asks, and until then it is enough to look now and then.
    this.#lapsed = true;
    this.#timer = this.#env.clock.after(IDLE_MS, () => {
      this.#lapsed = false;
      this.#renew();
    });
  }

  #fail(error: unknown): void {
    const { clock, random, log, bad } = this.#env;
    bad.inc();
    this.#pending = undefined;
    if (this.#closed) return;
    this.#failures++;
    if (this.#failures === 1) {
      log.warn({ name: this.#name, kept: this.#addresses.length, cause: messageOf(error) }, "name look-up failed");
    }
    const backoffMs = Math.min(1000 * 2 ** (this.#failures - 1), MAX_BACKOFF_MS);
    this.#timer = clock.after(backoffMs * (0.5 + random() / 2), () => this.#renew());
    if (this.#failures === 1 && this.isLost) this.#notify();
  }

  #replace(found: readonly string[], wasLost: boolean): void {
    // Sorted, or the servers' own rotation would look like a change each time.
    const addresses = [...new Set(found)].sort().slice(0, MAX_ADDRESSES);
    if (addresses.join() === this.#addresses.join()) return;
    this.#addresses = addresses;
    this.#version++;
    if (wasLost) this.#notify();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
